package exchange_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/api/internal/signin"
	"github.com/runnelkv/runnel/store/access"
)

var signInSecret = bytes.Repeat([]byte("s"), signin.MinSecretBytes)

// signIns is a node with the key "ops" in its configuration.
type signIns struct {
	*apitest.Node
	keys  *access.Registry
	key   access.Key
	token access.Token
}

// readyKeys are the keys of a registry that reads no store.
type readyKeys struct{ *access.Registry }

func (readyKeys) Ready() bool { return true }

func newSignIns(t *testing.T, change ...func(*api.Options)) *signIns {
	t.Helper()
	s := &signIns{}
	var err error
	if s.key, s.token, err = access.New(access.Key{Name: "ops", Grants: access.Spec{Roles: []access.Role{access.RoleAdmin}}}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if s.keys, err = access.NewRegistry(nil, access.Static{Keys: []access.Key{s.key}}, access.Options{}); err != nil {
		t.Fatal(err)
	}
	s.Node = apitest.New(t, append(change, func(o *api.Options) {
		o.Keys, o.SignInSecret = readyKeys{s.keys}, signInSecret
		o.Proxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("127.0.0.0/8")} // the clients of tests
	})...)
	return s
}

// send sends a request that a proxy has received over HTTPS.
func (s *signIns) send(t *testing.T, method, target string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	return s.Do(t, method, target, "", append([]string{"X-Forwarded-Proto", "https"}, headers...)...)
}

// signIn returns the cookie for a key, as the browser sends it.
func (s *signIns) signIn(t *testing.T, token access.Token) string {
	t.Helper()
	w := s.send(t, "POST", "/v1/session", "Authorization", "Bearer "+token.Reveal())
	if w.Code != 204 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	value, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
	return value
}

// rotate gives the key a new secret. The old secret lasts until a time.
func (s *signIns) rotate(t *testing.T, until time.Time) access.Token {
	t.Helper()
	fresh, token, err := access.New(access.Key{Name: "ops", Grants: s.key.Grants}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	rotated := s.key
	rotated.Hash, rotated.PreviousHash, rotated.PreviousUntil = fresh.Hash, s.key.Hash, until
	if err := s.keys.SetStatic(access.Static{Keys: []access.Key{rotated}}); err != nil {
		t.Fatal(err)
	}
	token.ID = s.key.ID
	return token
}

const dropped = "__Host-runnel=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Strict"

func TestBrowserSignsInAndOut(t *testing.T) {
	s := newSignIns(t)
	w := s.send(t, "POST", "/v1/session", "Authorization", "Bearer "+s.token.Reveal())
	set := w.Header().Get("Set-Cookie")
	for _, attribute := range []string{"; Path=/;", "; Max-Age=43200;", "; HttpOnly;", "; Secure;", "; SameSite=Strict"} {
		if !strings.Contains(set, attribute) {
			t.Errorf("%q lacks %q", set, attribute)
		}
	}
	if strings.Contains(set, "Domain") || strings.Contains(set, s.key.ID) || strings.Contains(set, s.token.Reveal()[16:30]) || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	cookie := s.signIn(t, s.token)
	w = s.send(t, "PUT", "/v1/keys/a", "Cookie", cookie, "Sec-Fetch-Site", "same-origin")
	if w.Code != 201 {
		t.Fatalf("PUT: %d %s", w.Code, w.Body)
	}
	w = s.send(t, "GET", "/v1/keys/a", "Cookie", "other=1; "+cookie)
	if w.Code != 200 || w.Header().Get("Vary") != "Authorization, Cookie, Accept" || w.Header().Get("Cache-Control") != "private, no-cache" {
		t.Errorf("GET: %d %v", w.Code, w.Header())
	}
	if w = s.send(t, "GET", "/v1/keys/a", "Cookie", cookie, "Authorization", "Bearer wrong"); w.Code != 401 || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("beside a wrong key: %d %v", w.Code, w.Header())
	}
	if w = s.send(t, "POST", "/v1/session", "Cookie", cookie, "Sec-Fetch-Site", "same-origin"); w.Code != 403 || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("a cookie prolongs itself: %d %v", w.Code, w.Header())
	}
	for _, value := range []string{cookie, "__Host-runnel=forged"} {
		if w = s.send(t, "DELETE", "/v1/session", "Cookie", value, "Sec-Fetch-Site", "same-origin"); w.Code != 204 || w.Header().Get("Set-Cookie") != dropped {
			t.Errorf("sign out with %q: %d %v", value, w.Code, w.Header())
		}
	}
}

// TestInvalidCookiesAreDropped: each is answered 401, counts as a failed authentication, and is dropped by the browser.
func TestInvalidCookiesAreDropped(t *testing.T) {
	s := newSignIns(t)
	valid := s.signIn(t, s.token)
	now := time.Now()
	seal := func(secret []byte, t signin.Ticket) string {
		sealer, err := signin.New(secret)
		if err != nil {
			panic(err)
		}
		return "__Host-runnel=" + sealer.Seal(t)
	}
	ticket := signin.Ticket{KeyID: s.key.ID, Secret: s.key.Hash, Issued: now, Expires: now.Add(time.Hour)}
	if w := s.send(t, "GET", "/v1/keys/a", "Cookie", seal(signInSecret, ticket)); w.Code != 404 {
		t.Fatalf("a ticket of the test: %d", w.Code)
	}
	old, long, foreign, wrong := ticket, ticket, ticket, ticket
	old.Issued, old.Expires = now.Add(-2*time.Hour), now.Add(-time.Second)
	long.Expires = now.Add(signin.MaxAge + time.Minute)
	foreign.KeyID = "aaaaaaaaaa"
	wrong.Secret[0] ^= 1
	s.keys.SetStatic(access.Static{Keys: []access.Key{s.key, {ID: "aaaaaaaaaa", Name: "other", Hash: access.Hash{1}, Grants: s.key.Grants}}})
	for name, value := range map[string]string{
		"empty": "__Host-runnel=", "cut": valid[:len(valid)-1], "longer": valid + "A", "two": valid + "; " + valid, "forged": "__Host-runnel=" + strings.Repeat("A", 300),
		"a key": "__Host-runnel=" + s.token.Reveal(), "expired": seal(signInSecret, old), "too long a life": seal(signInSecret, long),
		"another process": seal(nil, ticket), "another key": seal(signInSecret, foreign), "another secret": seal(signInSecret, wrong),
	} {
		w := s.send(t, "GET", "/v1/keys/a", "Cookie", value)
		if w.Code != 401 || w.Header().Get("Set-Cookie") != dropped || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", name, w.Code, w.Header())
		}
	}
}

func TestInvalidCookiesCountAsFailures(t *testing.T) {
	s := newSignIns(t, func(o *api.Options) { o.Rates = api.Rates{Failures: 2} })
	for _, want := range []int{401, 401, 429} {
		if w := s.send(t, "GET", "/v1/keys/a", "Cookie", "__Host-runnel=forged"); w.Code != want {
			t.Errorf("%d, want %d", w.Code, want)
		}
	}
	if w := s.send(t, "GET", "/v1/keys/a", "Cookie", s.signIn(t, s.token)); w.Code != 404 {
		t.Errorf("a valid cookie of the same address: %d", w.Code)
	}
}

// TestCookieEndsWithItsSecret rotates the key: the cookie of the old secret ends with the old secret, and at once without
// an overlap.
func TestCookieEndsWithItsSecret(t *testing.T) {
	s := newSignIns(t)
	before := s.signIn(t, s.token)
	fresh := s.rotate(t, time.Now().Add(time.Hour))
	late, after := s.signIn(t, s.token), s.signIn(t, fresh)
	check := func(when string, want map[string]int) {
		t.Helper()
		for cookie, status := range want {
			if w := s.send(t, "GET", "/v1/keys/a", "Cookie", cookie); w.Code != status {
				t.Errorf("%s: %d, want %d", when, w.Code, status)
			}
		}
	}
	check("in the overlap", map[string]int{before: 404, late: 404, after: 404})
	rotated := s.key
	rotated.Hash = fresh.Hash()
	s.keys.SetStatic(access.Static{Keys: []access.Key{rotated}})
	check("after the overlap", map[string]int{before: 401, late: 401, after: 404})
	rotated.ExpiresAt = time.Now()
	s.keys.SetStatic(access.Static{Keys: []access.Key{rotated}})
	check("after the key has expired", map[string]int{after: 401})
}

// TestCookieLastsNoLongerThanItsSecret: a secret that ends soon gives a cookie that ends soon.
func TestCookieLastsNoLongerThanItsSecret(t *testing.T) {
	s := newSignIns(t)
	s.rotate(t, time.Now().Add(10*time.Minute))
	w := s.send(t, "POST", "/v1/session", "Authorization", "Bearer "+s.token.Reveal())
	cookies := w.Result().Cookies()
	if len(cookies) != 1 || cookies[0].MaxAge < 9*60 || cookies[0].MaxAge > 600 {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

func TestCookieNeedsHTTPS(t *testing.T) {
	s := newSignIns(t)
	cookie, key := s.signIn(t, s.token), "Bearer "+s.token.Reveal()
	for _, c := range []struct {
		method, target, header, value string
	}{
		{"GET", "/v1/keys/a", "Cookie", cookie}, {"PUT", "/v1/keys/a", "Cookie", cookie}, {"GET", "/v1/keys/a", "Cookie", "__Host-runnel=forged"},
		{"POST", "/v1/session", "Authorization", key}, {"DELETE", "/v1/session", "Cookie", cookie},
	} {
		w := s.Do(t, c.method, c.target, "", c.header, c.value, "X-Forwarded-Proto", "https, http", "Sec-Fetch-Site", "same-origin")
		if w.Code != 403 || !strings.Contains(w.Body.String(), "https-required") || w.Header().Get("Set-Cookie") != "" {
			t.Errorf("%s %s with %s: %d %s", c.method, c.target, c.header, w.Code, w.Body)
		}
	}
	if w := s.Do(t, "GET", "/v1/keys/a", "", "Authorization", key, "Cookie", cookie, "X-Forwarded-Proto", "http"); w.Code != 404 {
		t.Errorf("a key over plain HTTP: %d", w.Code)
	}
	if w := s.Do(t, "GET", "/healthz", "", "Cookie", cookie, "X-Forwarded-Proto", "http"); w.Code != 200 {
		t.Errorf("an open route over plain HTTP: %d", w.Code)
	}
}

// TestWritesWithACookieNeedTheOrigin: a write with a cookie that no page of the server has sent changes nothing.
func TestWritesWithACookieNeedTheOrigin(t *testing.T) {
	s := newSignIns(t)
	cookie := s.signIn(t, s.token)
	for _, c := range []struct {
		headers []string
		allowed bool
	}{
		{[]string{"Sec-Fetch-Site", "same-origin"}, true},
		{[]string{"Sec-Fetch-Site", "none"}, true}, // the user, without a page
		{[]string{"Origin", "https://localhost"}, true},
		{[]string{"Sec-Fetch-Site", "same-site"}, false},
		{[]string{"Sec-Fetch-Site", "cross-site", "Origin", "https://localhost"}, false},
		{[]string{"Origin", "https://localhost:8443"}, false},
		{[]string{"Origin", "null"}, false},
		{nil, false},
	} {
		for target, method := range map[string]string{"/v1/keys/a": "PUT", "/v1/keys?prefix=b": "DELETE", "/v1/sync": "POST", "/v1/session": "DELETE"} {
			w := s.send(t, method, target, append([]string{"Cookie", cookie}, c.headers...)...)
			if refused := w.Code == 403 && strings.Contains(w.Body.String(), "cross-origin"); refused == c.allowed {
				t.Errorf("%s %s with %q: %d %s", method, target, c.headers, w.Code, w.Body)
			}
		}
	}
	for _, headers := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}} {
		if w := s.send(t, "POST", "/v1/session", append(headers, "Authorization", "Bearer "+s.token.Reveal())...); w.Code != 403 || w.Header().Get("Set-Cookie") != "" {
			t.Errorf("another site signs the browser in: %d %v", w.Code, w.Header())
		}
	}
}

// TestServerWithoutKeysIgnoresTheCookie: the cookie may belong to another server of the same host.
func TestServerWithoutKeysIgnoresTheCookie(t *testing.T) {
	n := apitest.New(t)
	if w := n.Do(t, "PUT", "/v1/keys/a", "", "Cookie", "__Host-runnel=forged"); w.Code != 201 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := n.Do(t, "POST", "/v1/session", "", "Authorization", "Bearer any"); w.Code != http.StatusForbidden {
		t.Errorf("sign in: %d %s", w.Code, w.Body)
	}
}
