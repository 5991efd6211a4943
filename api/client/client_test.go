package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// startServer serves the API over one partition in memory, and returns the server and a function that stops it.
func startServer() (*httptest.Server, func()) {
	quiet := slog.New(slog.DiscardHandler)
	s, err := store.Open(store.Options{Partitions: []partition.Partition{memory.New("partition-0")}, Poll: 20 * time.Millisecond, Logger: quiet})
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	handler := api.New(api.Options{Store: s, Logger: quiet})
	server := httptest.NewServer(handler)
	for {
		resp, err := http.Get(server.URL + "/readyz?write")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				break
			}
		}
		time.Sleep(time.Millisecond)
	}
	return server, func() {
		handler.Drain() // ends streams
		server.Close()
		cancel()
		<-done
		s.Close()
	}
}

// newClient returns a client of a new server, and a transport that tests may break.
func newClient(t *testing.T, o client.Options) *client.Client {
	t.Helper()
	server, stop := startServer()
	t.Cleanup(stop)
	c, err := client.New(server.URL, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestKeysOfEveryFormAreStoredAndRead(t *testing.T) {
	c, ctx := newClient(t, client.Options{}), t.Context()
	for _, key := range []string{"plain", "a//b", "../x", "100%", "%2F", " ", "?a#b", "日本語/", "."} {
		value := []byte("v\x00\xff" + key)
		put, err := c.Put(ctx, key, value, client.PutOptions{ContentType: "text/plain", TTL: time.Hour, Metadata: map[string]string{"Colour": "red"}})
		if err != nil || put.ETag == "" || put.Revision == 0 {
			t.Fatalf("put %q: %+v, %v", key, put, err)
		}
		e, err := c.Get(ctx, key, client.ReadOptions{Consistency: client.Master})
		if err != nil || e.Key != key || string(e.Value) != string(value) || e.ETag != put.ETag || e.Size != int64(len(value)) ||
			e.Metadata["colour"] != "red" || e.ContentType != "text/plain" || time.Until(e.ExpiresAt) > time.Hour || e.ExpiresAt.IsZero() {
			t.Fatalf("get %q: %+v, %v", key, e, err)
		}
		v, err := c.Open(ctx, key, client.ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(v)
		v.Close()
		if err != nil || string(got) != string(value) || v.ETag != put.ETag || v.Size != int64(len(value)) {
			t.Fatalf("open %q: %q %+v, %v", key, got, v, err)
		}
		if touched, err := c.Touch(ctx, key, time.Minute, client.Conditions{IfMatch: put.ETag}); err != nil || touched.ETag == put.ETag {
			t.Fatalf("touch %q: %+v, %v", key, touched, err)
		}
		if err := c.Delete(ctx, key, client.Conditions{}); err != nil {
			t.Fatalf("delete %q: %v", key, err)
		}
		if _, err := c.Get(ctx, key, client.ReadOptions{}); !errors.Is(err, client.ErrNotFound) {
			t.Fatalf("get %q after its delete: %v", key, err)
		}
	}
}

func TestErrorsBelongToTheirClasses(t *testing.T) {
	c, ctx := newClient(t, client.Options{}), t.Context()
	if _, err := c.Put(ctx, "k", nil, client.PutOptions{If: client.Conditions{IfNoneMatch: "*"}}); err != nil {
		t.Fatal(err)
	}
	_, err := c.Put(ctx, "k", nil, client.PutOptions{If: client.Conditions{IfNoneMatch: "*"}})
	e, ok := errors.AsType[*client.Error](err)
	if !errors.Is(err, client.ErrPreconditionFailed) || errors.Is(err, client.ErrServer) || !ok || e.Slug() != "precondition-failed" || e.Request == "" {
		t.Errorf("%#v", err)
	}
	if _, err := c.Put(ctx, "k", nil, client.PutOptions{ContentType: "a\nb"}); !errors.Is(err, client.ErrInvalid) {
		t.Errorf("a line break in a header: %v", err)
	}
	for _, err := range c.DeletePrefix(ctx, "") {
		if !errors.Is(err, client.ErrInvalid) {
			t.Errorf("delete without a prefix: %v", err)
		}
	}
	for _, server := range []string{"localhost:8080", "ftp://h", "http://", "http://h?q", "http://u:secret@h#f"} {
		if _, err := client.New(server, client.Options{}); !errors.Is(err, client.ErrInvalid) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", server, err)
		}
	}
	for _, err := range c.Watch(ctx, client.WatchOptions{Since: "no token"}) {
		if err == nil || errors.Is(err, client.ErrServer) {
			t.Errorf("watch since no token: %v", err)
		}
	}
}

func TestListsAndDeletionsGoOverEveryKey(t *testing.T) {
	c, ctx := newClient(t, client.Options{Session: client.NewSession("")}), t.Context()
	var operations []client.Operation
	for i := range 2345 {
		operations = append(operations, client.PutOp(fmt.Sprintf("d%d/k%04d", i%3, i), []byte{byte(i)}, client.PutOptions{}))
	}
	results, err := c.Batch(ctx, operations, client.ReadOptions{})
	if err != nil || len(results) != len(operations) {
		t.Fatalf("%d results, %v", len(results), err)
	}
	for i, r := range results {
		if r.Err != nil || r.Status != 201 || r.ETag == "" || r.Revision == 0 {
			t.Fatalf("operation %d: %+v", i, r)
		}
	}
	for _, tt := range []struct {
		o    client.ListOptions
		want int
	}{
		{client.ListOptions{}, 2345}, {client.ListOptions{Limit: 1500}, 1500}, {client.ListOptions{Prefix: "d1/", Values: true}, 782},
		{client.ListOptions{Delimiter: "/"}, 3}, {client.ListOptions{Prefix: "d0/", After: "d0/k1000"}, 448},
		{client.ListOptions{Prefix: "d0/", After: "d0/k1000", Limit: 7}, 7}, {client.ListOptions{After: "x"}, 0},
	} {
		n, last := 0, ""
		for item, err := range c.List(ctx, tt.o) {
			if err != nil {
				t.Fatal(err)
			}
			if item.Key <= last || item.IsPrefix() != (tt.o.Delimiter != "") {
				t.Fatalf("%+v: %q behind %q", tt.o, item.Key, last)
			}
			if e, err := item.Entry(); !item.IsPrefix() && (err != nil || e.Key != item.Key || (e.Value != nil) != tt.o.Values) {
				t.Fatalf("%+v: %+v, %v", tt.o, e, err)
			}
			n, last = n+1, item.Key
		}
		if n != tt.want {
			t.Errorf("%+v: %d items, want %d", tt.o, n, tt.want)
		}
	}
	var steps []int64
	for n, err := range c.DeletePrefix(ctx, "d") {
		if err != nil {
			t.Fatal(err)
		}
		steps = append(steps, n)
	}
	if !slices.Equal(steps, []int64{1000, 1000, 345}) {
		t.Errorf("deleted %v", steps)
	}
}

func TestBatchAndTransactionResults(t *testing.T) {
	c, ctx := newClient(t, client.Options{}), t.Context()
	results, err := c.Batch(ctx, []client.Operation{
		client.PutOp("a", []byte("\xff"), client.PutOptions{Metadata: map[string]string{"x": "y"}, TTL: time.Hour}),
		client.GetOp("a"),
		client.PutOp("a", nil, client.PutOptions{If: client.Conditions{IfNoneMatch: "*"}}),
		client.DeleteOp("b", client.Conditions{}),
	}, client.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if e := results[1].Entry; results[0].Err != nil || e == nil || string(e.Value) != "\xff" || e.Metadata["x"] != "y" || e.ExpiresAt.IsZero() {
		t.Errorf("%+v, then %+v", results[0], results[1])
	}
	if !errors.Is(results[2].Err, client.ErrPreconditionFailed) || !errors.Is(results[3].Err, client.ErrNotFound) {
		t.Errorf("%v, then %v", results[2].Err, results[3].Err)
	}
	txn := client.Txn{
		If:   []client.TxnCondition{{Key: "a", ETag: results[0].ETag}, {Key: "b", Absent: true}},
		Then: []client.Operation{client.PutOp("b", []byte("2"), client.PutOptions{}), client.GetOp("b")},
		Else: []client.Operation{client.DeleteOp("a", client.Conditions{})},
	}
	r, err := c.Txn(ctx, txn)
	if err != nil || !r.Succeeded || len(r.Results) != 2 || string(r.Results[1].Entry.Value) != "2" {
		t.Fatalf("%+v, %v", r, err)
	}
	if r, err = c.Txn(ctx, txn); err != nil || r.Succeeded || len(r.Results) != 1 || r.Results[0].Err != nil {
		t.Fatalf("%+v, %v", r, err)
	}
}

// TestBatchRepeatsInTheOrderOfAKey: when one of several puts of a key fails for the moment, the later ones are
// repeated behind it.
func TestBatchRepeatsInTheOrderOfAKey(t *testing.T) {
	var bodies []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies = append(bodies, string(body))
		w.Header().Set("Content-Type", "application/x-ndjson")
		for i := range strings.Count(string(body), "\n") {
			if len(bodies) == 1 && i == 1 {
				fmt.Fprintf(w, `{"index":%d,"status":503,"problem":{"type":"/problems/master-unavailable"}}`+"\n", i)
				continue
			}
			fmt.Fprintf(w, `{"index":%d,"status":204}`+"\n", i)
		}
	}))
	defer server.Close()
	c, err := client.New(server.URL, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	put := func(key, value string) client.Operation {
		return client.PutOp(key, []byte(value), client.PutOptions{})
	}
	results, err := c.Batch(t.Context(), []client.Operation{put("b", "0"), put("a", "1"), put("b", "2"), put("a", "3")}, client.ReadOptions{})
	if err != nil || results[1].Err != nil {
		t.Fatalf("%+v, %v", results, err)
	}
	if want := `{"op":"put","key":"a","value":"1"}` + "\n" + `{"op":"put","key":"a","value":"3"}` + "\n"; len(bodies) != 2 || bodies[1] != want {
		t.Errorf("sent %q", bodies)
	}
}

// breaker lets each response break off after so many bytes, while it is positive.
type breaker struct{ after atomic.Int64 }

func (b *breaker) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if n := b.after.Load(); err == nil && n > 0 {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(io.LimitReader(resp.Body, n), iotest.ErrReader(io.ErrUnexpectedEOF)), resp.Body}
	}
	return resp, err
}

func TestWatchContinuesAfterLostConnections(t *testing.T) {
	b := &breaker{}
	c := newClient(t, client.Options{Transport: b})
	for i := range 20 {
		if _, err := c.Put(t.Context(), fmt.Sprintf("k%02d", i), []byte("v"), client.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	b.after.Store(1500)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen, broken := map[string]bool{}, 0
	o := client.WatchOptions{Values: true, OnReconnect: func(error) { broken++ }}
	for change, err := range c.Watch(ctx, o) {
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			break
		}
		if change.Key == "" {
			continue
		}
		if e, err := change.Entry(); err != nil || string(e.Value) != "v" || change.Revision == 0 {
			t.Errorf("%+v, %v", change, err)
		}
		if seen[change.Key] = true; len(seen) == 20 {
			cancel()
		}
	}
	if len(seen) != 20 || broken == 0 {
		t.Errorf("%d of 20 keys over %d broken connections", len(seen), broken)
	}
}

func TestSessionCoversStreamsToTheirTrailer(t *testing.T) {
	session := client.NewSession("")
	c, ctx := newClient(t, client.Options{Session: session}), t.Context()
	tokens := map[string]bool{"": true}
	moved := func(what string) {
		t.Helper()
		if tokens[session.Token()] {
			t.Errorf("%s left the session as it was", what)
		}
		tokens[session.Token()] = true
	}
	if _, err := c.Put(ctx, "a", nil, client.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	moved("a put")
	if _, err := c.Batch(ctx, []client.Operation{client.PutOp("b", nil, client.PutOptions{}), client.PutOp("c", nil, client.PutOptions{})}, client.ReadOptions{}); err != nil {
		t.Fatal(err)
	}
	moved("a batch")
	other := c.WithSession(nil)
	if _, err := other.Put(ctx, "d", nil, client.PutOptions{}); err != nil || c.Server() != other.Server() {
		t.Fatal(err)
	}
	if !tokens[session.Token()] {
		t.Error("a client without the session moved it")
	}
	for _, err := range c.List(ctx, client.ListOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	moved("a streamed list")
	if err := session.Update("s2-not-a-token"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(ctx, "a", client.ReadOptions{}); err == nil {
		t.Error("the session's token is not sent")
	}
}

func TestStatusNamesThePartition(t *testing.T) {
	c := newClient(t, client.Options{})
	s, err := c.Status(t.Context())
	if err != nil || len(s.Partitions) != 1 || s.Partitions[0].Name != "partition-0" || !client.Healthy(s.Partitions[0]) || len(s.Raw) == 0 {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := c.Sync(t.Context()); statusOf(err) != http.StatusServiceUnavailable {
		t.Errorf("a pass where no sync process runs: %v", err)
	}
}

func statusOf(err error) int {
	if e, ok := errors.AsType[*client.Error](err); ok {
		return e.Status
	}
	return 0
}
