package transport

import (
	"cmp"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Accepting bounds the connections of a server.
type Accepting struct {
	Max     int          // 0: unbounded
	MaxIdle int          // that wait for their next request; 0: unbounded
	Logger  *slog.Logger // for failures to accept; nil: slog.Default()
}

// Listener bounds the number of open connections. When all are in use, a new connection replaces the connection that
// has waited longest for a request, so that silent clients do not keep others out. An idle connection, which waits for
// its next request, costs memory; Crowded bounds their number.
type Listener struct {
	net.Listener
	accepting Accepting
	idle      atomic.Int64 // number of idle connections

	mu     sync.Mutex // guards the fields below
	ended  sync.Cond  // signalled when a connection closes
	open   map[*Conn]struct{}
	logged time.Time // time of the last logged error
	full   time.Time // until when makeRoom does not search again
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
		if l.replace(anyWaiting) {
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

// exceeds reports whether the idle connections, and so many more, exceed their bound.
func (l *Listener) exceeds(more int64) bool {
	return l.accepting.MaxIdle > 0 && l.idle.Load()+more > int64(l.accepting.MaxIdle)
}

const (
	// idleGrace is how long an idle connection is kept at least: the next request of a busy client may be on its way.
	idleGrace = time.Second
	// roomEvery is the time between two searches for an idle connection to close, while there is none.
	roomEvery = idleGrace / 10
)

// makeRoom closes the connection that has been idle longest, unless that is less than idleGrace.
func (l *Listener) makeRoom() bool {
	now := time.Now()
	before := now.Add(-idleGrace).UnixNano()
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Before(l.full) {
		return false
	}
	made := l.replace(func(at int64) bool { return 0 < at && at <= before })
	if !made {
		l.full = now.Add(roomEvery)
	}
	return made
}

func anyWaiting(at int64) bool { return at != 0 }

// replace closes the connection that has been longest without a request, among those with a matching Conn.waiting. The
// result is false if there is none. The caller holds mu.
func (l *Listener) replace(matches func(at int64) bool) bool {
	for {
		var first *Conn
		since := int64(0)
		for c := range l.open {
			if at := c.waiting.Load(); matches(at) && (first == nil || max(at, -at) < max(since, -since)) {
				first, since = c, at
			}
		}
		if first == nil {
			return false
		}
		if first.waiting.CompareAndSwap(since, 0) { // otherwise a request has just arrived
			first.countIdle(since, 0)
			first.Conn.Close() // the connection's goroutine ends with an error
			delete(l.open, first)
			return true
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
