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

// Header values that many answers share. They are never changed.
var (
	nosniff    = []string{"nosniff"}
	noCache    = []string{"no-cache"} // a cache asks again before it answers
	noStore    = []string{"no-store"}
	varyAccept = []string{"Accept"}
	sameOrigin = []string{"same-origin"} // pages of other origins cannot embed an answer
)

var responses = sync.Pool{New: func() any { return newResponse() }}

// ServeHTTP is the middleware around every route: it names the request, counts
// it, logs it, and turns a panic into an answer.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	rw := responses.Get().(*response)
	rw.begin(w, r)
	rw.held.Budget, rw.limits = s.budget, &s.options.Limits
	rw.id = s.requestID(r)
	rw.set("X-Request-Id", rw.id)
	rw.header["X-Content-Type-Options"] = nosniff
	rw.header["Cross-Origin-Resource-Policy"] = sameOrigin

	defer func() {
		p := recover()
		if p != nil && p != http.ErrAbortHandler {
			s.panicked(rw, r, p)
		}
		if p == nil && rw.status == 0 {
			rw.WriteHeader(http.StatusOK)
		}
		s.finish(rw, r, time.Since(started))
		broken := p != nil && (p == http.ErrAbortHandler || rw.cut)
		rw.held.Release()
		if rw.early {
			rw.linger(r)
		}
		rw.end()
		responses.Put(rw)
		if broken {
			panic(http.ErrAbortHandler) // the client must see that the answer is not whole
		}
	}()
	if err := s.checkHost(r); err != nil {
		rw.route = unmatched
		s.fail(rw, &rw.request, err)
		return
	}
	s.route(r).ServeHTTP(rw, r)
}

// panicked logs a mistake of the program, and answers if nothing was answered.
func (s *Server) panicked(w *response, r *http.Request, p any) {
	s.options.Logger.Error("panic", "request", w.id, "method", r.Method, "path", r.URL.EscapedPath(),
		"panic", p, "stack", string(debug.Stack()))
	if w.status != 0 {
		w.cut = true
		return
	}
	s.fail(w, &w.request, problem.New(problem.Internal, ""))
}

func (s *Server) finish(w *response, r *http.Request, took time.Duration) {
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

// requestID is the id that the client or a proxy gave the request, if it is fit
// for logs, or a new one.
func (s *Server) requestID(r *http.Request) string {
	if given := r.Header["X-Request-Id"]; len(given) == 1 && saneID(given[0]) {
		return given[0]
	}
	var b [64]byte
	return string(strconv.AppendUint(append(b[:0], s.requestPrefix...), s.requests.Add(1), 36))
}

// maxIDBytes bounds a request id that comes from outside.
const maxIDBytes = 128

func saneID(id string) bool {
	if id == "" || len(id) > maxIDBytes {
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

// checkHost refuses a request for a name that is not configured. Such a name
// may belong to another site that made it resolve to this server (DNS
// rebinding), so that a browser takes that site's pages for pages of this one.
// Addresses and localhost cannot be rebound; only programs send no name at all.
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
