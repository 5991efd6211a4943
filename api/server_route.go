package api

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
)

// handler answers a request, or returns an error before it has written anything.
type handler func(w *response, r *request) error

// request is a request together with the parts that its route has parsed.
type request struct {
	*http.Request
	query   url.Values        // only parameters that the method declares
	key     store.Key         // named by the path, if the resource is keyed
	variant negotiate.Variant // negotiated for the answer
}

// method is a method of a resource.
type method struct {
	handle   handler
	params   []string            // allowed in the query
	variants []negotiate.Variant // of the answer; nil: the handler negotiates
}

// resource is a route with all its methods. GET handlers answer HEAD too.
type resource struct {
	server  *Server
	name    string // the path as in openapi.yaml
	keyed   string // path before the key; "" if the path names no key
	methods map[string]method
	allow   string
}

func (s *Server) resource(name string, methods map[string]method) *resource {
	if get, ok := methods["GET"]; ok {
		methods["HEAD"] = get
	}
	allow := append(slices.Collect(maps.Keys(methods)), http.MethodOptions)
	slices.Sort(allow)
	return &resource{server: s, name: name, methods: methods, allow: strings.Join(allow, ", ")}
}

// ServeHTTP implements http.Handler. The writer must be the *response of the middleware.
func (re *resource) ServeHTTP(under http.ResponseWriter, r *http.Request) {
	w := under.(*response)
	w.route = re.name
	w.request.Request = r
	if err := re.serve(w, &w.request); err != nil {
		re.server.writeError(w, &w.request, err)
	}
}

func (re *resource) serve(w *response, r *request) error {
	if re.methods == nil {
		return problem.New(problem.UnknownRoute, "There is nothing at %s.", r.URL.EscapedPath())
	}
	m, ok := re.methods[r.Method]
	if !ok {
		w.header["Allow"] = []string{re.allow}
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
		return problem.New(problem.Method, "%s is not a method of %s; there are %s.", r.Method, re.name, re.allow)
	}
	if err := re.server.origins.Check(r.Request); err != nil {
		return problem.New(problem.CrossOrigin, "The request comes from a page of another site.")
	}
	if err := re.parse(r, &m); err != nil {
		return err
	}
	err := m.handle(w, r)
	if session, ok := errors.AsType[*store.SessionError](err); ok && dropCookie(w, r) {
		re.server.options.Logger.Debug("a browser's session is dropped, as no partition has reached it", "request", w.id, "error", session)
		return m.handle(w, r)
	}
	return err
}

// parse parses key and parameters and negotiates the variant. On the classic paths an invalid name is an unknown key.
func (re *resource) parse(r *request, m *method) (err error) {
	if re.keyed != "" {
		if r.key, err = re.server.keyOf(r, re.keyed); err != nil {
			if isClassic(r.URL.Path) && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
				return problem.New(problem.NotFound, "No key has this name: %s.", err)
			}
			return err
		}
	}
	if r.query, err = parameters(r.URL.RawQuery, m.params); err != nil || m.variants == nil {
		return err
	}
	r.variant, err = negotiate.Choose(r.Header["Accept"], m.variants)
	return err
}

// Prefixes of paths.
const (
	keysPath      = wire.KeysPath
	bucketPath    = "/bucket/"
	canonicalPath = "/canonicalbucket/"
	problemsPath  = wire.ProblemsPath
)

// keyOf returns the key that follows prefix in the path. net/url has decoded the path exactly once; nothing has cleaned
// it.
func (s *Server) keyOf(r *request, prefix string) (store.Key, error) {
	name := strings.TrimPrefix(r.URL.Path, prefix)
	if err := s.store.CheckName(name); err != nil {
		return "", err
	}
	return store.User.Key(name), nil
}

// isClassic reports whether a path belongs to the classic resources.
func isClassic(path string) bool {
	return strings.HasPrefix(path, bucketPath) || strings.HasPrefix(path, canonicalPath)
}
