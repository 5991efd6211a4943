package locks_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// newNode starts a node of three voters on which locks may protect keys.
func newNode(t *testing.T) *apitest.Node {
	t.Helper()
	n := apitest.New(t)
	for _, p := range n.Partitions {
		p.PlantSchema(partition.Schema{Version: partition.SchemaVersion, OldestReader: partition.SchemaVersion, OldestWriter: partition.SchemaVersion})
	}
	n.Level(t) // a replica that was never filled is no part of a majority
	return n
}

func put(t *testing.T, n *apitest.Node, name, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	return n.Do(t, "PUT", "/v1/locks/"+name, body, append([]string{"Content-Type", "application/json"}, headers...)...)
}

// acquire acquires a lock and returns its fence.
func acquire(t *testing.T, n *apitest.Node, name, body string) int64 {
	t.Helper()
	w := put(t, n, name, body)
	if w.Code != 201 || w.Header().Get("Location") != "/v1/locks/"+name {
		t.Fatalf("acquire: %d %s %v", w.Code, w.Body, w.Header())
	}
	l := decode(t, w)
	if want := fmt.Sprintf("%q", fmt.Sprint(l.Fence)); w.Header().Get("ETag") != want {
		t.Errorf("ETag is %s, want %s", w.Header().Get("ETag"), want)
	}
	return l.Fence
}

func decode(t *testing.T, w *httptest.ResponseRecorder) (l wire.Lock) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), &l); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	return l
}

func wantProblem(t *testing.T, w *httptest.ResponseRecorder, status int, slug string) (p wire.Problem) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != status || p.Type != wire.ProblemsPath+slug {
		t.Errorf("%d %s, want %d %s", w.Code, w.Body, status, slug)
	}
	return p
}

func quoted(fence int64) string { return fmt.Sprintf(`"%d"`, fence) }

func fenceOf(name string, fence int64) string { return fmt.Sprintf("%s=%d", name, fence) }

func TestLockIsAcquiredRenewedAndReleased(t *testing.T) {
	n := newNode(t)
	fence := acquire(t, n, "jobs/7", `{"owner":"one","ttl":"30s","request_id":"r","info":{"a":1}}`)
	if w := put(t, n, "jobs/7", `{"owner":"one","ttl":"30s","request_id":"r"}`); w.Code != 200 || decode(t, w).Fence != fence {
		t.Errorf("the same request again: %d %s", w.Code, w.Body)
	}
	w := put(t, n, "jobs/7", `{"owner":"two","ttl":"30s"}`)
	if p := wantProblem(t, w, 423, "lock-held"); p.Owner != "one" || string(p.Info) != `{"a":1}` || p.ExpiresAt == nil || w.Header().Get("Retry-After") == "" {
		t.Errorf("the problem is %+v %v", p, w.Header())
	}
	if w := put(t, n, "jobs/7", `{"ttl":"1m"}`, "If-Match", quoted(fence)); w.Code != 200 || decode(t, w).TTL != "1m0s" || decode(t, w).Fence != fence {
		t.Errorf("renewal: %d %s", w.Code, w.Body)
	}
	wantProblem(t, put(t, n, "jobs/7", `{"ttl":"1m"}`, "If-Match", quoted(fence+1)), 412, "stale-fence")
	if w := n.Do(t, "GET", "/v1/locks/jobs/7", ""); w.Code != 200 || decode(t, w).Owner != "one" {
		t.Errorf("GET: %d %s", w.Code, w.Body)
	}
	wantProblem(t, n.Do(t, "DELETE", "/v1/locks/jobs/7", "", "If-Match", quoted(fence+1)), 412, "stale-fence")
	for range 2 {
		if w := n.Do(t, "DELETE", "/v1/locks/jobs/7", "", "If-Match", quoted(fence)); w.Code != 204 {
			t.Errorf("release: %d %s", w.Code, w.Body)
		}
	}
	wantProblem(t, n.Do(t, "GET", "/v1/locks/jobs/7", ""), 404, "no-such-lock")
	acquire(t, n, "jobs/7", `{"owner":"two","ttl":"30s"}`)
	if w := n.Do(t, "DELETE", "/v1/locks/jobs/7?force=true", ""); w.Code != 204 {
		t.Errorf("force: %d %s", w.Code, w.Body)
	}
	wantProblem(t, n.Do(t, "DELETE", "/v1/locks/jobs/7?force=true", ""), 404, "no-such-lock")
}

func TestEveryWriteChecksItsFence(t *testing.T) {
	n := newNode(t)
	n.Put(t, "a", "d1", "d2", "old/1")
	fence := acquire(t, n, "a", `{"owner":"one","ttl":"30s"}`)
	json := []string{"Content-Type", "application/json"}
	for _, c := range []struct {
		method, path, body string
		headers            []string
	}{
		{"PUT", "/v1/keys/a", "v", nil},
		{"POST", "/v1/keys/a?ttl=1h", "", nil},
		{"DELETE", "/v1/keys/d1", "", nil},
		{"PUT", "/bucket/b", "v", []string{"Accept", "application/json"}},
		{"DELETE", "/v1/keys?prefix=old/", "", nil},
		{"POST", "/v1/txn", `{"then":[{"op":"put","key":"t","value":"v"}]}`, json},
		{"POST", "/v1/batch", `[{"op":"put","key":"b1","value":"v"},{"op":"delete","key":"d2"}]`, json},
	} {
		w := n.Do(t, c.method, c.path, c.body, append(c.headers, "Runnel-Fence", fenceOf("a", fence+1))...)
		if c.path == "/v1/batch" {
			if strings.Count(w.Body.String(), "stale-fence") != 2 {
				t.Errorf("batch with a stale fence: %s", w.Body)
			}
		} else {
			wantProblem(t, w, 412, "stale-fence")
		}
		w = n.Do(t, c.method, c.path, c.body, append(c.headers, "Runnel-Fence", fenceOf("a", fence))...)
		if w.Code/100 != 2 || strings.Contains(w.Body.String(), "problems/") {
			t.Errorf("%s %s with the fence: %d %s", c.method, c.path, w.Code, w.Body)
		}
	}
}

// TestLockThatNoMajorityConfirmsMayBeHeld: the answer says so, and the same request gets the fence later.
func TestLockThatNoMajorityConfirmsMayBeHeld(t *testing.T) {
	n := newNode(t)
	held := acquire(t, n, "held", `{"owner":"one","ttl":"30s"}`)
	for _, p := range n.Partitions[1:] {
		p.Fail(func(op string) error {
			if op == memory.OpApply {
				return partition.ErrUnavailable
			}
			return nil
		})
	}
	body := `{"owner":"one","ttl":"30s","request_id":"r"}`
	for range 2 {
		w := put(t, n, "a", body)
		if p := wantProblem(t, w, 503, "outcome-unknown"); !strings.Contains(string(p.Detail), "The lock may be held") || w.Header().Get("Retry-After") == "" {
			t.Errorf("the problem is %+v %v", p, w.Header())
		}
	}
	wantProblem(t, put(t, n, "b", body, "Prefer", "wait=5"), 503, "outcome-unknown")
	wantProblem(t, put(t, n, "held", `{"ttl":"1m"}`, "If-Match", quoted(held)), 503, "outcome-unknown")
	wantProblem(t, n.Do(t, "POST", "/v1/locks", `{"owner":"one","ttl":"30s","names":["c","d"]}`, "Content-Type", "application/json"), 503, "outcome-unknown")
	for _, p := range n.Partitions[1:] {
		p.Fail(nil)
	}
	apitest.Eventually(t, "a majority", func() bool {
		return n.Do(t, "PUT", "/v1/keys/x?durable=majority", "v").Header().Get("Runnel-Durable") == "majority"
	})
	for _, name := range []string{"a", "b"} {
		if w := put(t, n, name, body); w.Code != 200 || decode(t, w).Fence == 0 {
			t.Errorf("the same request for %s again: %d %s", name, w.Code, w.Body)
		}
	}
	acquire(t, n, "c", `{"owner":"two","ttl":"30s"}`)
	acquire(t, n, "d", `{"owner":"two","ttl":"30s"}`)
}

func TestProtectedKeyNeedsTheFence(t *testing.T) {
	n := newNode(t)
	n.Put(t, "a")
	n.Level(t)
	fence := acquire(t, n, "a", `{"owner":"one","ttl":"30s","protects":true}`)
	p := wantProblem(t, n.Do(t, "PUT", "/v1/keys/a", "blind"), 423, "lock-held")
	if p.Owner != "one" {
		t.Errorf("the problem is %+v", p)
	}
	wantProblem(t, n.Do(t, "DELETE", "/v1/keys/a", ""), 423, "lock-held")
	wantProblem(t, n.Do(t, "GET", "/v1/keys/a?locked=refuse", ""), 423, "lock-held")
	if w := n.Do(t, "GET", "/v1/keys/a", ""); w.Code != 200 {
		t.Errorf("a plain read: %d", w.Code)
	}
	if w := n.Do(t, "GET", "/v1/keys/a?locked=refuse", "", "Runnel-Fence", fenceOf("a", fence)); w.Code != 200 {
		t.Errorf("the holder's read: %d %s", w.Code, w.Body)
	}
	if w := n.Do(t, "PUT", "/v1/keys/a", "v", "Runnel-Fence", fenceOf("a", fence)); w.Code != 204 {
		t.Errorf("the holder's write: %d %s", w.Code, w.Body)
	}
}

func TestSeveralLocksAreAcquiredTogether(t *testing.T) {
	n := newNode(t)
	post := func(body string) *httptest.ResponseRecorder {
		return n.Do(t, "POST", "/v1/locks", body, "Content-Type", "application/json")
	}
	if w := post(`{"owner":"one","ttl":"30s","names":["b","a"]}`); w.Code != 201 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	wantProblem(t, post(`{"owner":"two","ttl":"30s","names":["c","a"]}`), 423, "lock-held")
	acquire(t, n, "c", `{"owner":"three","ttl":"30s"}`)
	n.Level(t)
	var page wire.LockPage
	if err := json.Unmarshal(n.Do(t, "GET", "/v1/locks?limit=2", "").Body.Bytes(), &page); err != nil || len(page.Locks) != 2 || page.Next == "" {
		t.Fatalf("%+v %v", page, err)
	}
	rest := n.Do(t, "GET", "/v1/locks?after="+page.Next, "").Body.String()
	if !strings.Contains(rest, `"name":"c"`) || strings.Contains(rest, `"name":"a"`) {
		t.Errorf("the second page is %s", rest)
	}
	for _, accept := range []string{"text/html", "text/plain", "application/xml"} {
		if w := n.Do(t, "GET", "/v1/locks", "", "Accept", accept); w.Code != 200 || !strings.Contains(w.Body.String(), "three") {
			t.Errorf("%s: %d %s", accept, w.Code, w.Body)
		}
		if w := n.Do(t, "GET", "/v1/locks/c", "", "Accept", accept); w.Code != 200 || !strings.Contains(w.Body.String(), "three") {
			t.Errorf("%s: %d %s", accept, w.Code, w.Body)
		}
	}
}

func TestClientWaitsForTheLock(t *testing.T) {
	n := newNode(t)
	fence := acquire(t, n, "a", `{"owner":"one","ttl":"30s"}`)
	wantProblem(t, put(t, n, "a", `{"owner":"two","ttl":"30s"}`, "Prefer", "wait=1"), 423, "lock-held")
	answer := make(chan *httptest.ResponseRecorder, 1)
	go func() { answer <- put(t, n, "a", `{"owner":"two","ttl":"30s"}`, "Prefer", "wait=60") }()
	waiting := func() int { return decode(t, n.Do(t, "GET", "/v1/locks/a", "")).Waiting }
	apitest.Eventually(t, "ticket", func() bool { return waiting() == 1 })
	if w := n.Do(t, "DELETE", "/v1/locks/a", "", "If-Match", quoted(fence)); w.Code != 204 {
		t.Fatal(w.Body)
	}
	if w := <-answer; w.Code != 201 || decode(t, w).Owner != "two" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	ctx, hangUp := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		defer func() { _ = recover() }() // the connection breaks
		r := httptest.NewRequestWithContext(ctx, "PUT", "/v1/locks/a", strings.NewReader(`{"owner":"three","ttl":"30s"}`))
		r.Host = "localhost"
		r.Header.Set("Prefer", "wait=60")
		r.Header.Set("Content-Length", "30")
		n.ServeHTTP(httptest.NewRecorder(), r)
	}()
	apitest.Eventually(t, "ticket", func() bool { return waiting() == 1 })
	hangUp()
	<-gone
	apitest.Eventually(t, "no ticket", func() bool { return waiting() == 0 })
}

func TestInvalidRequestsForLocksAreNamed(t *testing.T) {
	n := newNode(t)
	valid := `{"owner":"one","ttl":"30s"}`
	for _, c := range []struct {
		body    string
		headers []string
		status  int
		slug    string
		names   string // the parameter or header
	}{
		{`{"owner":"one","ttl":"0s"}`, nil, 400, "invalid-item", "ttl"},
		{`{"owner":"one","ttl":"-1s"}`, nil, 400, "invalid-item", "ttl"},
		{`{"owner":"one","ttl":"25h"}`, nil, 400, "invalid-item", "ttl"},
		{`{"owner":"one","ttl":30}`, nil, 400, "invalid-item", "ttl"},
		{`{"owner":"one","ttl":"soon"}`, nil, 400, "invalid-item", "ttl"},
		{`{"owner":"one"}`, nil, 400, "invalid-item", "ttl"},
		{`{"owner":"","ttl":"30s"}`, nil, 400, "invalid-item", "owner"},
		{`{"ttl":"30s"}`, nil, 400, "invalid-item", "owner"},
		{`{"owner":"one","ttl":"30s","info":[]}`, nil, 400, "invalid-item", "info"},
		{`{"owner":"one","ttl":"30s","protects":1}`, nil, 400, "invalid-item", "protects"},
		{`{"owner":"one","ttl":"30s","color":"red"}`, nil, 400, "invalid-item", `"color"`},
		{`{"owner":"one"`, nil, 400, "invalid-json", ""},
		{`[]`, nil, 400, "invalid-json", ""},
		{valid, []string{"If-Match", `"x"`}, 400, "invalid-header", "If-Match"},
		{valid, []string{"If-Match", `*`}, 400, "invalid-header", "If-Match"},
		{valid, []string{"If-Match", `"5"`}, 400, "invalid-item", "ttl"},
		{valid, []string{"Prefer", "wait=soon"}, 400, "invalid-header", "Prefer"},
		{valid, []string{"Prefer", "wait=4000"}, 400, "invalid-header", "Prefer"},
	} {
		p := wantProblem(t, put(t, n, "a", c.body, c.headers...), c.status, c.slug)
		if p.Parameter+p.Header != c.names {
			t.Errorf("%s %v names %q, want %q", c.body, c.headers, p.Parameter+p.Header, c.names)
		}
	}
	wantProblem(t, put(t, n, "%00", valid), 400, "invalid-key")
	wantProblem(t, n.Do(t, "DELETE", "/v1/locks/a", ""), 400, "invalid-header")
	wantProblem(t, n.Do(t, "GET", "/v1/locks/a", ""), 404, "no-such-lock")
	for _, fence := range []string{"a", "a=", "a=0", "a=-1", "=5", "a=5,", "%zz=5", "%00=5"} {
		if p := wantProblem(t, n.Do(t, "PUT", "/v1/keys/k", "v", "Runnel-Fence", fence), 400, "invalid-header"); p.Header != "Runnel-Fence" {
			t.Errorf("%q names %q", fence, p.Header)
		}
	}
	wantProblem(t, n.Do(t, "PUT", "/v1/keys/k", "v", "Runnel-Fence", "a=5"), 412, "stale-fence")
}

func TestFenceOfAnotherMasterIsRefused(t *testing.T) {
	n := apitest.NewOf(t, []string{"partition-0", "partition-1"})
	n.Level(t)
	key := store.User.Key("k")
	for i := 0; ; i++ {
		name := fmt.Sprint("lock", i)
		if n.Store.Master(store.Lock.Key(name)) == n.Store.Master(key) {
			continue
		}
		var fence int64
		apitest.Eventually(t, "lock", func() bool {
			w := put(t, n, name, `{"owner":"one","ttl":"30s"}`)
			if w.Code == 201 {
				fence = decode(t, w).Fence
			}
			return fence > 0
		})
		wantProblem(t, n.Do(t, "PUT", "/v1/keys/k", "v", "Runnel-Fence", fenceOf(name, fence)), 422, "different-masters")
		return
	}
}

func TestProtectionIsRefusedWhileOlderBinariesMayWrite(t *testing.T) {
	n := apitest.New(t)
	for _, p := range n.Partitions {
		p.PlantSchema(partition.Schema{Version: 5, OldestReader: 4, OldestWriter: 4})
	}
	p := wantProblem(t, put(t, n, "a", `{"owner":"one","ttl":"30s","protects":true}`), 409, "protection-unavailable")
	if !strings.Contains(string(p.Detail), "runnel migrate --finish") {
		t.Errorf("the detail is %q", p.Detail)
	}
}
