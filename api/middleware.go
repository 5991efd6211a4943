package api

import (
	"cmp"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/problem"
)

// Shared header values. Never modify them.
var (
	nosniff    = []string{"nosniff"}
	sameOrigin = []string{"same-origin"} // pages of other origins cannot embed answers
)

// ServeHTTP handles a request: it assigns the request id, recovers panics, and records metrics and the access log.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	rw := s.shared.Begin(w, r)
	rw.ID = s.requestID(r)
	rw.SetField("X-Request-Id", rw.ID)
	rw.Header()["X-Content-Type-Options"] = nosniff
	rw.Header()["Cross-Origin-Resource-Policy"] = sameOrigin

	defer func() {
		p := recover()
		if p != nil && p != http.ErrAbortHandler {
			s.recoverPanic(rw, r, p)
		}
		if p == nil && rw.Status == 0 {
			rw.WriteHeader(http.StatusOK)
		}
		s.finishRequest(rw, r, started)
		broken := p != nil && (p == http.ErrAbortHandler || rw.Cut)
		rw.End()
		if broken {
			panic(http.ErrAbortHandler) // breaks the connection: the answer is incomplete
		}
	}()
	err := s.checkHost(r, "")
	if err == nil {
		err = s.clients.admit(r)
	}
	if err != nil {
		rw.Route = unmatched
		s.shared.WriteError(rw, &rw.Request, err)
		return
	}
	if s.shared.CORS.IsPreflight(r) { // comes without the key of the request that follows
		rw.Route = preflight
		s.shared.CORS.Preflight(rw.Header(), r.Header)
		rw.WriteHeader(http.StatusNoContent)
		return
	}
	s.route(r).ServeHTTP(rw, r)
}

// recoverPanic logs a panic and answers, if no answer has begun.
func (s *Server) recoverPanic(w *exchange.Response, r *http.Request, p any) {
	s.options.Logger.Error("panic", "request", w.ID, "method", r.Method, "path", r.URL.EscapedPath(),
		"panic", p, "stack", string(debug.Stack()))
	if w.Status != 0 {
		w.Cut = true
		return
	}
	s.shared.WriteError(w, &w.Request, problem.New(problem.Internal, ""))
}

// finishRequest measures, records and logs the request.
func (s *Server) finishRequest(w *exchange.Response, r *http.Request, began time.Time) {
	if w.Status == 0 {
		w.Status = http.StatusOK
	}
	took := time.Since(began)
	s.metrics.observe(w, r.Method, took)
	s.shared.EndAudit(w, r)
	s.logAccess(w, r, began, took)
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
// be rebound; requests without a host come from programs, not browsers. domain and all names below it are allowed too; "":
// none.
func (s *Server) checkHost(r *http.Request, domain string) error {
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
	if domain != "" && strings.HasSuffix("."+strings.ToLower(name), "."+strings.ToLower(domain)) {
		return nil
	}
	if strings.EqualFold(name, "localhost") || slices.ContainsFunc(s.options.Hosts, func(h string) bool { return strings.EqualFold(name, h) }) {
		return nil
	}
	return problem.New(problem.UnknownHost, "This server is not configured to answer for the host %s; http.hosts of its configuration lists the names.", problem.Printable(name))
}

// logAccess writes the request to the access logs.
func (s *Server) logAccess(w *exchange.Response, r *http.Request, began time.Time, took time.Duration) {
	if s.options.Access != nil {
		s.options.Access.LogAttrs(r.Context(), slog.LevelInfo, "request",
			slog.String("request", w.ID),
			slog.String("remote", s.clients.name(r)),
			slog.String("key", keyName(w)),
			slog.String("method", r.Method),
			slog.String("uri", r.URL.RequestURI()),
			slog.Int("status", w.Status),
			slog.Int64("bytes", w.Bytes),
			slog.Duration("took", took))
	}
	if s.options.CombinedLog != nil {
		if _, err := s.options.CombinedLog.Write(appendCombined(nil, w, r, s.clients.name(r), began)); err != nil {
			s.logFailures.Do(func() { s.options.Logger.Error("the access log cannot be written", "error", err) })
		}
	}
}

// keyName is the name of the API key that the request came with; "" without a key.
func keyName(w *exchange.Response) string {
	if i := w.Request.Identity; i != nil {
		return i.Name
	}
	return ""
}

// appendCombined appends a line of the combined log format of Apache and nginx. The user is the name of the API key, with
// spaces escaped, because a space ends the user.
func appendCombined(b []byte, w *exchange.Response, r *http.Request, client string, began time.Time) []byte {
	b = append(append(b, client...), " - "...)
	b = append(append(b, url.PathEscape(cmp.Or(keyName(w), "-"))...), ' ')
	b = began.AppendFormat(b, "[02/Jan/2006:15:04:05 -0700] ")
	b = strconv.AppendQuoteToASCII(b, r.Method+" "+r.URL.RequestURI()+" "+r.Proto)
	b = append(strconv.AppendInt(append(b, ' '), int64(w.Status), 10), ' ')
	b = append(strconv.AppendInt(b, w.Bytes, 10), ' ')
	b = append(appendField(b, r.Referer()), ' ')
	return append(appendField(b, r.UserAgent()), '\n')
}

// appendField appends a quoted header field; "-" for an empty field.
func appendField(b []byte, field string) []byte {
	if field == "" {
		field = "-"
	}
	return strconv.AppendQuoteToASCII(b, field)
}
