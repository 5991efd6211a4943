package api

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
)

// awayStore answers nothing until the request is given up.
type awayStore struct{ Store }

func (awayStore) Get(ctx context.Context, _ store.Key, _ store.ReadOptions) (store.Read, error) {
	<-ctx.Done()
	return store.Read{}, ctx.Err()
}

// TestHalfClosedRequestIsNotAnsweredEmpty: net/http cancels a request when the client closes its sending side. Such a
// client still reads, and must not read an empty 200.
func TestHalfClosedRequestIsNotAnsweredEmpty(t *testing.T) {
	n := newNode(t, func(o *Options) { o.Store = awayStore{o.Store} })
	server := n.serve(t, Limits{})
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(conn, "GET /v1/keys/a HTTP/1.1\r\nHost: x\r\n\r\n")
	conn.(*net.TCPConn).CloseWrite()
	if answer, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
		t.Errorf("answered %s", answer.Status)
	}
}
