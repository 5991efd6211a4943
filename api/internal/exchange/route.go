package exchange

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/access"
)

// Handler answers a request, or returns an error before it has written anything.
type Handler func(w *Response, r *Request) error

// Request is a request together with the parts that its route has parsed.
type Request struct {
	*http.Request
	Query   url.Values        // only parameters that the method declares
	Key     store.Key         // named by the path, if the resource is keyed
	Variant negotiate.Variant // negotiated for the answer

	Identity *access.Identity // the sender; nil without access control, and for an open method without a valid key
	SAN      string           // the name of the certificate that identified the sender; "": none
	Grants   *access.Grants   // of the sender, never nil
	Browser  bool             // the sender has shown a sign-in cookie
	Until    time.Time        // when the sign-in of Browser ends; zero if the cookie is not valid
}

// hasAmbientKey reports whether the request has the key of a certificate or a cookie, or Basic credentials, which a browser
// adds by itself to the requests of every page.
func (r *Request) hasAmbientKey() bool {
	if r.Identity == nil || r.Identity.KeyID == "" {
		return false
	}
	_, _, isBasic := r.BasicAuth()
	return isBasic || r.Header["Authorization"] == nil
}

// Method is a method of a resource.
type Method struct {
	Need     Need
	Handle   Handler
	Params   []string            // allowed in the query
	Variants []negotiate.Variant // of the answer; nil: the handler negotiates
}

// Resource is a route with all its methods. GET handlers answer HEAD too.
type Resource struct {
	shared  *Shared
	Name    string // the path as in openapi.yaml
	Keyed   string // path before the key; "" if the path names no key
	Ending  string // path after the key
	Methods map[string]Method
	allow   string
}

// Resource returns a route with the methods given. A method without a need is a mistake of the program, and panics.
func (s *Shared) Resource(name string, methods map[string]Method) *Resource {
	if get, ok := methods["GET"]; ok {
		methods["HEAD"] = get
	}
	for m, method := range methods {
		if method.Need.name == "" {
			panic(m + " " + name + " has no need")
		}
	}
	allow := append(slices.Collect(maps.Keys(methods)), http.MethodOptions)
	slices.Sort(allow)
	return &Resource{shared: s, Name: name, Methods: methods, allow: strings.Join(allow, ", ")}
}

// ServeHTTP implements http.Handler. The writer must be the *Response that Begin returned.
func (re *Resource) ServeHTTP(under http.ResponseWriter, r *http.Request) {
	w := under.(*Response)
	w.Route = re.Name
	w.Request.Request = r
	if err := re.serve(w, &w.Request); err != nil {
		re.shared.WriteError(w, &w.Request, err)
	}
}

func (re *Resource) serve(w *Response, r *Request) error {
	m, found := re.Methods[r.Method]
	need := m.Need
	if !found && r.Method != http.MethodOptions {
		need = anyKey
	}
	if err := re.shared.authenticate(w, r, need); err != nil {
		return err
	}
	if err := re.shared.checkOrigin(r); err != nil {
		return err
	}
	if !found {
		return re.refuseMethod(w, r)
	}
	if err := re.parse(r, &m); err != nil {
		return err
	}
	if err := m.authorise(r); err != nil {
		return err
	}
	if err := re.shared.beginAudit(w, r, m.Need); err != nil {
		return err
	}
	err := m.Handle(w, r)
	if session, ok := errors.AsType[*store.SessionError](err); ok && dropCookie(w, r) {
		re.shared.Logger.Debug("a browser's session is dropped, as no partition has reached it", "request", w.ID, "error", session)
		return m.Handle(w, r)
	}
	return err
}

// refuseMethod answers a method that the resource does not have. OPTIONS is answered with the methods.
func (re *Resource) refuseMethod(w *Response, r *Request) error {
	if re.Methods == nil && r.Method == http.MethodOptions && r.RequestURI == "*" { // about the server (RFC 9110, section 9.3.7)
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if re.Methods == nil {
		return problem.New(problem.UnknownRoute, "There is nothing at %s.", r.URL.EscapedPath())
	}
	w.header["Allow"] = []string{re.allow}
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return problem.New(problem.Method, "%s is not a method of %s; there are %s.", r.Method, re.Name, re.allow)
}

// parse parses key and parameters and negotiates the variant. On the classic paths an invalid name is an unknown key.
func (re *Resource) parse(r *Request, m *Method) (err error) {
	if re.Keyed != "" {
		if r.Key, err = re.keyOf(r); err != nil {
			if isClassic(r.URL.Path) && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
				return problem.New(problem.NotFound, "No key has this name: %s.", err)
			}
			return err
		}
	}
	if r.Query, err = parameters(r.URL.RawQuery, m.Params); err != nil || m.Variants == nil {
		return err
	}
	r.Variant, err = negotiate.Choose(r.Header["Accept"], m.Variants)
	return err
}

// keyOf returns the key in the path. net/url has decoded the path exactly once; nothing has cleaned it.
func (re *Resource) keyOf(r *Request) (store.Key, error) {
	name := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, re.Keyed), re.Ending)
	if err := re.shared.Store.CheckName(name); err != nil {
		return "", err
	}
	return store.User.Key(name), nil
}

// isClassic reports whether a path belongs to the classic resources.
func isClassic(path string) bool {
	return strings.HasPrefix(path, BucketPath) || strings.HasPrefix(path, CanonicalPath)
}
