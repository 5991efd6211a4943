package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

var hookSecret = []byte("0123456789abcdef")

// receiver is an address that is told what changes.
type receiver struct {
	t   *testing.T
	url string

	mu       sync.Mutex // guards the fields below
	answer   func(w http.ResponseWriter, r *http.Request) bool
	revision map[string]int64 // by key, as told last
	taken    int
	requests int
	resyncs  int
	ended    int // resyncs
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{t: t, revision: map[string]int64{}}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.url = server.URL + "/hook"
	return r
}

func (rc *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the sender was stopped
	}
	rc.mu.Lock()
	defer rc.mu.Unlock()
	rc.requests++
	if rc.answer != nil && rc.answer(w, r) {
		return
	}
	seconds, _, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Runnel-Signature"), "t="), ",")
	at, err := strconv.ParseInt(seconds, 10, 64)
	if got := r.Header.Get("Runnel-Signature"); err != nil || got != Sign(hookSecret, time.Unix(at, 0), body) || time.Since(time.Unix(at, 0)) > time.Minute {
		rc.t.Errorf("signature %q of %s", got, body)
	}
	var d delivery
	if err := json.Unmarshal(body, &d); err != nil || r.Method != "POST" || r.Header.Get("Runnel-Delivery") == "" {
		rc.t.Errorf("%s %s: %v", r.Method, body, err)
	}
	if d.Resync {
		rc.resyncs++
	}
	if !d.Resync && len(d.Changes) == 0 {
		rc.ended++
	}
	for _, c := range d.Changes {
		if c.Revision < rc.revision[c.Key] {
			rc.t.Errorf("%s: %d after %d", c.Key, c.Revision, rc.revision[c.Key])
		}
		rc.revision[c.Key] = c.Revision
		rc.taken++
	}
}

func (rc *receiver) holds(key string, revision store.Revision) bool {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	return rc.revision[key] == int64(revision)
}

func (rc *receiver) set(answer func(w http.ResponseWriter, r *http.Request) bool) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	rc.answer = answer
}

func (rc *receiver) count() int {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	return rc.requests
}

// hookStore is a store of one process over a database.
func hookStore(t *testing.T, db *memory.Partition) *store.Store {
	t.Helper()
	s, err := store.Open(store.Options{Partitions: []partition.Partition{db.Reopen()}, Poll: 5 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { s.Run(ctx) })
	t.Cleanup(func() { cancel(); group.Wait(); s.Close() })
	hookUntil(t, "the master takes writes", func() bool { return s.Status().Writable() })
	return s
}

func hookUntil(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("not within 20 s: %s", what)
		case <-tick.C:
		}
	}
}

// startHooks runs webhooks until the returned function is called.
func startHooks(t *testing.T, s Feed, url string) (*Webhooks, func()) {
	w := NewWebhooks(s, []Webhook{{URL: url, Prefix: "a/", Secret: hookSecret}}, WebhookOptions{TTL: 300 * time.Millisecond,
		Timeout: time.Second, BackoffMin: 5 * time.Millisecond, BackoffMax: 20 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { w.Run(ctx) })
	end := func() { cancel(); group.Wait() }
	t.Cleanup(end)
	return w, end
}

func hookPut(t *testing.T, s *store.Store, name string) store.Revision {
	t.Helper()
	w, err := s.Put(t.Context(), store.Entry{Key: store.User.Key(name), Value: []byte("v")})
	if err != nil {
		t.Fatal(err)
	}
	return w.Entry.Revision
}

func TestWebhooksAreToldWhatChanges(t *testing.T) {
	db, rc := memory.New("p0"), newReceiver(t)
	s := hookStore(t, db)
	hookPut(t, s, "a/before")
	w, _ := startHooks(t, s, rc.url)
	hookUntil(t, "it sends", func() bool { return w.Status()[0].Active })
	hookPut(t, s, "b/other")
	last := hookPut(t, s, "a/1")
	hookUntil(t, "a/1 is told", func() bool { return rc.holds("a/1", last) })
	if !rc.holds("b/other", 0) || !rc.holds("a/before", 0) {
		t.Errorf("told of what it should not be: %v", rc.revision)
	}
}

// TestWebhooksSendAgainInOrder has an address refuse, redirect and break off.
func TestWebhooksSendAgainInOrder(t *testing.T) {
	db, rc := memory.New("p0"), newReceiver(t)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	defer elsewhere.Close()
	n := 0
	rc.set(func(w http.ResponseWriter, r *http.Request) bool {
		switch n++; n % 5 {
		case 1:
			http.Error(w, "no", 500)
		case 2:
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		case 3:
			http.Error(w, "gone", http.StatusGone)
		case 4:
			panic(http.ErrAbortHandler)
		default:
			return false
		}
		return true
	})
	s := hookStore(t, db)
	w, _ := startHooks(t, s, rc.url)
	hookUntil(t, "it sends", func() bool { return w.Status()[0].Active })
	last := map[string]store.Revision{}
	for i := range 300 {
		key := fmt.Sprintf("a/%d", i%7)
		last[key] = hookPut(t, s, key)
	}
	for key, revision := range last {
		hookUntil(t, key+" is told", func() bool { return rc.holds(key, revision) })
	}
	if st := w.Status()[0]; st.Failed == 0 || st.Sent == 0 {
		t.Errorf("%+v", st)
	}
}

// refusedFeed counts how often the lease was refused.
type refusedFeed struct {
	*store.Store
	refused atomic.Int64
}

func (f *refusedFeed) Update(ctx context.Context, keys []store.Key, o store.UpdateOptions, fn func(*store.Tx) error) error {
	err := f.Store.Update(ctx, keys, o, fn)
	if errors.Is(err, errHookHeld) || errors.Is(err, errHookRead) {
		f.refused.Add(1)
	}
	return err
}

// TestOneProcessSendsAndAnotherTakesOver stops processes in turn while changes go
// on; in the end the address has been told the last state of each key.
func TestOneProcessSendsAndAnotherTakesOver(t *testing.T) {
	db, rc := memory.New("p0"), newReceiver(t)
	s1, s2 := hookStore(t, db), hookStore(t, db)
	w1, end1 := startHooks(t, s1, rc.url)
	hookUntil(t, "the first sends", func() bool { return w1.Status()[0].Active })
	second := &refusedFeed{Store: s2}
	w2, _ := startHooks(t, second, rc.url)
	last := map[string]store.Revision{}
	write := func(n int) {
		for i := range n {
			key := fmt.Sprintf("a/%d", i%50)
			last[key] = hookPut(t, s2, key)
		}
	}
	write(300)
	hookUntil(t, "the second is refused thrice", func() bool {
		if w2.Status()[0].Active {
			t.Error("both send")
		}
		return second.refused.Load() >= 3
	})
	end1()
	write(300)
	hookUntil(t, "the second sends", func() bool { return w2.Status()[0].Active })
	for key, revision := range last {
		hookUntil(t, key+" is told", func() bool { return rc.holds(key, revision) })
	}
}

// TestAWebhookGoesOnWhereItStood restarts everything while the address is away.
func TestAWebhookGoesOnWhereItStood(t *testing.T) {
	db, rc := memory.New("p0"), newReceiver(t)
	s := hookStore(t, db)
	w, end := startHooks(t, s, rc.url)
	hookUntil(t, "it sends", func() bool { return w.Status()[0].Active })
	first := hookPut(t, s, "a/1")
	hookUntil(t, "a/1 is told", func() bool { return rc.holds("a/1", first) })
	rc.set(func(w http.ResponseWriter, r *http.Request) bool {
		http.Error(w, "away", http.StatusServiceUnavailable)
		return true
	})
	second := hookPut(t, s, "a/2")
	tried := rc.count()
	hookUntil(t, "it tries", func() bool { return rc.count() > tried })
	end()
	rc.set(nil)
	startHooks(t, hookStore(t, db), rc.url)
	hookUntil(t, "a/2 is told", func() bool { return rc.holds("a/2", second) })
}

// TestAWebhookAwayForTooLongIsToldEverything collects deletions that an address
// has not been told of.
func TestAWebhookAwayForTooLongIsToldEverything(t *testing.T) {
	db, rc := memory.New("p0"), newReceiver(t)
	s := hookStore(t, db)
	w, end := startHooks(t, s, rc.url)
	hookUntil(t, "it sends", func() bool { return w.Status()[0].Active })
	kept := hookPut(t, s, "a/kept")
	hookUntil(t, "a/kept is told", func() bool { return rc.holds("a/kept", kept) })
	end()
	hookPut(t, s, "a/later")
	at, err := db.Positions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Collect(t.Context(), "p0", at.Origins["p0"].Revision); err != nil {
		t.Fatal(err)
	}
	rc.mu.Lock()
	rc.revision = map[string]int64{}
	rc.mu.Unlock()
	_, end = startHooks(t, hookStore(t, db), rc.url) // a process that remembers nothing
	hookUntil(t, "a/kept is told again", func() bool { return rc.holds("a/kept", kept) })
	hookUntil(t, "the end of it is told", func() bool { return rc.resyncsEnded() == 1 })
	end()
	rc.mu.Lock()
	if rc.resyncs == 0 {
		t.Error("the address does not know that it was told everything")
	}
	rc.mu.Unlock()

	for _, name := range []string{"a/kept", "a/later"} {
		err := s.Update(t.Context(), []store.Key{store.User.Key(name)}, store.UpdateOptions{}, func(v *store.Tx) error {
			v.Delete(store.User.Key(name))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if at, err = db.Positions(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Collect(t.Context(), "p0", at.Origins["p0"].Revision); err != nil {
		t.Fatal(err)
	}
	startHooks(t, hookStore(t, db), rc.url)
	hookUntil(t, "the end is told where nothing is left", func() bool { return rc.resyncsEnded() == 2 })
}

func (rc *receiver) resyncsEnded() int {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	return rc.ended
}

// TestAnIdleWebhookWritesNothing: its lease expires, and another process leaves it alone
// until there is something to send.
func TestAnIdleWebhookWritesNothing(t *testing.T) {
	db, rc := memory.New("p0"), newReceiver(t)
	first, second := hookStore(t, db), &refusedFeed{Store: hookStore(t, db)}
	w1, end1 := startHooks(t, first, rc.url)
	hookUntil(t, "the first sends", func() bool { return w1.Status()[0].Active })
	w2, _ := startHooks(t, second, rc.url)
	began, head := time.Now(), hookHead(t, db)
	hookUntil(t, "three leases long", func() bool { return time.Since(began) > 3*300*time.Millisecond && second.refused.Load() >= 3 })
	if now := hookHead(t, db); now != head || w2.Status()[0].Active {
		t.Errorf("idle, the store went from revision %d to %d", head, now)
	}
	told := hookPut(t, first, "a/1")
	hookUntil(t, "a/1 is told", func() bool { return rc.holds("a/1", told) })
	end1()
	told = hookPut(t, first, "a/2")
	hookUntil(t, "a/2 is told by the second", func() bool { return rc.holds("a/2", told) && w2.Status()[0].Active })
}

func hookHead(t *testing.T, db *memory.Partition) store.Revision {
	t.Helper()
	at, err := db.Positions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return at.Origins["p0"].Revision
}
