package api

import (
	"net/http"

	"github.com/gorilla/mux"

	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/api/internal/exchange"
)

// Budget returns the memory budget.
func (s *Server) Budget() *budget.Budget { return s.shared.Budget }

// CountRequestsFrom sets the number of the latest generated request id.
func (s *Server) CountRequestsFrom(n uint64) { s.requests.Store(n) }

// Routes returns the methods of all routes, by the names of the routes.
func (s *Server) Routes() map[string][]string {
	routes := map[string][]string{}
	s.router.Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		for method := range route.GetHandler().(*exchange.Resource).Methods {
			routes[route.GetName()] = append(routes[route.GetName()], method)
		}
		return nil
	})
	return routes
}

// RouteOf returns the handler that the server finds by itself, which is the router for most requests.
func (s *Server) RouteOf(r *http.Request) http.Handler { return s.route(r) }

// Router returns the router.
func (s *Server) Router() *mux.Router { return s.router }

// KeysResource returns the resource of single keys.
func (s *Server) KeysResource() http.Handler { return s.keys }

// ServeByTheRouter answers as the router alone does, without the shortcut to keys.
func (s *Server) ServeByTheRouter(w http.ResponseWriter, r *http.Request) {
	rw := s.shared.Begin(w, r)
	rw.ID = "same"
	rw.SetField("X-Request-Id", rw.ID)
	rw.Header()["X-Content-Type-Options"] = nosniff
	rw.Header()["Cross-Origin-Resource-Policy"] = sameOrigin
	s.router.ServeHTTP(rw, r)
}

// Needs returns what every method of every route needs, by "METHOD path".
func (s *Server) Needs() map[string]string {
	needs := map[string]string{}
	s.router.Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		for name, method := range route.GetHandler().(*exchange.Resource).Methods {
			needs[name+" "+route.GetName()] = method.Need.String()
		}
		return nil
	})
	return needs
}
