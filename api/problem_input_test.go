package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
)

func TestBadInputIsNamedAndNothingIsStored(t *testing.T) {
	n := apitest.New(t)
	long := strings.Repeat("k", 513)
	emptySession := store.Vector{}.Token(store.SessionToken, n.Store.Tag())
	for _, c := range []struct {
		name, method, target, slug string
		member                     string // parameter or header that must be named
		headers                    []string
	}{
		{"empty key", "PUT", "/v1/keys/", "invalid-key", "", nil},
		{"empty key read", "GET", "/v1/keys/", "invalid-key", "", nil},
		{"long key", "PUT", "/v1/keys/" + long, "invalid-key", "", nil},
		{"long key read", "GET", "/v1/keys/" + long, "invalid-key", "", nil},
		{"long key in bytes", "PUT", "/v1/keys/" + strings.Repeat("%C3%A9", 257), "invalid-key", "", nil},
		{"not UTF-8", "PUT", "/v1/keys/%ff", "invalid-key", "", nil},
		{"overlong UTF-8", "PUT", "/v1/keys/%c0%af", "invalid-key", "", nil},
		{"surrogate", "PUT", "/v1/keys/%ed%a0%80", "invalid-key", "", nil},
		{"NUL", "PUT", "/v1/keys/a%00b", "invalid-key", "", nil},
		{"line break", "PUT", "/v1/keys/a%0D%0Ab", "invalid-key", "", nil},
		{"DEL", "PUT", "/v1/keys/%7F", "invalid-key", "", nil},
		{"C1", "PUT", "/v1/keys/%C2%85", "invalid-key", "", nil},
		{"delete", "DELETE", "/v1/keys/%00", "invalid-key", "", nil},
		{"ttl word", "PUT", "/v1/keys/k?ttl=soon", "invalid-parameter", "ttl", nil},
		{"ttl without unit", "PUT", "/v1/keys/k?ttl=30", "invalid-parameter", "ttl", nil},
		{"ttl empty", "PUT", "/v1/keys/k?ttl=", "invalid-parameter", "ttl", nil},
		{"ttl zero", "PUT", "/v1/keys/k?ttl=0s", "invalid-parameter", "ttl", nil},
		{"ttl negative", "PUT", "/v1/keys/k?ttl=-1s", "invalid-parameter", "ttl", nil},
		{"ttl too short", "PUT", "/v1/keys/k?ttl=1ns", "invalid-parameter", "ttl", nil},
		{"ttl too long", "PUT", "/v1/keys/k?ttl=1000000h", "invalid-parameter", "ttl", nil},
		{"ttl overflow", "PUT", "/v1/keys/k?ttl=99999999999999h", "invalid-parameter", "ttl", nil},
		{"ttl twice", "PUT", "/v1/keys/k?ttl=1s&ttl=2s", "invalid-parameter", "ttl", nil},
		{"unknown parameter", "PUT", "/v1/keys/k?tll=1s", "invalid-parameter", "tll", nil},
		{"later parameter", "PUT", "/v1/keys/k?buffered=true", "invalid-parameter", "buffered", nil},
		{"parameter of reads", "PUT", "/v1/keys/k?consistency=any", "invalid-parameter", "consistency", nil},
		{"consistency", "GET", "/v1/keys/k?consistency=strong", "invalid-parameter", "consistency", nil},
		{"bounded by nothing", "GET", "/v1/keys/k?consistency=bounded", "invalid-parameter", "max_staleness", nil},
		{"max_staleness negative", "GET", "/v1/keys/k?max_staleness=-5s", "invalid-parameter", "max_staleness", nil},
		{"max_staleness zero", "GET", "/v1/keys/k?max_staleness=0s", "invalid-parameter", "max_staleness", nil},
		{"max_staleness huge", "GET", "/v1/keys/k?max_staleness=999999999999h", "invalid-parameter", "max_staleness", nil},
		{"max_staleness long", "GET", "/v1/keys/k?max_staleness=9000h", "invalid-parameter", "max_staleness", nil},
		{"max_staleness empty", "GET", "/v1/keys/k?consistency=bounded&max_staleness=", "invalid-parameter", "max_staleness", nil},
		{"max_staleness word", "GET", "/v1/keys?max_staleness=fresh", "invalid-parameter", "max_staleness", nil},
		{"max_staleness of any", "GET", "/v1/keys/k?consistency=any&max_staleness=5s", "invalid-parameter", "max_staleness", nil},
		{"r negative", "GET", "/v1/keys/k?r=-1", "invalid-parameter", "r", nil},
		{"r like a constant", "GET", "/v1/keys/k?consistency=quorum&r=-2", "invalid-parameter", "r", nil},
		{"r zero", "GET", "/v1/keys/k?r=0", "invalid-parameter", "r", nil},
		{"r more than there are", "GET", "/v1/keys/k?r=4", "invalid-parameter", "r", nil},
		{"r huge", "GET", "/v1/keys/k?r=9223372036854775807", "invalid-parameter", "r", nil},
		{"r overflow", "GET", "/v1/keys/k?r=99999999999999999999", "invalid-parameter", "r", nil},
		{"r word", "GET", "/v1/keys/k?r=most", "invalid-parameter", "r", nil},
		{"r of master", "GET", "/v1/keys/k?consistency=master&r=2", "invalid-parameter", "r", nil},
		{"r of a list", "GET", "/v1/keys?r=2", "invalid-parameter", "r", nil},
		{"quorum of a list", "GET", "/v1/keys?consistency=quorum", "invalid-parameter", "consistency", nil},
		{"session of a read", "GET", "/v1/keys/k", "invalid-header", "Runnel-Session", []string{"Runnel-Session", "s2AAAA"}},
		{"session empty", "GET", "/v1/keys/k", "invalid-header", "Runnel-Session", []string{"Runnel-Session", ""}},
		{"session twice", "GET", "/v1/keys/k", "invalid-header", "Runnel-Session", []string{"Runnel-Session", emptySession, "Runnel-Session", emptySession}},
		{"session of the change feed", "GET", "/v1/keys/k", "invalid-header", "Runnel-Session", []string{"Runnel-Session", store.Vector{}.Token(store.ChangesToken, n.Store.Tag())}},
		{"session of a write", "PUT", "/v1/keys/k", "invalid-header", "Runnel-Session", []string{"Runnel-Session", "x"}},
		{"session of a delete", "DELETE", "/v1/keys/k", "invalid-header", "Runnel-Session", []string{"Runnel-Session", "x"}},
		{"session of a list", "GET", "/v1/keys", "invalid-header", "Runnel-Session", []string{"Runnel-Session", emptySession + "A"}},
		{"session of a batch", "POST", "/v1/batch", "invalid-header", "Runnel-Session", []string{"Runnel-Session", "x"}},
		{"session of a transaction", "POST", "/v1/txn", "invalid-header", "Runnel-Session", []string{"Runnel-Session", "x", "Content-Type", "application/json"}},
		{"hostile parameter", "GET", "/v1/keys/k?%3Cscript%3E=1", "invalid-parameter", "<script>", nil},
		{"malformed query", "PUT", "/v1/keys/k?ttl=%zz", "invalid-parameter", "", nil},
		{"limit zero", "GET", "/v1/keys?limit=0", "invalid-parameter", "limit", nil},
		{"limit high", "GET", "/v1/keys?limit=1001", "invalid-parameter", "limit", nil},
		{"limit word", "GET", "/v1/keys?limit=all", "invalid-parameter", "limit", nil},
		{"limit huge", "GET", "/v1/keys?limit=99999999999999999999", "invalid-parameter", "limit", nil},
		{"values", "GET", "/v1/keys?values=yes", "invalid-parameter", "values", nil},
		{"values empty", "GET", "/v1/keys?values=", "invalid-parameter", "values", nil},
		{"prefix not UTF-8", "GET", "/v1/keys?prefix=%ff", "invalid-parameter", "prefix", nil},
		{"cursor empty", "GET", "/v1/keys?after=", "invalid-cursor", "", nil},
		{"cursor garbage", "GET", "/v1/keys?after=garbage", "invalid-cursor", "", nil},
		{"cursor not base64", "GET", "/v1/keys?after=%21%21", "invalid-cursor", "", nil},
		{"If-Match bare", "PUT", "/v1/keys/k", "invalid-header", "If-Match", []string{"If-Match", "1"}},
		{"If-Match empty", "PUT", "/v1/keys/k", "invalid-header", "If-Match", []string{"If-Match", ""}},
		{"If-Match open", "PUT", "/v1/keys/k", "invalid-header", "If-Match", []string{"If-Match", `"1`}},
		{"If-Match two stars", "PUT", "/v1/keys/k", "invalid-header", "If-Match", []string{"If-Match", "*, *"}},
		{"If-Match star and tag", "PUT", "/v1/keys/k", "invalid-header", "If-Match", []string{"If-Match", `*, "1"`}},
		{"If-Match no comma", "PUT", "/v1/keys/k", "invalid-header", "If-Match", []string{"If-Match", `"1""2"`}},
		{"If-None-Match bare", "PUT", "/v1/keys/k", "invalid-header", "If-None-Match", []string{"If-None-Match", "abc"}},
		{"If-None-Match w", "PUT", "/v1/keys/k", "invalid-header", "If-None-Match", []string{"If-None-Match", `w/"1"`}},
		{"If-Match on DELETE", "DELETE", "/v1/keys/k", "invalid-header", "If-Match", []string{"If-Match", "x"}},
		{"Content-Type", "PUT", "/v1/keys/k", "invalid-header", "Content-Type", []string{"Content-Type", "nonsense"}},
		{"Content-Type bytes", "PUT", "/v1/keys/k", "invalid-header", "Content-Type", []string{"Content-Type", "text/pl\xe4in"}},
		{"Content-Type long", "PUT", "/v1/keys/k", "invalid-header", "Content-Type", []string{"Content-Type", "a/" + long}},
		{"Content-Range", "PUT", "/v1/keys/k", "invalid-header", "Content-Range", []string{"Content-Range", "bytes 0-1/2"}},
		{"Content-Encoding", "PUT", "/v1/keys/k", "unsupported-encoding", "", []string{"Content-Encoding", "gzip"}},
		{"metadata not UTF-8", "PUT", "/v1/keys/k", "invalid-header", "Runnel-Meta-A", []string{"Runnel-Meta-A", "\xff"}},
		{"metadata large", "PUT", "/v1/keys/k", "invalid-header", "Runnel-Meta-*", []string{"Runnel-Meta-A", strings.Repeat("x", 8<<10)}},
		{"too large", "PUT", "/v1/keys/k", "too-large", "", []string{"X-Test-Body", "large"}},
		{"Accept of a list", "GET", "/v1/keys", "not-acceptable", "", []string{"Accept", "image/png"}},
		{"Accept of the status", "GET", "/v1/status", "not-acceptable", "", []string{"Accept", "application/x-ndjson"}},
		{"unknown route", "GET", "/v2/keys", "unknown-route", "", nil},
		{"unknown route below", "GET", "/v1/keys2/a", "unknown-route", "", nil},
		{"method", "PATCH", "/v1/keys/k", "method-not-allowed", "", nil},
		{"method of the list", "PUT", "/v1/keys", "method-not-allowed", "", nil},
		{"cross origin", "PUT", "/v1/keys/k", "cross-origin", "", []string{"Sec-Fetch-Site", "cross-site"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := "v"
			if len(c.headers) > 0 && c.headers[0] == "X-Test-Body" {
				body = strings.Repeat("v", apitest.MaxTestValue+1)
			}
			w := n.Do(t, c.method, c.target, body, c.headers...)
			var p wire.Problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
				t.Fatalf("%d %s: %v", w.Code, w.Body, err)
			}
			if p.Type != "/problems/"+c.slug || p.Status != w.Code || w.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("%d %s, want %s", w.Code, w.Body, c.slug)
			}
			if c.member != "" && p.Parameter != c.member && p.Header != c.member {
				t.Errorf("%s does not name %s", w.Body, c.member)
			}
			if c.slug == "too-large" && p.MaxBytes != apitest.MaxTestValue {
				t.Errorf("max_bytes is %d", p.MaxBytes)
			}
			if c.slug == "method-not-allowed" && w.Header().Get("Allow") == "" {
				t.Error("405 without Allow")
			}
		})
	}
	if c := apitest.Count(t, n); c != 0 {
		t.Errorf("%d keys were stored", c)
	}
}

func TestOptions(t *testing.T) {
	n := apitest.New(t)
	if w := n.Do(t, "OPTIONS", "/v1/keys/k", ""); w.Code != 204 || w.Header().Get("Allow") != "DELETE, GET, HEAD, OPTIONS, POST, PUT" {
		t.Errorf("OPTIONS: %d %v", w.Code, w.Header())
	}
}
