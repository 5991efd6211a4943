package exchange_test

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// TestAnswersCarryTheSession: the session of each answer contains the request's session and what the request read or
// wrote.
func TestAnswersCarryTheSession(t *testing.T) {
	n := apitest.New(t)
	var session store.Vector
	step := func(method, target, body string, status int, headers ...string) {
		t.Helper()
		token := session.Token(store.SessionToken, n.Store.Tag())
		w := n.Do(t, method, target, body, append(headers, "Runnel-Session", token)...)
		got, _, err := store.ParseToken(store.SessionToken, w.Header().Get("Runnel-Session"))
		if w.Code != status || err != nil || len(w.Header()["Runnel-Session"]) != 1 {
			t.Fatalf("%s %s: %d %s, session %q: %v", method, target, w.Code, w.Body, w.Header()["Runnel-Session"], err)
		}
		if !got.Covers(session) {
			t.Errorf("%s %s: the session went from %v to %v", method, target, session, got)
		}
		if wrote := method != "GET" && method != "HEAD" && status < 300; wrote && got.Equal(session) {
			t.Errorf("%s %s: the session does not hold what was written", method, target)
		}
		session = got
	}
	step("GET", "/v1/keys/a", "", 404)
	if !session.IsZero() {
		t.Errorf("nothing was seen, and the session is %v", session)
	}
	step("PUT", "/v1/keys/a", "1", 201)
	step("PUT", "/v1/keys/a", "2", 204)
	step("PUT", "/v1/keys/a", "3", 204, "If-Match", "*")
	step("POST", "/v1/keys", "1", 201)
	step("POST", "/v1/txn", `{"then":[{"op":"put","key":"b","value":"1"}]}`, 200)
	written := session
	step("GET", "/v1/keys/a", "", 200)
	step("GET", "/v1/keys/a", "", 200, "Accept", "application/json")
	step("HEAD", "/v1/keys/a", "", 200)
	step("GET", "/v1/keys/a", "", 304, "If-None-Match", "*")
	step("GET", "/v1/keys", "", 200)
	step("GET", "/v1/keys", "", 200, "Accept", "application/x-ndjson")
	if !session.Equal(written) {
		t.Errorf("reads made %v of %v, though nothing was written", session, written)
	}
	session = store.Vector{}
	step("GET", "/v1/keys/a", "", 200)
	if session.IsZero() {
		t.Error("the session does not hold what was read")
	}
	step("DELETE", "/v1/keys/a", "", 204)
	step("DELETE", "/v1/keys?prefix=b", "", 200)
	session = store.Vector{}
	step("GET", "/v1/keys/a", "", 404)
	if session.IsZero() {
		t.Error("the session does not hold the tombstone that was read")
	}
}

// TestSessionOfAnotherClusterIsRefused: the other cluster has partitions of the same names, but its revisions mean
// nothing here.
func TestSessionOfAnotherClusterIsRefused(t *testing.T) {
	n, other := apitest.New(t), apitest.New(t)
	token := other.Do(t, "PUT", "/v1/keys/a", "1").Header().Get("Runnel-Session")
	n.Do(t, "PUT", "/v1/keys/a", "1")
	for _, c := range []struct{ method, target, body string }{
		{"GET", "/v1/keys/a", ""}, {"GET", "/v1/keys", ""}, {"PUT", "/v1/keys/a", "2"}, {"DELETE", "/v1/keys/a", ""},
		{"POST", "/v1/keys", "2"}, {"POST", "/v1/batch", "[]"}, {"POST", "/v1/txn", "{}"}, {"DELETE", "/v1/keys?prefix=a", ""},
	} {
		w := n.Do(t, c.method, c.target, c.body, "Runnel-Session", token, "Content-Type", "application/json")
		var p wire.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != 410 || p.Type != "/problems/session-lost" || !strings.Contains(string(p.Detail), "another cluster. Drop it") {
			t.Errorf("%s %s: %d %s", c.method, c.target, w.Code, w.Body)
		}
	}
	if w := n.Do(t, "GET", "/v1/keys/a", ""); w.Code != 200 || w.Body.String() != "1" {
		t.Errorf("afterwards: %d %s", w.Code, w.Body)
	}
}

// TestSessionOfUndoneWritesIsRefused: after a restore began a new epoch, a session with undone writes is refused.
// Browsers cannot drop a session and start a new session.
func TestSessionOfUndoneWritesIsRefused(t *testing.T) {
	n := apitest.New(t)
	kept, _, err := store.ParseToken(store.SessionToken, n.Do(t, "PUT", "/v1/keys/a", "1").Header().Get("Runnel-Session"))
	if err != nil {
		t.Fatal(err)
	}
	var parts []partition.Partition
	for _, p := range n.Partitions {
		parts = append(parts, p.Reopen())
	}
	operator, err := store.Open(store.Options{Partitions: parts})
	if err != nil {
		t.Fatal(err)
	}
	defer operator.Close()
	done, err := operator.Restore(t.Context(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	lost := store.VectorOf(store.Mark{Origin: done.Ends[0].Origin, Revision: done.Ends[0].Cut + 1}).Token(store.SessionToken, n.Store.Tag())
	deadline := time.Now().Add(10 * time.Second)
	for n.Do(t, "PUT", "/v1/keys/a", "2").Code != 204 {
		if time.Now().After(deadline) {
			t.Fatal("no writes in the new epoch")
		}
	}
	for _, c := range []struct{ method, target, body string }{
		{"GET", "/v1/keys/a", ""}, {"GET", "/v1/keys", ""}, {"PUT", "/v1/keys/a", "2"}, {"POST", "/v1/batch", "[]"},
	} {
		w := n.Do(t, c.method, c.target, c.body, "Runnel-Session", lost, "Content-Type", "application/json")
		if w.Code != 410 || !strings.Contains(w.Body.String(), "/problems/session-lost") {
			t.Errorf("%s %s: %d %s", c.method, c.target, w.Code, w.Body)
		}
	}
	if w := n.Do(t, "GET", "/v1/keys/a", "", "Runnel-Session", kept.Token(store.SessionToken, n.Store.Tag())); w.Code != 200 {
		t.Errorf("a session of what counts: %d %s", w.Code, w.Body)
	}
	if w := n.Do(t, "GET", "/v1/keys/a", "", "Accept", "text/html", "Cookie", "Runnel-Session="+lost); w.Code != 200 {
		t.Errorf("as a cookie: %d %s", w.Code, w.Body)
	}
}

// TestNoSessionIsGivenBeforeTheClusterIsKnown: such a token would name no cluster and be refused later. A token of this
// kind counts as absent.
func TestNoSessionIsGivenBeforeTheClusterIsKnown(t *testing.T) {
	n := apitest.New(t)
	token := n.Do(t, "PUT", "/v1/keys/a", "1").Header().Get("Runnel-Session")
	parts := []partition.Partition{memory.New("partition-0")}
	unknown, err := store.Open(store.Options{Partitions: parts}) // and not connected
	if err != nil {
		t.Fatal(err)
	}
	defer unknown.Close()
	s := api.New(api.Options{Store: unknown})
	for _, contentType := range []string{"application/json", "application/x-ndjson"} {
		r := httptest.NewRequest("POST", "/v1/batch", strings.NewReader(`{"op":"get","key":"a"}`))
		if contentType == "application/json" {
			r = httptest.NewRequest("POST", "/v1/batch", strings.NewReader(`[{"op":"get","key":"a"}]`))
		}
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Runnel-Session", token)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != 200 || w.Result().Header.Get("Runnel-Session") != "" || w.Result().Trailer.Get("Runnel-Session") != "" {
			t.Errorf("%s: %d %v %v", contentType, w.Code, w.Result().Header, w.Result().Trailer)
		}
	}
	v, _, err := store.ParseToken(store.SessionToken, token)
	if err != nil {
		t.Fatal(err)
	}
	if w := n.Do(t, "GET", "/v1/keys/a", "", "Runnel-Session", v.Token(store.SessionToken, 0)); w.Code != 200 {
		t.Errorf("a token of no cluster: %d %s", w.Code, w.Body)
	}
}

// TestSessionReadsItsOwnWrites: with sync stopped, a session reads its own writes from the master, and gets the problem
// session-unavailable without the master.
func TestSessionReadsItsOwnWrites(t *testing.T) {
	n := apitest.New(t)
	n.Do(t, "PUT", "/v1/keys/a", "1")
	n.Level(t)
	token := n.Do(t, "PUT", "/v1/keys/a", "2").Header().Get("Runnel-Session")
	batch := `[{"op":"get","key":"a"}]`
	for range 10 {
		if w := n.Do(t, "GET", "/v1/keys/a", "", "Runnel-Session", token); w.Code != 200 || w.Body.String() != "2" || w.Header().Get("Runnel-Partition") != "partition-0" {
			t.Fatalf("%d %s from %s", w.Code, w.Body, w.Header().Get("Runnel-Partition"))
		}
		var done struct{ Results []struct{ Value string } }
		w := n.Do(t, "POST", "/v1/batch", batch, "Content-Type", "application/json", "Runnel-Session", token)
		if err := json.Unmarshal(w.Body.Bytes(), &done); err != nil || len(done.Results) != 1 || done.Results[0].Value != "2" {
			t.Fatalf("batch: %s, %v", w.Body, err)
		}
	}
	n.Partitions[0].Fail(func(string) error { return partition.ErrUnavailable })
	apitest.Eventually(t, "unreachable master", func() bool { return n.Store.Status().Partitions[0].State == store.Unreachable })
	for _, target := range []string{"/v1/keys/a", "/v1/keys", "/v1/keys/a?max_staleness=1h", "/v1/keys/a?r=2"} {
		w := n.Do(t, "GET", target, "", "Runnel-Session", token)
		var p wire.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != 503 || p.Type != "/problems/session-unavailable" || w.Header().Get("Retry-After") == "" {
			t.Errorf("GET %s with the master away: %d %s", target, w.Code, w.Body)
		}
	}
	if w := n.Do(t, "GET", "/v1/keys/a", ""); w.Code != 200 || w.Body.String() != "1" {
		t.Errorf("without a session: %d %s", w.Code, w.Body)
	}
	for target, slug := range map[string]string{"/v1/keys/a?max_staleness=1ms": "too-stale", "/v1/keys/a?r=all": "too-few-partitions"} {
		w := n.Do(t, "GET", target, "")
		var p wire.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != 503 || p.Type != "/problems/"+slug {
			t.Errorf("GET %s with the master away: %d %s", target, w.Code, w.Body)
		}
	}
}
