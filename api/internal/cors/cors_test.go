package cors_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/access"
)

const (
	allowed = "https://app.example.org"
	other   = "https://evil.example.org"
)

// newNode returns a node on a store that fails, with the keys "read" and "admin".
func newNode(t *testing.T, change ...func(*api.Options)) *apitest.Node {
	keys := apitest.NewKeys(t, map[string]access.Spec{"admin": {Roles: []access.Role{access.RoleAdmin}}, "read": {Roles: []access.Role{access.RoleRead}}})
	return apitest.NewBroken(store.ErrNoPartition, append([]func(*api.Options){func(o *api.Options) {
		o.Keys, o.Origins, o.Hosts = keys, []string{"http://localhost:3000", allowed}, []string{"db.example.org"}
	}}, change...)...)
}

// allow returns the fields of an answer for scripts, and Vary.
func allow(h http.Header) string {
	return fmt.Sprintf("%v %v", h["Access-Control-Allow-Origin"], h["Vary"])
}

// TestPreflightNeedsAndTellsNothing asks about every described path, and unknown paths, without a key.
func TestPreflightNeedsAndTellsNothing(t *testing.T) {
	n := newNode(t)
	paths := []string{"/nothing", "/v1/keys/%ff", "/v1/keys?unknown=1"}
	for path := range apitest.Description(t).Paths.Map() {
		paths = append(paths, strings.NewReplacer("{", "", "}", "").Replace(path))
	}
	answers := map[string]bool{}
	for _, path := range paths {
		w := n.Do(t, "OPTIONS", path, "", "Origin", allowed, "Access-Control-Request-Method", "DELETE",
			"Access-Control-Request-Headers", "authorization, x-evil,runnel-meta-by,IF-MATCH", "X-Request-Id", "id")
		if w.Code != 204 || w.Body.Len() > 0 {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
		answers[fmt.Sprint(w.Header())] = true
		if got := w.Header().Get("Access-Control-Allow-Headers"); got != "authorization, runnel-meta-by, if-match" {
			t.Errorf("%s: allowed headers %q", path, got)
		}
	}
	if len(answers) != 1 {
		t.Errorf("the answers tell the paths apart: %q", slices.Collect(maps.Keys(answers)))
	}
}

// TestOtherOriginsHaveNoPreflight: without Access-Control-Allow-Origin, a browser sends nothing further.
func TestOtherOriginsHaveNoPreflight(t *testing.T) {
	n := newNode(t)
	for _, origin := range []string{other, "null", "http://app.example.org", allowed + ":8443", allowed + ".evil.org", "https://APP.example.org", allowed + "/", "*", ""} {
		w := n.Do(t, "OPTIONS", "/v1/keys/k", "", "Origin", origin, "Access-Control-Request-Method", "PUT")
		for name := range w.Header() {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%q gets %s: %q", origin, name, w.Header()[name])
			}
		}
	}
}

// TestEveryDescribedFieldIsAllowedOrExposed compares with openapi.yaml.
func TestEveryDescribedFieldIsAllowedOrExposed(t *testing.T) {
	n, readable := newNode(t), []string{"Content-Length", "Content-Type", "Last-Modified", "Cache-Control", "Trailer"} // by every script, or by no script
	w := n.Do(t, "GET", "/v1/keys/k", "", "Origin", allowed)
	readable = append(readable, strings.Split(w.Header().Get("Access-Control-Expose-Headers"), ", ")...)
	doc := apitest.Description(t)
	fields, answered := map[string]bool{}, map[string]bool{}
	for _, p := range doc.Components.Parameters {
		if p.Value.In == "header" {
			fields[strings.ToLower(p.Value.Name)] = true
		}
	}
	for path := range doc.Paths.Map() {
		for method, operation := range apitest.Operations(doc, path) {
			for _, p := range operation.Parameters {
				if p.Value.In == "header" {
					fields[strings.ToLower(p.Value.Name)] = true
				}
			}
			for _, r := range operation.Responses.Map() {
				for name := range r.Value.Headers {
					answered[name] = true
				}
			}
			w := n.Do(t, "OPTIONS", "/", "", "Origin", allowed, "Access-Control-Request-Method", method)
			if !slices.Contains(strings.Split(w.Header().Get("Access-Control-Allow-Methods"), ", "), method) {
				t.Errorf("the method %s is not allowed", method)
			}
		}
	}
	if len(fields) < 8 || len(answered) < 12 {
		t.Fatalf("%d and %d fields are described", len(fields), len(answered))
	}
	for name := range fields {
		w := n.Do(t, "OPTIONS", "/", "", "Origin", allowed, "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", name)
		if w.Header().Get("Access-Control-Allow-Headers") != name {
			t.Errorf("requests may not have the field %s", name)
		}
	}
	delete(answered, "Set-Cookie") // browsers show it to no script
	for name := range answered {
		if !slices.Contains(readable, name) {
			t.Errorf("scripts cannot read the field %s", name)
		}
	}
}

// TestEveryAnswerCanBeReadByAllowedOrigins checks answers of every stage of a request, for an allowed origin, a
// foreign origin, and none.
func TestEveryAnswerCanBeReadByAllowedOrigins(t *testing.T) {
	refusing := newNode(t, func(o *api.Options) { o.Rates = api.Rates{Requests: 1} })
	for range 3 {
		refusing.Do(t, "GET", "/healthz", "")
	}
	panicking := apitest.NewBroken(nil, func(o *api.Options) { o.Origins = []string{allowed} })
	n := newNode(t)
	for name, test := range map[string]struct {
		node                      *apitest.Node
		host, method, target, key string
		status                    int
	}{
		"page":      {n, "localhost", "GET", "/problems", "", 200},
		"file":      {n, "localhost", "GET", "/openapi.yaml", "", 200},
		"host":      {n, "evil.example.org", "GET", "/v1/keys/k", "", 421},
		"rate":      {refusing, "localhost", "GET", "/v1/keys/k", "", 429},
		"no key":    {n, "localhost", "GET", "/v1/keys/k", "", 401},
		"forbidden": {n, "localhost", "GET", "/v1/status", "read", 403},
		"parameter": {n, "localhost", "GET", "/v1/keys/k?x=1", "read", 400},
		"method":    {n, "localhost", "GET", "/v1/sync", "admin", 405},
		"route":     {n, "localhost", "GET", "/nothing", "read", 404},
		"no store":  {n, "localhost", "GET", "/v1/keys/k", "read", 503},
		"panic":     {panicking, "localhost", "GET", "/v1/keys/k", "", 500},
	} {
		for _, origin := range []string{allowed, other, ""} {
			headers := []string{}
			if test.key != "" {
				headers = append(headers, "Authorization", "Bearer "+test.key)
			}
			if origin != "" {
				headers = append(headers, "Origin", origin)
			}
			h := test.node.DoAt(t, test.host, test.method, test.target, "", headers...)
			want := "[]"
			if origin == allowed {
				want = "[" + allowed + "]"
			}
			got := fmt.Sprint(h.Header()["Access-Control-Allow-Origin"])
			vary := h.Header()["Vary"]
			if h.Code != test.status || got != want || len(vary) != 1 || !strings.HasSuffix(vary[0], "Origin") || h.Header()["Access-Control-Allow-Credentials"] != nil {
				t.Errorf("%s from %q: %d %s", name, origin, h.Code, allow(h.Header()))
			}
		}
	}
}

// TestNoOriginsNoFields: a server without configured origins answers as if there were no such thing.
func TestNoOriginsNoFields(t *testing.T) {
	n := newNode(t, func(o *api.Options) { o.Origins = nil })
	if got := allow(n.Do(t, "GET", "/problems", "", "Origin", allowed).Header()); got != "[] [Accept]" {
		t.Error(got)
	}
}

// TestMetadataCrossesOrigins stores and reads metadata as an allowed page.
func TestMetadataCrossesOrigins(t *testing.T) {
	n := apitest.New(t, func(o *api.Options) { o.Origins = []string{allowed} })
	page := []string{"Origin", allowed, "Sec-Fetch-Site", "cross-site", "Runnel-Meta-By", "me"}
	if w := n.Do(t, "PUT", "/v1/keys/k", "v", page...); w.Code != 201 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	w := n.Do(t, "GET", "/v1/keys/k?consistency=master", "", page[:4]...)
	if w.Body.String() != "v" || !strings.HasSuffix(w.Header().Get("Access-Control-Expose-Headers"), ", Runnel-Meta-By") {
		t.Errorf("%s %v", w.Body, w.Header())
	}
	for _, method := range []string{"PUT", "POST", "DELETE"} {
		if w := n.Do(t, method, "/v1/keys/k?ttl=1h", "", "Origin", other, "Sec-Fetch-Site", "cross-site"); w.Code != 403 || !strings.Contains(w.Body.String(), "cross-origin") {
			t.Errorf("%s of another origin: %d %s", method, w.Code, w.Body)
		}
	}
	if w := n.Do(t, "GET", "/v1/keys/k?consistency=master", ""); w.Body.String() != "v" {
		t.Errorf("another origin has changed the value: %s", w.Body)
	}
}

// TestAllowedOriginsCannotUseTheCertificateOfTheBrowser: the browser adds a certificate to requests of every page.
func TestAllowedOriginsCannotUseTheCertificateOfTheBrowser(t *testing.T) {
	n := newNode(t, func(o *api.Options) { o.Certificates = map[string]string{"laptop.example.org": "admin"} })
	leaf := &x509.Certificate{DNSNames: []string{"laptop.example.org"}}
	for name, test := range map[string]struct {
		origin, site, key string
		refused           bool
	}{
		"own page":                     {"https://db.example.org", "same-origin", "", false},
		"program":                      {"", "", "", false},
		"allowed page":                 {allowed, "same-site", "", true},
		"allowed page, key of its own": {allowed, "same-site", "admin", false},
		"other page, key of its own":   {other, "same-site", "admin", true},
	} {
		r := httptest.NewRequest("POST", "https://db.example.org/v1/sync", nil)
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf}}}
		for field, value := range map[string]string{"Origin": test.origin, "Sec-Fetch-Site": test.site} {
			if value != "" {
				r.Header.Set(field, value)
			}
		}
		if test.key != "" {
			r.Header.Set("Authorization", "Bearer "+test.key)
		}
		w := httptest.NewRecorder()
		n.ServeHTTP(w, r)
		if refused := strings.Contains(w.Body.String(), "cross-origin"); refused != test.refused || !refused && w.Code != 503 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}
