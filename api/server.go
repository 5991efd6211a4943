package api

import (
	"cmp"
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
	"github.com/runnelkv/runnel/api/internal/negotiate"
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
	type methods = map[string]method
	at := func(path string, m methods) { router.Path(path).Name(path).Handler(s.resource(path, m)) }
	below := func(prefix, variable string, m methods) *resource {
		re := s.resource(prefix+"{"+variable+"}", m)
		router.PathPrefix(prefix).Name(re.name).Handler(re)
		return re
	}
	ofKey := func(prefix string, m methods) *resource {
		re := below(prefix, "key", m)
		re.keyed = prefix
		return re
	}
	page := func(h handler, params ...string) methods { return methods{"GET": {h, params, negotiate.Documents}} }

	s.keys = ofKey(keysPath, methods{
		"GET": {s.getKey, append([]string{"entry"}, readParams...), nil}, "PUT": {s.putKey, []string{"ttl", "expires_at", "copies"}, nil},
		"POST": {s.touchKey, []string{"ttl"}, nil}, "DELETE": {s.deleteKey, nil, nil},
	})
	at("/v1/batch", methods{"POST": {s.postBatch, readParams, nil}})
	at("/v1/txn", methods{"POST": {s.postTxn, nil, []negotiate.Variant{negotiate.JSON}}})
	at("/v1/keys", methods{
		"GET":    {s.listKeys, []string{"prefix", "delimiter", "after", "limit", "values", "consistency", "max_staleness"}, negotiate.Lists},
		"POST":   {s.postKey, []string{"ttl"}, negotiate.Documents},
		"DELETE": {s.deleteKeys, []string{"prefix", "after", "limit", "all"}, negotiate.Documents},
	})
	at(changesPath, methods{"GET": {s.getChanges, []string{"since", "prefix", "values", "wait", "limit"}, negotiate.Changes}})
	for _, c := range []classic{{s: s, path: bucketPath}, {s: s, path: canonicalPath}} {
		at(c.path, methods{"GET": {c.list, []string{"prefix", "delimiter", "after", "limit"}, negotiate.Classic}})
		put := method{c.put, nil, negotiate.Classic}
		ofKey(c.path, methods{"GET": {c.get, nil, negotiate.Classic}, "PUT": put, "POST": put, "DELETE": {c.delete, nil, nil}})
	}
	at("/v1/status", page(s.getStatus))
	at("/v1/sync", methods{"POST": {s.postSync, nil, negotiate.Documents}})
	at("/healthz", page(s.getHealth))
	at("/readyz", page(s.getReady, "write"))
	at("/metrics", methods{"GET": {s.getMetrics, nil, nil}})
	at("/openapi.yaml", methods{"GET": {getOpenAPI, nil, nil}})
	at("/problems", page(s.listProblems))
	below(problemsPath, "slug", page(s.getProblem))
	at("/", page(s.getIndex))
	at("/favicon.ico", methods{"GET": {getIcon, nil, nil}})
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

// Limits bounds what a client may take of a server. The zero value of a field
// means its default.
type Limits struct {
	Header      time.Duration // to send the header, default 10 s
	Body        time.Duration // to send a small request, or the next 64 KiB of a large one, default 60 s
	Write       time.Duration // to take a small answer, or the next 256 KiB of a large one, default 120 s
	Idle        time.Duration // between two requests of a connection, default 120 s
	HeaderBytes int           // of a request's header, default 64 KiB
	Heartbeat   time.Duration // between two signs of life in a stream of changes, default 15 s
}

func (l Limits) withDefaults() Limits {
	l.Header = cmp.Or(l.Header, 10*time.Second)
	l.Body = cmp.Or(l.Body, time.Minute)
	l.Write = cmp.Or(l.Write, 2*time.Minute)
	l.Idle = cmp.Or(l.Idle, 2*time.Minute)
	l.HeaderBytes = cmp.Or(l.HeaderBytes, 64<<10)
	l.Heartbeat = cmp.Or(l.Heartbeat, 15*time.Second)
	return l
}

// Apply sets the limits on a server that is not serving yet. Write counts from
// the end of the header there, so it includes reading the body.
func (l Limits) Apply(server *http.Server) {
	l = l.withDefaults()
	server.ReadHeaderTimeout = l.Header
	server.ReadTimeout = l.Body
	server.WriteTimeout = l.Body + l.Write
	server.IdleTimeout = l.Idle
	server.MaxHeaderBytes = l.HeaderBytes
}
