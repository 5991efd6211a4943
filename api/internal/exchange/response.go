package exchange

import (
	"context"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/api/internal/cors"
	"github.com/runnelkv/runnel/api/internal/transport"
)

// Response is the writer of an answer and its state. On a connection of Serve it collects the header in its own map and
// array, which are reused for later answers.
type Response struct {
	http.ResponseWriter
	ID     string
	Route  string
	Status int   // 0: no header has been written
	Bytes  int64 // of the body, written
	Cut    bool  // the answer broke off

	Held     budget.Hold // reserved memory
	Timeouts Timeouts
	Request  Request // query, key and variant are set by the resource
	Unread   bool    // the body has not been read and is too large for net/http to discard
	early    bool    // the header was written while unread was set
	Duplex   bool    // the answer is sent while the body is read
	close    bool    // the connection must end after this answer
	stream   bool    // the request is a stream of HTTP/2
	private  bool    // the answer is for the holder of a key
	trail    auditTrail
	cors     *cors.Policy // nil in tests
	guard    *guard       // of a long answer; nil otherwise

	draining context.Context // ends when the server drains

	conn   *transport.Conn // nil: header is the header of ResponseWriter
	header http.Header     // the result of Header: own, or the header of ResponseWriter
	own    http.Header
	values [maxValues]string // memory for fields of own
	used   int               // entries of values in use
	fields []byte            // encoded fields for the connection
}

// maxValues is the number of fields that need no allocation.
const maxValues = 13

var responses = sync.Pool{New: func() any { return newResponse() }}

func newResponse() *Response { return &Response{own: make(http.Header, len(direct))} }

// Begin returns the response to a request. Call End after the request.
func (s *Shared) Begin(under http.ResponseWriter, r *http.Request) *Response {
	w := responses.Get().(*Response)
	w.startRequest(under, r)
	w.Held.Budget, w.Timeouts, w.draining, w.cors = s.Budget, s.Timeouts, s.Draining, s.CORS
	w.Request.Grants = unlimited
	if s.Keys != nil {
		w.Request.Grants = none
	}
	return w
}

// End releases the memory of the request and lets the client receive an answer that was sent before its body was read.
// The response must not be used afterwards.
func (w *Response) End() {
	w.Held.Release()
	if w.early {
		w.linger(w.Request.Request)
	}
	if w.stream {
		w.allowWriting(w.Timeouts.Write) // net/http sends the rest
	}
	w.forgetRequest()
	responses.Put(w)
}

// startRequest prepares the response for a request.
func (w *Response) startRequest(under http.ResponseWriter, r *http.Request) {
	w.ResponseWriter, w.Request.Request = under, r
	if w.conn = transport.Of(r); w.conn != nil {
		w.conn.StartRequest()
		w.header = w.own
	} else {
		w.header = under.Header()
	}
	if w.stream = r.ProtoMajor > 1; w.stream {
		w.allowWriting(0)
		return // the rest of a body costs nothing here
	}
	w.Unread = r.ContentLength > unreadBytes || r.ContentLength < 0
	w.close = r.ContentLength < 0 && w.mayBeFramedTwice(r)
}

// mayBeFramedTwice reports whether a chunked request may also have had a Content-Length. Behind TLS the header as
// received is unknown.
func (w *Response) mayBeFramedTwice(r *http.Request) bool {
	if w.conn == nil {
		return r.TLS != nil
	}
	return w.conn.FramedTwice(r)
}

// forgetRequest clears everything but the reusable memory.
func (w *Response) forgetRequest() {
	clear(w.own)
	*w = Response{own: w.own, fields: w.fields}
}

// Header returns the fields of the answer. Names must be canonical.
func (w *Response) Header() http.Header { return w.header }

// SetField sets a header field to one value. The name must be canonical.
func (w *Response) SetField(name, value string) {
	if w.conn == nil || w.used == len(w.values) {
		w.header[name] = []string{value}
		return
	}
	w.values[w.used] = value
	w.used++
	w.header[name] = w.values[w.used-1 : w.used : w.used]
}

// Trail sets a trailer, which the header must have announced.
func (w *Response) Trail(name, value string) { w.ResponseWriter.Header()[name] = []string{value} }

// sandbox is the policy for values that browsers do not render as pages, and for all answers without a policy of their own.
var sandbox = []string{"sandbox; frame-ancestors 'none'"}

// WriteHeader sends the header: the fields of direct straight to the connection, the rest through net/http.
func (w *Response) WriteHeader(status int) {
	if w.Status != 0 || status < 200 {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.Status, w.early = status, w.Unread
	if w.close || w.early && !w.Duplex || transport.Crowded(w.Request.Request) {
		w.header["Connection"] = connectionClose
	}
	if w.header["Content-Security-Policy"] == nil && status != http.StatusNotModified { // a 304 leaves the policy of the stored answer
		w.header["Content-Security-Policy"] = sandbox
	}
	w.trail.noteRevision(w.header)
	if w.private {
		w.setPrivate()
	}
	if w.cors != nil {
		w.cors.Share(w.header, w.Request.Header)
	}
	if w.conn == nil {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.splitHeader()
	w.ResponseWriter.WriteHeader(status)
	// Not earlier: a pending body read may make net/http send a 100 first, and the fields do not belong to that.
	w.fields = w.conn.SendFields(w.fields)
}

// setPrivate keeps caches from giving the answer to anybody else.
func (w *Response) setPrivate() {
	w.header["Vary"] = varySender
	if c := w.header["Cache-Control"]; len(c) == 0 || c[0] != NoStore[0] {
		w.header["Cache-Control"] = privateNoCache
	}
}

// Write sends a part of the body, after the header.
func (w *Response) Write(p []byte) (int, error) {
	if w.Status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.stream {
		w.allowWriting(w.Timeouts.Write)
		defer w.allowWriting(0)
	}
	n, err := w.ResponseWriter.Write(p)
	w.Bytes += int64(n)
	return n, err
}

// SetWriteDeadline sets the time by which the client must have taken everything written; the zero time is no deadline.
// The error says that the connection has no deadlines, as in tests.
func (w *Response) SetWriteDeadline(at time.Time) error {
	if w.guard != nil {
		return w.guard.setWriteDeadline(at)
	}
	return http.NewResponseController(w.ResponseWriter).SetWriteDeadline(at)
}

// FlushBytes bounds the bytes gathered before they are sent.
const FlushBytes = 256 << 10

// WriteBody writes a body in pieces, each with a fresh deadline.
func (w *Response) WriteBody(b []byte) {
	for len(b) > 0 {
		n := min(len(b), FlushBytes)
		if n < len(b) || w.Bytes > 0 || w.Duplex {
			w.SetWriteDeadline(time.Now().Add(w.Timeouts.Write)) // fails in tests
		}
		if _, err := w.Write(b[:n]); err != nil {
			return // the client is gone
		}
		b = b[n:]
	}
}

// FlushError implements flushing for http.ResponseController.
func (w *Response) FlushError() error {
	if w.Status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.stream {
		w.allowWriting(w.Timeouts.Write)
		defer w.allowWriting(0)
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// allowWriting sets the write deadline of a stream of HTTP/2; 0 for none. Such a deadline resets the stream when it
// comes, even if nothing is being written, so it stands during writes only.
func (w *Response) allowWriting(timeout time.Duration) {
	var deadline time.Time
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	w.SetWriteDeadline(deadline)
}

// Unwrap makes the connection available to http.ResponseController.
func (w *Response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// direct lists the fields that bypass net/http, in the order in which they are sent. net/http does not interpret these
// fields; the bypass saves copying, sorting and checking each of them.
var direct = [...]string{
	"Accept-Ranges", "Cache-Control", "Content-Security-Policy", "Cross-Origin-Resource-Policy", "Etag", "Last-Modified", "Location", "Runnel-Partition",
	"Runnel-Revision", "Runnel-Session", "Runnel-Staleness", "Vary", "X-Content-Type-Options", "X-Request-Id",
}

// splitHeader encodes the fields of direct for the connection and gives the rest to net/http.
func (w *Response) splitHeader() {
	b := w.fields[:0]
	for _, name := range direct {
		values := w.own[name]
		if len(values) != 1 || !isFieldValue(values[0]) {
			continue
		}
		b = append(b, name...)
		b = append(b, ": "...)
		b = append(b, values[0]...)
		b = append(b, "\r\n"...)
		delete(w.own, name)
	}
	w.fields = b
	if len(w.own) > 0 {
		maps.Copy(w.ResponseWriter.Header(), w.own)
	}
}

// isFieldValue reports whether s is valid as a field value without changes.
func isFieldValue(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return s != "" && s[0] != ' ' && s[len(s)-1] != ' '
}
