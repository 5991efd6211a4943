package api

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/api/internal/transport"
)

// Options is how a Server is made. Store is required.
type Options struct {
	Store    Store
	Syncer   Syncer               // nil: the sync process runs elsewhere
	Node     string               // the name of this process, for the status
	Version  string               // of the program
	Logger   *slog.Logger         // default slog.Default()
	Access   *slog.Logger         // gets a line a request; nil: none
	Registry *prometheus.Registry // default: a new one with the process's own metrics
	// Collectors are further metrics for the registry.
	Collectors []prometheus.Collector
	Limits     Limits
	Memory     int64    // that bodies and values of all requests may take; 0: half of the process's memory limit
	Hosts      []string // the names to answer for, beside localhost and addresses; nil: any
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Registry == nil {
		o.Registry = newRegistry()
	}
	o.Limits = o.Limits.withDefaults()
	return o
}

// Accepting bounds the connections of a server.
type Accepting = transport.Accepting

// Serve serves HTTP, without TLS, on a listener until the listener is closed. The handler of the server is a Server,
// perhaps wrapped. Serve costs less for each answer than server.Serve.
func Serve(server *http.Server, l net.Listener, a Accepting) error {
	return transport.Serve(server, l, a)
}

// Server answers the whole API. It is an http.Handler.
type Server struct {
	store   Store
	syncer  Syncer
	options Options
	router  *mux.Router
	keys    *resource // what the router has at keysPath
	metrics *metrics
	budget  *budget.Budget
	pages   *pages
	origins *http.CrossOriginProtection
	started time.Time
	feeds   *feedMetrics

	draining context.Context // has ended when streams are to end
	drain    context.CancelFunc

	requestPrefix string        // of the request ids that are made here
	requests      atomic.Uint64 // made so far
}

// New returns a Server. It registers its metrics with the registry, so a
// registry serves one Server.
func New(o Options) *Server {
	o = o.withDefaults()
	s := &Server{
		store:         o.Store,
		syncer:        o.Syncer,
		options:       o,
		budget:        budget.New(o.Memory),
		pages:         newPages(o.Version),
		origins:       http.NewCrossOriginProtection(),
		started:       time.Now(),
		requestPrefix: strconv.FormatInt(time.Now().UnixMicro(), 36) + "-",
	}
	s.draining, s.drain = context.WithCancel(context.Background())
	s.metrics = newMetrics(o.Registry, s)
	s.feeds = newFeedMetrics(o.Registry)
	o.Registry.MustRegister(o.Collectors...)
	s.router = s.newRouter()
	return s
}

// newRouter holds every route. Those of keys stand first: routes are tried in
// order.
func (s *Server) newRouter() *mux.Router {
	router := mux.NewRouter().SkipClean(true).UseEncodedPath()
	under := func(prefix, variable string, m methods) *resource {
		re := s.resource(prefix+"{"+variable+"}", m)
		router.PathPrefix(prefix).Name(re.name).Handler(re)
		return re
	}
	at := func(path string, m methods) {
		router.Path(path).Name(path).Handler(s.resource(path, m))
	}
	s.keys = under(keysPath, "key", methods{"GET": s.getKey, "HEAD": s.getKey, "PUT": s.putKey, "POST": s.touchKey, "DELETE": s.deleteKey})
	at("/v1/batch", methods{"POST": s.postBatch})
	at("/v1/txn", methods{"POST": s.postTxn})
	at("/v1/keys", methods{"GET": s.listKeys, "HEAD": s.listKeys, "POST": s.postKey, "DELETE": s.deleteKeys})

	at(changesPath, methods{"GET": s.getChanges, "HEAD": s.getChanges})

	for _, c := range []classic{{s: s, path: bucketPath}, {s: s, path: canonicalPath}} {
		at(c.path, methods{"GET": c.list, "HEAD": c.list})
		under(c.path, "key", methods{"GET": c.get, "HEAD": c.get, "PUT": c.put, "POST": c.put, "DELETE": c.delete})
	}

	at("/v1/status", methods{"GET": s.getStatus, "HEAD": s.getStatus})
	at("/v1/sync", methods{"POST": s.postSync})
	at("/healthz", methods{"GET": s.getHealth, "HEAD": s.getHealth})
	at("/readyz", methods{"GET": s.getReady, "HEAD": s.getReady})
	at("/metrics", methods{"GET": s.getMetrics, "HEAD": s.getMetrics})
	at("/openapi.yaml", methods{"GET": getOpenAPI, "HEAD": getOpenAPI})
	at("/problems", methods{"GET": s.listProblems, "HEAD": s.listProblems})
	under(problemsPath, "slug", methods{"GET": s.getProblem, "HEAD": s.getProblem})
	at("/", methods{"GET": s.getIndex, "HEAD": s.getIndex})
	at("/favicon.ico", methods{"GET": getIcon, "HEAD": getIcon})

	router.NotFoundHandler = s.resource(unmatched, nil)
	return router
}

// unmatched is the name of the route of requests that no other route takes.
const unmatched = "unmatched"

// route returns what answers a request: the router, or at once what it would
// find for a plain path of a key, which spares a regular expression, two values
// in the request's context and two copies of the request. An escaped path that
// says something else than the path itself is left to the router.
func (s *Server) route(r *http.Request) http.Handler {
	if r.URL.RawPath == "" && strings.HasPrefix(r.URL.Path, keysPath) {
		return s.keys
	}
	return s.router
}
