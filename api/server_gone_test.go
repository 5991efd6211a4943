package api_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/store"
)

// awayStore answers nothing until the request is given up.
type awayStore struct{ api.Store }

func (awayStore) Get(ctx context.Context, _ store.Key, _ store.ReadOptions) (store.Read, error) {
	<-ctx.Done()
	return store.Read{}, ctx.Err()
}

// TestHalfClosedRequestIsNotAnsweredEmpty: net/http cancels a request when the client closes its sending side. Such a
// client still reads, and must not read an empty 200.
func TestHalfClosedRequestIsNotAnsweredEmpty(t *testing.T) {
	n := apitest.New(t, func(o *api.Options) { o.Store = awayStore{o.Store} })
	server := n.Serve(t, api.Limits{})
	conn := apitest.Dial(t, server)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(conn, "GET /v1/keys/a HTTP/1.1\r\nHost: x\r\n\r\n")
	apitest.CloseWrite(conn)
	if answer, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
		t.Errorf("answered %s", answer.Status)
	}
}
