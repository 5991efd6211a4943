package transport

import (
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes accepts connections whose other ends are dropped.
type pipes struct{ net.Listener }

func (pipes) Accept() (net.Conn, error) {
	near, _ := net.Pipe()
	return near, nil
}

// accept returns a new connection of l that has answered a request and is idle.
func accept(t *testing.T, l *Listener) *Conn {
	t.Helper()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := accepted.(*Conn)
	c.StartRequest()
	c.startWaiting()
	return c
}

func isClosed(c *Conn) bool { return c.Conn.SetDeadline(time.Time{}) != nil }

// requestOn returns a request that arrives on c.
func requestOn(t *testing.T, c *Conn) *http.Request {
	return (&http.Request{}).WithContext(With(t.Context(), c))
}

// TestLongestIdleConnectionMakesRoom: beyond the bound, the connection that has been idle longest is closed. Connections
// with a request, connections before their first request, and those idle for less than idleGrace are kept.
func TestLongestIdleConnectionMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewListener(pipes{}, Accepting{MaxIdle: 3})
		fresh, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		busy := accept(t, l)
		busy.StartRequest()
		time.Sleep(time.Millisecond)
		first, second, third := accept(t, l), accept(t, l), accept(t, l)
		time.Sleep(time.Millisecond)
		first.StartRequest()
		first.startWaiting() // now second and third have been idle longest
		if !Crowded(requestOn(t, busy)) {
			t.Error("a connection was closed within its grace, or the bound is not kept")
		}
		time.Sleep(idleGrace)
		if Crowded(requestOn(t, busy)) {
			t.Error("no idle connection has made room")
		}
		if isClosed(second) == isClosed(third) || isClosed(first) || isClosed(busy) || isClosed(fresh.(*Conn)) {
			t.Error("the wrong connection was closed")
		}
		busy.startWaiting()
		if l.idle.Load() != 3 || l.Open() != 4 {
			t.Errorf("%d idle, %d open", l.idle.Load(), l.Open())
		}
		time.Sleep(idleGrace)
		accept(t, l) // as a connection of HTTP/2 before its first answer
		if l.idle.Load() != 3 || l.Open() != 4 {
			t.Errorf("%d idle, %d open after a further one", l.idle.Load(), l.Open())
		}
	})
}

// TestIdleConnectionsAreCounted in any order of their requests, ends and evictions.
func TestIdleConnectionsAreCounted(t *testing.T) {
	l := NewListener(pipes{}, Accepting{MaxIdle: 1 << 20})
	var running sync.WaitGroup
	for i := range 8 {
		random := rand.New(rand.NewPCG(uint64(i), 0))
		running.Go(func() {
			for range 200 {
				accepted, err := l.Accept()
				if err != nil {
					t.Error(err)
					return
				}
				c := accepted.(*Conn)
				for range random.IntN(5) {
					[]func(){c.StartRequest, c.startWaiting, func() { c.Close() }, func() {
						l.mu.Lock()
						l.replace(func(at int64) bool { return at > 0 })
						l.mu.Unlock()
					}}[random.IntN(4)]()
				}
				c.Close()
			}
		})
	}
	running.Wait()
	if l.idle.Load() != 0 || l.Open() != 0 {
		t.Errorf("%d idle, %d open after all have ended", l.idle.Load(), l.Open())
	}
}
