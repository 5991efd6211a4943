package api_test

import (
	"bytes"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/store/access"
	"github.com/runnelkv/runnel/store/partition"
)

// TestRequestsOfAnAddressAreLimited sends more requests from one address than the limit allows, through a trusted proxy
// and with forged header fields.
func TestRequestsOfAnAddressAreLimited(t *testing.T) {
	n := apitest.New(t, func(o *api.Options) {
		o.Rates = api.Rates{Requests: 5}
		o.Proxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	})
	status := func(remote, forwarded string) int {
		r := httptest.NewRequest("GET", "/openapi.yaml", nil)
		r.Host, r.RemoteAddr = "localhost", remote
		if forwarded != "" {
			r.Header.Set("X-Forwarded-For", forwarded)
		}
		w := httptest.NewRecorder()
		n.ServeHTTP(w, r)
		if seconds, err := strconv.Atoi(w.Header().Get("Retry-After")); w.Code == 429 && (err != nil || seconds < 1) {
			t.Errorf("Retry-After %q", w.Header().Get("Retry-After"))
		}
		return w.Code
	}
	refused := func(remote, forwarded string) (n int) {
		for range 15 {
			if status(remote, forwarded) == 429 {
				n++
			}
		}
		return n
	}
	if n := refused("198.51.100.1:1", ""); n < 4 || n > 5 {
		t.Errorf("%d of 15 requests at once were refused, the limit is 10", n)
	}
	if n := refused("198.51.100.1:1", "203.0.113.9"); n < 14 {
		t.Errorf("a forged header freed %d requests", 15-n)
	}
	for i := range 15 {
		if code := status("10.0.0.1:1", "203.0.113."+strconv.Itoa(i)); code != 200 {
			t.Errorf("client %d behind the proxy: %d", i, code)
		}
	}
	if n := refused("10.0.0.1:1", "198.51.100.77"); n < 4 {
		t.Errorf("%d of 15 requests of a client behind the proxy were refused", n)
	}
}

func TestRefusedRequestsTouchNoStore(t *testing.T) {
	n := apitest.New(t, func(o *api.Options) { o.Rates = api.Rates{Requests: 1} })
	for n.Do(t, "GET", "/openapi.yaml", "").Code != 429 {
	}
	w := n.Do(t, "PUT", "/v1/keys/a", "value")
	if w.Code != 429 || !strings.Contains(w.Body.String(), "too-many-requests") {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	entries, _, err := n.Partitions[0].List(t.Context(), partition.Span{From: "k/", To: "k0", Limit: 10})
	if err != nil || len(entries) != 0 {
		t.Errorf("stored %v, %v", entries, err)
	}
}

// TestAccessLogIsCombined compares a line with the format of Apache and nginx, and sends hostile header fields.
func TestAccessLogIsCombined(t *testing.T) {
	var out bytes.Buffer
	n := apitest.New(t, func(o *api.Options) { o.CombinedLog = &out })
	out.Reset()
	n.Do(t, "GET", "/openapi.yaml?a=%22", "", "User-Agent", "x\"\x1b[2J\n\u202e", "Referer", "http://example.org/")
	line := regexp.MustCompile(`^(?:192\.0\.2\.1|127\.0\.0\.1) - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET /openapi\.yaml\?a=%22 HTTP/1\.1" 400 \d+ "http://example\.org/" "x\\"\\x1b\[2J\\n\\u202e"\n$`)
	if !line.MatchString(out.String()) {
		t.Errorf("%q", out.String())
	}
	out.Reset()
	n.Do(t, "GET", "/healthz", "", "User-Agent", "")
	if !strings.HasSuffix(out.String(), " \"-\" \"-\"\n") {
		t.Errorf("%q", out.String())
	}
}

// TestFalseKeysExhaustAnAddress guesses keys until the address is refused. A right key and other addresses go on.
func TestFalseKeysExhaustAnAddress(t *testing.T) {
	keys := apitest.NewKeys(t, map[string]access.Spec{"ops": {Roles: []access.Role{access.RoleAdmin}}})
	n := apitest.New(t, func(o *api.Options) { o.Keys, o.Rates = keys, api.Rates{Failures: 10} })
	status := func(remote, key string) int {
		r := httptest.NewRequest("GET", "/v1/keys/a", nil)
		r.Host, r.RemoteAddr = "localhost", remote
		r.Header.Set("Authorization", "Bearer "+key)
		w := httptest.NewRecorder()
		n.ServeHTTP(w, r)
		return w.Code
	}
	for i := range 10 {
		if code := status("198.51.100.1:1", "wrong"); code != 401 {
			t.Errorf("attempt %d: %d", i, code)
		}
	}
	for key, want := range map[string]int{"wrong": 429, "ops": 404} {
		if code := status("198.51.100.1:2", key); code != want {
			t.Errorf("key %s after ten wrong keys: %d, want %d", key, code, want)
		}
	}
	if code := status("198.51.100.2:1", "wrong"); code != 401 {
		t.Errorf("another address: %d", code)
	}
}
