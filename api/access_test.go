package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/api/internal/signin"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/access"
	"github.com/runnelkv/runnel/store/file"
)

// TestEveryMethodStatesItsNeed: the routes, openapi.yaml and docs/http.md name the same need for every method.
func TestEveryMethodStatesItsNeed(t *testing.T) {
	needs := apitest.New(t).Needs()
	described := map[string]string{}
	doc := apitest.Description(t)
	for path := range doc.Paths.Map() {
		for method, operation := range apitest.Operations(doc, path) {
			need, _ := operation.Extensions["x-access"].(string)
			described[method+" "+path] = need
			if isOpen := operation.Security != nil && len(*operation.Security) == 0; isOpen != (need == "open") {
				t.Errorf("%s %s: security and x-access %q of openapi.yaml differ", method, path, need)
			}
		}
	}
	if diff := cmp.Diff(needs, described); diff != "" {
		t.Errorf("routes (-) against openapi.yaml (+):\n%s", diff)
	}
	if diff := cmp.Diff(needs, documentedNeeds(t)); diff != "" {
		t.Errorf("routes (-) against docs/http.md (+):\n%s", diff)
	}
}

// documentedNeeds reads the table of docs/http.md, with rows like "| `GET`, `HEAD` | `/v1/keys/{key}` | read(key) |".
func documentedNeeds(t *testing.T) map[string]string {
	page, err := os.ReadFile("../docs/http.md")
	if err != nil {
		t.Fatal(err)
	}
	needs := map[string]string{}
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if len(cells) != 3 || !strings.HasPrefix(strings.TrimSpace(cells[1]), "`/") {
			continue
		}
		for method := range strings.SplitSeq(strings.ReplaceAll(cells[0], "`", ""), ",") {
			for path := range strings.SplitSeq(strings.ReplaceAll(cells[1], "`", ""), ",") {
				needs[strings.TrimSpace(method)+" "+strings.TrimSpace(path)] = strings.TrimSpace(cells[2])
			}
		}
	}
	return needs
}

// tripwire is a store that counts everything that would ask a database, and answers nothing.
type tripwire struct {
	api.Store
	touched atomic.Int32
}

func (w *tripwire) touch() error { w.touched.Add(1); return store.ErrNoPartition }

func (w *tripwire) CheckName(name string) error   { return store.CheckName(name, store.MaxKeyBytes) }
func (w *tripwire) Tag() store.ClusterTag         { return 1 }
func (w *tripwire) Lost(store.Vector) bool        { return false }
func (w *tripwire) MaxValueBytes() int64          { return 1 << 20 }
func (w *tripwire) Master(store.Key) string       { return "partition-0" }
func (w *tripwire) ClusterMap() *store.ClusterMap { return &store.ClusterMap{} }
func (w *tripwire) PlanMoves(store.MoveRequest) ([]store.MoveRequest, error) {
	return nil, fmt.Errorf("%w: %w", store.ErrMoveRefused, w.touch())
}
func (w *tripwire) Promote(context.Context, store.PromoteRequest, func(store.PromoteStage)) (store.Promoted, error) {
	return store.Promoted{}, fmt.Errorf("%w: %w", store.ErrPromoteRefused, w.touch())
}
func (w *tripwire) Status() store.Status {
	return store.Status{Partitions: []store.PartitionStatus{{Name: "partition-0", Err: errors.New("at 10.0.0.5")}}}
}

func (w *tripwire) Get(context.Context, store.Key, store.ReadOptions) (store.Read, error) {
	return store.Read{}, w.touch()
}

func (w *tripwire) GetMany(_ context.Context, keys []store.Key, _ store.ReadOptions, each func(int, store.Read, error)) {
	for i := range keys {
		each(i, store.Read{}, w.touch())
	}
}

func (w *tripwire) List(context.Context, store.ListOptions) (store.Page, error) {
	return store.Page{}, w.touch()
}

func (w *tripwire) Union(context.Context, store.ListOptions) (store.Page, error) {
	return store.Page{}, w.touch()
}

func (w *tripwire) Put(context.Context, store.Entry) (store.PutResult, error) {
	return store.PutResult{}, w.touch()
}

func (w *tripwire) Update(context.Context, []store.Key, store.UpdateOptions, func(*store.Tx) error) error {
	return w.touch()
}

func (w *tripwire) UpdateEach(_ context.Context, changes []store.Write) {
	for i := range changes {
		changes[i].Err = w.touch()
	}
}

func (w *tripwire) Replicas() []store.Replica {
	w.touch()
	return nil
}
func (w *tripwire) View(context.Context, string) (*store.View, error) { return nil, w.touch() }
func (w *tripwire) Halt(context.Context, string) error                { return w.touch() }
func (w *tripwire) Halted() string                                    { return "" }

func (w *tripwire) Copy(context.Context, store.Entry, int) (int, error) { return 0, w.touch() }

func (w *tripwire) ChangesNow(context.Context) (store.ChangeToken, error) {
	return store.ChangeToken{}, w.touch()
}

func (w *tripwire) Changes(context.Context, store.ChangeToken, store.ChangeOptions) (store.ChangePage, error) {
	return store.ChangePage{}, w.touch()
}

// idleSyncer makes no passes.
type idleSyncer struct{}

func (idleSyncer) Trigger(context.Context) (wire.SyncReport, error) {
	return wire.SyncReport{Targets: []wire.SyncTarget{}}, nil
}
func (idleSyncer) SyncStatus() api.SyncStatus { return api.SyncStatus{} }

// senders are the senders of the tests, by what they may do with keys below data/.
var senders = map[string]access.Spec{
	"read":    {Roles: []access.Role{access.RoleRead}},
	"write":   {Roles: []access.Role{access.RoleWrite}},
	"other":   {Prefixes: []access.Prefix{{Prefix: "other/", Access: access.Write}}},
	"monitor": {Roles: []access.Role{access.RoleMonitor}},
	"admin":   {Roles: []access.Role{access.RoleAdmin}},
	"expired": {Roles: []access.Role{access.RoleAdmin}},
	"revoked": {Roles: []access.Role{access.RoleAdmin}},
}

// mayUse lists the senders that satisfy a need. The sender "" has no key, and may read if it is anonymous.
var mayUse = map[string][]string{
	"open":                 {"none", "garbage", "expired", "revoked", "read", "write", "other", "monitor", "admin", "anonymous"},
	"read(key)":            {"read", "write", "admin", "anonymous"},
	"read(prefix)":         {"read", "write", "admin", "anonymous"},
	"write(key)":           {"write", "admin"},
	"write(key), or force": {"write", "admin"},
	"write(prefix)":        {"write", "admin"},
	"write(everything)":    {"write", "admin"},
	"each item":            {"write", "admin"},
	"all items":            {"write", "admin"},
	"monitor":              {"monitor", "admin"},

	"read(account)":        {"read", "write", "admin", "anonymous"},
	"write(account)":       {"write", "admin"},
	"write(accounts)":      {"write", "admin"},
	"mint, write(account)": {"admin"},
	"admin":                {"admin"},
	"a key":                {"read", "write", "other", "monitor", "admin"},
}

// proxy is the address of the requests of tests, trusted as a proxy that speaks HTTPS with the client.
var proxy = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("127.0.0.0/8")}

var signInSecret = bytes.Repeat([]byte("s"), signin.MinSecretBytes)

// bearer returns the header of a request with a key; none for the sender "".
func bearer(sender string) []string {
	if sender == "" {
		return nil
	}
	return []string{"Authorization", "Bearer " + sender}
}

// cookie returns the header of a browser that has signed in with a key, from a page of the server.
func cookie(sender string) []string {
	if sender == "" {
		return nil
	}
	sealer, err := signin.New(signInSecret)
	if err != nil {
		panic(err)
	}
	value := sealer.Seal(signin.Ticket{KeyID: sender, Issued: time.Now(), Expires: time.Now().Add(time.Hour)})
	if sender == "garbage" {
		value = sender
	}
	return []string{"Cookie", "Runnel-Session=x; __Host-runnel=" + value, "Sec-Fetch-Site", "same-origin"}
}

// newGuarded returns a server with the senders as keys, and its store.
func newGuarded(t testing.TB, anonymous bool) (*apitest.Node, *apitest.Keys, *tripwire) {
	specs := maps.Clone(senders)
	if anonymous {
		specs[""] = access.Spec{Roles: []access.Role{access.RoleRead}}
	}
	keys, wire := apitest.NewKeys(t, specs), &tripwire{}
	keys.Expire("expired", -time.Hour)
	keys.Revoke("revoked")
	stored, err := file.New(wire, file.Options{})
	if err != nil {
		t.Fatal(err)
	}
	n := apitest.NewBroken(nil, func(o *api.Options) {
		o.Files = stored
		o.Store, o.Keys, o.Syncer, o.Node, o.Version = wire, keys, idleSyncer{}, "node-a", "1.2.3"
		o.Proxies, o.SignInSecret = proxy, signInSecret
	})
	return n, keys, wire
}

// requestTo returns the target, body and media type of a valid request to a described operation.
func requestTo(method, path string) (target, body, mediaType string) {
	target = strings.NewReplacer("{key}", "data/k", "{path}", "data/k", "{name}", "data/k", "{slug}", "not-found", "{page}", "signin", "{id}", "data%2Fa", "{account}", "data%2Fa").Replace(path)
	if body := ledgerBody(method, path); body != "" {
		return target, body, "application/json"
	}
	switch {
	case path == "/v1/accounts":
		target += "?prefix=data/"
	case path == "/v1/transfers":
		target += "?account=data/a"
	case path == "/v1/keys" && method != "POST", path == "/v1/locks" && method != "POST", path == "/v1/terraform", strings.HasSuffix(path, "bucket/"), path == "/v1/changes":
		target += "?prefix=data/"
	case path == "/v1/batch":
		return target, `[{"op":"put","key":"data/k","value":"v"}]`, "application/json"
	case path == "/v1/txn":
		return target, `{"then":[{"op":"put","key":"data/k","value":"v"}]}`, "application/json"
	case path == "/v1/locks":
		return target, `{"owner":"a","ttl":"1s","names":["data/k"]}`, "application/json"
	case strings.HasPrefix(path, "/v1/terraform/") && (method == "LOCK" || method == "UNLOCK" || strings.HasSuffix(path, "/lock")):
		return target, `{"ID":"a"}`, "application/json"
	case path == "/v1/terraform/{name}" && (method == "POST" || method == "PUT"):
		return target, `{"serial":1,"lineage":"a"}`, "application/json"
	case path == "/v1/locks/{name}" && method == "PUT":
		return target, `{"owner":"a","ttl":"1s"}`, "application/json"
	case path == "/v1/promote":
		return target, `{"to":"partition-1","in_place_of":"partition-0"}`, "application/json"
	case path == "/v1/move":
		return target, `{"to":"partition-1"}`, "application/json"
	case method == "POST" && path == "/v1/files/{path}":
		return target + "/copy?to=data/l", "", ""
	case method == "POST" && path == "/v1/keys/{key}":
		return target + "?ttl=1h", "", ""
	}
	if method == "PUT" || method == "POST" && path != "/v1/sync" && path != "/v1/ledger/verify" {
		return target, "value", "text/plain"
	}
	return target, "", ""
}

// ledgerBody returns the body of a valid request to an operation of the ledger, "" for others.
func ledgerBody(method, path string) string {
	switch {
	case path == "/v1/transfers/batch":
		return `[{"id":"1","from":"data/a","to":"data/b","amount":1}]`
	case strings.HasSuffix(path, "/post"), strings.HasSuffix(path, "/void"), strings.HasSuffix(path, "/reversal"):
		return "{}"
	case strings.HasPrefix(path, "/v1/transfers") && method != "GET" && method != "HEAD":
		return `{"from":"data/a","to":"data/b","amount":1}`
	case strings.HasSuffix(path, "/deposits"), strings.HasSuffix(path, "/withdrawals"):
		return `{"amount":1}`
	case strings.HasPrefix(path, "/v1/accounts") && (method == "PUT" || method == "POST"):
		return `{"currency":"EUR"}`
	case strings.HasPrefix(path, "/v1/accounts") && method == "PATCH":
		return `{"name":"Ann"}`
	}
	return ""
}

// TestAccessToEveryRoute sends every described operation as every sender, with a key and with a cookie. Refusals touch
// no store.
func TestAccessToEveryRoute(t *testing.T) {
	t.Run("key", func(t *testing.T) { checkAccess(t, mayUse, bearer) })
	byCookie := maps.Clone(mayUse)
	byCookie["a key"] = []string{} // a cookie does not prolong itself
	t.Run("cookie", func(t *testing.T) { checkAccess(t, byCookie, cookie) })
}

// checkAccess sends every described operation as every sender.
func checkAccess(t *testing.T, mayUse map[string][]string, credentials func(sender string) []string) {
	guarded, _, guardedStore := newGuarded(t, false)
	public, _, publicStore := newGuarded(t, true)
	doc := apitest.Description(t)
	for path := range doc.Paths.Map() {
		for method, operation := range apitest.Operations(doc, path) {
			need, _ := operation.Extensions["x-access"].(string)
			allowed := mayUse[need]
			if allowed == nil {
				t.Fatalf("%s %s: the test does not know the need %q", method, path, need)
			}
			for _, sender := range mayUse["open"] {
				n, touched, token := guarded, &guardedStore.touched, sender
				if sender == "anonymous" {
					n, touched = public, &publicStore.touched
				}
				if sender == "anonymous" || sender == "none" {
					token = ""
				}
				touched.Store(0)
				w := sendAs(t, n, credentials(token), method, path)
				got := accessStatus(t, path, w)
				if !slices.Contains([]string{"none", "garbage", "expired", "revoked", "anonymous"}, sender) && !isPrivate(w.Header()) {
					t.Errorf("%s %s as %s: %v", method, path, sender, w.Header())
				}
				want := 0
				switch {
				case slices.Contains(allowed, sender):
				case slices.Contains([]string{"none", "garbage", "expired", "revoked"}, sender):
					want = 401
				default:
					want = 403
				}
				if got != want || want != 0 && touched.Load() != 0 {
					t.Errorf("%s %s as %s: %d after %d calls of the store, want %d: %s", method, path, sender, got, touched.Load(), want, w.Body)
				}
			}
		}
	}
}

// sendAs sends a valid request to a described operation with credentials.
func sendAs(t testing.TB, n *apitest.Node, credentials []string, method, path string) *httptest.ResponseRecorder {
	t.Helper()
	target, body, mediaType := requestTo(method, path)
	headers := append([]string{"X-Request-Id", "id", "X-Forwarded-Proto", "https"}, credentials...)
	if mediaType != "" {
		headers = append(headers, "Content-Type", mediaType)
	}
	return n.Do(t, method, target, body, headers...)
}

// accessStatus returns 401 or 403 for a refusal, also of the only item of a batch, and otherwise 0.
func accessStatus(t testing.TB, path string, w *httptest.ResponseRecorder) int {
	t.Helper()
	status := w.Code
	if (path == "/v1/batch" || path == "/v1/transfers/batch") && status == 200 {
		var d struct{ Results []struct{ Status int } }
		if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil || len(d.Results) != 1 {
			t.Fatalf("%v: %s", err, w.Body)
		}
		status = d.Results[0].Status
	}
	switch {
	case status == 401 && w.Header().Get("WWW-Authenticate") != "Bearer":
		t.Errorf("%s: WWW-Authenticate %q", path, w.Header().Get("WWW-Authenticate"))
	case status != 401 && status != 403:
		return 0
	}
	return status
}

// TestInvalidKeysLookAlike: the answer does not tell why a key is invalid.
func TestInvalidKeysLookAlike(t *testing.T) {
	n, _, _ := newGuarded(t, false)
	bodies := map[string]bool{}
	for _, token := range []string{"", "garbage", "expired", "revoked"} {
		bodies[sendAs(t, n, bearer(token), "GET", "/v1/keys/{key}").Body.String()] = true
	}
	if len(bodies) != 1 {
		t.Errorf("%v", bodies)
	}
}

// TestBrokenCredentialsAreNotAnonymous: a sender of credentials is not answered like a sender without a key.
func TestBrokenCredentialsAreNotAnonymous(t *testing.T) {
	n, _, _ := newGuarded(t, true)
	for _, headers := range [][]string{{"Authorization", ""}, {"Authorization", "Bearer"}, {"Authorization", "Bearer "}, {"Authorization", "Basic YTpi"}, {"Authorization", "Basic YTo="}, {"Authorization", "Bearer read", "Authorization", "Bearer read"},
		{"Cookie", "__Host-runnel=", "X-Forwarded-Proto", "https"}} {
		if w := n.Do(t, "GET", "/v1/keys/data/k", "", headers...); w.Code != 401 {
			t.Errorf("%q: %d", headers, w.Code)
		}
	}
	if w := n.Do(t, "GET", "/v1/keys/data/k", ""); w.Code == 401 {
		t.Errorf("anonymous: %d %s", w.Code, w.Body)
	}
}

// TestUnreadKeysCloseTheServer: while the keys could not be read, only open routes answer.
func TestUnreadKeysCloseTheServer(t *testing.T) {
	n, keys, touched := newGuarded(t, true)
	keys.Fail(access.ErrNotReady)
	for name, need := range n.Needs() {
		method, path, _ := strings.Cut(name, " ")
		w := sendAs(t, n, bearer("admin"), method, path)
		if closed := w.Code == 503 && w.Header().Get("Retry-After") != ""; closed != (need != "open" || path == "/readyz") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if touched.touched.Load() != 0 {
		t.Error("the store was touched")
	}
}

// TestUndecidedServerShowsItsStatus: a server that is open without keys cannot know whether there are keys before it has
// read them, and says why.
func TestUndecidedServerShowsItsStatus(t *testing.T) {
	keys, err := access.NewRegistry(nil, access.Static{OpenWithoutKeys: true}, access.Options{})
	if err != nil {
		t.Fatal(err)
	}
	n := apitest.NewBroken(nil, func(o *api.Options) { o.Store, o.Keys, o.Node = &tripwire{}, keys, "node-a" })
	for target, want := range map[string]int{"/v1/status": 200, "/metrics": 200, "/healthz": 200, "/v1/keys/k": 503, "/v1/keys": 503, "/nowhere": 503, "/readyz": 503} {
		if w := n.Do(t, "GET", target, ""); w.Code != want {
			t.Errorf("GET %s: %d %s", target, w.Code, w.Body)
		}
	}
	if w := n.Do(t, "GET", "/v1/status", ""); !strings.Contains(w.Body.String(), "node-a") || !strings.Contains(w.Body.String(), "10.0.0.5") {
		t.Errorf("the status hides the cause: %s", w.Body)
	}
}

// TestAccessIsCheckedInOrder: authentication precedes origin, method, name and parameters, and these the grants.
func TestAccessIsCheckedInOrder(t *testing.T) {
	n, _, _ := newGuarded(t, false)
	for _, c := range []struct {
		token, method, target string
		headers               []string
		want                  int
	}{
		{"", "PUT", "/v1/keys/data/k", []string{"Sec-Fetch-Site", "cross-site"}, 401},
		{"other", "PUT", "/v1/keys/data/k", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"", "BREW", "/v1/keys/data/k", nil, 401},
		{"other", "BREW", "/v1/keys/data/k", nil, 405},
		{"", "OPTIONS", "/v1/keys/data/k", nil, 204},
		{"", "GET", "/nowhere", nil, 401},
		{"other", "GET", "/nowhere", nil, 404},
		{"", "GET", "/v1/keys/%00", nil, 401},
		{"other", "GET", "/v1/keys/%00", nil, 400},
		{"other", "GET", "/v1/keys/data/k?color=red", nil, 400},
		{"other", "GET", "/v1/keys?limit=none", nil, 400},
		{"other", "GET", "/v1/keys?values=none", nil, 400},
		{"other", "GET", "/v1/changes?values=none", nil, 400},
		{"other", "DELETE", "/v1/keys?all=none", nil, 400},
		{"other", "GET", "/v1/keys/data/k?consistency=none", nil, 400},
		{"other", "GET", "/v1/keys/data/k?r=none", nil, 400},
		{"other", "GET", "/v1/keys/data/k?max_staleness=none", nil, 400},
		{"other", "GET", "/v1/keys/data/k?entry=none", nil, 400},
		{"other", "PUT", "/v1/keys/data/k?ttl=none", nil, 400},
		{"other", "PUT", "/v1/keys/data/k?expires_at=none", nil, 400},
		{"other", "PUT", "/v1/keys/data/k?copies=none", nil, 400},
		{"other", "PUT", "/v1/keys/data/k?copies=all", nil, 403},
		{"other", "POST", "/v1/keys/data/k", nil, 400},
		{"other", "POST", "/v1/keys/data/k?ttl=none", nil, 400},
		{"other", "POST", "/v1/keys?ttl=none", nil, 400},
		{"", "OPTIONS", "*", nil, 204},
		{"other", "GET", "/v1/keys?prefix=data/", nil, 403},
		{"other", "GET", "/v1/changes?wait=long", nil, 400},
		{"other", "GET", "/v1/changes", nil, 403},
		{"write", "DELETE", "/v1/keys?all=true", nil, 403},
		{"write", "GET", "/v1/keys/data/k?access_token=admin", nil, 400},
		{"", "GET", "/v1/keys/data/k?access_token=admin", nil, 401},
		{"", "GET", "/problems/forbidden", nil, 200},
	} {
		headers := c.headers
		if c.token != "" {
			headers = append(headers, "Authorization", "Bearer "+c.token)
		}
		if w := n.Do(t, c.method, c.target, "", headers...); w.Code != c.want {
			t.Errorf("%s %s as %q: %d %s", c.method, c.target, c.token, w.Code, w.Body)
		}
	}
}

// TestDetailsAreForTheirReaders: node, version and error texts are for admins, and reasons of the health for monitors.
func TestDetailsAreForTheirReaders(t *testing.T) {
	n, _, _ := newGuarded(t, true)
	for _, c := range []struct {
		token, target, accept string
		secret                string
		shown                 bool
	}{
		{"admin", "/v1/status", "", "node-a", true},
		{"monitor", "/v1/status", "", "node-a", false},
		{"admin", "/v1/status", "", "1.2.3", true},
		{"monitor", "/v1/status", "", "1.2.3", false},
		{"monitor", "/v1/status", "text/html", "1.2.3", false},
		{"monitor", "/v1/status", "text/plain", "10.0.0.5", false},
		{"admin", "/v1/status", "", "10.0.0.5", true},
		{"monitor", "/v1/status", "", "10.0.0.5", false},
		{"admin", "/", "", "node-a", true},
		{"", "/", "", "node-a", false},
		{"", "/problems", "text/html", "1.2.3", false},
		{"admin", "/problems", "text/html", "1.2.3", true},
		{"", "/readyz?write", "", "master", false},
		{"monitor", "/readyz?write", "", "master", true},
	} {
		headers := []string{"Accept", c.accept}
		if c.token != "" {
			headers = append(headers, "Authorization", "Bearer "+c.token)
		}
		if w := n.Do(t, "GET", c.target, "", headers...); strings.Contains(w.Body.String(), c.secret) != c.shown {
			t.Errorf("GET %s as %q (%s): %d %s", c.target, c.token, c.accept, w.Code, w.Body)
		}
	}
}

// TestAnswersToKeysStayPrivate: no shared cache gives the answer of a key to anybody else.
func TestAnswersToKeysStayPrivate(t *testing.T) {
	keys := apitest.NewKeys(t, map[string]access.Spec{"admin": senders["admin"]})
	n := apitest.New(t, func(o *api.Options) { o.Keys = keys })
	tag := n.Do(t, "PUT", "/v1/keys/k", "value", "Authorization", "Bearer admin").Header().Get("ETag")
	for _, c := range []struct {
		method, target, name, value string
		status                      int
	}{
		{"GET", "/v1/keys/k", "", "", 200},
		{"GET", "/v1/keys/k?entry=true", "", "", 200},
		{"HEAD", "/v1/keys/k", "", "", 200},
		{"GET", "/v1/keys/k", "If-None-Match", tag, 304},
		{"GET", "/v1/keys/k", "Range", "bytes=0-1", 206},
		{"GET", "/v1/keys/k", "Range", "bytes=0-1,3-4", 206},
		{"GET", "/v1/keys/k", "Range", "bytes=9-", 416},
		{"PUT", "/v1/keys/k", "If-None-Match", "*", 412},
		{"GET", "/v1/keys", "", "", 200},
		{"GET", "/v1/keys", "Accept", "application/x-ndjson", 200},
		{"GET", "/v1/changes", "", "", 200},
		{"HEAD", "/v1/changes", "Accept", "text/event-stream", 200},
		{"GET", "/bucket/", "", "", 200},
		{"GET", "/canonicalbucket/k", "", "", 200},
		{"GET", "/favicon.ico", "", "", 200},
		{"GET", "/v1/keys/none", "", "", 404},
		{"GET", "/nowhere", "", "", 404},
		{"GET", "/v1/keys/%00", "", "", 400},
		{"PATCH", "/v1/keys/k", "", "", 405},
		{"OPTIONS", "/v1/keys/k", "", "", 204},
		{"PUT", "/v1/keys/k", "Sec-Fetch-Site", "cross-site", 403},
		{"GET", "/v1/status", "Accept", "image/png", 406},
		{"DELETE", "/v1/keys/k", "", "", 204},
	} {
		headers := []string{"Authorization", "bearer  admin"}
		if c.name != "" {
			headers = append(headers, c.name, c.value)
		}
		if w := n.Do(t, c.method, c.target, "", headers...); w.Code != c.status || !isPrivate(w.Header()) {
			t.Errorf("%v: %d %v", c, w.Code, w.Header())
		}
	}
}

// isPrivate reports whether only the cache of the sender may keep an answer, if any.
func isPrivate(h http.Header) bool {
	cached := h.Get("Cache-Control")
	return h.Get("Vary") == "Authorization, Cookie, Accept" && (cached == "private, no-cache" || cached == "no-store")
}

// FuzzAuthorization: no header but that of the key is accepted, and none breaks the server.
func FuzzAuthorization(f *testing.F) {
	for _, seed := range []string{"", "Bearer", "Bearer ", "Bearer admi", "Bearer admin ", "Basic admin", "Bearer  admin", "bearer admin", "Bearer admin, Bearer admin", "Bearer\tadmin", "admin", "Basic YTphZG1pbg==", "Basic YTphZG1pbg", "Basic YWRtaW46", "basic OmFkbWlu"} {
		f.Add(seed)
	}
	n, _, _ := newGuarded(f, false)
	f.Fuzz(func(t *testing.T, given string) {
		r := httptest.NewRequest("GET", "/v1/keys/data/k", nil)
		r.Header = http.Header{"Authorization": {given}}
		w := httptest.NewRecorder()
		n.ServeHTTP(w, r)
		scheme, token, _ := strings.Cut(given, " ")
		_, password, _ := r.BasicAuth()
		valid := strings.EqualFold(scheme, "Bearer") && senders[strings.TrimLeft(token, " ")].Roles != nil || senders[password].Roles != nil
		if !valid && w.Code != 401 {
			t.Errorf("%q: %d", given, w.Code)
		}
	})
}

// FuzzCookie: no cookie that the server has not sealed is accepted, and none breaks the server.
func FuzzCookie(f *testing.F) {
	for _, seed := range []string{"", "__Host-runnel", "__Host-runnel=", "__Host-runnel=A; __Host-runnel=A", `__Host-runnel="AAAA"`, cookie("admin")[1][:200], "__Host-runnel=admin"} {
		f.Add(seed)
	}
	n, _, _ := newGuarded(f, false)
	f.Fuzz(func(t *testing.T, given string) {
		r := httptest.NewRequest("GET", "/v1/keys/data/k", nil)
		r.Header = http.Header{"Cookie": {given}, "X-Forwarded-Proto": {"https"}}
		w := httptest.NewRecorder()
		if n.ServeHTTP(w, r); w.Code != 401 {
			t.Errorf("%q: %d", given, w.Code)
		}
	})
}
