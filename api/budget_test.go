package api

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
)

// free is how much of a budget nobody holds.
func (b *budget) unheld() (n int64) {
	for step := b.total; step > 0; step /= 2 {
		for b.free.TryAcquire(step) {
			n += step
		}
	}
	b.free.Release(n)
	return n
}

// TestHoldGivesBackWhatItTook, whatever it was resized to, and what it could not have.
func TestHoldGivesBackWhatItTook(t *testing.T) {
	b := newBudget(1 << 20)
	h, other := hold{budget: b}, hold{budget: b}
	for _, step := range []struct{ size, unheld int64 }{{freeBytes, 1 << 20}, {freeBytes + 1, 1<<20 - freeBytes - 1}, {500_000, 1<<20 - 500_000}, {100, 1 << 20}, {5 << 20, 0}, {200_000, 1<<20 - 200_000}} {
		if err := h.resize(t.Context(), step.size, 0); err != nil || b.unheld() != step.unheld {
			t.Errorf("%d: %v, %d are free", step.size, err, b.unheld())
		}
	}
	err := other.resize(t.Context(), 1<<20, time.Millisecond)
	if refusalOf(err).kind != kindOverloaded || other.taken != 0 || b.unheld() != 1<<20-200_000 {
		t.Errorf("more than is free: %v", err)
	}
	if err := other.grow(t.Context(), freeBytes); err != nil {
		t.Errorf("a small request: %v", err)
	}
	h.release()
	other.release()
	if b.unheld() != b.total {
		t.Errorf("%d of %d are free", b.unheld(), b.total)
	}
}

// TestBudgetIsKept: whatever clients ask for at once, and however it ends, the
// requests get an answer, and nothing of the budget is lost.
func TestBudgetIsKept(t *testing.T) {
	n := newNode(t, func(o *Options) { o.Memory = 4 << 20 })
	server := n.serve(t, Limits{})
	large := strings.Repeat("v", 300<<10)
	n.do(t, "PUT", "/v1/keys/large", large)
	overloaded := 0
	var mu sync.Mutex
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			requests := []*http.Request{}
			add := func(method, path, body, mediaType, accept string, chunked bool) {
				var source io.Reader = strings.NewReader(body)
				if chunked {
					source = io.LimitReader(source, int64(len(body)))
				}
				r, _ := http.NewRequest(method, server.URL+path, source)
				r.Header.Set("Content-Type", mediaType)
				r.Header.Set("Accept", accept)
				requests = append(requests, r)
			}
			add("PUT", fmt.Sprintf("/v1/keys/k%d", i), large, "text/plain", "", i%2 == 0)
			add("GET", "/v1/keys/large?consistency=master", "", "", "*/*", false)
			add("GET", "/v1/keys/large?consistency=master", "", "", "text/html", false)
			add("GET", "/v1/keys?values=true&prefix=large&consistency=master", "", "", "application/json", false)
			add("GET", "/v1/keys?values=true&prefix=large&consistency=master", "", "", "application/x-ndjson", false)
			add("GET", "/v1/changes?values=true", "", "", "application/json", false)
			line := `{"op":"put","key":"b","value":"` + large + `"}` + "\n" + `{"op":"get","key":"large"}` + "\n"
			add("POST", "/v1/batch", line, "application/x-ndjson", "", i%2 == 0)
			add("POST", "/v1/batch", "["+strings.Replace(strings.TrimSpace(line), "\n", ",", 1)+"]", "application/json", "", false)
			add("POST", "/v1/txn", `{"then":[{"op":"put","key":"t","value":"`+large+`"}]}`, "application/json", "", false)
			for _, r := range requests {
				answer, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Errorf("%s %s: %v", r.Method, r.URL, err)
					continue
				}
				body, _ := io.ReadAll(answer.Body)
				answer.Body.Close()
				switch full := answer.StatusCode == 503 && bytes.Contains(body, []byte("/problems/overloaded")); {
				case full && answer.Header.Get("Retry-After") == "":
					t.Errorf("%s %s: no Retry-After", r.Method, r.URL)
				case full:
					mu.Lock()
					overloaded++
					mu.Unlock()
				case answer.StatusCode/100 != 2:
					t.Errorf("%s %s: %d %.300s", r.Method, r.URL, answer.StatusCode, body)
				}
			}
		})
	}
	clients.Wait()
	t.Logf("%d were refused", overloaded)
	eventually(t, "everything is given back", func() bool { return n.budget.unheld() == n.budget.total })
}

// TestUnfinishedBodiesAreCounted: uploads that stop before their end hold no
// more than the budget, the next is refused before it is read, and small
// requests are answered all the while.
func TestUnfinishedBodiesAreCounted(t *testing.T) {
	n := newNode(t, func(o *Options) { o.Memory = 24 << 20 })
	server := n.serve(t, Limits{})
	begin := func() net.Conn {
		c, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprintf(c, "PUT /v1/keys/k HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", 4<<20)
		return c
	}
	first, second := begin(), begin()
	eventually(t, "both are being read", func() bool { return n.budget.unheld() == 0 })
	answer, body := sendAllThenRead(t, server.Listener.Addr().String(), fmt.Sprintf("PUT /v1/keys/k HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", largeBody))
	if answer.StatusCode != 413 { // what is too large anyway is not told to come back
		t.Errorf("%d %s", answer.StatusCode, body)
	}
	if r := n.do(t, "PUT", "/v1/keys/more", strings.Repeat("v", 1<<20)); r.Code != 503 || !strings.Contains(r.Body.String(), "overloaded") {
		t.Errorf("another one: %d %s", r.Code, r.Body)
	}
	if r := n.do(t, "PUT", "/v1/keys/small", "v"); r.Code != 201 {
		t.Errorf("a small one: %d %s", r.Code, r.Body)
	}
	first.Close()
	io.WriteString(second, strings.Repeat("v", 4<<20))
	eventually(t, "everything is given back", func() bool { return n.budget.unheld() == n.budget.total })
	if r := n.do(t, "PUT", "/v1/keys/more", strings.Repeat("v", 1<<20)); r.Code != 201 {
		t.Errorf("afterwards: %d %s", r.Code, r.Body)
	}
}

// TestLargeReadsAreReservedBefore: of a value that was large the next read is
// counted before it is made.
func TestLargeReadsAreReservedBefore(t *testing.T) {
	n := newNode(t, func(o *Options) { o.Memory = 4 << 20 })
	n.do(t, "PUT", "/v1/keys/large", strings.Repeat("v", 1<<20))
	if got := n.budget.expected(store.User.Key("large")); got != 1<<20 {
		t.Errorf("%d are expected", got)
	}
	all := hold{budget: n.budget}
	if err := all.grow(t.Context(), 4<<20); err != nil {
		t.Fatal(err)
	}
	if r := n.do(t, "GET", "/v1/keys/large?consistency=master", ""); r.Code != 503 || !strings.Contains(r.Body.String(), "overloaded") {
		t.Errorf("%d %.300s", r.Code, r.Body)
	}
	all.release()
	n.do(t, "PUT", "/v1/keys/large", "small")
	if got := n.budget.expected(store.User.Key("large")); got != 0 {
		t.Errorf("then %d", got)
	}
}
