package transport

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

type connKey struct{}

// With returns a context for requests that arrive on c.
func With(ctx context.Context, c *Conn) context.Context { return context.WithValue(ctx, connKey{}, c) }

// Of returns the connection of a request, nil if Serve did not accept the connection.
func Of(r *http.Request) *Conn {
	c, _ := r.Context().Value(connKey{}).(*Conn)
	return c
}

// secureKey has the Conn below a connection with TLS.
type secureKey struct{}

// Crowded reports whether the connection of a request must end with the answer: as many connections are idle as may be,
// and none for long enough to be closed in its place.
func Crowded(r *http.Request) bool {
	c := Of(r)
	if c == nil {
		c, _ = r.Context().Value(secureKey{}).(*Conn)
	}
	return c != nil && c.listener != nil && c.listener.exceeds(1) && !c.listener.makeRoom()
}

// NewConn wraps a connection that no Listener has accepted.
func NewConn(c net.Conn) *Conn {
	out := &Conn{Conn: c, watch: watch{ended: make(chan struct{}, 1)}}
	out.waiting.Store(-time.Now().UnixNano())
	return out
}

// Conn wraps a connection and saves net/http three costs for each request.
//
// Header fields that net/http would only copy go straight to the connection: Conn inserts them after the status line of
// the next answer that net/http writes.
//
// Deadlines are only recorded. net/http moves deadlines eight times for each request; the deadline of the underlying
// connection moves only when it is later than the requested deadline, or when it expires too early.
//
// During each answer net/http reads a single byte to notice that the client leaves, and cancels the read after the
// answer. Conn delays this read, so that only slow answers pay for it; see watch.
type Conn struct {
	net.Conn
	listener         *Listener    // nil: unbounded
	waiting          atomic.Int64 // since when the connection has no request, ns since 1970, negative before the first; 0: has one
	reading, writing deadline
	secure           bool        // carries TLS
	stuck            atomic.Bool // a write of TLS has exceeded its deadline
	watch            watch
	fields           []byte // to insert into the next answer; owned by the handler
	buffer           []byte // net/http's, which the first read fills
	received         []byte // the last read, in net/http's buffer; usable by the handler until it reads the body
}

// StartRequest notes that a request has arrived: the listener no longer closes the connection to make room.
func (c *Conn) StartRequest() { c.setWaiting(0) }

// StartRequests returns a handler that calls StartRequest for the connection of each request.
func StartRequests(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c := Of(r); c != nil {
			c.StartRequest()
		}
		h.ServeHTTP(w, r)
	})
}

// startWaiting notes that the connection is idle.
func (c *Conn) startWaiting() {
	c.setWaiting(time.Now().UnixNano())
	if l := c.listener; l != nil && l.exceeds(0) { // a connection of HTTP/2 is idle before its first answer
		l.makeRoom()
	}
}

func (c *Conn) setWaiting(at int64) { c.countIdle(c.waiting.Swap(at), at) }

// countIdle notes that c.waiting has changed.
func (c *Conn) countIdle(from, to int64) {
	if c.listener == nil || (from > 0) == (to > 0) {
		return
	}
	if to > 0 {
		c.listener.idle.Add(1)
	} else {
		c.listener.idle.Add(-1)
	}
}

// SendFields inserts fields after the next status line that net/http writes, and returns a free buffer for the fields of
// a later answer.
func (c *Conn) SendFields(fields []byte) []byte {
	free := c.fields[:0]
	c.fields = fields
	return free
}

// FramedTwice reports whether a chunked request may also have had a Content-Length. net/http ignores and removes the
// length, but another server could disagree about the end of the request, so the connection must end (RFC 9112, section
// 6.1). If the header did not arrive in a single read, the answer is true, to be safe.
func (c *Conn) FramedTwice(r *http.Request) bool {
	return !bytes.HasPrefix(c.received, []byte(r.Method+" "+r.RequestURI+" ")) ||
		!bytes.Contains(c.received, []byte("\r\n\r\n")) ||
		bytes.Contains(bytes.ToLower(c.received), []byte("content-length"))
}

// deadline is a requested deadline and the deadline of the underlying connection.
type deadline struct {
	mu     sync.Mutex // guards the fields below
	wanted int64      // requested; ns since 1970, 0: none
	armed  int64      // of the underlying connection; 0: none
	users  int        // reads or writes in progress
}

// longAgo separates the deadlines in 1970, by which net/http cancels a read, from all real deadlines.
const longAgo = int64(time.Hour)

// step bounds how far a deadline is extended at a time, so that later, nearer deadlines seldom move the deadline back.
const step = 5 * time.Second

// request records a requested deadline. The underlying deadline moves only if there is none or it is later than t; a
// deadline long ago is passed on only if reads or writes are in progress.
func (d *deadline) request(t time.Time, arm func(time.Time) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.wanted = 0; !t.IsZero() {
		d.wanted = t.UnixNano()
	}
	if d.wanted == 0 || d.armed != 0 && d.armed <= d.wanted || d.wanted < longAgo && d.users == 0 {
		return nil
	}
	d.armed = d.wanted
	return arm(t)
}

// enter begins a read or write and undoes an underlying deadline of long ago. The result is false if the requested
// deadline itself is long ago; otherwise leave must follow.
func (d *deadline) enter(arm func(time.Time) error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.wanted != 0 && d.wanted < longAgo {
		return false
	}
	if d.armed != 0 && d.armed < longAgo {
		d.rearm(time.Now(), arm)
	}
	d.users++
	return true
}

func (d *deadline) leave() {
	d.mu.Lock()
	d.users--
	d.mu.Unlock()
}

// expiredEarly reports whether err comes from an underlying deadline before the requested deadline. Then the deadline
// has been extended and the caller tries again.
func (d *deadline) expiredEarly(err error, arm func(time.Time) error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	return (d.wanted == 0 || d.wanted > now.UnixNano()) && d.rearm(now, arm)
}

func (d *deadline) rearm(now time.Time, arm func(time.Time) error) bool {
	d.armed = d.wanted
	if d.wanted == 0 {
		return arm(time.Time{}) == nil
	}
	d.armed = min(d.wanted, now.Add(step).UnixNano())
	return arm(time.Unix(0, d.armed)) == nil
}

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline records the deadline, and cancels a delayed read if the deadline is long ago.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.watch.cancelRead(!t.IsZero() && t.UnixNano() < longAgo)
	return c.reading.request(t, c.Conn.SetReadDeadline)
}

// SetWriteDeadline records the deadline.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.writing.request(t, c.Conn.SetWriteDeadline)
}

// Read implements net.Conn. The read by which net/http watches the client is delayed: a read into a single byte that
// is not the last of net/http's buffer.
func (c *Conn) Read(p []byte) (int, error) {
	if c.buffer == nil && cap(p) > 1 {
		c.buffer = p[:cap(p)]
	}
	watching := cap(p) == 1 && (c.buffer == nil || &p[:1][0] != &c.buffer[len(c.buffer)-1])
	if watching && c.watch.delayRead() {
		return 0, os.ErrDeadlineExceeded
	}
	if !c.reading.enter(c.Conn.SetReadDeadline) {
		return 0, os.ErrDeadlineExceeded
	}
	defer c.reading.leave()
	for {
		n, err := c.Conn.Read(p)
		if !watching { // the watching read runs beside the handler, which may use c.received
			c.received = p[:n]
		}
		if n > 0 || err == nil || !c.reading.expiredEarly(err, c.Conn.SetReadDeadline) {
			return n, err
		}
	}
}

// Write implements net.Conn and inserts the fields of SendFields. The next bytes must then be a status line.
func (c *Conn) Write(p []byte) (int, error) {
	if len(c.fields) == 0 {
		return c.writeAll(p)
	}
	end := bytes.IndexByte(p, '\n') + 1
	if end == 0 || !bytes.HasPrefix(p, statusLine) {
		return 0, errNoStatusLine
	}
	b := buffers.Get().(*bytes.Buffer)
	b.Write(p[:end])
	b.Write(c.fields)
	b.Write(p[end:])
	_, err := c.writeAll(b.Bytes())
	b.Reset()
	buffers.Put(b)
	c.fields = c.fields[:0]
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

var (
	buffers         = sync.Pool{New: func() any { return new(bytes.Buffer) }}
	statusLine      = []byte("HTTP/1.")
	errNoStatusLine = errors.New("net/http writes something other than a status line first")
)

// writeAll fails at once after a write of TLS that has exceeded its deadline: TLS can send no more than its farewell,
// which would wait for the same client once more.
func (c *Conn) writeAll(p []byte) (int, error) {
	if c.stuck.Load() || !c.writing.enter(c.Conn.SetWriteDeadline) {
		return 0, os.ErrDeadlineExceeded
	}
	defer c.writing.leave()
	for done := 0; ; {
		n, err := c.Conn.Write(p[done:])
		done += n
		if err == nil || !c.writing.expiredEarly(err, c.Conn.SetWriteDeadline) {
			if c.secure && errors.Is(err, os.ErrDeadlineExceeded) {
				c.stuck.Store(true)
			}
			return done, err
		}
	}
}

// Close closes the connection and makes room for another one in its Listener.
func (c *Conn) Close() error {
	err := c.Conn.Close()
	c.setWaiting(0)
	if c.listener != nil {
		c.listener.forget(c)
	}
	return err
}

// CloseWrite is for net/http: before closing a connection while the client may still send, net/http closes its own side.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
