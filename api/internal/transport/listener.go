package transport

import (
	"cmp"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Accepting bounds the connections of a server.
type Accepting struct {
	Max    int          // 0: unbounded
	Logger *slog.Logger // for failures to accept; nil: slog.Default()
}

// Listener bounds the number of open connections. When all are in use, a new connection replaces the connection that
// has waited longest for a request, so that silent clients do not keep others out.
type Listener struct {
	net.Listener
	accepting Accepting

	mu     sync.Mutex // guards the fields below
	ended  sync.Cond  // signalled when a connection closes
	open   map[*Conn]struct{}
	logged time.Time // time of the last logged error
	closed bool
}

// NewListener returns a listener that bounds the connections accepted by l.
func NewListener(l net.Listener, a Accepting) *Listener {
	a.Logger = cmp.Or(a.Logger, slog.Default())
	out := &Listener{Listener: l, accepting: a, open: map[*Conn]struct{}{}}
	out.ended.L = &out.mu
	return out
}

// Accept returns the next connection, a *Conn. It waits while all connections are in use and none can be replaced.
func (l *Listener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		l.log(err)
		return nil, err
	}
	c := NewConn(accepted)
	c.listener = l
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.accepting.Max > 0 && len(l.open) >= l.accepting.Max && !l.closed {
		if idle := l.longestWaiting(); idle != nil {
			idle.Conn.Close() // the connection's goroutine ends with an error
			delete(l.open, idle)
			continue
		}
		l.ended.Wait()
	}
	l.open[c] = struct{}{}
	return c, nil
}

// Open returns the number of open connections.
func (l *Listener) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open)
}

// longestWaiting returns the connection that has been longest without a request and keeps it from starting one; nil if
// all have requests.
func (l *Listener) longestWaiting() *Conn {
	for {
		var first *Conn
		since := int64(0)
		for c := range l.open {
			if at := c.waiting.Load(); at > 0 && (first == nil || at < since) {
				first, since = c, at
			}
		}
		if first == nil || first.waiting.CompareAndSwap(since, 0) {
			return first
		}
	}
}

// acceptLogEvery is the shortest time between two logged errors.
const acceptLogEvery = 10 * time.Second

func (l *Listener) log(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); !l.closed && now.Sub(l.logged) > acceptLogEvery {
		l.logged = now
		l.accepting.Logger.Warn("no connection can be accepted", "open", len(l.open), "error", err)
	}
}

// Close stops accepting. Open connections continue.
func (l *Listener) Close() error {
	l.mu.Lock()
	l.closed = true
	l.ended.Broadcast()
	l.mu.Unlock()
	return l.Listener.Close()
}

// forget makes room for another connection.
func (l *Listener) forget(c *Conn) {
	l.mu.Lock()
	delete(l.open, c)
	l.ended.Signal()
	l.mu.Unlock()
}
