package api_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/audit"
	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/store/access"
	"github.com/runnelkv/runnel/store/partition"
)

// auditFile is the file of an audit log, which can fail.
type auditFile struct {
	mu    sync.Mutex
	text  bytes.Buffer
	err   error
	after int // writes that succeed before the error
}

func (f *auditFile) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.after--; f.err != nil && f.after < 0 {
		return 0, f.err
	}
	return f.text.Write(b)
}

// fail makes writes fail after some have succeeded; nil ends that.
func (f *auditFile) fail(after int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err, f.after = err, after
}

// take returns the lines since the last call, each as "act key_name method route key status".
func (f *auditFile) take(t *testing.T) (lines []string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for line := range strings.Lines(f.text.String()) {
		var r struct {
			Time, Act, Method, Route, Key, Address, Request string
			KeyName                                         string `json:"key_name"`
			Status                                          int
			Revision                                        int64
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		if r.Time == "" || r.Address != apitest.ClientAddress() || r.Request == "" {
			t.Errorf("line without time, address or request: %s", line)
		}
		if wrote := r.Act == "write" || r.Act == "delete"; wrote && r.Status/100 == 2 && r.Revision == 0 && r.Route != "/v1/keys" && r.Key != `"orders/"` {
			t.Errorf("line without a revision: %s", line)
		}
		lines = append(lines, strings.Join(strings.Fields(fmt.Sprintln(r.Act, r.KeyName, r.Method, r.Route, r.Key, r.Status)), " "))
	}
	f.text.Reset()
	return lines
}

func newAudited(t *testing.T, f *auditFile, o audit.Options, required bool) *apitest.Node {
	keys := apitest.NewKeys(t, map[string]access.Spec{
		"ops":    {Roles: []access.Role{access.RoleAdmin}},
		"orders": {Roles: []access.Role{access.RoleWrite}, Prefixes: []access.Prefix{{Prefix: "orders/", Access: access.Write}}},
	})
	n := apitest.New(t, func(a *api.Options) {
		a.Keys, a.Audit, a.AuditRequired = keys, audit.New(f, o), required
		a.Proxies, a.SignInSecret = proxy, signInSecret
	})
	f.take(t)
	return n
}

// TestActsAreRecorded sends requests and compares their lines.
func TestActsAreRecorded(t *testing.T) {
	f := &auditFile{}
	n := newAudited(t, f, audit.Options{}, false)
	const ops, orders = "Bearer ops", "Bearer orders"
	for _, c := range []struct {
		method, target, body, key string
		want                      []string
	}{
		{"PUT", "/v1/keys/orders/1", "v", orders, []string{`write orders PUT /v1/keys/{key} "orders/1" 201`}},
		{"GET", "/v1/keys/orders/1", "", orders, nil},
		{"GET", "/v1/keys/other", "", orders, []string{`refuse orders GET /v1/keys/{key} "other" 403`}},
		{"GET", "/v1/keys/orders/1", "", "Bearer wrong", []string{`refuse GET /v1/keys/{key} 401`}},
		{"POST", "/v1/keys/orders/1?ttl=1h", "", orders, []string{`write orders POST /v1/keys/{key} "orders/1" 204`}},
		{"DELETE", "/v1/keys/orders/none", "", orders, []string{`delete orders DELETE /v1/keys/{key} "orders/none" 404`}},
		{"DELETE", "/v1/keys/orders/1", "", orders, []string{`delete orders DELETE /v1/keys/{key} "orders/1" 204`}},
		{"PUT", "/v1/keys/orders/%0A", "v", orders, nil}, // an invalid name reaches nothing
		{"PUT", "/v1/keys/orders/%E2%80%AE", "v", orders, []string{`write orders PUT /v1/keys/{key} "orders/\u202e" 201`}},
		{"PUT", "/bucket/orders/2", "v", orders, []string{`write orders PUT /bucket/{key} "orders/2" 201`}},
		{"POST", "/v1/batch", `[{"op":"put","key":"orders/3","value":"v"},{"op":"put","key":"x","value":"v"},{"op":"get","key":"orders/3"},{"op":"delete","key":"orders/3"}]`, orders, []string{
			`write orders POST /v1/batch "orders/3" 204`, `refuse orders POST /v1/batch "x" 403`, `delete orders POST /v1/batch "orders/3" 204`}},
		{"POST", "/v1/txn", `{"then":[{"op":"put","key":"{a}1","value":"v"},{"op":"delete","key":"{a}1"}]}`, ops, []string{
			`write ops POST /v1/txn "{a}1" 200`, `delete ops POST /v1/txn "{a}1" 200`}},
		{"DELETE", "/v1/keys?prefix=orders/", "", orders, []string{`delete orders DELETE /v1/keys "orders/" 200`}},
		{"POST", "/v1/sync", "", ops, []string{`admin ops POST /v1/sync 503`}},
		{"POST", "/v1/move", `{"from":"partition-9"}`, ops, []string{`admin ops POST /v1/move 409`}},
		{"POST", "/v1/promote", `{"to":"partition-9","in_place_of":"partition-0"}`, ops, []string{`admin ops POST /v1/promote 409`}},
		{"POST", "/v1/move", `{"from":"partition-9"}`, orders, []string{`refuse orders POST /v1/move 403`}},
		{"GET", "/v1/status", "", orders, []string{`refuse orders GET /v1/status 403`}},
		{"GET", "/healthz", "", "", nil},
	} {
		fields := []string{"Authorization", c.key}
		if strings.HasPrefix(c.body, "[") || strings.HasPrefix(c.body, "{") {
			fields = append(fields, "Content-Type", "application/json")
		}
		n.Do(t, c.method, c.target, c.body, fields...)
		if diff := cmp.Diff(c.want, f.take(t)); diff != "" {
			t.Errorf("%s %s %s: (-want +got)\n%s", c.method, c.target, c.body, diff)
		}
	}
}

// TestItemsOfServicesAreRecorded: requests for several locks, transfers or files have a line for each, and with a required log
// a line before each too.
func TestItemsOfServicesAreRecorded(t *testing.T) {
	const batch = `[{"id":"1","from":"orders/a","to":"orders/b","amount":1},{"id":"2","account":"orders/b","to":"orders/a","amount":1},{"id":"3","from":"x","to":"orders/a","amount":1}]`
	const form = "--b\r\nContent-Disposition: form-data; name=f; filename=one\r\n\r\nv\r\n--b\r\nContent-Disposition: form-data; name=f; filename=two\r\n\r\nw\r\n--b--\r\n"
	for _, required := range []bool{false, true} {
		f := &auditFile{}
		n := newAudited(t, f, audit.Options{}, required)
		n.Level(t)
		for _, id := range []string{"orders/a", "orders/b"} {
			n.Do(t, "PUT", "/v1/accounts/"+url.PathEscape(id), `{"currency":"EUR"}`, "Authorization", "Bearer ops")
			n.Do(t, "POST", "/v1/accounts/"+url.PathEscape(id)+"/deposits", `{"amount":9}`, "Authorization", "Bearer ops", "Idempotency-Key", "opening")
		}
		n.Do(t, "PUT", "/v1/locks/orders/held", `{"owner":"b","ttl":"1m"}`, "Authorization", "Bearer ops")
		f.take(t)
		for _, c := range []struct {
			target, mediaType, body string
			before, after           []string
		}{
			{"/v1/locks", "application/json", `{"owner":"a","ttl":"1m","names":["orders/1","orders/2"]}`,
				[]string{`write orders POST /v1/locks 0`, `write orders POST /v1/locks "orders/1" 0`, `write orders POST /v1/locks "orders/2" 0`},
				[]string{`write orders POST /v1/locks "orders/1" 201`, `write orders POST /v1/locks "orders/2" 201`}},
			{"/v1/locks", "application/json", `{"owner":"a","ttl":"1m","names":["orders/held"]}`,
				[]string{`write orders POST /v1/locks 0`, `write orders POST /v1/locks "orders/held" 0`}, []string{`write orders POST /v1/locks "orders/held" 423`}},
			{"/v1/transfers/batch", "application/json", batch,
				[]string{`write orders POST /v1/transfers/batch 0`, `write orders POST /v1/transfers/batch "orders/a" 0`, `write orders POST /v1/transfers/batch "orders/b" 0`},
				[]string{`write orders POST /v1/transfers/batch "orders/a" 201`, `write orders POST /v1/transfers/batch "orders/b" 201`, `refuse orders POST /v1/transfers/batch "x" 403`}},
			{"/v1/files/orders/", "multipart/form-data; boundary=b", form,
				[]string{`write orders POST /v1/files/{path} "orders/" 0`, `write orders POST /v1/files/{path} "orders/one" 0`, `write orders POST /v1/files/{path} "orders/two" 0`},
				[]string{`write orders POST /v1/files/{path} "orders/one" 201`, `write orders POST /v1/files/{path} "orders/two" 201`, `write orders POST /v1/files/{path} "orders/" 201`}},
		} {
			want := c.after
			if required {
				want = append(c.before, c.after...)
			}
			n.Do(t, "POST", c.target, c.body, "Authorization", "Bearer orders", "Content-Type", c.mediaType)
			if diff := cmp.Diff(want, f.take(t)); diff != "" {
				t.Errorf("required %v: POST %s: (-want +got)\n%s", required, c.target, diff)
			}
		}
		n.Do(t, "DELETE", "/v1/locks/orders/held?force=true", "", "Authorization", "Bearer ops")
		if lines := f.take(t); len(lines) == 0 || lines[len(lines)-1] != `delete ops DELETE /v1/locks/{name} "orders/held" 204` {
			t.Errorf("required %v: DELETE of a lock: %q", required, lines)
		}
	}
}

// TestBrowsersAreRecorded: the audit log and the access log name the key that a browser has signed in with.
func TestBrowsersAreRecorded(t *testing.T) {
	f, log := &auditFile{}, &bytes.Buffer{}
	keys := apitest.NewKeys(t, map[string]access.Spec{"ops": {Roles: []access.Role{access.RoleAdmin}}})
	n := apitest.New(t, func(a *api.Options) {
		a.Keys, a.Audit, a.CombinedLog, a.Proxies, a.SignInSecret = keys, audit.New(f, audit.Options{}), log, proxy, signInSecret
	})
	log.Reset()
	n.Do(t, "POST", "/v1/session", "", "Authorization", "Bearer ops", "X-Forwarded-Proto", "https")
	n.Do(t, "PUT", "/v1/keys/a", "v", append(cookie("ops"), "X-Forwarded-Proto", "https")...)
	n.Do(t, "PUT", "/v1/keys/a", "v", append(cookie("garbage"), "X-Forwarded-Proto", "https")...)
	want := []string{`sign-in ops POST /v1/session 204`, `write ops PUT /v1/keys/{key} "a" 201`, `refuse PUT /v1/keys/{key} 401`}
	if diff := cmp.Diff(want, f.take(t)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if lines := log.String(); strings.Count(lines, " - ops [") != 2 || strings.Contains(lines, "__Host-runnel") {
		t.Errorf("access log:\n%s", lines)
	}
}

func TestReadsAreRecordedOnWish(t *testing.T) {
	f := &auditFile{}
	n := newAudited(t, f, audit.Options{Reads: true}, false)
	n.Do(t, "GET", "/v1/keys/a", "", "Authorization", "Bearer ops")
	n.Do(t, "GET", "/v1/keys?prefix=b", "", "Authorization", "Bearer ops")
	n.Do(t, "POST", "/v1/batch", `[{"op":"get","key":"c"}]`, "Authorization", "Bearer ops", "Content-Type", "application/json")
	want := []string{`read ops GET /v1/keys/{key} "a" 404`, `read ops GET /v1/keys "b" 200`, `read ops POST /v1/batch "c" 404`, `read ops POST /v1/batch 200`}
	if diff := cmp.Diff(want, f.take(t)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestNothingIsDoneWithoutARequiredLine lets the audit log fail and recover.
func TestNothingIsDoneWithoutARequiredLine(t *testing.T) {
	f := &auditFile{}
	n := newAudited(t, f, audit.Options{}, true)
	put := func(key string) int {
		return n.Do(t, "PUT", "/v1/keys/"+key, "v", "Authorization", "Bearer ops").Code
	}
	if code := put("before"); code != 201 {
		t.Fatal(code)
	}
	want := []string{`write ops PUT /v1/keys/{key} "before" 0`, `write ops PUT /v1/keys/{key} "before" 201`}
	if diff := cmp.Diff(want, f.take(t)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	f.fail(0, errors.New("no space left on device"))
	for _, target := range []string{"/v1/batch", "/v1/txn", "/v1/keys?ttl=1h"} {
		if w := n.Do(t, "POST", target, `[{"op":"put","key":"x","value":"v"}]`, "Authorization", "Bearer ops", "Content-Type", "application/json"); w.Code != 503 {
			t.Errorf("%s: %d", target, w.Code)
		}
	}
	if code := put("without"); code != 503 {
		t.Errorf("without a line: %d", code)
	}
	if code := n.Do(t, "GET", "/v1/keys/before", "", "Authorization", "Bearer ops").Code; code != 200 {
		t.Errorf("reads need no line: %d", code)
	}
	entries, _, err := n.Partitions[0].List(t.Context(), partition.Span{From: "k/", To: "k0", Limit: 10})
	if err != nil || len(entries) != 1 {
		t.Errorf("stored %v, %v", entries, err)
	}
	f.fail(0, nil)
	if code := put("after"); code != 201 {
		t.Errorf("after the failure: %d", code)
	}
}

// TestNoItemIsDoneWithoutARequiredLine lets the audit log fail after the line of the request and before those of the items.
func TestNoItemIsDoneWithoutARequiredLine(t *testing.T) {
	f := &auditFile{}
	n := newAudited(t, f, audit.Options{}, true)
	send := func(target, mediaType, body string) string {
		return n.Do(t, "POST", target, body, "Authorization", "Bearer ops", "Content-Type", mediaType).Body.String()
	}
	const put, del = `{"op":"put","key":"{a}1","value":"v"}`, `{"op":"delete","key":"{a}1"}`
	send("/v1/batch", "application/json", "["+put+`,{"op":"get","key":"x"}]`)
	send("/v1/txn", "application/json", `{"if":[{"key":"{a}1","absent":true}],"then":[`+put+`],"else":[`+del+`]}`)
	want := []string{`write ops POST /v1/batch 0`, `write ops POST /v1/batch "{a}1" 0`, `write ops POST /v1/batch "{a}1" 204`,
		`write ops POST /v1/txn 0`, `write ops POST /v1/txn "{a}1" 0`, `delete ops POST /v1/txn "{a}1" 0`, `delete ops POST /v1/txn "{a}1" 200`}
	if diff := cmp.Diff(want, f.take(t)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for body, request := range map[string][2]string{
		"[" + put + "," + del + `,{"op":"get","key":"x"}]`: {"/v1/batch", "application/json"},
		put + "\n" + del + "\n":                            {"/v1/batch", "application/x-ndjson"},
		`{"then":[` + put + `]}`:                           {"/v1/txn", "application/json"},
		`{"owner":"a","ttl":"1m","names":["{a}1"]}`:        {"/v1/locks", "application/json"},
	} {
		f.fail(1, errors.New("no space left on device"))
		answer := send(request[0], request[1], body)
		if strings.Count(answer, "/problems/audit-unavailable") != max(1, strings.Count(body, `"op"`)) {
			t.Errorf("%s: %s", body, answer)
		}
	}
	if entries, _, err := n.Partitions[0].List(t.Context(), partition.Span{From: "k/", To: "k0", Limit: 10}); err != nil || len(entries) != 0 {
		t.Errorf("stored %v, %v", entries, err)
	}
}

// TestActsOfTheConsoleAreThoseOfTheRoutes: a form leaves the line of the route that it uses, with the key of the browser.
func TestActsOfTheConsoleAreThoseOfTheRoutes(t *testing.T) {
	f := &auditFile{}
	n := newAudited(t, f, audit.Options{}, false)
	submit := func(page, form, cookie string) *http.Response {
		return n.Do(t, "POST", "/console/"+page, form, "Content-Type", "application/x-www-form-urlencoded", "Cookie", cookie, "Sec-Fetch-Site", "same-origin", "X-Forwarded-Proto", "https").Result()
	}
	var cookie string
	for _, c := range submit("signin", "key=orders", "").Cookies() {
		cookie = c.Name + "=" + c.Value
	}
	submit("edit", "new=true&key=orders/1&value=v&content_type=text/plain", cookie)
	submit("renew", "key=orders/1&ttl=1h", cookie)
	submit("delete", "key=orders/1&etag=*", cookie)
	submit("edit", "new=true&key=other&value=v&content_type=text/plain", cookie)
	want := []string{`sign-in orders POST /v1/session 204`, `write orders PUT /v1/keys/{key} "orders/1" 201`, `write orders POST /v1/keys/{key} "orders/1" 204`, `delete orders DELETE /v1/keys/{key} "orders/1" 204`,
		`refuse orders PUT /v1/keys/{key} "other" 403`, `refuse orders POST /console/{page} 403`}
	if diff := cmp.Diff(want, f.take(t)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestOpenRoutesNeedNoLine: a full disk makes no probe fail, and probes do not fill the disk.
func TestOpenRoutesNeedNoLine(t *testing.T) {
	f := &auditFile{}
	n := newAudited(t, f, audit.Options{Reads: true}, true)
	f.fail(0, errors.New("no space left on device"))
	pages := map[string]string{"GET": "signin", "HEAD": "signin", "POST": "signout"}
	for name, need := range n.Needs() {
		method, path, _ := strings.Cut(name, " ")
		if need != "open" {
			continue
		}
		if w := n.Do(t, method, strings.NewReplacer("{slug}", "not-found", "{page}", pages[method]).Replace(path), "", "Authorization", "Bearer ops", "X-Forwarded-Proto", "https"); w.Code >= 400 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	f.fail(0, nil)
	n.Do(t, "GET", "/healthz", "")
	if lines := f.take(t); lines != nil {
		t.Errorf("lines %q", lines)
	}
}

// TestFailingAuditLogStopsNothingUnlessRequired lets the audit log fail.
func TestFailingAuditLogStopsNothingUnlessRequired(t *testing.T) {
	f := &auditFile{err: errors.New("no space left on device")}
	n := newAudited(t, f, audit.Options{}, false)
	if code := n.Do(t, "PUT", "/v1/keys/a", "v", "Authorization", "Bearer ops").Code; code != 201 {
		t.Error(code)
	}
}
