package cors

import (
	"net/http"
	"slices"
	"strings"

	"github.com/runnelkv/runnel/api/wire"
)

// methods are the methods of all routes.
const methods = "GET, HEAD, PUT, PATCH, POST, DELETE, LOCK, UNLOCK"

// requestFields are the fields of requests that routes read, beside the metadata. A browser asks for permission in lower
// case.
var requestFields = []string{
	"accept", "authorization", "content-digest", "content-md5", "content-type", "idempotency-key", "if-match", "if-modified-since", "if-none-match", "if-range",
	"if-unmodified-since", "last-event-id", "prefer", "range", "repr-digest", "runnel-fence", "runnel-session", "x-request-id",
}

// exposed are the fields of answers that scripts may read, beside the metadata and those that every script may read.
const exposed = "Accept-Ranges, Allow, Content-Disposition, Content-Range, ETag, Link, Location, Preference-Applied, Repr-Digest, Retry-After, Runnel-Copies, Runnel-Durable, " +
	"Runnel-Expires-At, Runnel-Partition, Runnel-Revision, Runnel-Session, Runnel-Staleness, WWW-Authenticate, X-Request-Id"

// Shared field values. Never modify them.
var (
	allowMethods = []string{methods}
	maxAge       = []string{"7200"} // seconds; no browser of note remembers a permission for longer
)

// Policy lists the origins whose pages may use the API.
type Policy struct {
	allowed map[string][]string // the values of Access-Control-Allow-Origin, by origin
	own     *http.CrossOriginProtection
	trusted *http.CrossOriginProtection // own, or pages of allowed origins
}

// New returns a policy that allows pages of the origins, such as https://app.example.org. An invalid origin is a mistake of
// the program, and panics.
func New(origins []string) *Policy {
	p := &Policy{allowed: map[string][]string{}, own: http.NewCrossOriginProtection(), trusted: http.NewCrossOriginProtection()}
	for _, origin := range origins {
		if err := p.trusted.AddTrustedOrigin(origin); err != nil {
			panic(err)
		}
		p.allowed[origin] = []string{origin}
	}
	return p
}

// Check returns an error for a change on behalf of a page that may not make it. ambient says that the browser, and not the
// page, has added the credentials of the request.
func (p *Policy) Check(r *http.Request, ambient bool) error {
	if ambient {
		return p.own.Check(r)
	}
	return p.trusted.Check(r)
}

// IsPreflight reports whether a browser asks for permission to send a request of a page of an allowed origin.
func (p *Policy) IsPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header["Access-Control-Request-Method"] != nil && p.originOf(r.Header) != nil
}

// Preflight sets the fields of the answer to a preflight, the same for all paths. Share sets the rest.
func (p *Policy) Preflight(answer, request http.Header) {
	answer["Access-Control-Allow-Methods"] = allowMethods
	answer["Access-Control-Max-Age"] = maxAge
	if fields := allowedFields(request["Access-Control-Request-Headers"]); len(fields) > 0 {
		answer["Access-Control-Allow-Headers"] = []string{strings.Join(fields, ", ")}
	}
}

// allowedFields returns the fields that a request may have, of those that a browser asks for.
func allowedFields(asked []string) (fields []string) {
	meta := strings.ToLower(wire.MetaHeader)
	for _, list := range asked {
		for name := range strings.SplitSeq(list, ",") {
			name = strings.ToLower(strings.TrimSpace(name))
			if slices.Contains(requestFields, name) || strings.HasPrefix(name, meta) {
				fields = append(fields, name)
			}
		}
	}
	return fields
}

// Share lets the page of an allowed origin read an answer, and keeps caches from giving the answer to pages of foreign
// origins. Call it when all fields but these are set.
func (p *Policy) Share(answer, request http.Header) {
	if len(p.allowed) == 0 {
		return
	}
	answer["Vary"] = []string{strings.Join(append(slices.Clone(answer["Vary"]), "Origin"), ", ")}
	origin := p.originOf(request)
	if origin == nil {
		return
	}
	readable := exposed
	for name := range answer {
		if strings.HasPrefix(name, wire.MetaHeader) {
			readable += ", " + name
		}
	}
	answer["Access-Control-Allow-Origin"] = origin
	answer["Access-Control-Expose-Headers"] = []string{readable}
}

// originOf returns the origin of a request as a field value; nil if the origin is not allowed.
func (p *Policy) originOf(request http.Header) []string {
	if origin := request["Origin"]; len(origin) == 1 {
		return p.allowed[origin[0]]
	}
	return nil
}
