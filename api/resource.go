package api

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/store"
)

// A handler answers one method of one resource, or returns the error to answer
// with; then it has written nothing.
type handler func(w http.ResponseWriter, r *http.Request) error

// methods holds the handlers of a resource.
type methods map[string]handler

// resource is one route with all its methods.
type resource struct {
	server  *Server
	name    string // the path as in openapi.yaml
	methods methods
	allow   string
}

func (s *Server) resource(name string, m methods) *resource {
	allow := []string{http.MethodOptions}
	for method := range m {
		allow = append(allow, method)
	}
	slices.Sort(allow)
	return &resource{server: s, name: name, methods: m, allow: strings.Join(allow, ", ")}
}

func (re *resource) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.(*response).route = re.name
	if err := re.serve(w, r); err != nil {
		re.server.fail(w, r, err)
	}
}

func (re *resource) serve(w http.ResponseWriter, r *http.Request) error {
	if re.methods == nil {
		return problem.New(problem.UnknownRoute, "There is nothing at %s.", r.URL.EscapedPath())
	}
	if h := re.methods[r.Method]; h != nil {
		if err := re.server.origins.Check(r); err != nil {
			return problem.New(problem.CrossOrigin, "The request comes from a page of another site.")
		}
		err := h(w, r)
		if session, ok := errors.AsType[*store.SessionError](err); ok && dropCookie(w, r) {
			re.server.options.Logger.Debug("a browser's session is dropped, as no partition has reached it", "request", w.(*response).id, "error", session)
			return h(w, r)
		}
		return err
	}
	w.Header()["Allow"] = []string{re.allow}
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return problem.New(problem.Method, "%s is not a method of %s; there are %s.", r.Method, re.name, re.allow)
}
