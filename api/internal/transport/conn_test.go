package transport

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// deadlineSteps is a random sequence of deadlines as net/http might move them,
// with reads and writes between them.
func deadlineSteps(random *rand.Rand) []func(c net.Conn) string {
	setters := []func(net.Conn, time.Time) error{net.Conn.SetReadDeadline, net.Conn.SetWriteDeadline, net.Conn.SetDeadline}
	var steps []func(net.Conn) string
	for range 20 {
		set, after := setters[random.IntN(len(setters))], time.Duration(random.IntN(30e9)-3e9) // never the moment of anything else
		switch random.IntN(6) {
		case 0:
			steps = append(steps, func(c net.Conn) string { return fmt.Sprint("none", set(c, time.Time{})) })
		case 1:
			steps = append(steps, func(c net.Conn) string { return fmt.Sprint("1970", set(c, time.Unix(1, 0))) })
		case 2:
			steps = append(steps, func(c net.Conn) string {
				n, err := c.Read(make([]byte, 10))
				return fmt.Sprint("read", n, reason(err))
			})
		case 3:
			steps = append(steps, func(c net.Conn) string {
				n, err := c.Write([]byte("abc"))
				return fmt.Sprint("wrote", n, reason(err))
			})
		default:
			steps = append(steps, func(c net.Conn) string { return fmt.Sprint(after, set(c, time.Now().Add(after))) })
		}
	}
	return steps
}

// reason unwraps an error to its cause.
func reason(err error) error {
	if os.IsTimeout(err) {
		return os.ErrDeadlineExceeded
	}
	return err
}

// story records the results and times of the steps on a connection whose peer sends and takes a byte now and then.
func story(t *testing.T, wrap func(net.Conn) net.Conn, seed uint64) (told []string) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c := wrap(near)
		var peer sync.WaitGroup
		peer.Go(func() {
			for range 60 {
				time.Sleep(17 * time.Second)
				far.SetDeadline(time.Now().Add(time.Millisecond))
				far.Write([]byte{'x'})
				far.SetDeadline(time.Now().Add(time.Millisecond))
				far.Read(make([]byte, 1))
			}
			far.Close()
		})
		began := time.Now()
		for _, step := range deadlineSteps(rand.New(rand.NewPCG(seed, 0))) {
			told = append(told, fmt.Sprintf("%s at %v", step(c), time.Since(began)))
		}
		c.Close()
		peer.Wait()
	})
	return told
}

// TestDeadlinesAreThoseOfAPlainConnection: recording deadlines instead of setting them is invisible from outside.
func TestDeadlinesAreThoseOfAPlainConnection(t *testing.T) {
	first := rand.Uint64()
	for i := range uint64(300) {
		seed := first + i
		plain := story(t, func(c net.Conn) net.Conn { return c }, seed)
		ours := story(t, func(c net.Conn) net.Conn { return NewConn(c) }, seed)
		if diff := cmp.Diff(plain, ours); diff != "" {
			t.Fatalf("seed %d: a plain connection (-) against ours (+):\n%s", seed, diff)
		}
	}
}

// TestAbortedReadEnds: a deadline of long ago ends a read that waits already.
func TestAbortedReadEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c := NewConn(near)
		c.SetReadDeadline(time.Now().Add(time.Minute))
		c.SetReadDeadline(time.Time{})
		ended := make(chan error, 1)
		go func() {
			_, err := c.Read(make([]byte, 1))
			ended <- err
		}()
		time.Sleep(time.Hour)
		synctest.Wait()
		c.SetReadDeadline(time.Unix(1, 0))
		if err := <-ended; !os.IsTimeout(err) {
			t.Errorf("it ended with %v", err)
		}
		c.SetReadDeadline(time.Time{})
		go far.Write([]byte("x"))
		if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("then %d, %v", n, err)
		}
		c.Close()
	})
}

// TestWatchSeesTheClientLeave: a client that leaves during an answer is noticed after watchDelay.
func TestWatchSeesTheClientLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c := NewConn(near)
		far.Close()
		began := time.Now()
		if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF || time.Since(began) != watchDelay {
			t.Errorf("%d, %v after %v", n, err, time.Since(began))
		}
		c.Close()
	})
}

// TestLastByteOfTheBufferIsNotDelayed: when a request has filled net/http's buffer up to its last byte, the next read
// is for that byte, and no read that watches the client.
func TestLastByteOfTheBufferIsNotDelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c, began := NewConn(near), time.Now()
		go far.Write(make([]byte, 4096))
		buffer := make([]byte, 4096)
		for _, piece := range [][]byte{buffer[:4095], buffer[4095:]} {
			if n, err := c.Read(piece); n != len(piece) || err != nil || time.Since(began) != 0 {
				t.Errorf("%d of %d bytes, %v after %v", n, len(piece), err, time.Since(began))
			}
		}
		far.Close()
		c.Close()
	})
}

// TestWatchEndsOnce: however the cancellation of a read coincides with its start or with the client's next byte,
// exactly a single read ends and no byte is lost.
func TestWatchEndsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c := NewConn(near)
		for i := range 2000 {
			ended := make(chan error, 1)
			go func() {
				time.Sleep(time.Duration(i % 3))
				_, err := c.Read(make([]byte, 1))
				ended <- err
			}()
			time.Sleep(time.Duration(i%7/5)*watchDelay + time.Duration(i%5))
			if len(ended) > 0 {
				t.Fatalf("%d: it ended by itself with %v", i, <-ended)
			}
			aborted := time.Now()
			c.SetReadDeadline(time.Unix(1, 0))
			if err := <-ended; !os.IsTimeout(err) || time.Since(aborted) > 3 {
				t.Fatalf("%d: it ended with %v, %v after it should", i, err, time.Since(aborted))
			}
			c.SetReadDeadline(time.Time{})
			go far.Write([]byte{byte(i)})
			p := make([]byte, 2)
			if n, err := c.Read(p); n != 1 || err != nil || p[0] != byte(i) {
				t.Fatalf("%d: then %d, %v, %v", i, n, err, p)
			}
		}
		c.Close()
	})
}

// moveCounter counts how often a connection's own deadlines are moved.
type moveCounter struct {
	net.Conn
	moves int
}

func (m *moveCounter) SetReadDeadline(t time.Time) error {
	m.moves++
	return m.Conn.SetReadDeadline(t)
}

func (m *moveCounter) SetWriteDeadline(t time.Time) error {
	m.moves++
	return m.Conn.SetWriteDeadline(t)
}

// TestDeadlinesAreSeldomMoved: of the eight deadlines that net/http sets for a
// request, none reaches the connection.
func TestDeadlinesAreSeldomMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		m := &moveCounter{Conn: near}
		c := NewConn(m)
		in := func(d time.Duration) time.Time { return time.Now().Add(d) }
		go io.Copy(far, far)
		for i := range 100 {
			c.SetReadDeadline(in(120 * time.Second)) // idle
			go c.Write([]byte("x"))                  // comes back
			c.Read(make([]byte, 4096))
			c.SetReadDeadline(in(10 * time.Second))   // header
			c.SetReadDeadline(in(60 * time.Second))   // body
			c.SetWriteDeadline(in(180 * time.Second)) // answer
			c.SetReadDeadline(time.Time{})            // until the client goes away
			watched := make(chan struct{})
			go func() {
				c.Read(make([]byte, 1))
				close(watched)
			}()
			time.Sleep(time.Millisecond)
			c.SetReadDeadline(time.Unix(1, 0)) // the answer is written
			<-watched
			c.SetReadDeadline(time.Time{})
			c.SetWriteDeadline(time.Time{})
			if i == 0 {
				m.moves = 0
			}
		}
		if m.moves > 0 {
			t.Errorf("99 requests moved them %d times", m.moves)
		}
		c.Close()
		far.Close()
	})
}

// recorderConn records writes.
type recorderConn struct {
	net.Conn
	bytes.Buffer
}

func (c *recorderConn) Read(p []byte) (int, error)  { return c.Buffer.Read(p) }
func (c *recorderConn) Write(p []byte) (int, error) { return c.Buffer.Write(p) }

// TestFieldsGoOnlyBehindAStatusLine: rather than put fields where they do not
// belong, nothing is sent.
func TestFieldsGoOnlyBehindAStatusLine(t *testing.T) {
	under := &recorderConn{}
	c := &Conn{Conn: under, fields: []byte("Vary: Accept\r\n")}
	for _, wrong := range []string{"x", "body\r\n", "HTTP/1.1 200 OK"} {
		if n, err := c.Write([]byte(wrong)); n != 0 || err == nil || under.Len() > 0 {
			t.Errorf("%q: %d, %v, sent %q", wrong, n, err, &under.Buffer)
		}
	}
	if n, err := c.Write([]byte("HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody")); n != 29 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := c.Write([]byte("more\n")); err != nil || under.String() != "HTTP/1.1 200 OK\r\nVary: Accept\r\nA: b\r\n\r\nbodymore\n" {
		t.Errorf("%v, sent %q", err, &under.Buffer)
	}
}

// failing is a listener that cannot accept.
type failing struct {
	net.Listener
	left int
}

func (f *failing) Accept() (net.Conn, error) {
	if f.left--; f.left < 0 {
		return nil, net.ErrClosed
	}
	return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
}

// TestAcceptErrorsAreLogged, but not each of many.
func TestAcceptErrorsAreLogged(t *testing.T) {
	var log bytes.Buffer
	l := NewListener(&failing{left: 100}, Accepting{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for range 100 {
		l.Accept()
	}
	if lines := strings.Count(log.String(), "level=WARN"); lines != 1 || !strings.Contains(log.String(), "too many open files") {
		t.Errorf("%d lines: %s", lines, log.String())
	}
}
