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

// Options configures a Server. Only Store is required.
type Options struct {
	Store    Store
	Syncer   Syncer               // nil: the sync process runs elsewhere
	Node     string               // name of this process, for the status
	Version  string               // of the program, for the status and the pages
	Logger   *slog.Logger         // default slog.Default()
	Access   *slog.Logger         // one record for each request; nil: none
	Registry *prometheus.Registry // default: a new registry with the metrics of the process
	// Collectors are additional metrics for the registry.
	Collectors []prometheus.Collector
	Limits     Limits
	Memory     int64    // bytes that bodies and values of all requests may take; 0: a quarter of the process's memory limit
	Hosts      []string // names to answer for, beside localhost and IP addresses; nil: all names
}

func (o Options) withDefaults() Options {
	o.Logger = cmp.Or(o.Logger, slog.Default())
	if o.Registry == nil {
		o.Registry = newRegistry()
	}
	o.Limits = o.Limits.withDefaults()
	return o
}

// Accepting bounds the connections of a server.
type Accepting struct {
	Max    int          // open connections; 0: unbounded
	Logger *slog.Logger // for failures to accept; nil: slog.Default()
}

// Serve serves HTTP, without TLS, on a listener until the listener is closed. The server's handler must be a Server,
// perhaps wrapped. Serve costs less for each request than server.Serve.
func Serve(server *http.Server, l net.Listener, a Accepting) error {
	return transport.Serve(server, l, transport.Accepting(a))
}

// Server is the http.Handler of the whole API. Create it with New.
type Server struct {
	store   Store
	syncer  Syncer
	options Options
	router  *mux.Router
	keys    *resource // the router's resource at keysPath
	metrics *metrics
	budget  *budget.Budget
	pages   *pages
	origins *http.CrossOriginProtection
	started time.Time

	draining context.Context // ends when Drain is called
	drain    context.CancelFunc

	requestPrefix string        // of generated request ids
	requests      atomic.Uint64 // generated request ids
}

// New returns a Server. It registers the server's metrics, so each registry serves only one Server.
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
	o.Registry.MustRegister(o.Collectors...)
	s.router = s.newRouter()
	return s
}

// newRouter returns all routes. Routes are tried in order, so the keys come first.
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
		at(c.path, methods{"GET": {c.listKeys, []string{"prefix", "delimiter", "after", "limit"}, negotiate.Classic}})
		put := method{c.putKey, nil, negotiate.Classic}
		ofKey(c.path, methods{"GET": {c.getKey, nil, negotiate.Classic}, "PUT": put, "POST": put, "DELETE": {c.deleteKey, nil, nil}})
	}
	at("/v1/status", page(s.getStatus))
	at("/v1/sync", methods{"POST": {s.postSync, nil, negotiate.Documents}})
	at("/healthz", page(s.getHealth))
	at("/readyz", page(s.getReady, "write"))
	at("/metrics", methods{"GET": {s.getMetrics, nil, nil}})
	at("/openapi.yaml", methods{"GET": {serveFile("application/yaml", "no-cache", openAPI), nil, nil}})
	at("/problems", page(s.listProblems))
	below(problemsPath, "slug", page(s.getProblem))
	at("/", page(s.getIndex))
	at("/favicon.ico", methods{"GET": {serveFile("image/svg+xml", "public, max-age=86400", icon), nil, nil}})
	router.NotFoundHandler = s.resource(unmatched, nil)
	return router
}

// unmatched is the route name for requests without a route.
const unmatched = "unmatched"

// route returns the resource of a plain key path directly and leaves all other paths to the router. The shortcut saves
// a regular expression, two context values and two copies of the request. A path with an escaped form of its own
// (RawPath) goes to the router.
func (s *Server) route(r *http.Request) http.Handler {
	if r.URL.RawPath == "" && strings.HasPrefix(r.URL.Path, keysPath) {
		return s.keys
	}
	return s.router
}

// Limits bounds the time and the header size of clients. A zero field means its default.
type Limits struct {
	Header      time.Duration // to receive the header; default 10 s
	Body        time.Duration // to receive a small body, or the next 64 KiB of a large body; default 60 s
	Write       time.Duration // to send a small answer, or the next 256 KiB of a large answer; default 120 s
	Idle        time.Duration // between two requests of a connection; default 120 s
	HeaderBytes int           // largest header of a request, in bytes; default 64 KiB
	Heartbeat   time.Duration // between two heartbeats of a stream of changes; default 15 s
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

// Apply sets the limits on a server before it serves. The server's WriteTimeout also covers reading the body.
func (l Limits) Apply(server *http.Server) {
	l = l.withDefaults()
	server.ReadHeaderTimeout = l.Header
	server.ReadTimeout = l.Body
	server.WriteTimeout = l.Body + l.Write
	server.IdleTimeout = l.Idle
	server.MaxHeaderBytes = l.HeaderBytes
}
