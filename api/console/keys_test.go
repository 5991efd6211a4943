package console_test

import (
	"html"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// hidden returns the hidden fields of the form with an action, as pairs.
func hidden(t *testing.T, page, action string) (fields []string) {
	t.Helper()
	_, form, found := strings.Cut(page, `action="../console/`+action+`"`)
	if !found {
		t.Fatalf("no form %s in %s", action, page)
	}
	form, _, _ = strings.Cut(form, "</form>")
	for _, f := range regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)">`).FindAllStringSubmatch(form, -1) {
		fields = append(fields, html.UnescapeString(f[1]), html.UnescapeString(f[2]))
	}
	return fields
}

func (b *browser) mustHave(t *testing.T, w *httptest.ResponseRecorder, status int, texts ...string) string {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(w.Body.String(), text) {
			t.Errorf("%q is missing in %d %s", text, w.Code, w.Body)
		}
	}
	if w.Code != status {
		t.Fatalf("status %d, want %d: %s", w.Code, status, w.Body)
	}
	return w.Body.String()
}

// stored returns the value of a key at its master.
func (b *browser) stored(t *testing.T, key string) string {
	t.Helper()
	w := b.Do(t, "GET", "/v1/keys/"+key+"?consistency=master", "", "Authorization", "Bearer admin")
	if w.Code != 200 {
		return strconv.Itoa(w.Code)
	}
	return w.Body.String()
}

// TestKeysAreCreatedEditedAndDeleted walks the life of a key by its forms.
func TestKeysAreCreatedEditedAndDeleted(t *testing.T) {
	b := unguarded(t)
	b.mustHave(t, b.visit(t, "/console/keys"), 200, "No keys yet")
	w := b.submit(t, "edit", "new", "true", "key", "a/b", "value", "one\r\ntwo\r\n", "content_type", "text/plain", "newlines", "lf")
	if w.Code != 303 || w.Header().Get("Location") != "../console/key?key=a%2Fb&note=created" || b.stored(t, "a/b") != "one\ntwo\n" {
		t.Fatalf("create: %d %v, stored %q", w.Code, w.Header(), b.stored(t, "a/b"))
	}
	b.mustHave(t, b.visit(t, "/console/key?key=a/b&note=created"), 200, "Created.", "one\ntwo", "text/plain")
	b.mustHave(t, b.visit(t, "/console/keys"), 200, `href="../console/keys?prefix=a%2f&amp;delimiter=%2f"`)
	b.mustHave(t, b.visit(t, "/console/keys?prefix=a/"), 200, `href="../console/key?key=a%2fb"`)
	b.mustHave(t, b.visit(t, "/console/keys?delimiter=none"), 200, `>a/b</a>`)
	b.mustHave(t, b.submit(t, "edit", "new", "true", "key", "a/b", "value", "x", "content_type", "text/plain"), 412, "Nothing was saved")

	b.Do(t, "PUT", "/v1/keys/a/b", "one\r\ntwo", "Content-Type", "text/csv", "Runnel-Meta-By", "ann")
	page := b.mustHave(t, b.visit(t, "/console/edit?key=a/b"), 200, `value="text/csv"`)
	w = b.submit(t, "edit", append(hidden(t, page, "edit"), "value", "one\r\n2", "content_type", "text/csv", "ttl", "1h")...)
	if w.Code != 303 || b.stored(t, "a/b") != "one\r\n2" {
		t.Errorf("edit: %d %s, stored %q", w.Code, w.Body, b.stored(t, "a/b"))
	}
	page = b.mustHave(t, b.visit(t, "/console/key?key=a/b"), 200, "<dt>by</dt><dd>ann</dd>", "in 59 min")
	old := hidden(t, page, "delete")
	if w := b.submit(t, "renew", "key", "a/b", "ttl", "48h"); w.Code != 303 {
		t.Errorf("renew: %d %s", w.Code, w.Body)
	}
	b.mustHave(t, b.submit(t, "delete", old...), 412, "Precondition failed")
	page = b.mustHave(t, b.visit(t, "/console/key?key=a/b"), 200, "in 1 d")
	if w := b.submit(t, "delete", hidden(t, page, "delete")...); w.Code != 303 || b.stored(t, "a/b") != "404" {
		t.Errorf("delete: %d %s, stored %q", w.Code, w.Body, b.stored(t, "a/b"))
	}
	b.mustHave(t, b.visit(t, "/console/key?key=a/b"), 404, "No such key")
}

// TestConflictShowsBothValues: a save after a foreign write changes nothing, shows the stored value, and can then be repeated.
func TestConflictShowsBothValues(t *testing.T) {
	b := unguarded(t)
	b.Do(t, "PUT", "/v1/keys/k", "a\nb\nc", "Content-Type", "text/plain")
	form := hidden(t, b.visit(t, "/console/edit?key=k").Body.String(), "edit")
	b.Do(t, "PUT", "/v1/keys/k", "a\ntheirs\nc", "Content-Type", "text/plain")
	w := b.submit(t, "edit", append(form, "value", "a\r\nmine\r\nc", "content_type", "text/plain")...)
	page := b.mustHave(t, w, 412, "Somebody else has changed this key", "<code>theirs</code>", "<code>mine</code>", "a\nmine\nc</textarea>")
	if b.stored(t, "k") != "a\ntheirs\nc" || strings.Count(page, `class="changed"`) != 1 {
		t.Errorf("stored %q, page %s", b.stored(t, "k"), page)
	}
	again := hidden(t, page, "edit")
	if w := b.submit(t, "edit", append(again, "value", "a\r\nmine\r\nc", "content_type", "text/plain")...); w.Code != 303 || b.stored(t, "k") != "a\nmine\nc" {
		t.Errorf("again: %d, stored %q", w.Code, b.stored(t, "k"))
	}
	b.Do(t, "DELETE", "/v1/keys/k", "")
	b.mustHave(t, b.submit(t, "edit", append(again, "value", "x", "content_type", "text/plain")...), 412, "deleted this key", "Save as a new key")
}

// TestEditKeepsWhatAFormCannotCarry: values that a text field would change are not offered for editing.
func TestEditKeepsWhatAFormCannotCarry(t *testing.T) {
	b := unguarded(t)
	for value, want := range map[string]bool{"": true, "text": true, "\nfirst": true, "a\r\nb\r\n": true, "a\nb\r\n": false, "a\rb": false, "\x00": false, "\xff": false, strings.Repeat("x", 300<<10): false} {
		b.Do(t, "PUT", "/v1/keys/k", value, "Content-Type", "text/plain")
		page := b.visit(t, "/console/key?key=k").Body.String()
		if got := strings.Contains(page, "console/edit?key=k"); got != want {
			t.Errorf("%.20q: editable is %v", value, got)
		}
		page = b.visit(t, "/console/edit?key=k").Body.String()
		if !want {
			continue
		}
		_, text, _ := strings.Cut(page, `rows="14">`+"\n")
		text, _, _ = strings.Cut(text, "</textarea>")
		sent := strings.ReplaceAll(strings.ReplaceAll(html.UnescapeString(text), "\r\n", "\n"), "\n", "\r\n") // as browsers send
		if w := b.submit(t, "edit", append(hidden(t, page, "edit"), "value", sent, "content_type", "text/plain")...); w.Code != 303 || b.stored(t, "k") != value {
			t.Errorf("%q: %d, stored %q", value, w.Code, b.stored(t, "k"))
		}
	}
}

// TestGrantsDecideThePages: a key sees and changes no more than by the routes of the API.
func TestGrantsDecideThePages(t *testing.T) {
	n := guarded(t)
	for _, key := range []string{"part/a", "else/a"} {
		n.Do(t, "PUT", "/v1/keys/"+key, "value of "+key, "Content-Type", "text/plain", "Authorization", "Bearer admin")
	}
	for sender, want := range map[string]struct{ list, part, foreign, write int }{
		"": {303, 303, 303, 303}, "read": {200, 200, 200, 403}, "part": {403, 200, 403, 303}, "admin": {200, 200, 200, 303},
	} {
		b := signIn(t, n, sender)
		for target, status := range map[string]int{"keys": want.list, "keys?prefix=else/": want.foreign, "keys?prefix=part/": want.part, "key?key=part/a": want.part,
			"key?key=else/a": want.foreign, "edit?key=part/a": want.part, "edit?key=else/a": want.foreign} {
			w := b.visit(t, "/console/"+target)
			if w.Code != status || status != 200 && strings.Contains(w.Body.String(), "value of") {
				t.Errorf("%s as %q: %d, want %d", target, sender, w.Code, status)
			}
			mayWrite := strings.Contains(w.Body.String(), "console/delete")
			if strings.HasPrefix(target, "key?") && status == 200 && mayWrite != (want.write == 303) {
				t.Errorf("%s as %q offers to delete: %v", target, sender, mayWrite)
			}
		}
		w := b.submit(t, "edit", "new", "true", "key", "part/"+sender+"x", "value", "v", "content_type", "text/plain")
		if w.Code != want.write || sender == "" && !strings.Contains(w.Header().Get("Location"), "signin") {
			t.Errorf("create as %q: %d, want %d: %s", sender, w.Code, want.write, w.Body)
		}
		foreign := b.submit(t, "edit", "new", "true", "key", "else/"+sender, "value", "v", "content_type", "text/plain")
		if written := b.stored(t, "else/"+sender) == "v"; written != (sender == "admin") {
			t.Errorf("create of else/ as %q: %d", sender, foreign.Code)
		}
	}
	if got := signIn(t, n, "part").visit(t, "/console/keys").Body.String(); !strings.Contains(got, `href="../console/keys?prefix=part%2f"`) {
		t.Errorf("the prefixes of the key are missing: %s", got)
	}
}

// TestSessionFollowsTheBrowser: a page after a write shows the write, though replicas are behind.
func TestSessionFollowsTheBrowser(t *testing.T) {
	b := unguarded(t)
	b.behind = true
	for i := range 20 {
		key := "k" + strconv.Itoa(i)
		if w := b.submit(t, "edit", "new", "true", "key", key, "value", "v", "content_type", "text/plain"); w.Code != 303 {
			t.Fatal(w.Code)
		}
		if w := b.visit(t, "/console/key?key="+key); w.Code != 200 {
			t.Fatalf("%s: %d %s", key, w.Code, w.Body)
		}
		b.mustHave(t, b.visit(t, "/console/keys"), 200, ">"+key+"</a>")
	}
	b.cookies["Runnel-Session"] = "garbage"
	b.mustHave(t, b.visit(t, "/console/keys"), 200)
	if w := b.visit(t, "/console/key?key=k1&note=none"); w.Code != 200 && w.Code != 404 { // the replicas are behind
		t.Errorf("an invalid session: %d %s", w.Code, w.Body)
	}
}

// hostile are texts that would run, or break out of their place, without escapes.
var hostile = []string{`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `'onmouseover='alert(1)`, `{{.}}`, `</title><script>alert(1)</script>`, `</textarea><script>`, `javascript:alert(1)`, `a&b=c#d?e%2F..//`}

// live finds markup that only an unescaped text could have brought in.
var live = regexp.MustCompile(`(?i)<script>|<img src=x|onerror=alert\(1\)>|'onmouseover='|<b>|href="javascript:|src="javascript:|action="javascript:`)

// checkHostile opens pages, and looks for hostile markup.
func (b *browser) checkHostile(t *testing.T, pages ...string) {
	t.Helper()
	for _, page := range pages {
		w := b.visit(t, page)
		if found := live.FindString(w.Body.String()); found != "" || w.Code >= 500 {
			t.Errorf("%s (%d) holds %q:\n%s", page, w.Code, found, w.Body)
		}
	}
}

func TestHostileKeysAndValuesAreEscaped(t *testing.T) {
	b := unguarded(t)
	for _, s := range hostile {
		q, path := url.QueryEscape(s), url.PathEscape(s)
		for _, mediaType := range []string{"text/plain", "text/html", "application/json", "image/svg+xml", `text/html; a="` + strings.ReplaceAll(s, `"`, `\"`) + `"`} {
			b.Do(t, "PUT", "/v1/keys/"+path, s, "Content-Type", mediaType, "Runnel-Meta-Note", s)
			b.checkHostile(t, "/console/key?key="+q, "/console/edit?key="+q)
		}
		if w := b.visit(t, "/console/key?key="+q); w.Code != 200 || !strings.Contains(w.Body.String(), html.EscapeString(s)) && !strings.Contains(w.Body.String(), template(s)) {
			t.Errorf("%s is not shown: %s", s, w.Body)
		}
		b.checkHostile(t, "/console/keys?prefix="+q, "/console/keys?delimiter="+q, "/console/keys?after="+q, "/console/new?prefix="+q, "/console/signin?next="+q, "/console/keys?note="+q, "/console/"+path, "/console/key?key=none"+q)
		w := b.submit(t, "edit", "key", s, "etag", `"1.r"`, "value", s, "content_type", s, "ttl", s, "newlines", s, "expires_at", s, "meta.a", s)
		if found := live.FindString(w.Body.String()); found != "" {
			t.Errorf("the form holds %q", found)
		}
		b.checkHostile(t, "/console/keys", "/console/keys?delimiter=none")
	}
}

// template escapes a text as html/template does in HTML.
func template(s string) string {
	return strings.NewReplacer(`"`, "&#34;", "'", "&#39;", "<", "&lt;", ">", "&gt;", "&", "&amp;", "+", "&#43;").Replace(s)
}

// TestFieldsOfFormsCannotAddHeaders: a line break in a field does not end a header.
func TestFieldsOfFormsCannotAddHeaders(t *testing.T) {
	b := unguarded(t)
	for _, fields := range [][]string{{"content_type", "text/plain\r\nX: y"}, {"content_type", "text/plain", "etag", "\"1\"\nX: y"}, {"content_type", "text/plain", "meta.a", "a\x00b"}} {
		if w := b.submit(t, "edit", append(fields, "key", "k", "value", "v")...); w.Code != 400 && w.Code != 412 || b.stored(t, "k") != "404" {
			t.Errorf("%q: %d, stored %q", fields, w.Code, b.stored(t, "k"))
		}
	}
}
