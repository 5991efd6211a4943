package exchange

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/runnelkv/runnel/api/internal/transport"
)

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
	*httptest.ResponseRecorder
	written func()
}

func (w *headerWriter) WriteHeader(int) { w.written() }

// TestFieldsWaitForNetHTTP: until net/http knows of the answer, another goroutine may send an interim answer, whose
// status line the fields must not follow.
func TestFieldsWaitForNetHTTP(t *testing.T) {
	const interim, final = "HTTP/1.1 100 Continue\r\n", "HTTP/1.1 204 No Content\r\n"
	sent := &recorderConn{}
	c := &transport.Conn{Conn: sent}
	w := newResponse()
	w.Request.Request = httptest.NewRequest(http.MethodDelete, "/", nil)
	w.ResponseWriter = &headerWriter{httptest.NewRecorder(), func() { c.Write([]byte(interim)) }}
	w.conn, w.header = c, w.own
	w.SetField("Etag", `"1"`)
	w.WriteHeader(http.StatusNoContent)
	c.Write([]byte(final))
	if got := sent.String(); got != interim+final+"Content-Security-Policy: sandbox; frame-ancestors 'none'\r\nEtag: \"1\"\r\n" {
		t.Errorf("sent %q", got)
	}
}

// recorderConn records writes.
type recorderConn struct {
	net.Conn
	bytes.Buffer
}

func (c *recorderConn) Read(p []byte) (int, error)  { return c.Buffer.Read(p) }
func (c *recorderConn) Write(p []byte) (int, error) { return c.Buffer.Write(p) }

// TestMethodWithoutANeedIsRefused: a route that forgets its need does not start.
func TestMethodWithoutANeedIsRefused(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a method without a need is accepted")
		}
	}()
	new(Shared).Resource("/v1/new", map[string]Method{"GET": {}})
}
