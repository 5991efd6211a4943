package browser

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/runnelkv/runnel/test/certs"
	"github.com/runnelkv/runnel/test/runnel"
)

// guarded is a server with TLS, the admin key "ops" and an access log. The requests of the attack without a cookie do not
// exhaust the address.
type guarded struct {
	url, key, log string
}

func newGuarded(t *testing.T) guarded {
	t.Helper()
	urls := runnel.ThreeFiles(t)
	runnel.Serve(t, "--config", runnel.WriteConfig(t, "", urls...)).Stop(t) // founds the cluster
	pair := certs.NewAuthority(t).Issue(t, certs.Names{})
	g := guarded{log: filepath.Join(t.TempDir(), "access.log")}
	file := runnel.WriteConfig(t, fmt.Sprintf("[limits]\nfailures_per_address = 0\n[log]\naccess = %q\n[http.tls]\ncert = %q\nkey = %q\n", g.log, pair.Cert, pair.Key), urls...)
	out, err := runnel.Run(t, "key", "create", "ops", "--role", "admin", "--config", file)
	if err != nil {
		t.Fatal(err)
	}
	g.key = strings.TrimSpace(out)
	p := runnel.ServeUnready(t, "--config", file)
	g.url = strings.NewReplacer("http:", "https:", "127.0.0.1", "localhost").Replace(p.URL)
	return g
}

// send lets a page of the server send a request, and returns the status.
func send(t *testing.T, tab context.Context, method, path, headers, body string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(tab, perPage)
	defer cancel()
	script := fmt.Sprintf("fetch(%q, {method: %q, headers: {%s}%s}).then(r => r.status)", path, method, headers, body)
	status, err := chromedp.Run(ctx, chromedp.Evaluate[int](script, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return status
}

// TestOnlyPagesOfTheServerUseTheSignIn signs a browser in. Its pages read and write; a page of another port, for which
// the browser sends the cookie too, and a page of another site do neither. After the sign-out no page does.
func TestOnlyPagesOfTheServerUseTheSignIn(t *testing.T) {
	g := newGuarded(t)
	tab := open(t, chromedp.Flag("ignore-certificate-errors", true))
	runnel.Eventually(t, time.Minute, "the keys to be read", func() error {
		if status := visit(t, tab, g.url+"/v1/keys?prefix="); status != 401 {
			return fmt.Errorf("without a key: %d", status)
		}
		return nil
	})
	if _, err := chromedp.Call(tab, page.SetBypassCSP, page.SetBypassCSPParams{Enabled: true}); err != nil { // scripts of the test may send requests
		t.Fatal(err)
	}
	visit(t, tab, g.url+"/")
	if status := send(t, tab, "POST", "/v1/session", fmt.Sprintf("Authorization: %q", "Bearer "+g.key), ""); status != 204 {
		t.Fatalf("sign in: %d", status)
	}
	if cookies, err := chromedp.Run(tab, chromedp.Evaluate[string]("document.cookie")); err != nil || cookies != "" {
		t.Errorf("a script reads %q, %v", cookies, err)
	}
	if status := send(t, tab, "PUT", "/v1/keys/secret", "", fmt.Sprintf(", body: %q", secret)); status != 201 {
		t.Fatalf("write: %d", status)
	}
	for _, host := range []string{"localhost", "127.0.0.1"} {
		a := prepareAttacker(g.url)
		a.StartTLS()
		t.Cleanup(a.Close)
		for _, report := range a.runIn(t, tab, host) {
			if strings.Contains(report, secret) || strings.HasPrefix(report, "IMG") || strings.HasPrefix(report, "SCRIPT") {
				t.Errorf("the page of %s could read: %s", host, report)
			}
		}
	}
	visit(t, tab, g.url+"/")
	for path, want := range map[string]int{"/v1/keys/secret": 200, "/v1/keys/changed": 404} {
		if status := send(t, tab, "GET", path, "", ""); status != want {
			t.Errorf("after the attacks %s: %d, want %d", path, status, want)
		}
	}
	log, err := os.ReadFile(g.log)
	if err != nil || !regexp.MustCompile(` - ops \[[^]]+\] "POST /v1/batch HTTP/2\.0" 403 `).Match(log) {
		t.Errorf("no write of the attack came with the cookie: %v\n%s", err, log)
	}
	if status := send(t, tab, "DELETE", "/v1/session", "", ""); status != 204 {
		t.Errorf("sign out: %d", status)
	}
	if status := visit(t, tab, g.url+"/v1/keys?prefix="); status != 401 {
		t.Errorf("after the sign-out: %d", status)
	}
}
