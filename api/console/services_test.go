package console_test

import (
	"bytes"
	"html"
	"mime/multipart"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/api/console"
)

// as sends a request with a key.
func (b *browser) as(t *testing.T, key, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	return b.Do(t, method, target, body, append(headers, "Authorization", "Bearer "+key)...)
}

// TestChangesGoOnFromThePage: the page names the token from which its script and its link go on.
func TestChangesGoOnFromThePage(t *testing.T) {
	b := unguarded(t)
	b.Put(t, "before")
	page := b.mustHave(t, b.visit(t, "/console/changes"), 200, "Nothing has changed since you opened this page", `data-since="`)
	if strings.Contains(page, "key?key=before") {
		t.Error("the page of now shows an old change")
	}
	b.Put(t, "after")
	b.Do(t, "DELETE", "/v1/keys/before", "")
	_, rest, _ := strings.Cut(page, `rel="next" href="../console/`)
	next, _, _ := strings.Cut(rest, `"`)
	b.mustHave(t, b.visit(t, "/console/"+html.UnescapeString(next)), 200, ">after</a>", ">before</a>", "deleted")
	b.mustHave(t, b.visit(t, "/console/changes?since=start&prefix=af"), 200, ">after</a>")
	b.mustHave(t, b.visit(t, "/console/changes?since=garbage"), 400, "Invalid parameter")
}

// TestLocksAreReleasedByTheRightForceAlone walks the page of locks as several senders.
func TestLocksAreReleasedByTheRightForceAlone(t *testing.T) {
	n := guarded(t)
	admin, part, read := signIn(t, n, "admin"), signIn(t, n, "part"), signIn(t, n, "read")
	admin.mustHave(t, admin.visit(t, "/console/locks"), 200, "Nobody holds a lock")
	if w := admin.as(t, "admin", "PUT", "/v1/locks/part/a", `{"owner":"worker-3","ttl":"1h"}`, "Content-Type", "application/json"); w.Code != 201 {
		t.Fatalf("lock: %d %s", w.Code, w.Body)
	}
	admin.mustHave(t, admin.visit(t, "/console/locks"), 200, "worker-3", "console/release")
	part.mustHave(t, part.visit(t, "/console/locks"), 403, "You may open")
	for _, b := range []*browser{read, part} {
		if page := b.mustHave(t, b.visit(t, "/console/locks?prefix=part/"), 200, "worker-3"); strings.Contains(page, "console/release") {
			t.Error("the page offers a release without the right")
		}
		b.mustHave(t, b.submit(t, "release", "name", "part/a"), 403)
	}
	if w := admin.submit(t, "release", "name", "part/a"); w.Code != 303 {
		t.Errorf("release: %d %s", w.Code, w.Body)
	}
	admin.mustHave(t, admin.visit(t, "/console/locks?note=released"), 200, "Nobody holds a lock", "The lock is released.")
}

// TestTransferFormMovesMoneyOnce: a form that is sent twice makes one transfer, and a refusal keeps the fields.
func TestTransferFormMovesMoneyOnce(t *testing.T) {
	n := guarded(t)
	admin, read := signIn(t, n, "admin"), signIn(t, n, "read")
	for _, id := range []string{"part/a", "part/b"} {
		if w := admin.submit(t, "open", "id", id, "name", "Name of "+id, "currency", "eur"); w.Code != 303 {
			t.Fatalf("open %s: %d %s", id, w.Code, w.Body)
		}
	}
	admin.mustHave(t, admin.submit(t, "open", "id", "part/a", "name", "Other", "currency", "EUR"), 409, `value="Other"`)
	if w := admin.submit(t, "transfer", "account", "part/a", "id", "d1", "currency", "EUR", "amount", "1 000", "deposit", "true"); w.Code != 303 {
		t.Fatalf("deposit: %d %s", w.Code, w.Body)
	}
	form := []string{"account", "part/a", "id", "t1", "currency", "EUR", "to", "part/b", "amount", "300", "memo", "Rent"}
	for range 2 {
		if w := admin.submit(t, "transfer", form...); w.Code != 303 {
			t.Fatalf("transfer: %d %s", w.Code, w.Body)
		}
	}
	admin.mustHave(t, admin.visit(t, "/console/account?account=part/a"), 200, "<dd>700<small>EUR", "Rent", "account=part%2fb")
	admin.mustHave(t, admin.visit(t, "/console/accounts?q=Name"), 200, "Name of part/b", "300")
	for amount, status := range map[string]int{"701": 409, "0": 422, "1.5": 422, "": 422, "-3": 422, "99999999999999999999": 422} {
		page := admin.mustHave(t, admin.submit(t, "transfer", "account", "part/a", "id", "u"+amount, "currency", "EUR", "to", "part/b", "amount", amount), status, `role="alert"`, `value="part/b"`)
		if !strings.Contains(page, "<dd>700<small>") {
			t.Errorf("%q moved money", amount)
		}
	}
	if page := read.mustHave(t, read.visit(t, "/console/account?account=part/a"), 200, "700"); strings.Contains(page, "console/transfer") {
		t.Error("the page offers a transfer without the right")
	}
	read.mustHave(t, read.submit(t, "transfer", form...), 403)
	part := signIn(t, n, "part")
	part.mustHave(t, part.submit(t, "transfer", "account", "part/a", "id", "d2", "currency", "EUR", "amount", "5", "deposit", "true"), 403)
	part.mustHave(t, part.visit(t, "/console/account?account=part/a"), 200, "<dd>700<small>")
	part.mustHave(t, part.visit(t, "/console/account?account=else"), 403)
}

// upload sends files as a form does without a script.
func (b *browser) upload(t *testing.T, dir string, names ...string) *httptest.ResponseRecorder {
	t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for _, name := range names {
		w, err := form.CreateFormFile("file", name)
		if err != nil {
			t.Fatal(err)
		}
		w.Write([]byte("content of " + name))
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	headers := append(b.headers(), "Content-Type", form.FormDataContentType(), "Sec-Fetch-Site", "same-origin")
	return b.take(b.Do(t, "POST", console.Path+"upload?dir="+url.QueryEscape(dir), body.String(), headers...))
}

// TestFilesAreUploadedShownAndDeleted walks the life of files by their forms.
func TestFilesAreUploadedShownAndDeleted(t *testing.T) {
	n := guarded(t)
	admin, part, read := signIn(t, n, "admin"), signIn(t, n, "part"), signIn(t, n, "read")
	admin.mustHave(t, admin.visit(t, "/console/files"), 200, "No files yet")
	if w := part.upload(t, "part/", "a.txt", "b.txt"); w.Code != 303 || w.Header().Get("Location") != "../console/files?dir=part%2F&note=uploaded" {
		t.Fatalf("upload: %d %v %s", w.Code, w.Header(), w.Body)
	}
	part.mustHave(t, part.upload(t, "else/", "a.txt"), 403)
	read.mustHave(t, read.upload(t, "part/", "c.txt"), 403)
	admin.mustHave(t, admin.upload(t, "part/", "ok.txt", strings.Repeat("x", 600)), 200, "Some files were not stored", "part/ok.txt")
	admin.mustHave(t, admin.visit(t, "/console/files"), 200, "files?dir=part%2f")
	part.mustHave(t, part.visit(t, "/console/files"), 403, "You may open")
	part.mustHave(t, part.visit(t, "/console/files?dir=part/"), 200, "file?path=part%2fa.txt")
	page := part.mustHave(t, part.visit(t, "/console/file?path=part/a.txt"), 200, "content of a.txt", "console/verify")
	if page := read.mustHave(t, read.visit(t, "/console/file?path=part/a.txt"), 200, "content of a.txt"); strings.Contains(page, "console/remove") {
		t.Error("the page offers a deletion without the right")
	}
	part.mustHave(t, part.submit(t, "verify", "path", "part/a.txt"), 200, "undamaged copies")
	read.mustHave(t, read.submit(t, "remove", hidden(t, page, "remove")...), 403)
	part.upload(t, "part/", "a.txt")
	part.mustHave(t, part.submit(t, "remove", hidden(t, page, "remove")...), 412)
	page = part.visit(t, "/console/file?path=part/a.txt").Body.String()
	if w := part.submit(t, "remove", hidden(t, page, "remove")...); w.Code != 303 {
		t.Errorf("delete: %d %s", w.Code, w.Body)
	}
	part.mustHave(t, part.visit(t, "/console/file?path=part/a.txt"), 404)
}

// TestMovesArePlannedAndMadeByAdmins walks the page of the masters.
func TestMovesArePlannedAndMadeByAdmins(t *testing.T) {
	n := guarded(t)
	admin, read := signIn(t, n, "admin"), signIn(t, n, "read")
	admin.mustHave(t, admin.visit(t, "/console/masters"), 200, "partition-0", "Move slots")
	page := admin.mustHave(t, admin.submit(t, "masters", "from", "partition-0", "to", "partition-1", "slots", "0-99", "do", "plan"), 200, "partition-0 to partition-1, 100 slots", "Make this move")
	_, confirm, _ := strings.Cut(page, `aria-label="Plan"`)
	fields := hidden(t, confirm, "masters")
	if strings.Join(fields, " ") != "from partition-0 to partition-1 slots 0-99" {
		t.Errorf("the confirmation has %q", fields)
	}
	read.mustHave(t, read.visit(t, "/console/masters"), 403)
	for _, form := range []string{"masters", "promote", "sync"} {
		read.mustHave(t, read.submit(t, form, "from", "partition-0", "to", "partition-1", "in_place_of", "partition-0", "do", "move"), 403)
	}
	admin.mustHave(t, admin.submit(t, "masters", "from", "partition-0", "to", "none", "do", "move"), 409, `role="alert"`)
	admin.mustHave(t, admin.submit(t, "promote", "in_place_of", "partition-0", "to", "partition-0"), 409, `role="alert"`)
}

// TestHostileNamesAreEscaped opens the pages of locks, accounts and files with hostile names.
func TestHostileNamesAreEscaped(t *testing.T) {
	b := unguarded(t)
	for i, s := range hostile {
		q := url.QueryEscape(s)
		b.Do(t, "PUT", "/v1/locks/"+url.PathEscape(s), `{"owner":`+quoteJSON(s)+`,"ttl":"1h","info":{"a":`+quoteJSON(s)+`}}`, "Content-Type", "application/json")
		b.submit(t, "open", "id", s, "name", s, "email", "a@example.org", "currency", "EUR")
		id := "a" + string(rune('a'+i))
		b.submit(t, "open", "id", id, "name", s, "currency", "EUR")
		b.submit(t, "transfer", "account", id, "id", "1", "currency", "EUR", "amount", "5", "memo", s, "deposit", "true")
		b.upload(t, "files/", s)
		b.Do(t, "PUT", "/v1/files/"+url.PathEscape(s), s, "Content-Type", "text/html", "Runnel-Meta-Note", s)
		b.mustHave(t, b.visit(t, "/console/account?account="+id), 200, template(s))
		b.checkHostile(t, "/console/locks", "/console/locks?prefix="+q, "/console/locks?after="+q, "/console/accounts", "/console/accounts?q="+q, "/console/accounts?prefix="+q, "/console/account?account="+q,
			"/console/open?prefix="+q, "/console/files", "/console/files?dir=files/", "/console/files?dir="+q, "/console/file?path="+q, "/console/file?path=files/"+q, "/console/changes?since=start", "/console/changes?prefix="+q, "/console/changes?since="+q)
		for _, form := range []string{"open", "transfer", "release", "verify", "remove", "masters", "promote"} {
			w := b.submit(t, form, "id", s, "account", id, "to", s, "from", s, "name", s, "path", s, "amount", s, "currency", s, "memo", s, "slots", s, "email", s, "in_place_of", s)
			if found := live.FindString(w.Body.String()); found != "" || w.Code >= 500 {
				t.Errorf("the form %s (%d) holds %q", form, w.Code, found)
			}
		}
	}
	b.checkHostile(t, "/console/locks", "/console/accounts", "/console/files", "/console/files?dir=files/")
}

func quoteJSON(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
