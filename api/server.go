package api

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/runnelkv/runnel/api/audit"
	"github.com/runnelkv/runnel/api/console"
	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/api/internal/cors"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/pages"
	"github.com/runnelkv/runnel/api/internal/signin"
	"github.com/runnelkv/runnel/api/internal/status"
	"github.com/runnelkv/runnel/api/internal/transport"
	"github.com/runnelkv/runnel/api/s3"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store/file"
	"github.com/runnelkv/runnel/store/ledger"
)

// Options configures a Server. Only Store is required.
type Options struct {
	Store  Store
	Ledger *ledger.Ledger // default: the ledger in Store; a different process must then complete its unfinished transfers
	Files  *file.Service  // nil: no files
	// FilesStatus is the state of the work on the chunks of files; nil: the work is done elsewhere.
	FilesStatus func() *wire.FilesStatus
	// TerraformKeep is the number of versions of each state of Terraform that are kept; default 20.
	TerraformKeep int
	Syncer        Syncer       // nil: the sync process runs elsewhere
	Node          string       // name of this process, for the status
	Version       string       // of the program, for the status and the pages
	Logger        *slog.Logger // default slog.Default()
	Access        *slog.Logger // one record for each request; nil: none
	// CombinedLog receives a line for each request, in the combined format of Apache and nginx; nil: none.
	CombinedLog io.Writer
	Audit       *audit.Log // records acts; nil: none
	// AuditRequired refuses requests with 503 while the audit log cannot be written.
	AuditRequired bool
	Registry      *prometheus.Registry // default: a new registry with the metrics of the process
	// Collectors are additional metrics for the registry.
	Collectors []prometheus.Collector
	Keys       Keys // authenticate requests; nil: every request may do everything
	// Certificates are ids of Keys by the URI or DNS name of a client's verified certificate, for requests without a key.
	Certificates map[string]string
	// SignInSecret seals the sign-in cookies of browsers: at least 32 bytes. nil: a random secret, so that the
	// cookies end with the process.
	SignInSecret []byte
	Limits       Limits
	Memory       int64 // bytes that bodies and values of all requests may take; 0: a quarter of the process's memory limit
	Rates        Rates
	Proxies      []netip.Prefix // networks of the trusted proxies: their X-Forwarded-For and X-Forwarded-Proto count
	Hosts        []string       // names to answer for, beside localhost and IP addresses; nil: all names
	Origins      []string       // of pages that may use the API from elsewhere, such as https://app.example.org
}

func (o Options) withDefaults() Options {
	o.Logger = cmp.Or(o.Logger, slog.Default())
	if o.Registry == nil {
		o.Registry = newRegistry()
	}
	if o.Ledger == nil {
		o.Ledger = ledger.New(o.Store, ledger.Options{Logger: o.Logger})
	}
	o.Limits = o.Limits.withDefaults()
	return o
}

// Accepting bounds the connections of a server.
type Accepting struct {
	Max     int          // open connections; 0: unbounded
	MaxIdle int          // connections that wait for their next request; 0: unbounded
	Logger  *slog.Logger // for failures to accept; nil: slog.Default()
}

// Serve serves HTTP, or HTTPS if the server has a TLSConfig, on a listener until the listener is closed. Requests to a
// Server cost less than with server.Serve.
func Serve(server *http.Server, l net.Listener, a Accepting) error {
	if _, ok := server.Handler.(*Server); !ok { // a Server does so itself
		server.Handler = transport.StartRequests(server.Handler)
	}
	return transport.Serve(server, l, transport.Accepting(a))
}

// Server is the http.Handler of the whole API. Create it with New.
type Server struct {
	shared  *exchange.Shared
	options Options
	router  *mux.Router
	keys    *exchange.Resource // the router's resource of single keys
	console *console.Console
	ledger  *ledger.Ledger
	metrics *metrics
	leave   context.CancelFunc
	clients *clients
	drain   context.CancelFunc

	requestPrefix string        // of generated request ids
	requests      atomic.Uint64 // generated request ids
	logFailures   sync.Once     // logs the first failure of the access log
}

// New returns a Server. It registers the server's metrics, so each registry serves only one Server.
func New(o Options) *Server {
	o = o.withDefaults()
	draining, drain := context.WithCancel(context.Background())
	leaving, leave := context.WithCancel(draining)
	s := &Server{
		shared: &exchange.Shared{
			Store: o.Store, Budget: budget.New(o.Memory), Pages: pages.New(), Logger: o.Logger, Keys: o.Keys, Certificates: o.Certificates, Version: o.Version,
			Timeouts: exchange.Timeouts{Body: o.Limits.Body, Write: o.Limits.Write}, Leaving: leaving, Draining: draining, CORS: cors.New(o.Origins),
		},
		options:       o,
		ledger:        o.Ledger,
		metrics:       newMetrics(o.Registry),
		leave:         leave,
		clients:       newClients(o.Proxies, o.Rates),
		drain:         drain,
		requestPrefix: strconv.FormatInt(time.Now().UnixMicro(), 36) + "-",
	}
	s.shared.Audit.Log, s.shared.Audit.Required, s.shared.Audit.Client = o.Audit, o.AuditRequired, s.clients.name
	s.shared.AdmitKey, s.shared.NoteFailure, s.shared.IsSecure = s.clients.admitKey, s.clients.noteFailure, s.clients.secure
	s.shared.AdmitStream = s.admitStream
	s.shared.SignIn = newSealer(o.SignInSecret)
	state := status.New(s.shared, status.Options{Store: o.Store, Syncer: o.Syncer, Files: o.FilesStatus, Node: o.Node, Version: o.Version})
	o.Registry.MustRegister(status.NewFigures(state))
	o.Registry.MustRegister(o.Collectors...)
	s.console = console.New(s.shared, console.Options{API: s, Lags: state.Lags})
	s.router = s.newRouter(state)
	return s
}

// Run samples the state for the charts of the console until the context ends. Requests are served without Run too.
func (s *Server) Run(ctx context.Context) error { return s.console.Run(ctx) }

// newSealer panics if the secret is too short, a mistake of the program.
func newSealer(secret []byte) *signin.Sealer {
	sealer, err := signin.New(secret)
	if err != nil {
		panic(err)
	}
	return sealer
}

// Leave makes /readyz fail, so that load balancers send no new clients. All requests are served as before.
func (s *Server) Leave() { s.leave() }

// Drain prepares for shutdown: /readyz fails, and streams and long polls end. Readers of changes resume on another node
// with their tokens; other streams end with a problem.
func (s *Server) Drain() { s.drain() }

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
	server.DisableGeneralOptionsHandler = true // it answers without the checks and the header of this package
}

// S3 returns the door for tools that speak the protocol of Amazon S3. The door serves the files of the server, derives the
// secrets of the server's keys from secret, and shares the memory for requests, the audit log, and the checks of hosts,
// addresses, keys and origins. domain is a further host, with a name before it for each bucket; "": none.
func (s *Server) S3(domain string, secret []byte) *s3.Door {
	o := s3.Options{Files: s.options.Files, Store: s.options.Store, Secret: secret, Domain: domain, Logger: s.options.Logger,
		Audit: s.options.Audit, AuditRequired: s.options.AuditRequired,
		Budget: s.shared.Budget, Body: s.options.Limits.Body, Write: s.options.Limits.Write}
	if s.options.Keys != nil {
		o.Keys = s.options.Keys
	}
	o.Checks = s3.Checks{
		Admit: func(r *http.Request) error {
			if err := s.checkHost(r, domain); err != nil {
				return err
			}
			return s.clients.admit(r)
		},
		AdmitKey:    s.clients.admitKey,
		NoteFailure: s.clients.noteFailure,
		CheckOrigin: func(r *http.Request) error { return s.shared.CheckPage(r, true) },
		Address:     s.clients.name,
		RequestID:   s.requestID,
	}
	return s3.New(o)
}
