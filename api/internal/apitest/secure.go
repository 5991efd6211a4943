package apitest

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/api/internal/transport"
)

// The environment variable RUNNEL_TEST_HTTP makes the tests of the API speak TLS: "https" with HTTP/1.1, "h2" with HTTP/2.
// Without the variable, most requests reach the handler directly. Tests of bytes on the wire speak HTTP/1.1 always.
var (
	protocol = os.Getenv("RUNNEL_TEST_HTTP")
	Secure   = protocol != ""
)

// ClientAddress is the address from which the requests of Do come.
func ClientAddress() string {
	if Secure {
		return "127.0.0.1"
	}
	return "192.0.2.1" // of httptest.NewRequest
}

// newServer returns a server with the connections of transport, which is not started.
func newServer(handler http.Handler) *httptest.Server {
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = protocol == "h2"
	return server
}

// start starts a server whose timeouts are set.
func start(server *httptest.Server) {
	server.Config = transport.Prepare(server.Config)
	server.Listener = transport.NewListener(server.Listener, transport.Accepting{})
	if !Secure {
		server.Start()
		return
	}
	server.StartTLS()
	server.Client().Transport.(*http.Transport).DisableCompression = true
}

// Dial opens a connection of HTTP/1.1 to a server of Serve.
func Dial(t testing.TB, server *httptest.Server) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", server.Listener.Addr().String())
	if err == nil && server.TLS != nil {
		conn := tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
		err, c = conn.Handshake(), conn
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// CloseWrite ends the sending side of a connection of Dial.
func CloseWrite(c net.Conn) { c.(interface{ CloseWrite() error }).CloseWrite() }

// answer sends a request to the handler, over TLS if the tests do.
func (n *Node) answer(t testing.TB, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	if n.secure == nil || n.secure.Config.Handler != http.Handler(n.Server) || strings.Contains(r.Host, "@") {
		n.ServeHTTP(w, r)
		return w
	}
	out := r.Clone(r.Context())
	out.RequestURI, out.URL.Scheme, out.URL.Host = "", "https", n.secure.Listener.Addr().String()
	out.Header.Del("Content-Length")
	answer, err := n.secure.Client().Transport.RoundTrip(out)
	if err != nil && (strings.Contains(err.Error(), "invalid") || r.Method == "CONNECT") { // no client sends this
		n.ServeHTTP(w, r)
		return w
	}
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body) // an answer may be cut on purpose
	for name, values := range answer.Header {
		w.Header()[name] = values
	}
	for name := range answer.Trailer {
		w.Header().Add("Trailer", name)
	}
	w.WriteHeader(answer.StatusCode)
	w.Write(body)
	for name, values := range answer.Trailer {
		w.Header()[name] = values
	}
	return w
}

// serveSecurely starts the server to which answer sends.
func (n *Node) serveSecurely(t testing.TB) {
	if !Secure {
		return
	}
	n.secure = newServer(n.Server)
	n.secure.Config.ReadHeaderTimeout = time.Minute
	start(n.secure)
	t.Cleanup(n.secure.Close)
}
