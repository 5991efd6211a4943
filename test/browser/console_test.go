package browser

import (
	"bytes"
	"context"
	"crypto/tls"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/runnelkv/runnel/test/runnel"
)

// examine is a script that returns the faults of a page: fields without labels, weak contrast, and the like.
//
//go:embed examine.js
var examine string

// watchErrors collects the errors of scripts and policies in a tab. A page of a problem is no error.
func watchErrors(t *testing.T, tab context.Context) (taken func() []string) {
	t.Helper()
	var mu sync.Mutex
	var errs []string
	note := func(text string) {
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, text)
	}
	if err := chromedp.Listen(tab, func(event any) {
		switch e := event.(type) {
		case *log.EventEntryAdded:
			if e.Entry.Level == "error" && e.Entry.Source != "network" {
				note(e.Entry.Text)
			}
		case *runtime.EventExceptionThrown:
			note(fmt.Sprint(e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
		case *runtime.EventConsoleAPICalled:
			if e.Type == "error" || e.Type == "warning" {
				note("console." + string(e.Type))
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(tab, log.Enable, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		defer func() { errs = nil }()
		return errs
	}
}

// act runs an action within the time of a page.
func act[T any](t *testing.T, tab context.Context, what string, a chromedp.Action[T]) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(tab, perPage)
	defer cancel()
	result, err := chromedp.Run(ctx, a)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return result
}

// awaitText waits until a page shows a text.
func awaitText(t *testing.T, tab context.Context, text string) {
	t.Helper()
	runnel.Eventually(t, perPage, "the page to show "+text, func() error {
		ctx, cancel := context.WithTimeout(tab, perPage)
		defer cancel()
		shown, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body?.innerText ?? ""`))
		if err == nil && !strings.Contains(shown, text) {
			err = fmt.Errorf("the page shows %.600q", shown)
		}
		return err // the browser may be on its way to the next page
	})
}

// fill types texts into fields, by their ids, and presses the button with a text.
func fill(t *testing.T, tab context.Context, button string, fields ...string) {
	t.Helper()
	for i := 0; i < len(fields); i += 2 {
		script := fmt.Sprintf("document.getElementById(%q).value = %q; true", fields[i], fields[i+1])
		act(t, tab, "fill "+fields[i], chromedp.Evaluate[bool](script))
	}
	script := fmt.Sprintf(`{const b = [...document.querySelectorAll("button, a.button, summary")].find(e => e.checkVisibility() && e.innerText.trim() === %q); if (b) setTimeout(() => b.click()); !!b}`, button)
	if !act(t, tab, "press "+button, chromedp.Evaluate[bool](script)) {
		t.Fatalf("there is no button %q", button)
	}
}

// shoot keeps a screenshot of the whole page in the directory of RUNNEL_TEST_SCREENSHOTS, if there is one.
func shoot(t *testing.T, tab context.Context, name string) {
	t.Helper()
	dir := os.Getenv("RUNNEL_TEST_SCREENSHOTS")
	if dir == "" {
		return
	}
	picture := act(t, tab, "take a screenshot", chromedp.FullScreenshot(100))
	if err := os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o644); err != nil {
		t.Fatal(err)
	}
}

// request sends a request with the key of the server, as another program does.
func (g guarded) request(t *testing.T, method, path, mediaType, body string) string {
	t.Helper()
	r, err := http.NewRequest(method, g.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+g.key)
	r.Header.Set("Content-Type", mediaType)
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %d %s %v", method, path, answer.StatusCode, text, err)
	}
	return string(text)
}

// TestConsoleIsUsedByAPerson signs in, and walks the life of a key, a lock, money and a file by clicks.
func TestConsoleIsUsedByAPerson(t *testing.T) {
	g := newGuarded(t)
	tab := open(t, chromedp.Flag("ignore-certificate-errors", true))
	errs := watchErrors(t, tab)
	runnel.Eventually(t, time.Minute, "the keys to be read", func() error {
		if status := visit(t, tab, g.url+"/v1/keys?prefix="); status != 401 {
			return fmt.Errorf("without a key: %d", status)
		}
		return nil
	})
	visit(t, tab, g.url+"/")
	fill(t, tab, "Sign in", "key", "rnl_wrong")
	awaitText(t, tab, "This key is not valid")
	fill(t, tab, "Sign in", "key", g.key)
	awaitText(t, tab, "All 3 partitions are ready")

	visit(t, tab, g.url+"/console/keys")
	awaitText(t, tab, "No keys yet")
	visit(t, tab, g.url+"/console/new?prefix=config/")
	fill(t, tab, "Create", "key", "config/a", "value", "one\ntwo", "content_type", "text/plain")
	awaitText(t, tab, "Created.")
	fill(t, tab, "Edit")
	awaitText(t, tab, "Edit config/a")
	g.request(t, "PUT", "/v1/keys/config/a", "text/plain", "one\ntheirs")
	fill(t, tab, "Save", "value", "one\nmine")
	awaitText(t, tab, "Somebody else has changed this key")
	shoot(t, tab, "conflict")
	fill(t, tab, "Save over the stored value")
	awaitText(t, tab, "Saved.")
	if got := g.request(t, "GET", "/v1/keys/config/a?consistency=master", "", ""); got != "one\nmine" {
		t.Errorf("stored %q", got)
	}
	fill(t, tab, "Delete")
	fill(t, tab, "Delete this key")
	awaitText(t, tab, "Deleted.")

	visit(t, tab, g.url+"/console/changes")
	awaitText(t, tab, "Live")
	g.request(t, "PUT", "/v1/keys/live/one", "text/plain", "<script>alert(1)</script>")
	awaitText(t, tab, "live/one")

	g.request(t, "PUT", "/v1/locks/report", "application/json", `{"owner":"worker-3","ttl":"1h"}`)
	visit(t, tab, g.url+"/console/locks")
	awaitText(t, tab, "worker-3")
	fill(t, tab, "Release…")
	act(t, tab, "release", chromedp.Evaluate[bool](`setTimeout(() => document.querySelector("td button").click()); true`))
	awaitText(t, tab, "The lock is released.")
	useMoney(t, tab, g)
	useFiles(t, tab, g)
	fill(t, tab, "Sign out")
	awaitText(t, tab, "You have signed out.")
	if status := visit(t, tab, g.url+"/v1/keys?prefix="); status != 401 {
		t.Errorf("after the sign-out: %d", status)
	}
	if found := errs(); len(found) > 0 {
		t.Errorf("errors in the console of the browser: %q", found)
	}
}

// useMoney opens two accounts and transfers money.
func useMoney(t *testing.T, tab context.Context, g guarded) {
	t.Helper()
	for _, id := range []string{"anna", "berta"} {
		visit(t, tab, g.url+"/console/open")
		fill(t, tab, "Open the account", "id", id, "currency", "EUR", "name", "Name of "+id)
		awaitText(t, tab, "Created.")
	}
	visit(t, tab, g.url+"/console/account?account=anna")
	fill(t, tab, "Deposit from outside")
	fill(t, tab, "Deposit", "deposit-amount", "1000")
	awaitText(t, tab, "The transfer is posted.")
	fill(t, tab, "Transfer", "to", "berta", "amount", "2000")
	awaitText(t, tab, "The account cannot pay this.")
	fill(t, tab, "Transfer", "to", "berta", "amount", "250", "memo", "Rent")
	awaitText(t, tab, "The transfer is posted.")
	awaitText(t, tab, "750")
}

// useFiles uploads a file with its progress, verifies and deletes the file.
func useFiles(t *testing.T, tab context.Context, g guarded) {
	t.Helper()
	size := runnel.Rounds(5, 50) << 20
	path := filepath.Join(t.TempDir(), "a b&c.bin")
	if err := os.WriteFile(path, bytes.Repeat([]byte("0123456789abcdef"), size/16), 0o600); err != nil {
		t.Fatal(err)
	}
	visit(t, tab, g.url+"/console/files?dir=up/")
	act(t, tab, "choose a file", chromedp.SetUploadFiles("#file", []string{path}))
	act(t, tab, "watch the progress", chromedp.Evaluate[bool](`new MutationObserver(() => { if (document.querySelector("progress")) sessionStorage.progress = "seen" }).observe(document.querySelector(".uploads"), {childList: true}); true`))
	fill(t, tab, "Upload")
	runnel.Eventually(t, 2*time.Minute, "the file to be listed", func() error {
		ctx, cancel := context.WithTimeout(tab, perPage)
		defer cancel()
		listed, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.querySelector("td a[href*='console/file?']")?.textContent ?? ""`))
		if err == nil && listed != "a b&c.bin" {
			err = errors.New(listed)
		}
		return err
	})
	if seen := act(t, tab, "read the progress", chromedp.Evaluate[string]("sessionStorage.progress")); seen != "seen" {
		t.Error("no progress was shown")
	}
	visit(t, tab, g.url+"/console/file?path="+url.QueryEscape("up/a b&c.bin"))
	fill(t, tab, "Verify every copy")
	awaitText(t, tab, "undamaged copies")
	fill(t, tab, "Delete")
	fill(t, tab, "Delete this file")
	awaitText(t, tab, "Deleted.")
}

// TestConsoleIsReadable opens every page on a desk and on a phone, in light and dark, and examines labels, contrast, order
// and width; the short form has two of the four. A page with such faults must be noticed.
func TestConsoleIsReadable(t *testing.T) {
	tab := open(t)
	p := runnel.Serve(t, "--data", t.TempDir())
	errs := watchErrors(t, tab)
	pages := fillConsole(t, p.URL)
	everything := runnel.Rounds(0, 1) > 0 || os.Getenv("RUNNEL_TEST_SCREENSHOTS") != ""
	for _, width := range []int64{1280, 390} {
		for _, scheme := range []string{"light", "dark"} {
			if !everything && (width == 390) != (scheme == "dark") {
				continue
			}
			act(t, tab, "set the width", chromedp.EmulateViewport(width, 900))
			if _, err := chromedp.Call(tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}}); err != nil {
				t.Fatal(err)
			}
			for name, path := range pages {
				visit(t, tab, p.URL+path)
				for _, fault := range act(t, tab, "examine "+path, chromedp.Evaluate[[]string](examine)) {
					t.Errorf("%s, %d pixels, %s: %s", path, width, scheme, fault)
				}
				shoot(t, tab, fmt.Sprintf("%s-%d-%s", name, width, scheme))
			}
		}
	}
	if found := errs(); len(found) > 0 {
		t.Errorf("errors in the console of the browser: %q", found)
	}
	planted := `<!doctype html><body style="width:2000px"><h1>a</h1><h3>b</h3><input id=x><input id=x><button></button><a href=x tabindex=3></a><img src=data:,><p style="color:#999;background:#aaa">pale</p>`
	visit(t, tab, "data:text/html,"+url.PathEscape(planted))
	if faults := act(t, tab, "examine the control", chromedp.Evaluate[[]string](examine)); len(faults) < 9 {
		t.Errorf("of the planted faults only these were found: %q", faults)
	}
}

// fillConsole stores something for every page, and returns the paths of the pages by names.
func fillConsole(t *testing.T, server string) map[string]string {
	t.Helper()
	runnel.Eventually(t, time.Minute, "every partition to be ready", func() error { // a lock needs a majority
		if status := body(t, server+"/v1/status"); strings.Count(status, `"state":"ready"`) < 3 {
			return errors.New(status)
		}
		return nil
	})
	put(t, server+"/v1/keys/config/site.json", `{"name":"Runnel","regions":["eu-north","us-east"],"limits":{"requests":120,"burst":true}}`, "application/json", "ann")
	put(t, server+"/v1/keys/config/banner", strings.Repeat("Maintenance on Sunday. ", 30), "text/plain", "ann")
	put(t, server+"/v1/keys/sessions/8f2e1c?ttl=2h", "user=anna", "text/plain", "ann")
	put(t, server+"/v1/keys/"+url.PathEscape(strings.Repeat("long name ", 40)), "\x00\x01", "application/octet-stream", "ann")
	put(t, server+"/v1/keys/logo", `<svg xmlns="http://www.w3.org/2000/svg" width="300" height="120"><rect width="300" height="120" fill="teal"/></svg>`, "image/svg+xml", "ann")
	put(t, server+"/v1/locks/nightly-report", `{"owner":"worker-3","ttl":"30m","info":{"host":"a12"}}`, "application/json", "")
	for _, id := range []string{"anna", "shop"} {
		put(t, server+"/v1/accounts/"+id, `{"name":"Name of `+id+`","email":"`+id+`@example.org","currency":"EUR"}`, "application/json", "")
	}
	answer, err := http.Post(server+"/v1/accounts/anna/deposits", "application/json", strings.NewReader(`{"amount":125000,"memo":"Salary"}`))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	put(t, server+"/v1/transfers/anna/1", `{"to":"shop","amount":1250,"memo":"Bread and cheese"}`, "application/json", "")
	put(t, server+"/v1/files/photos/notes.txt", strings.Repeat("A line of a file.\n", 20000), "text/plain", "")
	return map[string]string{
		"overview": "/", "keys": "/console/keys", "folder": "/console/keys?prefix=config/", "key": "/console/key?key=config/site.json", "text": "/console/key?key=config/banner", "image": "/console/key?key=logo",
		"bytes": "/console/key?key=" + url.QueryEscape(strings.Repeat("long name ", 40)), "edit": "/console/edit?key=config/site.json", "new": "/console/new", "changes": "/console/changes?since=start", "locks": "/console/locks",
		"accounts": "/console/accounts", "account": "/console/account?account=anna", "open": "/console/open", "files": "/console/files", "file": "/console/file?path=photos/notes.txt", "masters": "/console/masters",
		"problem": "/console/none", "signin": "/console/signin", "empty": "/console/keys?prefix=nothing",
	}
}
