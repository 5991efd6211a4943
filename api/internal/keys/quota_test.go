package keys_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
)

// newLimited starts a node with a full quota of two keys, and waits until the use is measured.
func newLimited(t *testing.T) *apitest.Node {
	t.Helper()
	n := apitest.New(t)
	n.Store.SetQuotas([]store.Quota{{Prefix: "a/", MaxKeys: 2, MaxBytes: 100}})
	n.Put(t, "a/1", "a/2")
	apitest.Eventually(t, "measured", func() bool { return !n.Store.Status().Quotas[0].MeasuredAt.IsZero() })
	return n
}

// TestEveryWriteBeyondAQuotaIsRefused covers every way to write a key.
func TestEveryWriteBeyondAQuotaIsRefused(t *testing.T) {
	n := newLimited(t)
	for _, c := range []struct {
		method, target, body string
		status               int
	}{
		{"PUT", "/v1/keys/a%2F3", "v", 507},
		{"PUT", "/v1/keys/a%2F3?ttl=1h", "v", 507},
		{"PUT", "/v1/keys/a%2F1", strings.Repeat("v", 100), 507},
		{"PUT", "/bucket/a%2F3", "v", 507},
		{"PUT", "/canonicalbucket/a%2F3", "v", 507},
		{"POST", "/v1/txn", `{"then":[{"op":"put","key":"b","value":"v"},{"op":"put","key":"a/3","value":"v"}]}`, 507},
		{"PUT", "/v1/keys/a%2F1", "v", 204},
		{"POST", "/v1/keys/a%2F1?ttl=1h", "", 204},
		{"PUT", "/v1/keys/c", "v", 201},
		{"POST", "/v1/txn", `{"then":[{"op":"delete","key":"a/1"},{"op":"put","key":"a/3","value":"v"}]}`, 200},
		{"DELETE", "/v1/keys/a%2F2", "", 204},
		{"PUT", "/v1/keys/a%2F4", "v", 201},
	} {
		w := n.Do(t, c.method, c.target, c.body)
		if w.Code != c.status || c.status == 507 && !strings.Contains(w.Body.String(), "quota-exceeded") {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.target, w.Code, w.Body, c.status)
		}
	}
	if w := n.Do(t, "GET", "/v1/keys/b?consistency=master", ""); w.Code != 404 {
		t.Errorf("a part of a refused transaction was stored: %d", w.Code)
	}
}

func TestBatchBeyondAQuotaDoesTheRest(t *testing.T) {
	n := newLimited(t)
	w := n.Do(t, "POST", "/v1/batch", `[{"op":"put","key":"a/3","value":"v"},{"op":"put","key":"b","value":"v"},{"op":"delete","key":"a/1"},{"op":"put","key":"a/4","value":"v"}]`,
		"Content-Type", "application/json")
	var got []string
	for _, r := range apitest.ResultsOf(t, w) {
		got = append(got, r.Slug())
	}
	if diff := cmp.Diff([]string{"quota-exceeded", "", "", ""}, got); diff != "" {
		t.Errorf("(-want +got):\n%s%s", diff, w.Body)
	}
}

func TestQuotaIsNamedInProblemStatusAndMetrics(t *testing.T) {
	n := newLimited(t)
	var p wire.Problem
	if err := json.Unmarshal(n.Do(t, "PUT", "/v1/keys/a%2F3", "v").Body.Bytes(), &p); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&wire.Quota{Prefix: "a/", Unit: "keys", Limit: 2, Used: 2}, p.Quota); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var d wire.Status
	if err := json.Unmarshal(n.Do(t, "GET", "/v1/status", "").Body.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	if len(d.Quotas) != 1 || d.Quotas[0].MeasuredAt == nil || d.Quotas[0].Line() != `"a/": 2 of 2 keys, 24 of 100 bytes` {
		t.Errorf("%+v", d.Quotas)
	}
	for accept, want := range map[string]string{"text/html": "2 of 2 keys", "text/plain": `quota "a/": 2 of 2 keys`, "application/xml": "<max_keys>2</max_keys>"} {
		if w := n.Do(t, "GET", "/v1/status", "", "Accept", accept); !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %s", accept, w.Body)
		}
	}
	metrics := n.Do(t, "GET", "/metrics", "").Body.String()
	for _, line := range []string{`runnel_quota_keys{prefix="a/"} 2`, `runnel_quota_bytes{prefix="a/"} 24`, `runnel_quota_max_keys{prefix="a/"} 2`, `runnel_quota_max_bytes{prefix="a/"} 100`} {
		if !strings.Contains(metrics, line) {
			t.Errorf("the metrics lack %s", line)
		}
	}
}
