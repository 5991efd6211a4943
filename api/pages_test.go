package api_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"html"
	"io"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/wire"
)

var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `javascript:alert(1)`, `'onmouseover='alert(1)`,
	`{{.}}`, `]]><x>`, `</title><script>alert(1)</script>`, `</style><script>`, "\u2028\u2029", "\u202egnp.exe", "&lt;b&gt;",
}

// live finds markup that only an unescaped key or value could have brought in.
var live = regexp.MustCompile(`(?i)<script|<img|<x>|onerror=alert\(1\)>|href="javascript:|'onmouseover='`)

func TestHostileKeysAndValuesAreEscaped(t *testing.T) {
	n := apitest.New(t)
	for _, s := range hostile {
		if w := n.Do(t, "PUT", wire.Path(exchange.KeysPath, s), s, "Content-Type", "text/x-"+"y; a=<script>", "Runnel-Meta-M", "<script>"); w.Code != 201 {
			t.Fatalf("PUT %q: %d %s", s, w.Code, w.Body)
		}
	}
	targets := []string{"/v1/keys", "/v1/keys?delimiter=%3Cscript%3E", "/v1/keys?prefix=%3Cscript%3E", "/bucket/", "/canonicalbucket/", "/v1/keys?limit=1", "/v1/status",
		"/v1/keys/none%3Cscript%3E", "/v1/keys?limit=%3Cscript%3E", "/v1/keys?%3Cscript%3E", "/%3Cscript%3E", "/problems/%3Cscript%3E", "/bucket/%00%3Cscript%3E"}
	for _, s := range hostile {
		targets = append(targets, wire.Path(exchange.KeysPath, s), wire.Path(exchange.BucketPath, s), wire.Path(exchange.CanonicalPath, s))
	}
	for _, target := range targets {
		w := n.Do(t, "GET", target, "", "Accept", "text/html")
		if found := live.FindString(w.Body.String()); found != "" {
			t.Errorf("%s holds %q:\n%s", target, found, w.Body)
		}
		if policy := w.Header().Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") {
			t.Errorf("%s: policy %q", target, policy)
		}
		asXML := n.Do(t, "GET", target, "", "Accept", "application/xml")
		for d := xml.NewDecoder(asXML.Body); ; {
			token, err := d.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Errorf("%s as XML: %v", target, err)
				break
			}
			if e, ok := token.(xml.StartElement); ok && (e.Name.Local == "script" || e.Name.Local == "x") {
				t.Errorf("%s as XML holds <%s>", target, e.Name.Local)
			}
		}
		asJSON := n.Do(t, "GET", target, "", "Accept", "application/json").Body.Bytes()
		if !json.Valid(asJSON) || strings.Contains(string(asJSON), "<script") {
			t.Errorf("%s as JSON: %s", target, asJSON)
		}
	}
}

func TestRawValuesCannotActAsThisOrigin(t *testing.T) {
	n := apitest.New(t)
	n.Do(t, "PUT", "/v1/keys/page", "<script>alert(1)</script>", "Content-Type", "text/html")
	for contentType, want := range map[string]bool{"TEXT/HTML": true, "application/xhtml+xml": true, "image/svg+xml": true, "text/xml": true, "text/plain": false} {
		n.Do(t, "PUT", "/v1/keys/kind", "v", "Content-Type", contentType)
		policy := n.Do(t, "GET", "/v1/keys/kind", "", "Accept", "*/*").Header().Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "sandbox") || strings.Contains(policy, "default-src 'self'") != want {
			t.Errorf("%s has the policy %q", contentType, policy)
		}
	}
	for _, accept := range []string{"", "text/html"} {
		w := n.Do(t, "GET", "/v1/keys/page", "", "Accept", accept)
		if w.Body.String() != "<script>alert(1)</script>" || !strings.HasPrefix(w.Header().Get("Content-Security-Policy"), "sandbox; default-src 'self' data:;") || w.Header().Get("Content-Type") != "text/html" {
			t.Errorf("Accept %q: %v %s", accept, w.Header(), w.Body)
		}
	}
}

// TestContentIsSavedOnRequest: with download=true a browser saves a value or a file, whole or in ranges.
func TestContentIsSavedOnRequest(t *testing.T) {
	n := apitest.New(t)
	for _, path := range []string{"/v1/keys/page", "/v1/files/page"} {
		n.Do(t, "PUT", path, "<p>", "Content-Type", "text/html")
		for query, want := range map[string]string{"download=true": "attachment", "download=false": "", "": ""} {
			for _, headers := range [][]string{nil, {"Range", "bytes=0-1"}} {
				w := n.Do(t, "GET", path+"?consistency=master&"+query, "", headers...)
				if got := w.Header().Get("Content-Disposition"); got != want || w.Code/100 != 2 {
					t.Errorf("%s?%s %q: %d, %q", path, query, headers, w.Code, got)
				}
			}
		}
		if w := n.Do(t, "GET", path+"?consistency=master&download=1", ""); w.Code != 400 {
			t.Errorf("%s?download=1: %d", path, w.Code)
		}
	}
	if w := n.Do(t, "GET", "/v1/files/?download=true", ""); w.Code != 400 {
		t.Errorf("a directory: %d", w.Code)
	}
}

func TestPolicyAllowsTheStyleOfThePage(t *testing.T) {
	n := apitest.New(t)
	w := n.Do(t, "GET", "/problems", "", "Accept", "text/html")
	_, rest, _ := strings.Cut(w.Body.String(), "<style>")
	style, _, ok := strings.Cut(rest, "</style>")
	sum := sha256.Sum256([]byte(style))
	if !ok || !strings.Contains(w.Header().Get("Content-Security-Policy"), "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") {
		t.Errorf("%v %s", w.Header(), w.Body)
	}
	if strings.Contains(w.Body.String(), "http://") || strings.Contains(w.Body.String(), "https://") {
		t.Error("the page refers to something outside")
	}
}

// TestPagesLinkBelowAnyPathPrefix follows every link of every page as a browser would
// that sees the server below the prefix of a proxy.
func TestPagesLinkBelowAnyPathPrefix(t *testing.T) {
	n := apitest.New(t)
	n.Put(t, "a", "b/c//d", "..", "x y")
	link := regexp.MustCompile(`(?:href)="([^"]+)"`)
	for _, target := range []string{"/", "/console/signin", "/v1/keys", "/v1/keys?delimiter=/", "/v1/keys?limit=1", "/v1/keys/a", "/v1/keys/b/c//d", "/v1/changes",
		"/v1/status", "/problems", "/problems/not-found", "/v1/keys/none", "/bucket/", "/bucket/a"} {
		page := n.Do(t, "GET", target, "", "Accept", "text/html").Body.String()
		seen, err := url.Parse("https://example.org/some/prefix" + target)
		if err != nil {
			t.Fatal(err)
		}
		links := link.FindAllStringSubmatch(page, -1)
		base := seen
		if strings.Contains(page, "<base ") {
			base, err = seen.Parse(links[0][1]) // of <base>, which stands first
			if err != nil || base.Path != "/some/prefix/" {
				t.Fatalf("%s: the base is %v %v", target, base, err)
			}
			links = links[1:]
		}
		for _, l := range links {
			to, err := base.Parse(html.UnescapeString(l[1]))
			if err != nil {
				t.Errorf("%s: %s: %v", target, l[1], err)
				continue
			}
			to.Fragment = ""
			local, below := strings.CutPrefix(to.String(), "https://example.org/some/prefix")
			if !below {
				t.Errorf("%s: %s leads to %s", target, l[1], to)
			} else if w := n.Do(t, "GET", local, ""); w.Code != 200 && w.Code != 404 || w.Code == 404 && strings.Contains(w.Body.String(), "unknown-route") {
				t.Errorf("%s: %s is %d", target, local, w.Code)
			}
		}
	}
}
