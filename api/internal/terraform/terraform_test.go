package terraform_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store/access"
)

// state is the text of a state.
func state(serial int, lineage string) string {
	return fmt.Sprintf(`{"version":4,"terraform_version":"1.10.10","serial":%d,"lineage":%q,"outputs":{},"resources":[{"type":"terraform_data"}]}`, serial, lineage)
}

// lockInfo is a lock as the tools describe it.
func lockInfo(id string) string {
	return fmt.Sprintf(`{"ID":%q,"Operation":"OperationTypeApply","Info":"","Who":"ann@host","Version":"1.10.10","Created":"2026-11-30T12:00:00.123456789Z","Path":""}`, id)
}

// newNode starts a node of three voters. A replica that was never filled confirms no lock.
func newNode(t *testing.T, change ...func(*api.Options)) *apitest.Node {
	t.Helper()
	n := apitest.New(t, change...)
	n.Level(t)
	return n
}

// ask sends a request that must be answered with the status.
func ask(t *testing.T, n *apitest.Node, status int, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	w := n.Do(t, method, target, body, headers...)
	if w.Code != status {
		t.Errorf("%s %s: %d %s, want %d", method, target, w.Code, w.Body, status)
	}
	return w
}

func decode[D any](t *testing.T, w *httptest.ResponseRecorder) (d D) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	return d
}

func wantProblem(t *testing.T, w *httptest.ResponseRecorder, slug string) (p wire.Problem) {
	t.Helper()
	if p = decode[wire.Problem](t, w); p.Type != wire.ProblemsPath+slug || p.Status != w.Code {
		t.Errorf("%d %s, want %s", w.Code, w.Body, slug)
	}
	return p
}

// TestToolsReadTheLockInTheRefusal: the tools decode the answer 423 as a lock, and match the names of members without regard to case.
func TestToolsReadTheLockInTheRefusal(t *testing.T) {
	n := newNode(t)
	ask(t, n, 200, "LOCK", "/v1/terraform/prod/net", lockInfo("one"))
	for _, request := range [][3]string{
		{"LOCK", "/v1/terraform/prod/net", lockInfo("two")}, {"POST", "/v1/terraform/prod/net/lock", lockInfo("two")}, {"PUT", "/v1/terraform/prod%2Fnet/lock", lockInfo("two")},
		{"UNLOCK", "/v1/terraform/prod/net", lockInfo("two")}, {"DELETE", "/v1/terraform/prod/net/lock?ID=two", ""},
		{"POST", "/v1/terraform/prod/net", state(1, "a")}, {"PUT", "/v1/terraform/prod/net?ID=two", state(1, "a")}, {"DELETE", "/v1/terraform/prod/net", ""},
	} {
		w := ask(t, n, 423, request[0], request[1], request[2])
		p := wantProblem(t, w, "lock-held")
		var got struct{ ID, Operation, Info, Who, Version, Created, Path string }
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.ID != "one" || got.Operation != "OperationTypeApply" || got.Who != "ann@host" || got.Created != "2026-11-30T12:00:00.123456789Z" {
			t.Errorf("%v: a tool reads %+v, %v in %s", request[:2], got, err, w.Body)
		}
		if p.Owner != "ann@host" || p.ExpiresAt == nil {
			t.Errorf("%v: %s", request[:2], w.Body)
		}
	}
	ask(t, n, 404, "GET", "/v1/terraform/prod/net", "")
	ask(t, n, 200, "DELETE", "/v1/terraform/prod/net/lock", lockInfo("one"))
	ask(t, n, 200, "UNLOCK", "/v1/terraform/prod/net", lockInfo("one"))
	// A lock that no tool has acquired.
	held := decode[wire.Lock](t, ask(t, n, 201, "PUT", "/v1/locks/prod/net", `{"owner":"maintenance","ttl":"30s","info":{"why":"move"}}`))
	l := decode[wire.TerraformLock](t, ask(t, n, 423, "LOCK", "/v1/terraform/prod/net", lockInfo("one")))
	if string(l.ID) != fmt.Sprint(held.Fence) || l.Who != "maintenance" || l.Info == "" {
		t.Errorf("%+v", l)
	}
	ask(t, n, 200, "UNLOCK", "/v1/terraform/prod/net", fmt.Sprintf(`{"ID":"%d"}`, held.Fence))
}

func TestStatesAreListedWithTheirHistory(t *testing.T) {
	n := newNode(t)
	ask(t, n, 404, "GET", "/v1/terraform/a", "")
	ask(t, n, 404, "GET", "/v1/terraform/a/history", "")
	first := decode[wire.TerraformVersion](t, ask(t, n, 200, "POST", "/v1/terraform/a", state(1, "x")))
	ask(t, n, 200, "PUT", "/v1/terraform/a", state(2, "x"))
	ask(t, n, 200, "POST", "/v1/terraform/b/c", state(7, "y"))
	if first.Serial != 1 || first.Lineage != "x" || first.Tool != "1.10.10" || !first.Stands || first.Size != int64(len(state(1, "x"))) {
		t.Errorf("%+v", first)
	}
	for target, want := range map[string]string{"/v1/terraform/a": state(2, "x"), fmt.Sprint("/v1/terraform/a?version=", first.ID): state(1, "x"), "/v1/terraform/b%2Fc": state(7, "y"), "/v1/terraform/a?force=true": state(2, "x")} {
		w := ask(t, n, 200, "GET", target, "")
		if w.Body.String() != want || w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %s %v", target, w.Body, w.Header())
		}
		if head := ask(t, n, 200, "HEAD", target, ""); head.Body.Len() > 0 || head.Header().Get("Content-Length") != fmt.Sprint(len(want)) {
			t.Errorf("HEAD %s: %v", target, head.Header())
		}
	}
	history := decode[wire.TerraformHistory](t, ask(t, n, 200, "GET", "/v1/terraform/a/history", ""))
	if len(history.Versions) != 2 || history.Versions[0].Serial != 2 || !history.Versions[0].Stands || history.Versions[1].Stands || history.Versions[1].ID != first.ID {
		t.Errorf("%+v", history)
	}
	n.Level(t)
	page := decode[wire.TerraformPage](t, ask(t, n, 200, "GET", "/v1/terraform?limit=1", ""))
	if len(page.States) != 1 || page.States[0].Name != "a" || page.States[0].Present.Serial != 2 || page.States[0].Kept != 2 || page.Next == "" {
		t.Fatalf("%+v", page)
	}
	page = decode[wire.TerraformPage](t, ask(t, n, 200, "GET", "/v1/terraform?after="+page.Next, ""))
	if len(page.States) != 1 || page.States[0].Name != "b/c" || page.Next != "" {
		t.Errorf("%+v", page)
	}
}

func TestStatesHaveEveryFormat(t *testing.T) {
	n := newNode(t)
	ask(t, n, 200, "POST", "/v1/terraform/a", state(2, "x"))
	n.Level(t)
	for _, accept := range []string{"text/html", "text/plain", "application/xml"} {
		for _, target := range []string{"/v1/terraform", "/v1/terraform/a/history"} {
			if w := ask(t, n, 200, "GET", target, "", "Accept", accept); !strings.Contains(w.Body.String(), "a") || !strings.Contains(w.Body.String(), "x") {
				t.Errorf("%s: %s", accept, w.Body)
			}
		}
		ask(t, n, 200, "LOCK", "/v1/terraform/a", lockInfo("one"), "Accept", accept)
		if w := ask(t, n, 423, "LOCK", "/v1/terraform/a", lockInfo("two"), "Accept", accept); !strings.Contains(w.Body.String(), "one") {
			t.Errorf("%s: %s", accept, w.Body)
		}
		ask(t, n, 200, "POST", "/v1/terraform/a?ID=one", state(2, "x"), "Accept", accept)
	}
}

func TestDeletedStateKeepsItsHistory(t *testing.T) {
	n := newNode(t)
	first := decode[wire.TerraformVersion](t, ask(t, n, 200, "POST", "/v1/terraform/a", state(1, "x")))
	ask(t, n, 200, "POST", "/v1/terraform/b/c", state(7, "y"))
	ask(t, n, 200, "DELETE", "/v1/terraform/a", "")
	ask(t, n, 404, "DELETE", "/v1/terraform/a", "")
	ask(t, n, 404, "GET", "/v1/terraform/a", "")
	ask(t, n, 200, "GET", fmt.Sprint("/v1/terraform/a?version=", first.ID), "")
	for range 2 {
		ask(t, n, 200, "DELETE", "/v1/terraform/a?history=true", "")
	}
	ask(t, n, 404, "GET", fmt.Sprint("/v1/terraform/a?version=", first.ID), "")
	ask(t, n, 200, "DELETE", "/v1/terraform/b/c?history=true", "") // also of a state that stands
	ask(t, n, 404, "GET", "/v1/terraform/b/c/history", "")
}

// refusal is an invalid request with its answer.
type refusal struct {
	method, target, body string
	headers              []string
	status               int
	slug, names          string // the problem, and the named parameter or header
}

// checkRefusals sends invalid requests, after which there is neither a state nor a lock.
func checkRefusals(t *testing.T, n *apitest.Node, refusals []refusal) {
	t.Helper()
	for _, c := range refusals {
		w := ask(t, n, c.status, c.method, c.target, c.body, c.headers...)
		if p := wantProblem(t, w, c.slug); p.Parameter+p.Header != c.names || p.Detail == "" {
			t.Errorf("%s %s %.80s names %q, want %q: %s", c.method, c.target, c.body, p.Parameter+p.Header, c.names, p.Detail)
		}
	}
	ask(t, n, 404, "GET", at, "")
	ask(t, n, 404, "GET", "/v1/locks/a", "")
}

const at = "/v1/terraform/a"

func TestInvalidStatesAreNamed(t *testing.T) {
	n := newNode(t)
	large := strings.TrimSuffix(state(1, "x"), "}") + `,"fill":"` + strings.Repeat("x", apitest.MaxTestValue) + `"}`
	checkRefusals(t, n, []refusal{
		{"POST", at, "no JSON", nil, 400, "invalid-json", ""},
		{"POST", at, "", nil, 400, "invalid-json", ""},
		{"POST", at, `[1]`, nil, 400, "invalid-json", ""},
		{"POST", at, `{"serial":1,"lineage":"x"`, nil, 400, "invalid-json", ""},
		{"POST", at, state(1, "x") + "x", nil, 400, "invalid-json", ""},
		{"POST", at, `{"serial":1,"lineage":"x","serial":2}`, nil, 400, "invalid-json", ""},
		{"POST", at, `{"serial":1}`, nil, 400, "invalid-item", "lineage"},
		{"POST", at, `{"serial":1,"lineage":""}`, nil, 400, "invalid-item", "lineage"},
		{"POST", at, `{"serial":1,"lineage":7}`, nil, 400, "invalid-item", "lineage"},
		{"POST", at, fmt.Sprintf(`{"serial":1,"lineage":%q}`, strings.Repeat("x", 257)), nil, 400, "invalid-item", "lineage"},
		{"POST", at, `{"lineage":"x"}`, nil, 400, "invalid-item", "serial"},
		{"POST", at, `{"serial":-1,"lineage":"x"}`, nil, 400, "invalid-item", "serial"},
		{"POST", at, `{"serial":1.5,"lineage":"x"}`, nil, 400, "invalid-item", "serial"},
		{"POST", at, `{"serial":"1","lineage":"x"}`, nil, 400, "invalid-item", "serial"},
		{"POST", at, `{"serial":1,"lineage":"x","terraform_version":1}`, nil, 400, "invalid-item", "terraform_version"},
		{"POST", at, large, nil, 413, "too-large", ""},
		{"POST", at, state(1, "x"), []string{"Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA=="}, 400, "digest-mismatch", ""},
		{"POST", at, state(1, "x"), []string{"Content-Encoding", "gzip"}, 415, "unsupported-encoding", ""},
	})
	if p := wantProblem(t, ask(t, n, 413, "POST", at, large), "too-large"); p.MaxBytes != apitest.MaxTestValue || !strings.Contains(string(p.Detail), "state") {
		t.Errorf("%+v", p)
	}
}

func TestInvalidNamesAndParametersOfStatesAreNamed(t *testing.T) {
	checkRefusals(t, newNode(t), []refusal{
		{"POST", at + "?force=maybe", state(1, "x"), nil, 400, "invalid-parameter", "force"},
		{"POST", at + "?id=one", state(1, "x"), nil, 400, "invalid-parameter", "id"},
		{"POST", at + "?ID=one", state(1, "x"), nil, 412, "stale-fence", ""},
		{"DELETE", at + "?ID=one", "", nil, 412, "stale-fence", ""},
		{"DELETE", at + "?history=maybe", "", nil, 400, "invalid-parameter", "history"},
		{"POST", "/v1/terraform/%00", state(1, "x"), nil, 400, "invalid-key", ""},
		{"POST", "/v1/terraform/" + strings.Repeat("n", 513), state(1, "x"), nil, 400, "invalid-key", ""},
		{"POST", "/v1/terraform/a%2Flock", state(1, "x"), nil, 400, "invalid-key", ""},
		{"POST", "/v1/terraform/a/lock/lock", lockInfo("one"), nil, 400, "invalid-key", ""},
		{"POST", "/v1/terraform/a%2Fhistory/lock", lockInfo("one"), nil, 400, "invalid-key", ""},
		{"POST", "/v1/terraform/a%7Db", state(1, "x"), nil, 400, "invalid-key", ""},
		{"GET", "/v1/terraform/%FF", "", nil, 400, "invalid-key", ""},
		{"GET", at + "?version=new", "", nil, 400, "invalid-parameter", "version"},
		{"GET", at + "?version=0", "", nil, 400, "invalid-parameter", "version"},
		{"GET", at + "?version=5", "", nil, 404, "no-such-state", ""},
		{"GET", "/v1/terraform?limit=0", "", nil, 400, "invalid-parameter", "limit"},
		{"GET", "/v1/terraform?after=x", "", nil, 400, "invalid-cursor", ""},
		{"BREW", at, "", nil, 405, "method-not-allowed", ""},
		{"LOCK", at + "/lock", lockInfo("a"), nil, 405, "method-not-allowed", ""},
	})
}

func TestInvalidLocksOfStatesAreNamed(t *testing.T) {
	checkRefusals(t, newNode(t), []refusal{
		{"LOCK", at, "no JSON", nil, 400, "invalid-json", ""},
		{"LOCK", at, `[]`, nil, 400, "invalid-json", ""},
		{"LOCK", at, `{}`, nil, 400, "invalid-item", "ID"},
		{"LOCK", at, `{"ID":""}`, nil, 400, "invalid-item", "ID"},
		{"LOCK", at, `{"ID":7}`, nil, 400, "invalid-item", "ID"},
		{"LOCK", at, lockInfo(strings.Repeat("i", 129)), nil, 400, "invalid-item", "ID"},
		{"LOCK", at, `{"ID":"a\u0000"}`, nil, 400, "invalid-item", "ID"},
		{"LOCK", at, `{"ID":"a","Who":{}}`, nil, 400, "invalid-item", "Who"},
		{"LOCK", at, `{"ID":"a","Created":"today"}`, nil, 400, "invalid-item", "Created"},
		{"LOCK", at, `{"ID":"a","Info":"` + strings.Repeat("i", 4096) + `"}`, nil, 400, "invalid-item", "Info"},
		{"LOCK", at, `{"ID":"a","Info":"` + strings.Repeat("i", 33<<10) + `"}`, nil, 413, "too-large", ""},
		{"LOCK", at + "?ID=a", lockInfo("a"), nil, 400, "invalid-parameter", "ID"},
		{"UNLOCK", at + "?ID=b", lockInfo("a"), nil, 400, "invalid-item", "ID"},
		{"UNLOCK", at, "no JSON", nil, 400, "invalid-json", ""},
	})
}

// TestConflictsOfStatesAreNamed: the reason says what differs, and force=true takes the state anyway.
func TestConflictsOfStatesAreNamed(t *testing.T) {
	n := newNode(t)
	ask(t, n, 200, "POST", "/v1/terraform/a", state(5, "x"))
	for body, reason := range map[string]string{state(4, "x"): "serial", state(6, "y"): "lineage", state(5, "x") + " ": "same-serial"} {
		p := wantProblem(t, ask(t, n, 409, "POST", "/v1/terraform/a", body), "state-conflict")
		if p.Reason != reason || !strings.Contains(string(p.Detail), "serial 5") {
			t.Errorf("%s: %+v", body, p)
		}
	}
	ask(t, n, 200, "POST", "/v1/terraform/a", state(5, "x"))
	ask(t, n, 200, "POST", "/v1/terraform/a?force=true", state(4, "y"))
	if w := ask(t, n, 200, "GET", "/v1/terraform/a", ""); w.Body.String() != state(4, "y") {
		t.Errorf("%s", w.Body)
	}
	ask(t, n, 200, "LOCK", "/v1/terraform/a", lockInfo("one"))
	ask(t, n, 423, "POST", "/v1/terraform/a?force=true", state(1, "z")) // force is no way around a lock
}

// TestGrantsOfTheNameDecide: as for keys; to end a lock without its ID needs the right force.
func TestGrantsOfTheNameDecide(t *testing.T) {
	prefix := func(a access.Level) []access.Prefix { return []access.Prefix{{Prefix: "prod/", Access: a}} }
	keys := apitest.NewKeys(t, map[string]access.Spec{
		"writer": {Prefixes: prefix(access.Write)}, "reader": {Prefixes: prefix(access.Read)},
		"forcer": {Prefixes: prefix(access.Write), Rights: []access.Right{access.RightForce}},
	})
	n := newNode(t, func(o *api.Options) { o.Keys = keys })
	as := func(key string) []string { return []string{"Authorization", "Bearer " + key} }
	ask(t, n, 200, "POST", "/v1/terraform/prod/a", state(1, "x"), as("writer")...)
	history := decode[wire.TerraformHistory](t, ask(t, n, 200, "GET", "/v1/terraform/prod/a/history", "", as("reader")...))
	if history.Versions[0].By != "writer" {
		t.Errorf("%+v", history.Versions[0])
	}
	for _, c := range []struct{ key, method, target, body string }{
		{"writer", "POST", "/v1/terraform/dev/a", state(1, "x")}, {"writer", "GET", "/v1/terraform/dev/a", ""}, {"writer", "LOCK", "/v1/terraform/dev/a", lockInfo("a")},
		{"writer", "GET", "/v1/terraform/dev/a/history", ""}, {"writer", "POST", "/v1/terraform/dev/a/lock", lockInfo("a")}, {"writer", "GET", "/v1/terraform", ""},
		{"writer", "GET", "/v1/terraform/%64ev/a", ""}, {"writer", "GET", "/v1/terraform/prod%2e/a", ""},
		{"reader", "POST", "/v1/terraform/prod/a", state(2, "x")}, {"reader", "LOCK", "/v1/terraform/prod/a", lockInfo("a")}, {"reader", "UNLOCK", "/v1/terraform/prod/a", lockInfo("a")},
		{"reader", "DELETE", "/v1/terraform/prod/a", ""}, {"reader", "DELETE", "/v1/terraform/prod/a/lock?ID=a", ""},
		{"writer", "UNLOCK", "/v1/terraform/prod/a", ""}, {"writer", "DELETE", "/v1/terraform/prod/a/lock", ""}, {"writer", "UNLOCK", "/v1/terraform/prod/a", `{"ID":""}`},
	} {
		wantProblem(t, ask(t, n, 403, c.method, c.target, c.body, as(c.key)...), "forbidden")
	}
	ask(t, n, 200, "LOCK", "/v1/terraform/prod/a", lockInfo("one"), as("writer")...)
	ask(t, n, 200, "UNLOCK", "/v1/terraform/prod/a", "", as("forcer")...) // as force-unlock of Terraform
	ask(t, n, 200, "LOCK", "/v1/terraform/prod/a", lockInfo("two"), as("writer")...)
	ask(t, n, 200, "GET", "/v1/terraform?prefix=prod/", "", as("reader")...)
}
