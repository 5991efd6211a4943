package s3

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/rclone/gofakes3/signature"

	"github.com/runnelkv/runnel/api/audit"
	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/store/access"
)

// ServeHTTP implements http.Handler.
func (d *Door) ServeHTTP(under http.ResponseWriter, r *http.Request) {
	id := d.o.Checks.RequestID(r)
	w := &response{ResponseWriter: under, control: http.NewResponseController(under), timeout: d.o.Write, id: [1]string{id}}
	who, failure := d.identify(r)
	who.request = id
	r = d.withBucketInPath(r)
	t := targetOf(r)
	if failure != nil {
		if failure.status == http.StatusForbidden {
			d.record(who, r, audit.Refuse, failure.status)
		}
		failure.write(w)
		return
	}
	if failure := d.refuse(r, t, who.grants); failure != nil {
		if failure.status == http.StatusForbidden {
			d.record(who, r, audit.Refuse, failure.status)
		}
		failure.write(w)
		return
	}
	if failure := d.require(who, r); failure != nil {
		failure.write(w)
		return
	}
	hold := budget.Hold{Budget: d.o.Budget}
	defer hold.Release()
	if t.object != "" {
		if hold.Grow(r.Context(), d.memory(r)) != nil {
			slowDown.write(w)
			return
		}
	}
	who.audit = d.auditItems(who, r)
	r = r.WithContext(context.WithValue(r.Context(), senderKey{}, who))
	if failure := d.decodeBody(w, r); failure != nil {
		failure.write(w)
		return
	}
	if r.ContentLength == 0 && strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
		// net/http leaves this out for an empty body. After a final answer alone, the SDK of Amazon for Python misreads the next
		// answer on the connection, and waits for a minute.
		under.WriteHeader(http.StatusContinue)
	}
	d.library.ServeHTTP(w, r)
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	d.record(who, r, actOf(r.Method), w.status)
}

// memory is the memory that a request may take.
func (d *Door) memory(r *http.Request) int64 {
	switch all := d.o.Files.UploadBytes(); {
	case r.Method == http.MethodHead || r.Method == http.MethodDelete:
		return 0
	case r.ContentLength >= 0 && r.Method != http.MethodGet && 4*r.ContentLength < all:
		return 4 * r.ContentLength
	default:
		return all
	}
}

func actOf(method string) audit.Act {
	switch method {
	case http.MethodGet, http.MethodHead:
		return audit.Read
	case http.MethodDelete:
		return audit.Delete
	}
	return audit.Write
}

// authenticate finds the sender of a request by its signature.
func (d *Door) authenticate(r *http.Request) (sender, *failure) {
	if d.o.Keys == nil {
		return sender{grants: everything}, nil
	}
	if i, err := d.o.Keys.ByID(""); err == nil { // there is no key: any access key and signature do
		return sender{grants: i.Grants}, nil
	}
	if r.Header.Get("Authorization") == "" && r.URL.Query().Get("X-Amz-Signature") == "" {
		i, err := d.o.Keys.Authenticate("")
		if err != nil {
			return sender{}, authFailure(err)
		}
		return sender{id: i.KeyID, name: i.Name, grants: i.Grants}, nil
	}
	var found *access.Identity
	var failed error
	code := signature.V4SignVerifyWithLookup(r, func(id string) (string, bool) {
		if found, failed = d.o.Keys.ByID(id); failed != nil {
			return "", false
		}
		secret, err := SecretOf(d.o.Secret, id)
		return secret, err == nil
	})
	switch {
	case failed != nil && errors.Is(failed, access.ErrNotReady):
		return sender{}, slowDown
	case code != signature.ErrNone:
		e := signature.GetAPIError(code)
		return sender{}, &failure{max(e.HTTPStatusCode, http.StatusForbidden), e.Code, e.Description}
	}
	return sender{id: found.KeyID, name: found.Name, grants: found.Grants}, nil
}

func authFailure(err error) *failure {
	if errors.Is(err, access.ErrNotReady) {
		return slowDown
	}
	return denied
}

var everything = allGrants()

func allGrants() *access.Grants {
	g, err := access.Spec{Roles: []access.Role{access.RoleAdmin}}.Compile()
	if err != nil {
		panic(err) // a bug: the role is valid
	}
	return g
}

// refuse returns why a request is not served: beyond the grants, or not supported. Nothing was touched.
func (d *Door) refuse(r *http.Request, t target, g *access.Grants) *failure {
	if r.Method == http.MethodOptions {
		return &failure{http.StatusForbidden, "AccessForbidden", "Pages of other origins cannot use objects."}
	}
	query := r.URL.Query()
	if name := unsupported(query, r.Method); name != "" {
		return &failure{http.StatusNotImplemented, "NotImplemented", "This server has no " + name + ": it stores files with their metadata, and API keys decide who may use them."}
	}
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	allowed := true
	switch {
	case t.object != "" && reads:
		allowed = g.CanRead(t.name())
	case t.object != "":
		allowed = g.CanWrite(t.name()) && d.mayCopy(r, g)
	case t.bucket == "", r.Method == http.MethodHead, query.Has("location"), query.Has("delete"):
		// the list of buckets, the existence of a bucket, and a deletion of which each name is judged by itself
	case reads:
		allowed = g.CanReadAll(t.bucket + "/" + query.Get("prefix"))
	case r.Method == http.MethodPost:
		return &failure{http.StatusNotImplemented, "NotImplemented", "This server takes no uploads from HTML forms here: POST a form to /v1/files/ instead."}
	default:
		allowed = g.CanWriteAll(t.bucket + "/")
	}
	if !allowed {
		return denied
	}
	return nil
}

// mayCopy reports whether the source of a copy may be read.
func (d *Door) mayCopy(r *http.Request, g *access.Grants) bool {
	source := r.Header.Get("X-Amz-Copy-Source")
	if source == "" {
		return true
	}
	source, _, _ = strings.Cut(source, "?versionId=")
	name, err := url.PathUnescape(source)
	return err == nil && g.CanRead(strings.TrimLeft(name, "/"))
}

// unsupported names the feature of S3 that a request asks for and that the server does not have; "" if there is none.
func unsupported(q url.Values, method string) string {
	for parameter, name := range map[string]string{
		"acl": "access control lists", "tagging": "tags", "lifecycle": "lifecycle rules", "policy": "bucket policies", "encryption": "encryption by the server",
		"object-lock": "object locks", "retention": "retention", "legal-hold": "legal holds", "website": "websites", "replication": "replication rules",
		"notification": "notifications", "logging": "access logs of buckets", "versions": "versions", "versionId": "versions", "select": "queries", "torrent": "torrents",
		"restore": "archives", "accelerate": "acceleration", "requestPayment": "payments", "inventory": "inventories", "analytics": "analytics", "metrics": "metrics of buckets",
	} {
		if q.Has(parameter) && !(parameter == "versionId" && q.Get("versionId") == "null") {
			return name
		}
	}
	if q.Has("versioning") && method != http.MethodGet {
		return "versions"
	}
	return ""
}
