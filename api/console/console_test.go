package console_test

import (
	"bytes"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/console"
	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/store/access"
)

// senders are the keys of the tests, by their tokens.
var senders = map[string]access.Spec{
	"read":  {Roles: []access.Role{access.RoleRead}},
	"admin": {Roles: []access.Role{access.RoleAdmin}},
	"part":  {Prefixes: []access.Prefix{{Prefix: "part/", Access: access.Write}}},
}

// guarded returns a node with the senders as keys, behind a proxy that ends TLS.
func guarded(t *testing.T) *apitest.Node {
	keys := apitest.NewKeys(t, senders)
	return apitest.NewFilled(t, func(o *api.Options) {
		o.Keys, o.SignInSecret = keys, bytes.Repeat([]byte("s"), 32)
		o.Proxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("127.0.0.0/8")}
	})
}

// browser is a browser that may have signed in.
type browser struct {
	*apitest.Node
	cookies map[string]string
	behind  bool // replicas stay behind
}

// follow checks that the address after a form leads to a page.
func (b *browser) follow(t *testing.T, page, location string) {
	t.Helper()
	from, err := url.Parse(page)
	if err != nil {
		t.Fatal(err)
	}
	to, err := from.Parse(location)
	if err != nil {
		t.Fatal(err)
	}
	if w := b.visit(t, to.String()); w.Code >= 400 && w.Code != 403 && !b.behind {
		t.Errorf("%s leads to %s, which is %d %s", page, location, w.Code, w.Body)
	}
}

// visit opens a page when every replica is up to date.
func (b *browser) visit(t *testing.T, target string) *httptest.ResponseRecorder {
	t.Helper()
	if !b.behind {
		b.Level(t)
	}
	return b.take(b.Do(t, "GET", target, "", b.headers()...))
}

// submit sends a form from a page of the server.
func (b *browser) submit(t *testing.T, page string, fields ...string) *httptest.ResponseRecorder {
	t.Helper()
	form := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	headers := append(b.headers(), "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin")
	w := b.take(b.Do(t, "POST", console.Path+page, form.Encode(), headers...))
	if w.Code == 303 {
		b.follow(t, console.Path+page, w.Header().Get("Location"))
	}
	return w
}

func (b *browser) headers() []string {
	var cookies []string
	for name, value := range b.cookies {
		cookies = append(cookies, name+"="+value)
	}
	headers := []string{"Accept", "text/html,application/xhtml+xml,*/*;q=0.8", "X-Forwarded-Proto", "https"}
	if len(cookies) > 0 {
		headers = append(headers, "Cookie", strings.Join(cookies, "; "))
	}
	return headers
}

// take keeps the cookies of an answer.
func (b *browser) take(w *httptest.ResponseRecorder) *httptest.ResponseRecorder {
	for _, c := range w.Result().Cookies() {
		if b.cookies[c.Name] = c.Value; c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		}
	}
	return w
}

// signIn returns a browser that has signed in with a key; "" for a browser that has not.
func signIn(t *testing.T, n *apitest.Node, key string) *browser {
	t.Helper()
	b := &browser{Node: n, cookies: map[string]string{}}
	if key == "" {
		return b
	}
	if w := b.submit(t, "signin", "key", " "+key+" "); w.Code != 303 || b.cookies["__Host-runnel"] == "" {
		t.Fatalf("sign in with %s: %d %s", key, w.Code, w.Body)
	}
	return b
}

// unguarded returns a browser at a node without keys.
func unguarded(t *testing.T, change ...func(*api.Options)) *browser {
	return &browser{Node: apitest.NewFilled(t, change...), cookies: map[string]string{}}
}

func TestRootIsTheConsoleForBrowsersAlone(t *testing.T) {
	b := unguarded(t)
	if w := b.visit(t, "/"); w.Code != 200 || !strings.Contains(w.Body.String(), "All 3 partitions are ready") && !strings.Contains(w.Body.String(), "partitions not ready") {
		t.Errorf("a browser gets %d %s", w.Code, w.Body)
	}
	for _, accept := range []string{"", "*/*", "application/json"} {
		if w := b.Do(t, "GET", "/", "", "Accept", accept); !strings.HasPrefix(w.Body.String(), `{"name":"runnel"`) {
			t.Errorf("Accept %q gets %s", accept, w.Body)
		}
	}
}

// TestStrangersAreLedToTheSignIn: without a valid sign-in no page shows anything, and afterwards the browser is where it wanted to be.
func TestStrangersAreLedToTheSignIn(t *testing.T) {
	n := guarded(t)
	b := signIn(t, n, "")
	for page, want := range map[string]string{"/": "./console/signin", "/console/signout?note=x": "../console/signin?next=signout%3Fnote%3Dx"} {
		if page == "/" {
			if w := b.visit(t, page); w.Code != 303 || w.Header().Get("Location") != want {
				t.Errorf("%s: %d to %q", page, w.Code, w.Header().Get("Location"))
			}
		}
	}
	if w := b.visit(t, "/console/signin?next=signin"); w.Code != 200 || !strings.Contains(w.Body.String(), `name="key"`) {
		t.Errorf("the sign-in page: %d %s", w.Code, w.Body)
	}
	if w := b.submit(t, "signin", "key", "wrong"); w.Code != 401 || !strings.Contains(w.Body.String(), "This key is not valid") || len(b.cookies) > 0 {
		t.Errorf("a wrong key: %d %s", w.Code, w.Body)
	}
	if w := b.submit(t, "signin", "key", ""); w.Code != 422 {
		t.Errorf("no key: %d", w.Code)
	}
	b = signIn(t, n, "admin")
	if w := b.visit(t, "/"); w.Code != 200 || !strings.Contains(w.Body.String(), "Sign out") || !strings.Contains(w.Body.String(), "admin") {
		t.Errorf("signed in: %d %s", w.Code, w.Body)
	}
	if w := b.submit(t, "signout"); w.Code != 303 || b.cookies["__Host-runnel"] != "" {
		t.Errorf("sign out: %d %v", w.Code, b.cookies)
	}
	if w := b.visit(t, "/"); w.Code != 303 {
		t.Errorf("after the sign-out: %d", w.Code)
	}
}

// TestSignInLeadsToNoOtherSite: the page after the sign-in is a page of the console.
func TestSignInLeadsToNoOtherSite(t *testing.T) {
	n := guarded(t)
	for _, next := range []string{"//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "../../evil", "none", "signout"} {
		b := signIn(t, n, "")
		if w := b.submit(t, "signin", "key", "read", "next", next); w.Code != 303 || w.Header().Get("Location") != "../" {
			t.Errorf("next %q leads to %d %q", next, w.Code, w.Header().Get("Location"))
		}
	}
}

// TestSignInOverPlainHTTPIsExplained: the browser would not keep the cookie.
func TestSignInOverPlainHTTPIsExplained(t *testing.T) {
	if apitest.Secure {
		t.Skip("every request of this run comes over HTTPS")
	}
	w := guarded(t).Do(t, "GET", "/console/signin", "", "Accept", "text/html")
	if w.Code != 200 || !strings.Contains(w.Body.String(), "plain HTTP") || strings.Contains(w.Body.String(), `name="key"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestFormsOfOtherSitesAreRefused sends every form as a page of another site, with the cookie and on a server without keys,
// and as a page that may use the API with a key of its own.
func TestFormsOfOtherSitesAreRefused(t *testing.T) {
	b := signIn(t, guarded(t), "admin")
	open := unguarded(t, func(o *api.Options) { o.Origins = []string{"https://app.example"} })
	for _, n := range []*browser{b, open} {
		for _, headers := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"}, {"Origin", "https://app.example"}} {
			for _, page := range forms {
				h := append(append(n.headers(), headers...), "Content-Type", "application/x-www-form-urlencoded")
				if w := n.Do(t, "POST", console.Path+page, "key=a&account=a", h...); w.Code != 403 {
					t.Errorf("%s with %s: %d %s", page, headers, w.Code, w.Body)
				}
			}
		}
	}
}

// forms are the pages that take forms.
var forms = []string{"signin", "signout", "sync", "edit", "delete", "renew", "release", "open", "transfer", "upload", "verify", "remove", "masters", "promote"}

// TestFormsAreForms: a page of another kind of body is refused before anything is done.
func TestFormsAreForms(t *testing.T) {
	b := unguarded(t)
	for _, mediaType := range []string{"text/plain", "application/json", ""} {
		h := append(b.headers(), "Sec-Fetch-Site", "same-origin", "Content-Type", mediaType)
		if w := b.Do(t, "POST", "/console/sync", "a=b", h...); w.Code != 415 {
			t.Errorf("%q: %d", mediaType, w.Code)
		}
	}
	if w := b.submit(t, "none"); w.Code != 404 {
		t.Errorf("no such form: %d", w.Code)
	}
}

// TestPagesLoadOnlyFilesOfTheServer: no page has a script or a style inside, and every file of a page is there, for ever under the same name.
func TestPagesLoadOnlyFilesOfTheServer(t *testing.T) {
	b := unguarded(t)
	loaded := regexp.MustCompile(`(?:src|href)="\./(console/assets/[^"]+)"`)
	w := b.visit(t, "/")
	page := w.Body.String()
	for _, forbidden := range []string{"<style", " style=", "<script>", " onclick", "http://", "https://"} {
		if strings.Contains(page, forbidden) {
			t.Errorf("the page has %q", forbidden)
		}
	}
	policy := w.Header().Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'; style-src 'self'; script-src 'self';") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy %q", policy)
	}
	files := loaded.FindAllStringSubmatch(page, -1)
	if len(files) != 2 {
		t.Fatalf("%d files in %s", len(files), page)
	}
	for _, f := range files {
		w := b.visit(t, "/"+f[1])
		if w.Code != 200 || w.Body.Len() == 0 || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %v", f[1], w.Code, w.Header())
		}
		if again := b.Do(t, "GET", "/"+f[1], "", "If-None-Match", w.Header().Get("Etag")); again.Code != 304 {
			t.Errorf("%s again: %d", f[1], again.Code)
		}
	}
	if w := b.visit(t, "/console/assets/console.css"); w.Code != 404 {
		t.Errorf("a file without its hash: %d", w.Code)
	}
}
