package api

import (
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/runnelkv/runnel/api/internal/problem"
)

// Shared header values. Never modify them.
var (
	nosniff    = []string{"nosniff"}
	noCache    = []string{"no-cache"} // caches must revalidate
	noStore    = []string{"no-store"}
	varyAccept = []string{"Accept"}
	sameOrigin = []string{"same-origin"} // pages of other origins cannot embed answers
)

var responses = sync.Pool{New: func() any { return newResponse() }}

// ServeHTTP handles a request: it assigns the request id, recovers panics, and records metrics and the access log.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	rw := responses.Get().(*response)
	rw.startRequest(w, r)
	rw.held.Budget, rw.limits = s.budget, &s.options.Limits
	rw.id = s.requestID(r)
	rw.setField("X-Request-Id", rw.id)
	rw.header["X-Content-Type-Options"] = nosniff
	rw.header["Cross-Origin-Resource-Policy"] = sameOrigin

	defer func() {
		p := recover()
		if p != nil && p != http.ErrAbortHandler {
			s.recoverPanic(rw, r, p)
		}
		if p == nil && rw.status == 0 {
			rw.WriteHeader(http.StatusOK)
		}
		s.logRequest(rw, r, time.Since(started))
		broken := p != nil && (p == http.ErrAbortHandler || rw.cut)
		rw.held.Release()
		if rw.early {
			rw.linger(r)
		}
		rw.forgetRequest()
		responses.Put(rw)
		if broken {
			panic(http.ErrAbortHandler) // breaks the connection: the answer is incomplete
		}
	}()
	if err := s.checkHost(r); err != nil {
		rw.route = unmatched
		s.writeError(rw, &rw.request, err)
		return
	}
	s.route(r).ServeHTTP(rw, r)
}

// recoverPanic logs a panic and answers, if no answer has begun.
func (s *Server) recoverPanic(w *response, r *http.Request, p any) {
	s.options.Logger.Error("panic", "request", w.id, "method", r.Method, "path", r.URL.EscapedPath(),
		"panic", p, "stack", string(debug.Stack()))
	if w.status != 0 {
		w.cut = true
		return
	}
	s.writeError(w, &w.request, problem.New(problem.Internal, ""))
}

func (s *Server) logRequest(w *response, r *http.Request, took time.Duration) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	s.metrics.observe(w, r.Method, took)
	if s.options.Access == nil {
		return
	}
	s.options.Access.LogAttrs(r.Context(), slog.LevelInfo, "request",
		slog.String("request", w.id),
		slog.String("remote", r.RemoteAddr),
		slog.String("method", r.Method),
		slog.String("uri", r.URL.RequestURI()),
		slog.Int("status", w.status),
		slog.Int64("bytes", w.bytes),
		slog.Duration("took", took))
}

// requestID returns the request id of the client or proxy if it is safe to log, otherwise a new id.
func (s *Server) requestID(r *http.Request) string {
	if given := r.Header["X-Request-Id"]; len(given) == 1 && isPlainID(given[0]) {
		return given[0]
	}
	var b [64]byte
	return string(strconv.AppendUint(append(b[:0], s.requestPrefix...), s.requests.Add(1), 36))
}

// maxRequestIDBytes bounds request ids from outside.
const maxRequestIDBytes = 128

func isPlainID(id string) bool {
	if id == "" || len(id) > maxRequestIDBytes {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '_', c == '.', c == ':', c == '/', c == '+', c == '=', c == '@':
		default:
			return false
		}
	}
	return true
}

// checkHost refuses host names that are not configured. By DNS rebinding another site can make its own name resolve to
// this server, so that a browser treats pages of that site as pages of this server. IP addresses and localhost cannot
// be rebound; requests without a host come from programs, not browsers.
func (s *Server) checkHost(r *http.Request) error {
	if s.options.Hosts == nil || r.Host == "" {
		return nil
	}
	name, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		name = strings.Trim(r.Host, "[]")
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return nil
	}
	name = strings.TrimSuffix(name, ".")
	if strings.EqualFold(name, "localhost") || slices.ContainsFunc(s.options.Hosts, func(h string) bool { return strings.EqualFold(name, h) }) {
		return nil
	}
	return problem.New(problem.UnknownHost, "This server is not configured to answer for the host %s; http.hosts of its configuration lists the names.", printable(name))
}
