package api

import (
	"io"
	"maps"
	"net/http"
	"time"

	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/api/internal/transport"
)

// response remembers what was answered. On a connection of Serve it gathers
// the header itself, in a map and an array that serve one answer after another.
type response struct {
	http.ResponseWriter
	id     string
	route  string
	status int   // 0 until the header was written
	bytes  int64 // of the body
	cut    bool  // the answer broke off in its middle

	held    budget.Hold // of the memory for requests
	limits  *Limits
	request request // its query, key and variant are set by the resource
	unread  bool    // a body is there that is too large to be read for nothing
	early   bool    // the header was written before such a body was read
	duplex  bool    // the answer is sent while the body is read
	close   bool    // no further request may follow on the connection

	conn   *transport.Conn // nil: the header is ResponseWriter's
	header http.Header     // what Header returns: own, or ResponseWriter's
	own    http.Header
	values [maxValues]string // of fields in own
	used   int               // of values
	fields []byte            // of the header, as the connection is to send them
}

// maxValues is how many fields of one answer need no memory of their own.
const maxValues = 13

func newResponse() *response { return &response{own: make(http.Header, len(direct))} }

// begin makes the response that of a request.
func (w *response) begin(under http.ResponseWriter, r *http.Request) {
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

// end forgets everything about the request.
func (w *response) end() {
	clear(w.own)
	*w = response{own: w.own, fields: w.fields}
}

func (w *response) Header() http.Header { return w.header }

// set gives a field of the header one value.
func (w *response) set(name, value string) {
	if w.conn == nil || w.used == len(w.values) {
		w.header[name] = []string{value}
		return
	}
	w.values[w.used] = value
	w.used++
	w.header[name] = w.values[w.used-1 : w.used : w.used]
}

// trail gives a field behind the body a value; the header has announced it.
func (w *response) trail(name, value string) { w.ResponseWriter.Header()[name] = []string{value} }

func (w *response) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.early = w.unread
		if w.close || w.early && !w.duplex {
			w.header["Connection"] = connectionClose
		}
	}
	if w.status != 0 || status < 200 || w.conn == nil {
		if w.status == 0 && status >= 200 {
			w.status = status
		}
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.status = status
	w.separate()
	w.ResponseWriter.WriteHeader(status)
	// Not before: until then a body that is being read may make net/http send a
	// 100, which they do not belong to.
	w.fields = w.conn.SendFields(w.fields)
}

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
			control.SetWriteDeadline(time.Now().Add(w.limits.Write)) // see batchAnswer.write
		}
		if _, err := w.Write(b[:n]); err != nil {
			return // the client is gone
		}
		b = b[n:]
	}
}

// FlushError sends what was written, for http.ResponseController.
func (w *response) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap lets http.ResponseController reach the connection.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// direct are the fields that go straight to the connection, in the order in
// which they are sent. net/http decides nothing by them; for each one that it
// is spared it need not copy, sort and check it.
var direct = [...]string{
	"Accept-Ranges", "Cache-Control", "Content-Security-Policy", "Cross-Origin-Resource-Policy", "Etag", "Last-Modified", "Location", "Runnel-Partition",
	"Runnel-Revision", "Runnel-Session", "Runnel-Staleness", "Vary", "X-Content-Type-Options", "X-Request-Id",
}

// separate divides the header into fields for the connection and what net/http
// is to see.
func (w *response) separate() {
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

// isFieldValue reports whether s can stand in a header as it is.
func isFieldValue(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return s != "" && s[0] != ' ' && s[len(s)-1] != ' '
}

// Bounds of linger, and how large an unread body may be that net/http reads to
// its end so that the connection can be used again.
const (
	lingerBytes = 64 << 20
	lingerTime  = 5 * time.Second
	unreadBytes = 256 << 10
)

var connectionClose = []string{"close"}

// linger sends an answer that was given before the body was read, and reads the
// rest of the body to drop it: a connection that is closed with unread data is
// reset, and a reset may destroy an answer that is on its way (RFC 9112, section 9.6).
func (w *response) linger(r *http.Request) {
	control := http.NewResponseController(w.ResponseWriter)
	if !w.unread || control.Flush() != nil {
		return
	}
	if w.cut && w.conn != nil {
		w.conn.CloseWrite() // an answer that is not whole ends here
	}
	control.SetReadDeadline(time.Now().Add(lingerTime)) // see batchAnswer.write
	w.drop(r)
}

// drop reads what the client still sends, until the deadline and within bounds.
func (w *response) drop(r *http.Request) {
	if _, err := io.CopyN(io.Discard, r.Body, lingerBytes); err != nil && err != io.EOF && w.conn != nil {
		io.CopyN(io.Discard, w.conn, lingerBytes) // behind a broken encoding, or a read that was ended
	}
}
