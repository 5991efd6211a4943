package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/api/internal/cursor"
	"github.com/runnelkv/runnel/store/access"
)

// partly may write below public/, and read below public/read/, but nothing below public/closed/.
var partly = access.Spec{Prefixes: []access.Prefix{
	{Prefix: "public/", Access: access.Write}, {Prefix: "public/read/", Access: access.Read}, {Prefix: "public/closed/", Access: access.Deny},
}}

// newPartly returns a node with keys that the sender "partly" may read and keys that are denied, with values that contain
// "hidden".
func newPartly(t testing.TB) *apitest.Node {
	reader := access.Spec{Prefixes: []access.Prefix{{Prefix: "public/", Access: access.Read}, {Prefix: "public/closed/", Access: access.Deny}}}
	keys := apitest.NewKeys(t, map[string]access.Spec{"admin": senders["admin"], "partly": partly, "reader": reader})
	n := apitest.NewFor(t, func(o *api.Options) { o.Keys = keys })
	for key, value := range map[string]string{"public/a": "seen", "public/read/a": "seen", "public/closed/a": "hidden", "secret/a": "hidden", "a": "hidden"} {
		if w := n.Do(t, "PUT", "/v1/keys/"+key, value, "Authorization", "Bearer admin"); w.Code != 201 {
			t.Fatalf("PUT %s: %d", key, w.Code)
		}
	}
	return n
}

// names returns all keys with the length of their values.
func names(t testing.TB, n *apitest.Node) string {
	t.Helper()
	var d struct {
		Keys []struct {
			Key  string
			Size int
		}
	}
	w := n.Do(t, "GET", "/v1/keys?limit=1000&consistency=master", "", "Authorization", "Bearer admin")
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil || w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return fmt.Sprint(d.Keys)
}

// TestEverySpellingIsJudgedByTheDecodedName sends requests for denied keys in all spellings, as they stand in a request
// line. None reads a denied value, and none changes the denied keys.
func TestEverySpellingIsJudgedByTheDecodedName(t *testing.T) {
	n := newPartly(t)
	server := n.Serve(t, api.Limits{})
	before := names(t, n)
	forged := func(prefix, after string) string { return cursor.Cursor{Prefix: prefix, After: after}.String() }
	paths := []string{
		"secret/a", "%73ecret/a", "secret%2Fa", "%73%65%63%72%65%74%2f%61", "secret%2fa", "public/closed/a", "public%2Fclosed%2Fa", "public/%63losed/a",
		"public/closed%2Fa", "a", "%61", "secret%2Fa?entry=true", "secret/a?consistency=master",
	}
	var targets []string
	for _, p := range paths {
		for _, prefix := range []string{"/v1/keys/", "/bucket/", "/canonicalbucket/", "http://host/v1/keys/", "/v1/ke%79s/", "/v1/keys/%2e%2e/v1/keys/"} {
			targets = append(targets, prefix+p)
		}
	}
	for _, prefix := range []string{"", "?prefix=secret/", "?prefix=public/closed/", "?prefix=public/", "?prefix=public/clo", "?prefix=%73ecret", "?prefix=publi", "?delimiter=/",
		"?after=" + forged("secret/", "secret/"), "?after=" + forged("", ""), "?after=" + forged("public/", "public/b"), "?after=" + forged("public/closed/", ""),
		"?prefix=public/read/&after=" + forged("secret/", ""), "?after=" + forged("public/read/", "secret/"), "?after=" + forged("public/read/", ""), "?after=" + forged("public/read/", "public/a")} {
		for _, list := range []string{"/v1/keys", "/bucket/", "/canonicalbucket/"} {
			targets = append(targets, list+prefix)
			if list == "/v1/keys" && prefix != "" {
				targets = append(targets, list+prefix+"&values=true", list+prefix+"&all=true")
			}
		}
		if !strings.Contains(prefix, "after") && !strings.Contains(prefix, "delimiter") {
			targets = append(targets, "/v1/changes"+prefix, "/v1/changes"+prefix+map[bool]string{true: "?", false: "&"}[prefix == ""]+"values=true")
		}
	}
	for _, target := range targets {
		for _, method := range []string{"GET", "HEAD", "DELETE", "PUT", "POST"} {
			for _, accept := range []string{"*/*", "application/x-ndjson", "text/html"} {
				if strings.Contains(target, "changes") && accept == "application/x-ndjson" {
					continue // an allowed stream would not end
				}
				answer, body := exchangeAs(t, server, method, target, accept)
				if told := answer.StatusCode/100 == 2; strings.Contains(body, "hidden") || told && (strings.Contains(body, "secret/a") || strings.Contains(target, "closed")) {
					t.Errorf("%s %s, %s: %d %s", method, target, accept, answer.StatusCode, body)
				}
			}
		}
	}
	for _, target := range []string{"/v1/keys?after=" + forged("public/read/", ""), "/bucket/?after=" + forged("public/read/", ""), "/v1/changes?prefix=public/read/"} {
		if answer, body := exchangeAs(t, server, "GET", target, "application/json"); answer.StatusCode != 200 || !strings.Contains(body, "public/read/a") {
			t.Errorf("GET %s: %d %s", target, answer.StatusCode, body)
		}
	}
	if after := names(t, n); !sameDenied(before, after) {
		t.Errorf("before %s, after %s", before, after)
	}
}

// sameDenied reports whether the keys outside public/, and those in public/read/ and public/closed/, are the same.
func sameDenied(before, after string) bool {
	denied := func(s string) (kept []string) {
		for _, k := range strings.Split(strings.Trim(s, "[]"), "} {") {
			k = strings.Trim(k, "{}")
			if !strings.HasPrefix(k, "public/") || strings.HasPrefix(k, "public/read/") || strings.HasPrefix(k, "public/closed/") {
				kept = append(kept, k)
			}
		}
		return kept
	}
	return cmp.Equal(denied(before), denied(after))
}

// exchangeAs sends a request as the sender partly over a connection, with the target as given.
func exchangeAs(t *testing.T, server *httptest.Server, method, target, accept string) (*http.Response, string) {
	t.Helper()
	conn := apitest.Dial(t, server)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer partly\r\nAccept: %s\r\nContent-Length: 0\r\n\r\n", method, target, accept)
	answer, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	return answer, string(body)
}

// TestDotsInKeysAreNoPath: a name with dots is judged as a name, and belongs to the prefix with which it begins.
func TestDotsInKeysAreNoPath(t *testing.T) {
	n := newPartly(t)
	for target, want := range map[string]int{
		"/v1/keys/public/../secret/a": 201, "/v1/keys/public/%2E%2E/secret/b": 201, "/v1/keys/secret/../public/a": 403, "/v1/keys//public/a": 403,
		"/v1/keys/public//a": 201, "/v1/keys/public": 403, "/v1/keys/Public/a": 403, "/v1/keys/public/read/../a": 403, "/v1/keys/public/closed": 201,
	} {
		if w := n.Do(t, "PUT", target, "v", "Authorization", "Bearer partly"); w.Code != want {
			t.Errorf("PUT %s: %d, want %d", target, w.Code, want)
		}
	}
	if w := n.Do(t, "GET", "/v1/keys/secret/a?consistency=master", "", "Authorization", "Bearer admin"); w.Body.String() != "hidden" {
		t.Errorf("secret/a is now %s", w.Body)
	}
}

// TestBatchRefusesItemsInTheirPlace: the others are done, and nothing of the refused items reaches the store.
func TestBatchRefusesItemsInTheirPlace(t *testing.T) {
	ops := []string{
		`{"op":"put","key":"public/new","value":"1"}`, `{"op":"get","key":"secret/a"}`, `{"op":"get","key":"secret/none"}`, `{"op":"get","key":"public/read/a"}`,
		`{"op":"put","key":"public/read/a","value":"2"}`, `{"op":"delete","key":"secret/a"}`, `{"op":"put","key":"secret/b","value":"3"}`, `{"op":"delete","key":"public/a"}`,
		`{"op":"put","key":"","value":"4"}`, `{"op":"put","key":"secret/c"}`, `{"op":"get","key":"public\/\u0063losed/a"}`, `{"op":"put","key":"secret/d","value":"5","ttl":"1h"}`,
	}
	want := []int{201, 403, 403, 200, 403, 403, 403, 204, 400, 400, 403, 403}
	for name, body := range map[string]string{"array": "[" + strings.Join(ops, ",") + "]", "lines": strings.Join(ops, "\n")} {
		n := newPartly(t)
		mediaType := map[string]string{"array": "application/json", "lines": "application/x-ndjson"}[name]
		w := n.Do(t, "POST", "/v1/batch?consistency=master", body, "Content-Type", mediaType, "Authorization", "Bearer partly")
		var got []int
		for _, r := range apitest.ResultsOf(t, w) {
			got = append(got, r.Status)
		}
		if diff := cmp.Diff(want, got); diff != "" || strings.Contains(w.Body.String(), "hidden") {
			t.Errorf("%s: %s\n%s", name, diff, w.Body)
		}
		if all := names(t, n); all != "[{a 6} {public/closed/a 6} {public/new 1} {public/read/a 4} {secret/a 6}]" {
			t.Errorf("%s: %s", name, all)
		}
	}
	n := newPartly(t)
	w := n.Stream(t, strings.Join(ops, "\n\n")+"\n", "Authorization", "Bearer partly")
	for i, r := range apitest.ResultsOf(t, w) {
		if (r.Status == 403) != (want[i] == 403) {
			t.Errorf("stream %d: %+v", i, r)
		}
	}
}

// TestTxnNeedsTheRightToAllOfIt: also to the branch that does not run, and before anything about the keys is told.
func TestTxnNeedsTheRightToAllOfIt(t *testing.T) {
	n := newPartly(t)
	before := names(t, n)
	put := `{"op":"put","key":"public/a","value":"1"}`
	for body, want := range map[string]int{
		`{"then":[` + put + `,{"op":"get","key":"secret/a"}]}`:                                       403,
		`{"if":[{"key":"secret/a","exists":true}],"then":[` + put + `]}`:                             403,
		`{"if":[{"key":"secret/none","absent":true}]}`:                                               403,
		`{"if":[{"key":"public/a","exists":true}],"else":[{"op":"delete","key":"secret/a"}]}`:        403,
		`{"then":[{"op":"put","key":"public/read/a","value":"1"}]}`:                                  403,
		`{"then":[` + put + `,{"op":"get","key":"public/\u0063losed/a"}]}`:                           403,
		`{"then":[{"op":"get","key":"secret/a"},{"op":"put","key":"public/a"}]}`:                     400,
		`{"if":[{"key":"public/read/a","exists":true}],"then":[{"op":"get","key":"public/read/a"}]}`: 200,
	} {
		w := n.Do(t, "POST", "/v1/txn", body, "Content-Type", "application/json", "Authorization", "Bearer partly")
		if w.Code != want || strings.Contains(w.Body.String(), "hidden") {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	if after := names(t, n); after != before {
		t.Errorf("before %s, after %s", before, after)
	}
}

// FuzzRequestsReachNothingDenied sends requests without a key, with a key that reads a prefix, and with a key that writes
// a prefix. None is answered with 500, reads a denied value, or changes a key that is closed to the sender.
func FuzzRequestsReachNothingDenied(f *testing.F) {
	n := newPartly(f)
	methods := []string{"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"}
	for _, target := range []string{
		"/v1/keys/secret/a", "/v1/keys/public/x?ttl=1h", "/v1/keys?prefix=public/", "/v1/keys?prefix=&all=true", "/v1/changes?prefix=public/", "/v1/status", "/v1/sync", "/v1/move", "/v1/promote",
		"/v1/locks/secret/a?force=true", "/v1/locks?prefix=public/", "/v1/files/secret/a", "/v1/files/public/a/copy?to=secret/a", "/v1/files/secret/a/copy?to=public/b", "/v1/files/?prefix=public/",
		"/v1/accounts/secret%2Fa", "/v1/accounts?prefix=public/", "/v1/accounts/public%2Fa/deposits", "/v1/transfers/secret%2Fa/1/reversal", "/v1/transfers?account=public/a",
		"/v1/ledger/verify", "/v1/session", "/bucket/a", "/canonicalbucket/", "/metrics", "/readyz?write", "/problems/forbidden", "/", "/openapi.yaml", "/v1/keys",
	} {
		for i := range methods {
			f.Add(uint8(i), uint8(i), target, "v")
		}
	}
	f.Add(uint8(2), uint8(3), "/v1/batch", `[{"op":"put","key":"secret/a","value":"v"},{"op":"get","key":"a"},{"op":"delete","key":"public/closed/a"}]`)
	f.Add(uint8(2), uint8(3), "/v1/txn", `{"if":[{"key":"secret/a","exists":true}],"then":[{"op":"get","key":"secret/a"}],"else":[{"op":"delete","key":"a"}]}`)
	f.Add(uint8(2), uint8(3), "/v1/locks", `{"owner":"a","ttl":"1s","names":["public/a","secret/a"]}`)
	f.Add(uint8(2), uint8(3), "/v1/transfers/batch", `[{"id":"1","from":"secret/a","to":"public/a","amount":1}]`)
	f.Fuzz(func(t *testing.T, sender, method uint8, target, body string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || strings.Contains(target+body, "hidden") {
			t.Skip("net/http refuses the target, or the answer may repeat the word")
		}
		key := []string{"", "reader", "partly"}[sender%3]
		before := names(t, n)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // of long polls
		defer cancel()
		r := httptest.NewRequestWithContext(ctx, methods[int(method)%len(methods)], "/", strings.NewReader(body))
		r.URL, r.RequestURI, r.Host = u, target, "localhost"
		if key != "" {
			r.Header.Set("Authorization", "Bearer "+key)
		}
		w := httptest.NewRecorder()
		func() {
			defer func() {
				if p := recover(); p != nil && p != http.ErrAbortHandler { // the client has left
					panic(p)
				}
			}()
			n.ServeHTTP(w, r)
		}()
		if w.Code == http.StatusInternalServerError || strings.Contains(w.Body.String(), "hidden") {
			t.Errorf("%s: %s %q %q: %d %s", key, r.Method, target, body, w.Code, w.Body)
		}
		after := names(t, n)
		if key == "partly" && !sameDenied(before, after) || key != "partly" && before != after {
			t.Errorf("%s: %s %q %q changed\n%s to\n%s", key, r.Method, target, body, before, after)
		}
	})
}
