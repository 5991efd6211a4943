package exchange_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/store"
)

// browser is the Accept header of Firefox for pages.
const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

// TestPagesCarryTheSessionInACookie: only pages of reads and writes set the cookie, and only for browsers.
func TestPagesCarryTheSessionInACookie(t *testing.T) {
	n := apitest.New(t)
	n.Do(t, "PUT", "/v1/keys/a", "1")
	n.Do(t, "PUT", "/v1/keys/page", "<p>", "Content-Type", "text/html")
	for _, c := range []struct {
		method, target, accept string
		status                 int
		set                    bool
	}{
		{"GET", "/v1/keys/a", browser, 200, true},
		{"GET", "/v1/keys/a", "text/html", 200, true},
		{"HEAD", "/v1/keys/a", "text/html", 200, true},
		{"GET", "/v1/keys/none", browser, 404, true},
		{"GET", "/v1/keys", browser, 200, true},
		{"POST", "/v1/keys", browser, 201, true},
		{"DELETE", "/v1/keys?prefix=x", browser, 200, true},
		{"GET", "/v1/keys/page", browser, 200, false}, // is the value, not a page of ours
		{"GET", "/v1/keys?limit=x", browser, 400, false},
		{"GET", "/v1/status", browser, 200, false},
		{"GET", "/v1/changes", browser, 200, false},
		{"GET", "/", browser, 200, false},
		{"GET", "/bucket/", browser, 200, false},
		{"GET", "/bucket/a", "", 200, false},
		{"GET", "/v1/keys/a", "", 200, false},
		{"GET", "/v1/keys/a", "*/*", 200, false},
		{"GET", "/v1/keys/none", "*/*", 404, false},
		{"GET", "/v1/keys", "", 200, false},
		{"GET", "/v1/keys", "text/*", 200, false},
		{"GET", "/v1/keys", "application/json", 200, false},
		{"GET", "/v1/keys", "application/json, text/html;q=0.1", 200, false},
		{"GET", "/v1/keys", "application/xml", 200, false},
		{"GET", "/v1/keys", "application/x-ndjson", 200, false},
		{"POST", "/v1/keys", "application/json", 201, false},
	} {
		body := map[string]string{"POST": "1"}[c.method]
		w := n.Do(t, c.method, c.target, body, "Accept", c.accept)
		cookies := w.Result().Cookies()
		if w.Code != c.status || len(cookies) != map[bool]int{true: 1}[c.set] {
			t.Errorf("%s %s, Accept %q: %d, cookies %v", c.method, c.target, c.accept, w.Code, cookies)
			continue
		}
		if !c.set {
			continue
		}
		want := "Runnel-Session=" + w.Header().Get("Runnel-Session") + "; Path=/; HttpOnly; SameSite=Strict"
		if got := w.Header().Get("Set-Cookie"); got != want || w.Header().Get("Runnel-Session") == "" {
			t.Errorf("%s %s: set %q, want %q", c.method, c.target, got, want)
		}
	}
}

// TestCookieIsTheSessionOfABrowser: the cookie counts only for requests that accept HTML and have no Runnel-Session.
func TestCookieIsTheSessionOfABrowser(t *testing.T) {
	n := apitest.New(t)
	n.Do(t, "PUT", "/v1/keys/a", "old-value")
	n.Level(t)
	none := n.Store.Tag()
	written := n.Do(t, "PUT", "/v1/keys/a", "new-value").Header().Get("Runnel-Session")
	empty := store.Vector{}.Token(store.SessionToken, none)
	foreign := store.VectorOf(store.Mark{Origin: "partition-0", Revision: 1 << 50}).Token(store.SessionToken, none+1)
	for name, c := range map[string]struct {
		headers []string
		kept    bool // nothing older is seen
	}{
		"browser":                 {[]string{"Accept", browser, "Cookie", "Runnel-Session=" + written}, true},
		"among others":            {[]string{"Accept", browser, "Cookie", "a=b; Runnel-Session=" + written + "; bad cookie; c"}, true},
		"second of the name":      {[]string{"Accept", browser, "Cookie", "Runnel-Session=x; Runnel-Session=" + written}, true},
		"no cookie":               {[]string{"Accept", browser}, false},
		"mangled":                 {[]string{"Accept", browser, "Cookie", "Runnel-Session=" + written[:len(written)-1]}, false},
		"of another cluster":      {[]string{"Accept", browser, "Cookie", "Runnel-Session=" + foreign}, false},
		"a header says otherwise": {[]string{"Accept", browser, "Cookie", "Runnel-Session=" + written, "Runnel-Session", empty}, false},
		"a program":               {[]string{"Accept", "application/json", "Cookie", "Runnel-Session=" + written}, false},
		"anything":                {[]string{"Accept", "*/*", "Cookie", "Runnel-Session=" + written}, false},
		"no Accept":               {[]string{"Cookie", "Runnel-Session=" + written}, false},
		"XML":                     {[]string{"Accept", "application/xml, */*;q=0.1", "Cookie", "Runnel-Session=" + written}, false},
	} {
		old := false
		for range 40 {
			w := n.Do(t, "GET", "/v1/keys/a", "", c.headers...)
			if w.Code != http.StatusOK {
				t.Fatalf("%s: %d %s", name, w.Code, w.Body)
			}
			old = old || strings.Contains(w.Body.String(), "old-value")
		}
		if old == c.kept {
			t.Errorf("%s: what was older than the cookie's session was seen: %v", name, old)
		}
	}
	w := n.Do(t, "GET", "/v1/keys/a?consistency=master", "", "Accept", browser, "Cookie", "Runnel-Session=mangled")
	if cookies := w.Result().Cookies(); len(cookies) != 1 || cookies[0].Value != written {
		t.Errorf("a mangled cookie became %v, want %s", cookies, written)
	}
	if w := n.Do(t, "GET", "/v1/keys/a", "", "Accept", browser, "Runnel-Session", "mangled"); w.Code != 400 || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("a mangled header: %d, %v", w.Code, w.Header())
	}
}

func TestForgedCookieDoesNotKeepABrowserFromPages(t *testing.T) {
	n := apitest.New(t)
	n.Do(t, "PUT", "/v1/keys/a", "1")
	ahead := store.VectorOf(store.Mark{Origin: "partition-0", Revision: 1<<41 - 1})
	cookie := exchange.SessionHeader + "=" + ahead.Token(store.SessionToken, n.Store.Tag())
	for _, target := range []string{"/v1/keys/a", "/v1/keys"} {
		if w := n.Do(t, "GET", target, "", "Accept", browser, "Cookie", cookie); w.Code != 200 {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
	if w := n.Do(t, "GET", "/v1/keys/a", "", "Accept", browser, exchange.SessionHeader, strings.TrimPrefix(cookie, exchange.SessionHeader+"=")); w.Code != 503 {
		t.Errorf("the header, which a program sends: %d", w.Code)
	}
}
