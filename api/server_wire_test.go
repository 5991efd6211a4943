package api

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/api/internal/transport"
	"github.com/runnelkv/runnel/api/wire"
)

// serve runs the node behind a real listener with the limits given.
func (n *node) serve(t *testing.T, l Limits) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(n)
	l.Apply(server.Config)
	server.Config = transport.Prepare(server.Config)
	server.Listener = transport.NewListener(server.Listener, transport.Accepting{})
	server.Start()
	t.Cleanup(server.Close)
	return server
}

// exchange sends bytes over a connection, closes the sending side if halfClose, and reads an answer.
func exchange(t *testing.T, server *httptest.Server, sent string, halfClose bool) (*http.Response, string) {
	t.Helper()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, sent); err != nil {
		t.Fatal(err)
	}
	if halfClose {
		conn.(*net.TCPConn).CloseWrite()
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("after %.60q: %v", sent, err)
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	return answer, string(body)
}

func TestBodiesOnTheWire(t *testing.T) {
	n := newNode(t)
	server := n.serve(t, Limits{Body: 500 * time.Millisecond})
	const put = "PUT /v1/keys/k HTTP/1.1\r\nHost: x\r\n"
	for _, c := range []struct {
		name, sent string
		halfClose  bool
		status     int
		slug       string // "": answered by net/http
	}{
		{"cut short", put + "Content-Length: 10\r\n\r\nabc", true, 400, "incomplete-body"},
		{"nothing of it", put + "Content-Length: 10\r\n\r\n", true, 400, "incomplete-body"},
		{"large and cut short", put + "Content-Length: 2000000\r\n\r\nabc", true, 400, "incomplete-body"},
		{"never arrives", put + "Content-Length: 10\r\n\r\nabc", false, 408, "request-timeout"},
		{"chunks cut short", put + "Transfer-Encoding: chunked\r\n\r\n5\r\nab", true, 400, "incomplete-body"},
		{"chunks without an end", put + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", true, 400, "incomplete-body"},
		{"chunk size is no number", put + "Transfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n", false, 400, "incomplete-body"},
		{"announced too large", put + fmt.Sprintf("Content-Length: %d\r\n\r\n", maxTestValue+1), false, 413, "too-large"},
		{"absurdly large", put + "Content-Length: 9000000000000000000\r\n\r\n", false, 413, "too-large"},
		{"too large, but expects a 100", put + fmt.Sprintf("Expect: 100-continue\r\nContent-Length: %d\r\n\r\n", maxTestValue+1), false, 413, "too-large"},
		{"bad key, expects a 100", "PUT /v1/keys/%00 HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n", false, 400, "invalid-key"},
		{"two lengths", put + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", false, 400, ""},
		{"length is no number", put + "Content-Length: x\r\n\r\nabc", false, 400, ""},
		{"negative length", put + "Content-Length: -1\r\n\r\nabc", false, 400, ""},
		{"unknown transfer coding", put + "Transfer-Encoding: rot13\r\n\r\nabc", false, 501, ""},
		{"bad escape", "PUT /v1/keys/%zz HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nv", false, 400, ""},
		{"cut escape", "PUT /v1/keys/%2 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nv", false, 400, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer, body := exchange(t, server, c.sent, c.halfClose)
			if answer.StatusCode != c.status || c.slug != "" && !strings.Contains(body, `"/problems/`+c.slug+`"`) {
				t.Errorf("%d %s, want %d %s", answer.StatusCode, body, c.status, c.slug)
			}
		})
	}
	if c := count(t, n); c != 0 {
		t.Errorf("%d keys were stored", c)
	}
}

func TestChunkedBodies(t *testing.T) {
	n := newNode(t)
	server := n.serve(t, Limits{})
	answer, body := exchange(t, server, "PUT /v1/keys/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", false)
	if answer.StatusCode != 201 || n.do(t, "GET", "/v1/keys/k", "").Body.String() != "abcde" {
		t.Errorf("%d %s", answer.StatusCode, body)
	}
	r, _ := http.NewRequest("PUT", server.URL+"/v1/keys/large", io.LimitReader(zeros{}, maxTestValue+1))
	refused, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	refused.Body.Close()
	if refused.StatusCode != 413 || !refused.Close || count(t, n) != 1 {
		t.Errorf("large: %d, %d keys", refused.StatusCode, count(t, n))
	}
	r, _ = http.NewRequest("PUT", server.URL+"/v1/keys/largest", io.LimitReader(zeros{}, maxTestValue))
	taken, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	taken.Body.Close()
	if taken.StatusCode != 201 {
		t.Errorf("largest: %d", taken.StatusCode)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestKeysOnTheWireAreNotCleaned(t *testing.T) {
	n := newNode(t)
	server := n.serve(t, Limits{})
	for target, key := range map[string]string{
		"/v1/keys/a//b": "a//b", "/v1/keys/../x": "../x", "/v1/keys/a%2Fb": "a/b", "/v1/keys/.": ".",
		"http://x/v1/keys/absolute": "absolute", "/v1/keys//v1/keys/": "/v1/keys/", "/v1/keys/*": "*",
	} {
		answer, body := exchange(t, server, "PUT "+target+" HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nv", false)
		if answer.StatusCode != 201 {
			t.Errorf("PUT %s: %d %s", target, answer.StatusCode, body)
		}
		if g := n.do(t, "GET", wire.Path(keysPath, key), ""); g.Body.String() != "v" {
			t.Errorf("%s did not store %q: %d", target, key, g.Code)
		}
	}
}

func TestRequestIDs(t *testing.T) {
	n := newNode(t)
	one := n.do(t, "GET", "/", "").Header().Get("X-Request-Id")
	two := n.do(t, "GET", "/", "").Header().Get("X-Request-Id")
	if one == two {
		t.Errorf("two requests are %s", one)
	}
	for given, kept := range map[string]bool{"abc-1.2:x/=+@_": true, "": false, "a b": false, "<x>": false, strings.Repeat("x", 129): false, "é": false} {
		got := n.do(t, "GET", "/nothing", "", "X-Request-Id", given).Header().Get("X-Request-Id")
		if (got == given) != kept {
			t.Errorf("%q became %q", given, got)
		}
	}
}
