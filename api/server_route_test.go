package api_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/mux"

	"github.com/runnelkv/runnel/api/internal/apitest"
)

// requestTargets are paths of keys, and similar paths, as request lines contain them.
var requestTargets = []string{
	"/v1/keys/a", "/v1/keys/", "/v1/keys", "/v1/keys//", "/v1/keys//a", "/v1/keys/a/", "/v1/keys/a//b", "/v1/keys/.", "/v1/keys/..",
	"/v1/keys/../status", "/v1/keys/./a", "/v1/keys/a/../b", "/v1/keys/%2F", "/v1/keys/a%2Fb", "/v1/keys/%2E%2E", "/v1/keys/%2e%2e/a",
	"/v1/keys%2Fa", "/v1%2Fkeys/a", "/%76%31/keys/a", "/v1/ke%79s/a", "/v1/keys/%00", "/v1/keys/%FF", "/v1/keys/%C3%A9", "/v1/keys/é",
	"/v1/keys/a%20b", "/v1/keys/a+b", "/v1/keys/a?b", "/v1/keys/a%3Fb", "/v1/keys/a?ttl=1s&ttl=2s", "/v1/keys/?prefix=a", "/v1/keys/a;b",
	"/v1/keys/a%25", "/v1/keys/{a}", "/v1/keys/%7Ba%7D", "/v1/keys/*", "/v1/keys/a*", "/v1/keys/%2A", "/V1/keys/a", "/v1/Keys/a", "/v1/keysa",
	"//v1/keys/a", "/./v1/keys/a", "/x/../v1/keys/a", "/v1/./keys/a", "/v1//keys/a", "/", "/v1/status", "/bucket/a", "*",
	"http://host/v1/keys/a", "http://host/v1/keys/a%2Fb", "/v1/keys/\"", "/v1/keys/a|b", "/v1/keys/!$&'()*+,;=:@",
}

// TestKeysAreRoutedAsByTheRouter: the shortcut for keys answers like the router, and applies only where the router
// would find the same resource.
func TestKeysAreRoutedAsByTheRouter(t *testing.T) {
	n := apitest.New(t)
	n.Do(t, "PUT", "/v1/keys/a", "value")
	for _, target := range requestTargets {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			continue // net/http refuses the target
		}
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST", "PATCH", "GETS", "PUT", "DELETE"} {
			request := func() *http.Request {
				r := httptest.NewRequest(method, "/", nil)
				r.URL, r.RequestURI = u, target
				r.Header.Set("X-Request-Id", "same")
				r.Header.Set("If-Match", `"1"`)          // so that no write
				r.Header.Set("Content-Encoding", "gzip") // changes anything
				return r
			}
			var match mux.RouteMatch
			if got := n.RouteOf(request()); got != http.Handler(n.Router()) && (!n.Router().Match(request(), &match) || match.Handler != got) {
				t.Errorf("%s %s: the router would not come to %v", method, target, got)
			}
			ours, routers := httptest.NewRecorder(), httptest.NewRecorder()
			n.ServeHTTP(ours, request())
			n.ServeByTheRouter(routers, request())
			if diff := cmp.Diff(answerOf(routers), answerOf(ours)); diff != "" {
				t.Errorf("%s %s: the router (-) against the short cut (+):\n%s", method, target, diff)
			}
		}
	}
}

var latency = regexp.MustCompile(`"latency_ms": ?[0-9.]+`)

// answerOf returns the parts of an answer that do not vary between reads.
func answerOf(w *httptest.ResponseRecorder) map[string]any {
	h := w.Header().Clone()
	h.Del("Runnel-Partition")
	h.Del("Runnel-Staleness")
	body := latency.ReplaceAllString(w.Body.String(), "")
	h.Del("Content-Length")
	return map[string]any{"status": w.Code, "header": h, "body": body}
}

// TestPlainKeysSpareTheRouter: the short cut is there.
func TestPlainKeysSpareTheRouter(t *testing.T) {
	n := apitest.New(t)
	if n.RouteOf(httptest.NewRequest("GET", "/v1/keys/a/b", nil)) != n.KeysResource() {
		t.Error("a plain path goes through the router")
	}
}
