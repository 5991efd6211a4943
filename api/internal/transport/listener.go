package transport

import (
	"log/slog"
	"net"
	"sync"
	"time"
)

// Accepting bounds the connections of a server.
type Accepting struct {
	Max    int          // connections at a time; 0: any number
	Logger *slog.Logger // is told why none can be accepted; nil: slog.Default()
}

// Listener accepts at most so many connections at a time. When all are in use a
// new one takes the place of the one that has waited longest for its client to
// send a request, so that silent clients do not keep others out.
type Listener struct {
	net.Listener
	accepting Accepting

	mu     sync.Mutex // guards the fields below
	ended  sync.Cond  // a connection has
	open   map[*Conn]struct{}
	logged time.Time // when an error was last
	closed bool
}

func NewListener(l net.Listener, a Accepting) *Listener {
	if a.Logger == nil {
		a.Logger = slog.Default()
	}
	out := &Listener{Listener: l, accepting: a, open: map[*Conn]struct{}{}}
	out.ended.L = &out.mu
	return out
}

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
			idle.Conn.Close() // which ends its goroutine
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

// longestWaiting finds the connection without a request that is idle longest,
// and keeps it from beginning one; nil: there is none.
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

// acceptLogEvery is how often errors of accepting are logged at most.
const acceptLogEvery = 10 * time.Second

func (l *Listener) log(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); !l.closed && now.Sub(l.logged) > acceptLogEvery {
		l.logged = now
		l.accepting.Logger.Warn("no connection can be accepted", "open", len(l.open), "error", err)
	}
}

// Close stops accepting; the connections go on.
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
