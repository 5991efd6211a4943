package apitest

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/internal/transport"
)

// Serve runs the node behind a real listener with the limits given.
func (n *Node) Serve(t *testing.T, l api.Limits) *httptest.Server {
	t.Helper()
	server := newServer(n)
	l.Apply(server.Config)
	start(server)
	t.Cleanup(server.Close)
	return server
}

// ServeTLS is Serve over TLS, with HTTP/2 or HTTP/1.1.
func (n *Node) ServeTLS(t *testing.T, l api.Limits, http2 bool) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(n)
	server.EnableHTTP2 = http2
	l.Apply(server.Config)
	server.Config = transport.Prepare(server.Config)
	server.Listener = transport.NewListener(server.Listener, transport.Accepting{})
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// Exchange sends bytes over a connection, closes the sending side if halfClose, and reads an answer.
func Exchange(t *testing.T, server *httptest.Server, sent string, halfClose bool) (*http.Response, string) {
	t.Helper()
	conn := Dial(t, server)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, sent); err != nil {
		t.Fatal(err)
	}
	if halfClose {
		CloseWrite(conn)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("after %.60q: %v", sent, err)
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	return answer, string(body)
}

// Raw returns the bytes answered on a connection.
func Raw(t *testing.T, server *httptest.Server, sent string) string {
	t.Helper()
	c := Dial(t, server)
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, sent); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(c)
	if err != nil {
		t.Fatalf("%v after %q", err, all[max(0, len(all)-300):])
	}
	return string(all)
}

// LargeBody is more than any route accepts, and than the buffers of a connection hold.
const LargeBody = 28 << 20

// SendAllThenRead sends a header and largeBody bytes, as clients do that read
// nothing before everything is sent, and reads the answer.
func SendAllThenRead(t *testing.T, server *httptest.Server, header string) (*http.Response, string) {
	t.Helper()
	c := Dial(t, server)
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	chunk := strings.Repeat("x", 1<<20)
	io.WriteString(c, header)
	for range LargeBody / len(chunk) {
		var err error
		if strings.Contains(header, "chunked") {
			_, err = fmt.Fprintf(c, "%x\r\n%s\r\n", len(chunk), chunk)
		} else {
			_, err = io.WriteString(c, chunk)
		}
		if err != nil {
			t.Fatalf("%.60q: the body could not be sent: %v", header, err)
		}
	}
	if strings.Contains(header, "chunked") {
		io.WriteString(c, "0\r\n\r\n")
	}
	r := bufio.NewReader(c)
	answer, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatalf("%.60q: %v", header, err)
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatalf("%.60q: %v", header, err)
	}
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("%.60q: behind the answer came %q, %v", header, rest, err)
	}
	return answer, string(body)
}

// Discard is a ResponseWriter that keeps nothing.
type Discard struct{ Fields http.Header }

func (d *Discard) Header() http.Header         { return d.Fields }
func (d *Discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *Discard) WriteHeader(int)             {}
