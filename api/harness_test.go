package api

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// node is a Server on a real store over memory partitions, of which the first
// is the master.
type node struct {
	*Server
	store      *store.Store
	partitions []*memory.Partition
}

// maxTestValue is the largest value that test nodes accept.
const maxTestValue = 4 << 20

// newNode starts a node and waits until writes succeed.
func newNode(t *testing.T, change ...func(*Options)) *node {
	t.Helper()
	return newNodeFor(t, change...)
}

func newNodeFor(t testing.TB, change ...func(*Options)) *node {
	t.Helper()
	return newNodeOf(t, nil, change...)
}

// newNodeOf has these masters; nil for the first partition alone.
func newNodeOf(t testing.TB, masters []string, change ...func(*Options)) *node {
	t.Helper()
	n := &node{}
	var members []partition.Partition
	for _, name := range []string{"partition-0", "partition-1", "partition-2"} {
		p := memory.New(name)
		n.partitions = append(n.partitions, p)
		members = append(members, p)
	}
	quiet := slog.New(slog.DiscardHandler)
	var err error
	n.store, err = store.Open(store.Options{Partitions: members, Masters: masters, MaxValueBytes: maxTestValue, Poll: 20 * time.Millisecond, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.store.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := n.store.Close(); err != nil {
			t.Error(err)
		}
	})
	o := Options{Store: n.store, Node: "node-a", Version: "1.2.3", Logger: quiet}
	for _, f := range change {
		f(&o)
	}
	n.Server = New(o)
	eventually(t, "ready to write", func() bool { return n.do(t, "GET", "/readyz?write", "").Code == 200 })
	return n
}

// eventually waits for a condition, with a deadline.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never came true: %s", what)
		}
	}
}

// do sends a request and checks the promises that hold for every answer. headers are pairs of name and value.
func (n *node) do(t testing.TB, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	return n.doAt(t, "localhost", method, target, body, headers...)
}

// doAt is do with a Host.
func (n *node) doAt(t testing.TB, host, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, target, reader)
	r.Host = host
	r.Header.Set("Content-Length", strconv.Itoa(len(body)))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	n.ServeHTTP(w, r)
	checkAnswer(t, r, w)
	n.checkDescribed(t, r, w)
	return w
}

func checkAnswer(t testing.TB, r *http.Request, w *httptest.ResponseRecorder) {
	t.Helper()
	h := w.Header()
	if h.Get("X-Request-Id") == "" || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%s %s: %v lacks X-Request-Id or nosniff", r.Method, r.URL, h)
	}
}
