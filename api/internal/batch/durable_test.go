package batch_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// TestMajorityIsAnsweredForEachKindOfWrite: with two of three partitions, then with the master alone.
func TestMajorityIsAnsweredForEachKindOfWrite(t *testing.T) {
	n := apitest.New(t)
	n.Put(t, "touched", "deleted", "dropped")
	n.Level(t)
	for _, p := range n.Partitions[1:] {
		for _, c := range []struct {
			method, target, body string
			secured, not         int
		}{
			{"PUT", "/v1/keys/put", "v", http.StatusCreated, http.StatusAccepted},
			{"POST", "/v1/keys", "v", http.StatusCreated, http.StatusAccepted},
			{"POST", "/v1/keys/touched?ttl=1h", "", http.StatusNoContent, http.StatusAccepted},
			{"DELETE", "/v1/keys/deleted", "", http.StatusNoContent, http.StatusAccepted},
			{"POST", "/v1/txn", `{"then":[{"op":"put","key":"txn","value":"v"}]}`, http.StatusOK, http.StatusAccepted},
		} {
			want, durable := c.secured, "majority"
			if p == n.Partitions[2] {
				want, durable = c.not, "master"
				if c.method == "DELETE" {
					c.target = "/v1/keys/dropped"
				}
			}
			target := c.target + "?durable=majority"
			if strings.Contains(c.target, "?") {
				target = c.target + "&durable=majority"
			}
			w := n.Do(t, c.method, target, c.body)
			if w.Code != want || w.Header().Get("Runnel-Durable") != durable {
				t.Errorf("%s %s: %d, durable on the %q", c.method, target, w.Code, w.Header().Get("Runnel-Durable"))
			}
		}
		body := `[{"op":"put","key":"batch","value":"v"},{"op":"get","key":"batch"},{"op":"delete","key":"batch"}]`
		w := n.Do(t, "POST", "/v1/batch?durable=majority", body)
		if got := strings.Count(w.Body.String(), `"status":202`); w.Code != 200 || got != map[bool]int{true: 0, false: 2}[p == n.Partitions[1]] {
			t.Errorf("of a batch %d writes are not secured: %d %s", got, w.Code, w.Body)
		}
		for _, p := range n.Partitions[1:] {
			p.Fail(func(op string) error {
				if op == memory.OpApply {
					return partition.ErrUnavailable
				}
				return nil
			})
		}
	}
}

func TestUnknownDurabilityIsRefused(t *testing.T) {
	n := apitest.New(t)
	for _, c := range []struct{ method, target, body string }{
		{"PUT", "/v1/keys/k?durable=all", "v"},
		{"PUT", "/v1/keys/k?durable=", "v"},
		{"POST", "/v1/keys?durable=2", "v"},
		{"POST", "/v1/keys/k?ttl=1h&durable=Majority", ""},
		{"DELETE", "/v1/keys/k?durable=none", ""},
		{"POST", "/v1/batch?durable=x", `[{"op":"put","key":"k","value":"v"}]`},
		{"POST", "/v1/txn?durable=x", `{"then":[{"op":"put","key":"k","value":"v"}]}`},
	} {
		if w := n.Do(t, c.method, c.target, c.body); w.Code != 400 || !strings.Contains(w.Body.String(), "durable is master or majority") {
			t.Errorf("%s %s: %d %s", c.method, c.target, w.Code, w.Body)
		}
	}
	if w := n.Do(t, "GET", "/v1/keys/k", ""); w.Code != 404 {
		t.Errorf("stored: %d", w.Code)
	}
}
