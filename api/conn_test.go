package api

import (
	"bufio"
	"bytes"
	stdcmp "cmp"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runnelkv/runnel/store"
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

// reason is an error without who wraps it.
func reason(err error) error {
	if os.IsTimeout(err) {
		return os.ErrDeadlineExceeded
	}
	return err
}

// story is what a connection does in those steps and when, with a peer that
// sends a byte and takes a byte now and then.
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

// TestDeadlinesAreThoseOfAPlainConnection: noting a deadline instead of setting
// it is not seen from outside.
func TestDeadlinesAreThoseOfAPlainConnection(t *testing.T) {
	first := rand.Uint64()
	for i := range uint64(300) {
		seed := first + i
		plain := story(t, func(c net.Conn) net.Conn { return c }, seed)
		ours := story(t, func(c net.Conn) net.Conn { return newConn(c) }, seed)
		if diff := cmp.Diff(plain, ours); diff != "" {
			t.Fatalf("seed %d: a plain connection (-) against ours (+):\n%s", seed, diff)
		}
	}
}

// TestAbortedReadEnds: a deadline of long ago ends a read that waits already.
func TestAbortedReadEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c := newConn(near)
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

// TestWatchSeesTheClientLeave: a client that goes away while it waits is seen
// after watchDelay.
func TestWatchSeesTheClientLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c := newConn(near)
		far.Close()
		began := time.Now()
		if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF || time.Since(began) != watchDelay {
			t.Errorf("%d, %v after %v", n, err, time.Since(began))
		}
		c.Close()
	})
}

// TestWatchEndsOnce: however the end of a watch falls together with its begin or
// with the client's next byte, exactly one read ends, and nothing is lost.
func TestWatchEndsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c := newConn(near)
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
		c := newConn(m)
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

// answersBy sends requests over one connection each and returns the answers as
// maps to compare.
func answersBy(t *testing.T, n *node, wrapped bool, requests []string) (answers []map[string]any) {
	n.requests.Store(36 * 36 * 36 * 36) // so that all ids are of one length
	server := httptest.NewUnstartedServer(n)
	Limits{}.Apply(server.Config)
	if wrapped {
		prepare(server.Config)
		server.Listener = newListener(server.Listener, Accepting{})
	}
	server.Start()
	defer server.Close()
	for _, request := range requests {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		go io.WriteString(conn, request)
		reader, method := bufio.NewReader(conn), request[:strings.Index(request, " ")]
		for {
			answer, err := http.ReadResponse(reader, &http.Request{Method: method})
			if err != nil {
				break
			}
			text, err := io.ReadAll(answer.Body)
			body := strings.ReplaceAll(string(text), stdcmp.Or(answer.Header.Get("X-Request-Id"), "-"), "ID")
			if _, boundary, ok := strings.Cut(answer.Header.Get("Content-Type"), "boundary="); ok {
				body = strings.ReplaceAll(body, boundary, "BOUNDARY")
				answer.Header.Set("Content-Type", "multipart/byteranges")
			}
			for _, varies := range []string{"Date", "Runnel-Partition", "Runnel-Staleness", "X-Request-Id"} {
				if answer.Header[varies] != nil {
					answer.Header[varies] = []string{"given"}
				}
			}
			answers = append(answers, map[string]any{"request": request, "status": answer.StatusCode, "proto": answer.Proto, "header": answer.Header,
				"length": answer.ContentLength, "te": answer.TransferEncoding, "close": answer.Close, "body": body, "err": err})
			if answer.StatusCode >= 200 && !strings.Contains(request, "PIPELINED") {
				break
			}
		}
		conn.Close()
	}
	return answers
}

// TestHeadersAreTheSameOnEveryConnection: what goes past net/http arrives as if
// it had not.
func TestHeadersAreTheSameOnEveryConnection(t *testing.T) {
	n := newNode(t)
	n.do(t, "PUT", "/v1/keys/a", "value", "Content-Type", "text/plain", "Runnel-Meta-Odd", "  tab\tand \"é\" ", "Runnel-Meta-Two", "2")
	n.do(t, "PUT", "/v1/keys/large", strings.Repeat("large", 100_000))
	n.do(t, "PUT", "/v1/keys/empty", "")
	n.do(t, "PUT", "/v1/keys/binary", "\xff\x00")
	etag := n.do(t, "GET", "/v1/keys/a", "").Header().Get("Etag")
	eventually(t, "spread", func() bool { return n.do(t, "GET", "/v1/keys/a", "").Code == 200 })
	master := "?consistency=master"
	line := func(method, target string, headers ...string) string {
		return method + " " + target + " HTTP/1.1\r\nHost: x\r\n" + strings.Join(append(headers, ""), "\r\n") + "\r\n"
	}
	var requests []string
	for _, method := range []string{"GET", "HEAD"} {
		for _, key := range []string{"a", "large", "empty", "binary", "unknown", "%00", "a?x=y"} {
			requests = append(requests, line(method, "/v1/keys/"+key+master))
		}
		for _, header := range []string{"Range: bytes=1-2", "Range: bytes=0-0,2-3", "Range: bytes=9-", "If-None-Match: " + etag, "If-None-Match: *", `If-Match: "1"`,
			"Accept: application/json", "Accept: application/xml", "Accept: text/html", "Accept: text/plain", "Accept: image/png", "Connection: close",
			"X-Request-Id: mine", "X-Request-Id: not for logs", "Expect: 100-continue", "Expect: nothing"} {
			requests = append(requests, line(method, "/v1/keys/a"+master, header))
		}
		for _, target := range []string{"/", "/v1/keys" + master, "/v1/status2", "/healthz", "/readyz?write", "/openapi.yaml", "/problems", "/problems/not-found", "/bucket/", "/canonicalbucket/a", "*"} {
			requests = append(requests, line(method, target), line(method, target, "Accept: text/html"))
		}
		requests = append(requests, line(method, "/v1/keys"+master, "Accept: application/x-ndjson"))
		requests = append(requests, method+" /v1/keys/a HTTP/1.0\r\n\r\n", method+" /v1/keys/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", method+" /v1/keys/a HTTP/1.1\r\n\r\n")
	}
	requests = append(requests, line("OPTIONS", "/v1/keys/a"), line("PATCH", "/v1/keys/a"), line("OPTIONS", "*"), "GET nonsense\r\n\r\n",
		line("PUT", "/v1/keys/a", `If-Match: "1"`, "Content-Length: 3")+"abc",
		line("PUT", "/v1/keys/a", `If-Match: "1"`, "Content-Length: 3", "Expect: 100-continue")+"abc",
		line("PUT", "/v1/keys/a", "Content-Length: 99999999")+"abc",
		line("PUT", "/v1/keys/a", `If-Match: "1"`, "Transfer-Encoding: chunked")+"3\r\nabc\r\n0\r\n\r\n",
		line("PUT", "/v1/keys/a", "Transfer-Encoding: chunked")+"nonsense\r\n",
		line("GET", "/v1/keys/a"+master, "X: PIPELINED")+line("GET", "/v1/keys/large"+master)+line("GET", "/v1/keys/unknown"+master, "Connection: close"))
	plain, ours := answersBy(t, n, false, requests), answersBy(t, n, true, requests)
	if len(plain) < len(requests) {
		t.Errorf("%d requests, %d answers", len(requests), len(plain))
	}
	for i := range plain {
		if diff := cmp.Diff(plain[i], ours[i], cmp.Comparer(func(a, b error) bool { return fmt.Sprint(a) == fmt.Sprint(b) })); diff != "" {
			t.Errorf("%.200s\na plain connection (-) against ours (+):\n%s", plain[i]["request"], diff)
		}
	}
	if diff := cmp.Diff(len(plain), len(ours)); diff != "" {
		t.Error(diff)
	}
}

// TestWrittenHeadersAreTheSame is the same for writes, which change what stands.
func TestWrittenHeadersAreTheSame(t *testing.T) {
	put := "PUT /v1/keys/new HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
	requests := []string{put, put, strings.Replace(put, "keys/new", "keys/a%2F%2Fb", 1), strings.Replace(put, "PUT /v1/keys/new", "POST /v1/keys?ttl=1h", 1),
		"DELETE /v1/keys/new HTTP/1.1\r\nHost: x\r\n\r\n", "DELETE /v1/keys/new HTTP/1.1\r\nHost: x\r\n\r\n", strings.Replace(put, "v1/keys", "bucket", 1)}
	plain, ours := answersBy(t, newNode(t), false, requests), answersBy(t, newNode(t), true, requests)
	if len(plain) != len(requests) || len(ours) != len(requests) {
		t.Fatalf("%d requests, %d and %d answers", len(requests), len(plain), len(ours))
	}
	for i := range plain {
		a, b := plain[i]["header"].(http.Header), ours[i]["header"].(http.Header)
		for _, h := range []http.Header{a, b} {
			for _, varies := range []string{"Last-Modified", "Location", "Content-Length", "Runnel-Expires-At"} {
				if h[varies] != nil {
					h[varies] = []string{"given"}
				}
			}
			if h[sessionHeader] != nil { // of two clusters
				v, _, err := store.ParseToken(store.SessionToken, h.Get(sessionHeader))
				if err != nil {
					t.Error(err)
				}
				h.Set(sessionHeader, v.Token(store.SessionToken, 0))
			}
		}
		if diff := cmp.Diff(a, b); diff != "" || plain[i]["status"] != ours[i]["status"] {
			t.Errorf("%.200s\n%v, %v; a plain connection (-) against ours (+):\n%s", requests[i], plain[i]["status"], ours[i]["status"], diff)
		}
	}
}

// recorderConn keeps what is written to it.
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
	c := &conn{Conn: under, fields: []byte("Vary: Accept\r\n")}
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

func TestWhatIsNoFieldValueGoesThroughNetHTTP(t *testing.T) {
	for _, s := range []string{"", " a", "a ", "a\r\nSet-Cookie: b", "a\x00", "a\x7f", "\ta"} {
		if isFieldValue(s) {
			t.Errorf("%q would be sent as it is", s)
		}
	}
	for _, s := range []string{"a", "a b", "é", `"1"`} {
		if !isFieldValue(s) {
			t.Errorf("%q would be left out", s)
		}
	}
}

// headerWriter calls back when the header is written.
type headerWriter struct {
	discard
	written func()
}

func (w *headerWriter) WriteHeader(int) { w.written() }

// TestFieldsWaitForNetHTTP: until net/http has been told of the answer it may
// send an interim one, from another goroutine.
func TestFieldsWaitForNetHTTP(t *testing.T) {
	c := &conn{}
	told := false
	w := newResponse()
	w.ResponseWriter = &headerWriter{discard{http.Header{}}, func() { told = len(c.fields) == 0 }}
	w.conn, w.header = c, w.own
	w.set("Etag", `"1"`)
	w.WriteHeader(http.StatusNoContent)
	if !told || string(c.fields) != "Etag: \"1\"\r\n" {
		t.Errorf("net/http was told before: %v; the connection has %q", told, c.fields)
	}
}

// TestSilentConnectionsMakeRoom: where all connections are in use, one that has
// no request ends for a new one; those that have one, and go on, are kept.
func TestSilentConnectionsMakeRoom(t *testing.T) {
	n := newNode(t)
	server := httptest.NewUnstartedServer(n)
	Limits{}.Apply(server.Config)
	prepare(server.Config)
	const limit = 8
	l := newListener(server.Listener, Accepting{Max: limit})
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	connect := func(sent string) (net.Conn, *bufio.Reader) {
		c, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(c, sent)
		return c, bufio.NewReader(c)
	}
	_, stream := connect("GET /v1/changes?since=now HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
	if _, err := http.ReadResponse(stream, nil); err != nil {
		t.Fatal(err)
	}
	for i := range 5 * limit {
		switch i % 3 {
		case 0:
			connect("")
		case 1:
			connect("GET /healthz HTTP/1.1\r\nHost: x\r\nHalf-a-header")
		case 2:
			_, r := connect("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
			if answer, err := http.ReadResponse(r, nil); err != nil || answer.StatusCode != 200 {
				t.Fatalf("request %d: %v", i, err)
			}
		}
	}
	l.mu.Lock()
	if len(l.open) > limit {
		t.Errorf("%d connections are open", len(l.open))
	}
	l.mu.Unlock()
	n.put(t, "k")
	for {
		line, err := stream.ReadString('\n')
		if err != nil {
			t.Fatalf("the stream ended: %v", err)
		}
		if strings.Contains(line, `"key":"k"`) {
			break
		}
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
	var log syncBuffer
	l := newListener(&failing{left: 100}, Accepting{Logger: log.logger()})
	for range 100 {
		l.Accept()
	}
	if lines := strings.Count(log.String(), "level=WARN"); lines != 1 || !strings.Contains(log.String(), "too many open files") {
		t.Errorf("%d lines: %s", lines, log.String())
	}
}
