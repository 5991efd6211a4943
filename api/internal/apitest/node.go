package apitest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/file"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// Node is a Server on a real store over memory partitions, of which the first
// is the master.
type Node struct {
	*api.Server
	Store      *store.Store
	Partitions []*memory.Partition

	secure *httptest.Server // nil: requests reach the handler directly
}

// MaxTestValue is the largest value that test nodes accept.
const MaxTestValue = 4 << 20

// New starts a node and waits until writes succeed.
func New(t *testing.T, change ...func(*api.Options)) *Node {
	t.Helper()
	return NewFor(t, change...)
}

// NewFilled is New with filled replicas, which take copies at once. Nothing copies later writes but requests that wait for
// copies.
func NewFilled(t *testing.T, change ...func(*api.Options)) *Node {
	t.Helper()
	n := New(t, change...)
	n.Level(t)
	return n
}

// NewFor is New for benchmarks.
func NewFor(t testing.TB, change ...func(*api.Options)) *Node {
	t.Helper()
	return NewOf(t, nil, change...)
}

// NewOf has these masters; nil for the first partition alone.
func NewOf(t testing.TB, masters []string, change ...func(*api.Options)) *Node {
	t.Helper()
	n := &Node{}
	var members []partition.Partition
	for _, name := range []string{"partition-0", "partition-1", "partition-2"} {
		p := memory.New(name)
		n.Partitions = append(n.Partitions, p)
		members = append(members, p)
	}
	quiet := slog.New(slog.DiscardHandler)
	var err error
	n.Store, err = store.Open(store.Options{Partitions: members, Masters: masters, MaxValueBytes: MaxTestValue, Poll: 20 * time.Millisecond, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Store.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := n.Store.Close(); err != nil {
			t.Error(err)
		}
	})
	stored, err := file.New(n.Store, file.Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	o := api.Options{Store: n.Store, Files: stored, Node: "node-a", Version: "1.2.3", Logger: quiet}
	for _, f := range change {
		f(&o)
	}
	n.Server = api.New(o)
	n.serveSecurely(t)
	Eventually(t, "ready to write", func() bool { return n.Do(t, "GET", "/readyz?write", "").Code == 200 })
	return n
}

// Eventually waits for a condition, with a deadline.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never came true: %s", what)
		}
	}
}

// Do sends a request and checks the promises that hold for every answer. headers are pairs of name and value.
func (n *Node) Do(t testing.TB, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	return n.DoAt(t, "localhost", method, target, body, headers...)
}

// DoAt is do with a Host.
func (n *Node) DoAt(t testing.TB, host, method, target, body string, headers ...string) *httptest.ResponseRecorder {
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
	w := n.answer(t, r)
	checkAnswer(t, r, w)
	n.checkDescribed(t, r, w)
	return w
}

func checkAnswer(t testing.TB, r *http.Request, w *httptest.ResponseRecorder) {
	t.Helper()
	h := w.Header()
	if h.Get("X-Request-Id") == "" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cross-Origin-Resource-Policy") != "same-origin" ||
		h.Get("Content-Security-Policy") == "" && w.Code != http.StatusNotModified {
		t.Errorf("%s %s: %v lacks X-Request-Id or a field that protects browsers", r.Method, r.URL, h)
	}
}

// Put stores a value for each of the keys.
func (n *Node) Put(t *testing.T, keys ...string) {
	t.Helper()
	for _, k := range keys {
		if w := n.Do(t, "PUT", wire.Path(exchange.KeysPath, k), "value of "+k); w.Code/100 != 2 {
			t.Fatalf("PUT %s: %d %s", k, w.Code, w.Body)
		}
	}
}

// Level copies everything from the masters to the other partitions.
func (n *Node) Level(t *testing.T) {
	t.Helper()
	for _, origin := range n.Store.Origins() {
		for _, source := range n.Partitions {
			if source.Name() == string(origin) {
				n.levelWith(t, source)
			}
		}
	}
}

// levelWith copies everything from a master to the other partitions. The store may copy at the same time, for a write that waits for
// a majority.
func (n *Node) levelWith(t *testing.T, source *memory.Partition) {
	t.Helper()
	for _, p := range n.Partitions {
		if p == source {
			continue
		}
		err := copyAll(t.Context(), source, p)
		for errors.Is(err, partition.ErrPositionMoved) {
			err = copyAll(t.Context(), source, p)
		}
		if err != nil {
			t.Fatal(err)
		}
		at, err := p.Positions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n.Store.Observe(p.Name(), at)
	}
}

// copyAll copies from a master what a partition lacks.
func copyAll(ctx context.Context, source, p *memory.Partition) error {
	origin := partition.Origin(source.Name())
	at, err := p.Positions(ctx)
	if err != nil {
		return err
	}
	from := at.Origins[origin].Revision
	snap, err := source.Snapshot(ctx, origin, from)
	if err != nil {
		return err
	}
	defer snap.Close()
	head := snap.Position()
	c := partition.Copy{Origin: origin, From: from, To: head.Revision, Goal: head.Revision, SyncedAt: head.SyncedAt}
	for {
		more, err := snap.Next(ctx, 10_000, 1<<30)
		if errors.Is(err, io.EOF) {
			return p.Apply(ctx, c)
		}
		if err != nil {
			return err
		}
		c.Entries = append(c.Entries, more...)
	}
}

// Count is how many keys the node lists.
func Count(t *testing.T, n *Node) int {
	t.Helper()
	var page wire.KeyPage
	if err := json.Unmarshal(n.Do(t, "GET", "/v1/keys?limit=1000", "").Body.Bytes(), &page); err != nil {
		t.Fatal(err)
	}
	return len(page.Keys)
}
