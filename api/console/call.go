package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/wire"
)

// call is a request of a page to a route of the API.
type call struct {
	method string
	path   string // escaped
	query  url.Values
	fields map[string]string
	body   io.Reader
	size   int64 // of body; -1: unknown
}

// reply is the answer of a route that has accepted a call.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// decode reads the document of an answer.
func (a *reply) decode(into any) error { return json.Unmarshal(a.body, into) }

// refusal is the problem with which a route has answered.
type refusal struct{ wire.Problem }

func (e *refusal) Error() string { return e.Type + ": " + string(e.Detail) }

// slug is the type of the problem without its path.
func (e *refusal) slug() string { return strings.TrimPrefix(e.Type, wire.ProblemsPath) }

// refusedAs reports whether a route has refused a call with this type of problem.
func refusedAs(err error, slug string) bool {
	e, ok := errors.AsType[*refusal](err)
	return ok && e.slug() == slug
}

// copied are the fields of the visitor's request that the checks of a route need.
var copied = []string{"Authorization", "Cookie", "Origin", "Sec-Fetch-Site", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "User-Agent", "Referer"}

// detached is a context that ends with another and holds none of its values: the connection of the visitor belongs to
// the page.
type detached struct{ context.Context }

func (detached) Value(any) any { return nil }

// do sends a call in the name of the visitor. A *refusal is the answer of a route that has refused.
func (v *visit) do(c call) (*reply, error) {
	answer, err := v.try(c)
	e, refused := errors.AsType[*refusal](err)
	if !refused || v.session == "" || c.body != nil {
		return answer, err
	}
	if slug := e.slug(); slug == "session-unavailable" || slug == "session-lost" || e.Header == exchange.SessionHeader {
		v.session = "" // a lost state of the store must not block the pages
		return v.try(c)
	}
	return answer, err
}

func (v *visit) try(c call) (*reply, error) {
	target := c.path
	if len(c.query) > 0 {
		target += "?" + c.query.Encode()
	}
	body := c.body
	if body == nil {
		body = http.NoBody
	}
	r, err := http.NewRequestWithContext(detached{v.r.Context()}, c.method, target, body)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", c.path, err)
	}
	r.ContentLength, r.Host, r.RemoteAddr, r.TLS, r.RequestURI = c.size, v.r.Host, v.r.RemoteAddr, v.r.TLS, target
	for _, name := range copied {
		if values := v.r.Header[http.CanonicalHeaderKey(name)]; values != nil {
			r.Header[name] = values
		}
	}
	r.Header["X-Request-Id"] = []string{v.w.ID}
	r.Header["Accept"] = []string{"application/json"}
	if c.body != nil {
		r.Header["Content-Length"] = []string{strconv.FormatInt(c.size, 10)}
	}
	if v.session != "" && (strings.HasPrefix(c.path, wire.KeysPath[:len(wire.KeysPath)-1]) || strings.HasPrefix(c.path, wire.FilesPath)) {
		r.Header[exchange.SessionHeader] = []string{v.session}
	}
	for name, value := range c.fields {
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return nil, problem.Header(problem.Printable(name), "The field %s has a control character.", problem.Printable(name))
		}
		if r.Header[name] = []string{value}; value == "" {
			delete(r.Header, name)
		}
	}
	w := &recorder{under: v.w, header: http.Header{}}
	v.api.ServeHTTP(w, r)
	return v.read(w)
}

// read returns the recorded answer, or its problem.
func (v *visit) read(w *recorder) (*reply, error) {
	switch {
	case w.over:
		return nil, fmt.Errorf("an answer of the API is larger than %d bytes", maxReplyBytes)
	case w.status >= 400:
		e := &refusal{wire.Problem{Status: w.status, Title: http.StatusText(w.status), Request: v.w.ID}}
		if err := json.Unmarshal(w.body.Bytes(), &e.Problem); err != nil {
			return nil, fmt.Errorf("the API answers %d without a problem: %w", w.status, err)
		}
		return nil, e
	}
	if token := w.header[exchange.SessionHeader]; len(token) == 1 {
		v.session = token[0]
	}
	return &reply{w.status, w.header, w.body.Bytes()}, nil
}

// fetch reads a document.
func (v *visit) fetch(path string, q url.Values, into any) error {
	answer, err := v.do(call{method: http.MethodGet, path: path, query: q})
	if err != nil {
		return err
	}
	return answer.decode(into)
}

// send sends a document, and reads the answer into a document unless into is nil.
func (v *visit) send(method, path string, q url.Values, document, into any, fields ...string) (*reply, error) {
	text, err := json.Marshal(document)
	if err != nil {
		return nil, err
	}
	c := call{method: method, path: path, query: q, fields: map[string]string{"Content-Type": "application/json"}, body: bytes.NewReader(text), size: int64(len(text))}
	if document == nil {
		c.body, c.size, c.fields = nil, 0, map[string]string{}
	}
	for i := 0; i+1 < len(fields); i += 2 {
		c.fields[fields[i]] = fields[i+1]
	}
	answer, err := v.do(c)
	if err != nil || into == nil {
		return answer, err
	}
	return answer, answer.decode(into)
}

// maxReplyBytes bounds the answer of a route. Pages ask for lists of a hundred lines, and for parts of values.
const maxReplyBytes = 8 << 20

// recorder holds the answer of a route. Deadlines pass through to the visitor's connection.
type recorder struct {
	under  http.ResponseWriter
	header http.Header
	status int
	body   bytes.Buffer
	over   bool
}

// Header implements http.ResponseWriter.
func (w *recorder) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
}

// Write implements http.ResponseWriter.
func (w *recorder) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.over = w.over || w.body.Len()+len(p) > maxReplyBytes; w.over {
		return 0, errors.New("the answer is too large for a page")
	}
	return w.body.Write(p)
}

// FlushError is for http.ResponseController: there is nothing to flush.
func (w *recorder) FlushError() error { return nil }

// Unwrap gives http.ResponseController the deadlines of the visitor's connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.under }
