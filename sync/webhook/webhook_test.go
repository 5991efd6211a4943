package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
	"github.com/runnelkv/runnel/test/certs"
)

var secret = []byte("0123456789abcdef")

func getSecret() []byte { return secret }

// receiver is an endpoint.
type receiver struct {
	t   *testing.T
	url string

	mu       sync.Mutex // guards the fields below
	answer   func(w http.ResponseWriter, r *http.Request) bool
	revision map[string]int64 // by key, as last received
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
	if got := r.Header.Get("Runnel-Signature"); err != nil || got != Sign(secret, time.Unix(at, 0), body) || time.Since(time.Unix(at, 0)) > time.Minute {
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

// openStore opens the store of a process over a database.
func openStore(t *testing.T, db *memory.Partition) *store.Store {
	t.Helper()
	s, err := store.Open(store.Options{Partitions: []partition.Partition{db.Reopen()}, Poll: 5 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { s.Run(ctx) })
	t.Cleanup(func() { cancel(); group.Wait(); s.Close() })
	waitUntil(t, "the master takes writes", func() bool { return s.Status().Writable() })
	return s
}

func waitUntil(t *testing.T, what string, holds func() bool) {
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

// startSender runs a sender until the returned function is called.
func startSender(t *testing.T, s Feed, url string) (*Sender, func()) {
	w := New(s, []Endpoint{{URL: url, Prefix: "a/", Secret: getSecret}}, Options{TTL: 300 * time.Millisecond,
		Timeout: time.Second, BackoffMin: 5 * time.Millisecond, BackoffMax: 20 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { w.Run(ctx) })
	end := func() { cancel(); group.Wait() }
	t.Cleanup(end)
	return w, end
}

func put(t *testing.T, s *store.Store, name string) store.Revision {
	t.Helper()
	w, err := s.Put(t.Context(), store.Entry{Key: store.User.Key(name), Value: []byte("v")})
	if err != nil {
		t.Fatal(err)
	}
	return w.Entry.Revision
}

func TestWebhooksAreToldWhatChanges(t *testing.T) {
	db, rc := memory.New("p0"), newReceiver(t)
	s := openStore(t, db)
	put(t, s, "a/before")
	w, _ := startSender(t, s, rc.url)
	waitUntil(t, "it sends", func() bool { return w.Status()[0].Active })
	put(t, s, "b/other")
	last := put(t, s, "a/1")
	waitUntil(t, "a/1 is told", func() bool { return rc.holds("a/1", last) })
	if !rc.holds("b/other", 0) || !rc.holds("a/before", 0) {
		t.Errorf("told of what it should not be: %v", rc.revision)
	}
}

// TestWebhooksSendAgainInOrder lets an endpoint reject requests, redirect, and close connections.
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
	s := openStore(t, db)
	w, _ := startSender(t, s, rc.url)
	waitUntil(t, "it sends", func() bool { return w.Status()[0].Active })
	last := map[string]store.Revision{}
	for i := range 300 {
		key := fmt.Sprintf("a/%d", i%7)
		last[key] = put(t, s, key)
	}
	for key, revision := range last {
		waitUntil(t, key+" is told", func() bool { return rc.holds(key, revision) })
	}
	waitUntil(t, "the requests are counted", func() bool { // after the endpoint has answered
		st := w.Status()[0]
		return st.Failed > 0 && st.Sent > 0
	})
}

// refusedFeed counts how often the lease was refused.
type refusedFeed struct {
	*store.Store
	refused atomic.Int64
}

func (f *refusedFeed) Update(ctx context.Context, keys []store.Key, o store.UpdateOptions, fn func(*store.Tx) error) error {
	err := f.Store.Update(ctx, keys, o, fn)
	if errors.Is(err, errLeaseHeld) || errors.Is(err, errReadOnly) {
		f.refused.Add(1)
	}
	return err
}

// TestOneProcessSendsAndAnotherTakesOver stops processes in turn while changes go
// on; in the end the endpoint knows the last state of each key.
func TestOneProcessSendsAndAnotherTakesOver(t *testing.T) {
	db, rc := memory.New("p0"), newReceiver(t)
	s1, s2 := openStore(t, db), openStore(t, db)
	w1, end1 := startSender(t, s1, rc.url)
	waitUntil(t, "the first sends", func() bool { return w1.Status()[0].Active })
	second := &refusedFeed{Store: s2}
	w2, _ := startSender(t, second, rc.url)
	last := map[string]store.Revision{}
	write := func(n int) {
		for i := range n {
			key := fmt.Sprintf("a/%d", i%50)
			last[key] = put(t, s2, key)
		}
	}
	write(300)
	waitUntil(t, "the second is refused thrice", func() bool {
		if w2.Status()[0].Active {
			t.Error("both send")
		}
		return second.refused.Load() >= 3
	})
	end1()
	write(300)
	waitUntil(t, "the second sends", func() bool { return w2.Status()[0].Active })
	for key, revision := range last {
		waitUntil(t, key+" is told", func() bool { return rc.holds(key, revision) })
	}
}

// startingFeed fails once, like the store of a process that has not reached a partition yet.
type startingFeed struct {
	*store.Store
	answers atomic.Bool
}

func (f *startingFeed) ChangesNow(ctx context.Context) (store.ChangeToken, error) {
	if !f.answers.Swap(true) {
		return store.ChangeToken{}, store.ErrMasterUnavailable
	}
	return f.Store.ChangesNow(ctx)
}

// TestWebhookIsTakenOverFromAnEndedProcessOfTheHost: also if the first attempt fails because the
// store is not reached yet. Otherwise nothing is sent until the old lease expires.
func TestWebhookIsTakenOverFromAnEndedProcessOfTheHost(t *testing.T) {
	s, rc := openStore(t, memory.New("p0")), newReceiver(t)
	w := New(&startingFeed{Store: s}, []Endpoint{{URL: rc.url, Prefix: "a/", Secret: getSecret}},
		Options{TTL: time.Hour, BackoffMin: 5 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	now, err := s.ChangesNow(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const noProcess = 1<<22 + 1 // above Linux's highest process number
	left, err := json.Marshal(progress{URL: rc.url, Prefix: "a/", Token: now.String(), Holder: fmt.Sprintf("%s-%d-A-B", host, noProcess),
		ExpiresAt: store.Instant(time.Now().Add(30 * time.Minute).UnixMicro())})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), store.Entry{Key: w.workers[0].key, Value: left}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { w.Run(ctx) })
	t.Cleanup(func() { cancel(); group.Wait() })
	revision := put(t, s, "a/1")
	waitUntil(t, "a/1 is told", func() bool { return rc.holds("a/1", revision) })
}

// TestAWebhookGoesOnWhereItStood restarts everything while the endpoint is down.
func TestAWebhookGoesOnWhereItStood(t *testing.T) {
	db, rc := memory.New("p0"), newReceiver(t)
	s := openStore(t, db)
	w, end := startSender(t, s, rc.url)
	waitUntil(t, "it sends", func() bool { return w.Status()[0].Active })
	first := put(t, s, "a/1")
	waitUntil(t, "a/1 is told", func() bool { return rc.holds("a/1", first) })
	rc.set(func(w http.ResponseWriter, r *http.Request) bool {
		http.Error(w, "away", http.StatusServiceUnavailable)
		return true
	})
	second := put(t, s, "a/2")
	tried := rc.count()
	waitUntil(t, "it tries", func() bool { return rc.count() > tried })
	end()
	rc.set(nil)
	startSender(t, openStore(t, db), rc.url)
	waitUntil(t, "a/2 is told", func() bool { return rc.holds("a/2", second) })
}

// TestAWebhookAwayForTooLongIsToldEverything collects deletions that were not sent to the
// endpoint.
func TestAWebhookAwayForTooLongIsToldEverything(t *testing.T) {
	db, rc := memory.New("p0"), newReceiver(t)
	s := openStore(t, db)
	w, end := startSender(t, s, rc.url)
	waitUntil(t, "it sends", func() bool { return w.Status()[0].Active })
	kept := put(t, s, "a/kept")
	waitUntil(t, "a/kept is told", func() bool { return rc.holds("a/kept", kept) })
	end()
	put(t, s, "a/later")
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
	_, end = startSender(t, openStore(t, db), rc.url) // a process that remembers nothing
	waitUntil(t, "a/kept is told again", func() bool { return rc.holds("a/kept", kept) })
	waitUntil(t, "the end of it is told", func() bool { return rc.resyncsEnded() == 1 })
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
	startSender(t, openStore(t, db), rc.url)
	waitUntil(t, "the end is told where nothing is left", func() bool { return rc.resyncsEnded() == 2 })
}

func (rc *receiver) resyncsEnded() int {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	return rc.ended
}

// TestAnIdleWebhookWritesNothing: the lease of an idle process expires, and another process
// acquires the lease only when there is something to send.
func TestAnIdleWebhookWritesNothing(t *testing.T) {
	db, rc := memory.New("p0"), newReceiver(t)
	first, second := openStore(t, db), &refusedFeed{Store: openStore(t, db)}
	w1, end1 := startSender(t, first, rc.url)
	waitUntil(t, "the first sends", func() bool { return w1.Status()[0].Active })
	w2, _ := startSender(t, second, rc.url)
	began, head := time.Now(), headOf(t, db)
	waitUntil(t, "three leases long", func() bool { return time.Since(began) > 3*300*time.Millisecond && second.refused.Load() >= 3 })
	if now := headOf(t, db); now != head || w2.Status()[0].Active {
		t.Errorf("idle, the store went from revision %d to %d", head, now)
	}
	told := put(t, first, "a/1")
	waitUntil(t, "a/1 is told", func() bool { return rc.holds("a/1", told) })
	end1()
	told = put(t, first, "a/2")
	waitUntil(t, "a/2 is told by the second", func() bool { return rc.holds("a/2", told) && w2.Status()[0].Active })
}

func headOf(t *testing.T, db *memory.Partition) store.Revision {
	t.Helper()
	at, err := db.Positions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return at.Origins["p0"].Revision
}

// TestEndpointsProveTheirNames: a webhook with authorities of its own accepts no other endpoint.
func TestEndpointsProveTheirNames(t *testing.T) {
	ca, foreign := certs.NewAuthority(t), certs.NewAuthority(t)
	var requests atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Issue(t, certs.Names{}).Load(t)}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	for name, c := range map[string]struct {
		pool *x509.CertPool
		want int64
	}{"its authority": {ca.Pool, 1}, "a foreign authority": {foreign.Pool, 0}, "the system's": {nil, 0}} {
		requests.Store(0)
		s := New(nil, []Endpoint{{URL: server.URL, Secret: getSecret, Authorities: func() *x509.CertPool { return c.pool }}}, Options{Timeout: 10 * time.Second})
		err := s.workers[0].post(t.Context(), []byte("{}"))
		s.workers[0].client.CloseIdleConnections()
		if (err == nil) != (c.want == 1) || requests.Load() != c.want {
			t.Errorf("%s: %v, %d requests", name, err, requests.Load())
		}
	}
}

// TestEndpointsAuthoritiesChangeBetweenRequests: also a connection that is open ends with its authority.
func TestEndpointsAuthoritiesChangeBetweenRequests(t *testing.T) {
	ca, foreign := certs.NewAuthority(t), certs.NewAuthority(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Issue(t, certs.Names{}).Load(t)}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	pool := ca.Pool
	s := New(nil, []Endpoint{{URL: server.URL, Secret: getSecret, Authorities: func() *x509.CertPool { return pool }}}, Options{Timeout: 10 * time.Second})
	t.Cleanup(func() { s.workers[0].client.CloseIdleConnections() })
	for i, now := range []*x509.CertPool{ca.Pool, foreign.Pool, ca.Pool} {
		pool = now
		if err := s.workers[0].post(t.Context(), []byte("{}")); (err == nil) != (now == ca.Pool) {
			t.Errorf("request %d: %v", i, err)
		}
	}
	client := s.workers[0].client
	if pool = pool.Clone(); s.workers[0].post(t.Context(), []byte("{}")) != nil || s.workers[0].client != client {
		t.Error("the same authorities, read again, end the connections")
	}
}

// TestSecretChangesBetweenRequests: each request is signed with the secret of its time.
func TestSecretChangesBetweenRequests(t *testing.T) {
	var signature string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { signature = r.Header.Get("Runnel-Signature") }))
	t.Cleanup(server.Close)
	now := "the first secret"
	s := New(nil, []Endpoint{{URL: server.URL, Secret: func() []byte { return []byte(now) }}}, Options{Timeout: 10 * time.Second})
	t.Cleanup(func() { s.workers[0].client.CloseIdleConnections() })
	for _, now = range []string{"the first secret", "the second secret"} {
		if err := s.workers[0].post(t.Context(), []byte("{}")); err != nil {
			t.Fatal(err)
		}
		seconds, _, _ := strings.Cut(strings.TrimPrefix(signature, "t="), ",")
		at, err := strconv.ParseInt(seconds, 10, 64)
		if want := Sign([]byte(now), time.Unix(at, 0), []byte("{}")); err != nil || signature != want {
			t.Errorf("signed %q, want %q", signature, want)
		}
	}
}
