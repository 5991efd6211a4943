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

// Serve serves HTTP on a listener, until it is closed, at less cost for each
// answer than server.Serve: see Conn. It belongs to no server but one that runs
// a Server, and not to TLS.
func Serve(server *http.Server, l net.Listener, a Accepting) error {
	return Prepare(server).Serve(NewListener(l, a))
}

// Prepare lets a server's handler find the connection of a request.
func Prepare(server *http.Server) *http.Server {
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if c, ok := c.(*Conn); ok {
			return With(ctx, c)
		}
		return ctx
	}
	server.ConnState = func(c net.Conn, state http.ConnState) {
		if c, ok := c.(*Conn); ok && state == http.StateIdle {
			c.waiting.Store(time.Now().UnixNano())
		}
	}
	return server
}

type connKey struct{}

// With returns a context of requests that come by c.
func With(ctx context.Context, c *Conn) context.Context { return context.WithValue(ctx, connKey{}, c) }

// Of is the connection that a request came by; nil if Serve did not accept it.
func Of(r *http.Request) *Conn {
	c, _ := r.Context().Value(connKey{}).(*Conn)
	return c
}

func NewConn(c net.Conn) *Conn {
	out := &Conn{Conn: c, watch: watch{ended: make(chan struct{}, 1)}}
	out.waiting.Store(time.Now().UnixNano())
	return out
}

// Conn is a connection that spares net/http three things at each request.
//
// Fields of a header that net/http only has to pass on, it is given itself: it
// puts them behind the status line of the answer that net/http writes next.
//
// And a deadline that is moved, which net/http does eight times a request, is
// only noted. The connection's own deadline stays where it is as long as it is
// not behind the one that was asked for; when it comes, it is moved on.
//
// And the read of one byte by which net/http sees, while it answers, that a
// client goes away, and which it ends when it has answered, is begun only when
// an answer takes its time: see watch.
type Conn struct {
	net.Conn
	listener         *Listener    // that accepted it; nil: none bounds it
	waiting          atomic.Int64 // ns since 1970: since when it has no request; 0: it has one
	reading, writing deadline
	watch            watch
	fields           []byte // for the next answer; whoever answers owns it
	received         []byte // what was read last, in net/http's buffer; a handler's until it reads the body
}

// StartRequest notes that a request has arrived: the connection no longer makes room for another one.
func (c *Conn) StartRequest() { c.waiting.Store(0) }

// SendFields puts fields behind the next status line that net/http writes, and returns a buffer for those after them.
func (c *Conn) SendFields(fields []byte) []byte {
	free := c.fields[:0]
	c.fields = fields
	return free
}

// FramedTwice reports whether a request in chunks may have had a Content-Length
// too, which net/http ignores and removes: then two servers can disagree about
// where the next request begins, and the connection must end (RFC 9112, section
// 6.1). A header that did not arrive in one piece may have.
func (c *Conn) FramedTwice(r *http.Request) bool {
	return !bytes.HasPrefix(c.received, []byte(r.Method+" "+r.RequestURI+" ")) ||
		!bytes.Contains(c.received, []byte("\r\n\r\n")) ||
		bytes.Contains(bytes.ToLower(c.received), []byte("content-length"))
}

// A deadline is the one that is asked for, and what the connection knows of it.
type deadline struct {
	mu     sync.Mutex // guards the fields below
	wanted int64      // ns since 1970; 0: none
	armed  int64      // the connection's own; 0: none
	users  int        // reads, or writes, that are under way
}

// longAgo is behind the deadline in 1970 by which net/http ends a read, and
// before all others.
const longAgo = int64(time.Hour)

// step is how far a deadline is moved on at most: nearer than those that follow,
// so that they need not move it.
const step = 5 * time.Second

// move notes a deadline, and arms it if the connection's own is behind it; one
// of long ago only if it is to end something.
func (d *deadline) move(t time.Time, arm func(time.Time) error) error {
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

// begin precedes a use of the connection, which it makes fit for it after a
// deadline of long ago. False: that one still stands. Otherwise end follows.
func (d *deadline) begin(arm func(time.Time) error) bool {
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

func (d *deadline) end() {
	d.mu.Lock()
	d.users--
	d.mu.Unlock()
}

// early reports whether an error is that of a deadline that came before the one
// that is wanted. Then that one is armed, and what failed is to be done again.
func (d *deadline) early(err error, arm func(time.Time) error) bool {
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

func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *Conn) SetReadDeadline(t time.Time) error {
	c.watch.end(!t.IsZero() && t.UnixNano() < longAgo)
	return c.reading.move(t, c.Conn.SetReadDeadline)
}

func (c *Conn) SetWriteDeadline(t time.Time) error { return c.writing.move(t, c.Conn.SetWriteDeadline) }

func (c *Conn) Read(p []byte) (int, error) {
	if cap(p) == 1 && c.watch.wait() {
		return 0, os.ErrDeadlineExceeded
	}
	if !c.reading.begin(c.Conn.SetReadDeadline) {
		return 0, os.ErrDeadlineExceeded
	}
	defer c.reading.end()
	for {
		n, err := c.Conn.Read(p)
		if cap(p) > 1 { // the read of one byte goes on beside the handler
			c.received = p[:n]
		}
		if n > 0 || err == nil || !c.reading.early(err, c.Conn.SetReadDeadline) {
			return n, err
		}
	}
}

func (c *Conn) Write(p []byte) (int, error) {
	if len(c.fields) == 0 {
		return c.write(p)
	}
	end := bytes.IndexByte(p, '\n') + 1
	if end == 0 || !bytes.HasPrefix(p, statusLine) {
		return 0, errNoStatusLine
	}
	b := buffers.Get().(*bytes.Buffer)
	b.Write(p[:end])
	b.Write(c.fields)
	b.Write(p[end:])
	_, err := c.write(b.Bytes())
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

func (c *Conn) write(p []byte) (int, error) {
	if !c.writing.begin(c.Conn.SetWriteDeadline) {
		return 0, os.ErrDeadlineExceeded
	}
	defer c.writing.end()
	for done := 0; ; {
		n, err := c.Conn.Write(p[done:])
		done += n
		if err == nil || !c.writing.early(err, c.Conn.SetWriteDeadline) {
			return done, err
		}
	}
}

func (c *Conn) Close() error {
	err := c.Conn.Close()
	if c.listener != nil {
		c.listener.forget(c)
	}
	return err
}

// CloseWrite is for net/http, which ends an answer with it before it closes a
// connection whose client may still be sending.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
