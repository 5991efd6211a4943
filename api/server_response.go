package api

import (
	"bytes"
	"encoding/json"
	"io"
	"iter"
	"maps"
	"net/http"
	"time"

	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/api/internal/transport"
)

// response is the writer of an answer and its state. On a connection of Serve it collects the header in its own map and
// array, which are reused for later answers.
type response struct {
	http.ResponseWriter
	id     string
	route  string
	status int   // 0: no header has been written
	bytes  int64 // of the body, written
	cut    bool  // the answer broke off

	held    budget.Hold // reserved memory
	limits  *Limits
	request request // query, key and variant are set by the resource
	unread  bool    // the body has not been read and is too large for net/http to discard
	early   bool    // the header was written while unread was set
	duplex  bool    // the answer is sent while the body is read
	close   bool    // the connection must end after this answer

	conn   *transport.Conn // nil: header is the header of ResponseWriter
	header http.Header     // the result of Header: own, or the header of ResponseWriter
	own    http.Header
	values [maxValues]string // memory for fields of own
	used   int               // entries of values in use
	fields []byte            // encoded fields for the connection
}

// maxValues is the number of fields that need no allocation.
const maxValues = 13

func newResponse() *response { return &response{own: make(http.Header, len(direct))} }

// startRequest prepares the response for a request.
func (w *response) startRequest(under http.ResponseWriter, r *http.Request) {
	w.ResponseWriter, w.request.Request = under, r
	if w.conn = transport.Of(r); w.conn != nil {
		w.conn.StartRequest()
		w.header = w.own
	} else {
		w.header = under.Header()
	}
	w.unread = r.ContentLength > unreadBytes || r.ContentLength < 0
	w.close = r.ContentLength < 0 && w.conn != nil && w.conn.FramedTwice(r)
}

// forgetRequest clears everything but the reusable memory.
func (w *response) forgetRequest() {
	clear(w.own)
	*w = response{own: w.own, fields: w.fields}
}

// Header returns the fields of the answer. Names must be canonical.
func (w *response) Header() http.Header { return w.header }

// setField sets a header field to one value. The name must be canonical.
func (w *response) setField(name, value string) {
	if w.conn == nil || w.used == len(w.values) {
		w.header[name] = []string{value}
		return
	}
	w.values[w.used] = value
	w.used++
	w.header[name] = w.values[w.used-1 : w.used : w.used]
}

// trail sets a trailer, which the header must have announced.
func (w *response) trail(name, value string) { w.ResponseWriter.Header()[name] = []string{value} }

// WriteHeader sends the header: the fields of direct straight to the connection, the rest through net/http.
func (w *response) WriteHeader(status int) {
	if w.status != 0 || status < 200 {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.status, w.early = status, w.unread
	if w.close || w.early && !w.duplex {
		w.header["Connection"] = connectionClose
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

// Write sends a part of the body, after the header.
func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// writeBody writes a body in pieces, each with a fresh deadline.
func (w *response) writeBody(b []byte) {
	control := http.NewResponseController(w.ResponseWriter)
	for len(b) > 0 {
		n := min(len(b), flushBytes)
		if n < len(b) || w.bytes > 0 || w.duplex {
			control.SetWriteDeadline(time.Now().Add(w.limits.Write)) // fails in tests
		}
		if _, err := w.Write(b[:n]); err != nil {
			return // the client is gone
		}
		b = b[n:]
	}
}

// flushBytes bounds the bytes gathered before they are sent.
const flushBytes = 256 << 10

// line is a line of a stream: a document as JSON, with a frame if the stream consists of events.
type line struct {
	before   string
	document any
	after    string
}

// sendLines encodes lines and sends them: whenever flushBytes are gathered, and at the end.
func (w *response) sendLines(lines iter.Seq[line]) error {
	b := buffers.Get().(*bytes.Buffer)
	defer recycleBuffer(b)
	encoder := json.NewEncoder(b)
	for l := range lines {
		b.WriteString(l.before)
		if err := encoder.Encode(l.document); err != nil { // ends with a line break
			return err
		}
		b.WriteString(l.after)
		if b.Len() >= flushBytes {
			if err := w.send(b.Bytes()); err != nil {
				return err
			}
			b.Reset()
		}
	}
	return w.sendNow(b.Bytes())
}

// send gives the client a fresh deadline and writes b.
func (w *response) send(b []byte) error {
	http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(w.limits.Write)) // fails in tests
	_, err := w.Write(b)
	return err
}

// sendNow sends b and flushes the connection.
func (w *response) sendNow(b []byte) error {
	if err := w.send(b); err != nil {
		return err
	}
	return w.FlushError()
}

// FlushError implements flushing for http.ResponseController.
func (w *response) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap makes the connection available to http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// direct lists the fields that bypass net/http, in the order in which they are sent. net/http does not interpret these
// fields; the bypass saves copying, sorting and checking each of them.
var direct = [...]string{
	"Accept-Ranges", "Cache-Control", "Content-Security-Policy", "Cross-Origin-Resource-Policy", "Etag", "Last-Modified", "Location", "Runnel-Partition",
	"Runnel-Revision", "Runnel-Session", "Runnel-Staleness", "Vary", "X-Content-Type-Options", "X-Request-Id",
}

// splitHeader encodes the fields of direct for the connection and gives the rest to net/http.
func (w *response) splitHeader() {
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

// Bounds of linger, and the largest unread body that net/http discards to keep the connection.
const (
	lingerBytes = 64 << 20
	lingerTime  = 5 * time.Second
	unreadBytes = 256 << 10
)

var connectionClose = []string{"close"}

// linger flushes an answer that was sent before the body was read, and discards the rest of the body. A connection
// closed with unread data is reset, and the reset may destroy the answer on its way (RFC 9112, section 9.6).
func (w *response) linger(r *http.Request) {
	control := http.NewResponseController(w.ResponseWriter)
	if !w.unread || control.Flush() != nil {
		return
	}
	if w.cut && w.conn != nil {
		w.conn.CloseWrite() // ends the incomplete answer
	}
	control.SetReadDeadline(time.Now().Add(lingerTime)) // fails in tests
	w.discardBody(r)
}

// discardBody reads and drops the body, up to the deadline and lingerBytes.
func (w *response) discardBody(r *http.Request) {
	if _, err := io.CopyN(io.Discard, r.Body, lingerBytes); err != nil && err != io.EOF && w.conn != nil {
		io.CopyN(io.Discard, w.conn, lingerBytes) // after a broken encoding or a cancelled read
	}
}
