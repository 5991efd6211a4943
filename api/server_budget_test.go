package api_test

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

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/store"
)

// unheld is the free part of a budget.
func unheld(b *budget.Budget) (n int64) {
	for step := b.Total(); step > 0; step /= 2 {
		for b.TryAcquire(step) {
			n += step
		}
	}
	b.Release(n)
	return n
}

// TestBudgetIsKept: under all concurrent requests, however they end, every request gets an answer and the budget is
// restored.
func TestBudgetIsKept(t *testing.T) {
	n := apitest.New(t, func(o *api.Options) { o.Memory = 4 << 20 })
	server := n.Serve(t, api.Limits{})
	large := strings.Repeat("v", 300<<10)
	n.Do(t, "PUT", "/v1/keys/large", large)
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
				answer, err := server.Client().Do(r)
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
	apitest.Eventually(t, "everything is given back", func() bool { return unheld(n.Budget()) == n.Budget().Total() })
}

// TestUnfinishedBodiesAreCounted: stalled uploads hold at most the budget, the next upload is refused before its body
// is read, and small requests succeed meanwhile.
func TestUnfinishedBodiesAreCounted(t *testing.T) {
	n := apitest.New(t, func(o *api.Options) { o.Memory = 24 << 20 })
	server := n.Serve(t, api.Limits{})
	begin := func() net.Conn {
		c := apitest.Dial(t, server)
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprintf(c, "PUT /v1/keys/k HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", 4<<20)
		return c
	}
	first, second := begin(), begin()
	apitest.Eventually(t, "both are being read", func() bool { return unheld(n.Budget()) == 0 })
	answer, body := apitest.SendAllThenRead(t, server, fmt.Sprintf("PUT /v1/keys/k HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", apitest.LargeBody))
	if answer.StatusCode != 413 { // a value over the limit is never told to retry
		t.Errorf("%d %s", answer.StatusCode, body)
	}
	if r := n.Do(t, "PUT", "/v1/keys/more", strings.Repeat("v", 1<<20)); r.Code != 503 || !strings.Contains(r.Body.String(), "overloaded") {
		t.Errorf("another one: %d %s", r.Code, r.Body)
	}
	if r := n.Do(t, "PUT", "/v1/keys/small", "v"); r.Code != 201 {
		t.Errorf("a small one: %d %s", r.Code, r.Body)
	}
	first.Close()
	io.WriteString(second, strings.Repeat("v", 4<<20))
	apitest.Eventually(t, "everything is given back", func() bool { return unheld(n.Budget()) == n.Budget().Total() })
	if r := n.Do(t, "PUT", "/v1/keys/more", strings.Repeat("v", 1<<20)); r.Code != 201 {
		t.Errorf("afterwards: %d %s", r.Code, r.Body)
	}
}

// TestLargeReadsAreReservedBefore: the next read of a large value reserves memory before the read.
func TestLargeReadsAreReservedBefore(t *testing.T) {
	n := apitest.New(t, func(o *api.Options) { o.Memory = 4 << 20 })
	n.Do(t, "PUT", "/v1/keys/large", strings.Repeat("v", 1<<20))
	if got := n.Budget().Expected(string(store.User.Key("large"))); got != 1<<20 {
		t.Errorf("%d are expected", got)
	}
	all := budget.Hold{Budget: n.Budget()}
	if err := all.Grow(t.Context(), 4<<20); err != nil {
		t.Fatal(err)
	}
	if r := n.Do(t, "GET", "/v1/keys/large?consistency=master", ""); r.Code != 503 || !strings.Contains(r.Body.String(), "overloaded") {
		t.Errorf("%d %.300s", r.Code, r.Body)
	}
	all.Release()
	n.Do(t, "PUT", "/v1/keys/large", "small")
	if got := n.Budget().Expected(string(store.User.Key("large"))); got != 0 {
		t.Errorf("then %d", got)
	}
}
