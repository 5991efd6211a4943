package ledger_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store/access"
)

func answer[T any](t *testing.T, w *httptest.ResponseRecorder, status int) (d T) {
	t.Helper()
	if w.Code != status {
		t.Fatalf("%d %s, want %d", w.Code, w.Body, status)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	return d
}

// newBank starts a node with the accounts ann, with 100, and bob.
func newBank(t *testing.T, change ...func(*api.Options)) *apitest.Node {
	t.Helper()
	n := apitest.NewFilled(t, change...)
	answer[wire.Account](t, n.Do(t, "PUT", "/v1/accounts/ann", `{"name":"Ann Miller","email":"ann@example.com","currency":"EUR"}`), 201)
	answer[wire.Account](t, n.Do(t, "PUT", "/v1/accounts/bob", `{"currency":"EUR"}`), 201)
	answer[wire.Transfer](t, n.Do(t, "POST", "/v1/accounts/ann/deposits", `{"amount":100}`, "Idempotency-Key", "opening"), 201)
	return n
}

func TestAccountsAndTransfersOverHTTP(t *testing.T) {
	n := newBank(t)
	w := n.Do(t, "PUT", "/v1/transfers/ann/1", `{"to":"bob","amount":30,"memo":"coffee"}`)
	if tr := answer[wire.Transfer](t, w, 201); tr.Status != "POSTED" || tr.From != "ann" || tr.Amount.Value != 30 || tr.PostedAt == nil || w.Header().Get("Location") != "/v1/transfers/ann/1" {
		t.Errorf("%+v %v", tr, w.Header())
	}
	again := n.Do(t, "PUT", "/v1/transfers/ann/1", `{"to":"bob","amount":"30","memo":"coffee"}`)
	if answer[wire.Transfer](t, again, 200); again.Body.String() != w.Body.String() {
		t.Errorf("%s is not %s", again.Body, w.Body)
	}
	if p := answer[wire.Problem](t, n.Do(t, "PUT", "/v1/transfers/ann/1", `{"to":"bob","amount":31}`), 409); p.Type != "/problems/id-conflict" {
		t.Errorf("%+v", p)
	}
	for range 2 {
		p := answer[wire.Problem](t, n.Do(t, "PUT", "/v1/transfers/ann/2", `{"to":"bob","amount":71}`), 409)
		if p.Type != "/problems/insufficient-funds" || p.Funds == nil || p.Funds.Available.Value != 70 || p.Funds.Needed.Value != 71 {
			t.Errorf("%+v", p)
		}
	}
	if tr := answer[wire.Transfer](t, n.Do(t, "GET", "/v1/transfers/ann/2", ""), 200); tr.Status != "FAILED" || tr.Reason != "insufficient-funds" {
		t.Errorf("%+v", tr)
	}
	a := answer[wire.Account](t, n.Do(t, "GET", "/v1/accounts/ann", "", "Prefer", "amounts=string"), 200)
	if a.Balance.Value != 70 || !a.Balance.Quoted || a.Name != "Ann Miller" || a.State != "open" {
		t.Errorf("%+v", a)
	}
	n.Level(t)
	world := answer[wire.World](t, n.Do(t, "GET", "/v1/accounts/@world", ""), 200)
	if world.Balances["EUR"].Value != -100 {
		t.Errorf("%+v", world)
	}
	h := answer[wire.HistoryPage](t, n.Do(t, "GET", "/v1/accounts/ann/history?limit=2", ""), 200)
	if len(h.History) != 2 || h.History[0].Amount.Value != -30 || h.History[0].BalanceAfter.Value != 70 || h.Next == "" {
		t.Errorf("%+v", h)
	}
	if h = answer[wire.HistoryPage](t, n.Do(t, "GET", "/v1/accounts/ann/history?after="+h.Next, ""), 200); len(h.History) != 1 || h.History[0].Event != "opened" {
		t.Errorf("%+v", h)
	}
	report := answer[wire.VerifyReport](t, n.Do(t, "GET", "/v1/ledger/verify", ""), 200)
	if len(report.Faults) != 0 || len(report.Sums) != 1 || report.Sums[0].Off != "0" || report.Accounts != 2 {
		t.Errorf("%+v", report)
	}
}

func TestEveryFormatShowsTheLedger(t *testing.T) {
	n := newBank(t)
	n.Level(t)
	for _, target := range []string{"/v1/accounts", "/v1/accounts/ann", "/v1/accounts/ann/history", "/v1/transfers?account=ann", "/v1/transfers/ann/opening", "/v1/ledger/verify", "/v1/accounts/@world"} {
		for _, accept := range []string{"application/xml", "text/html", "text/plain"} {
			if w := n.Do(t, "GET", target, "", "Accept", accept); w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), accept) || w.Body.Len() < 9 {
				t.Errorf("%s as %s: %d %v %s", target, accept, w.Code, w.Header(), w.Body)
			}
		}
	}
}

// TestInvalidAmountsRecordNothing: amounts that are no whole numbers of minor units are refused, and their ids stay free.
func TestInvalidAmountsRecordNothing(t *testing.T) {
	n := newBank(t)
	for _, amount := range []string{"0", "-1", "1.5", "1.0", "1e2", `"1e2"`, `"ten"`, `""`, `" 1"`, `"01"`, `"+1"`, "null", "true", "{}", `"NaN"`, "9223372036854775808", `"9223372036854775808"`, "1" + strings.Repeat("0", 400), "-9223372036854775808"} {
		w := n.Do(t, "PUT", "/v1/transfers/ann/x", `{"to":"bob","amount":`+amount+`}`)
		if p := answer[wire.Problem](t, w, 422); p.Type != "/problems/invalid-transfer" || p.Parameter != "amount" {
			t.Errorf("%s: %+v", amount, p)
		}
	}
	for body, want := range map[string]int{
		`{"to":"bob","amount":NaN}`: 400, `{"to":"bob","amount":01}`: 400, `{"to":"bob"`: 400, `{"to":"bob","to":"bob","amount":1}`: 400, `[]`: 422, `{"to":"bob","amount":1,"colour":"red"}`: 422,
		`{"to":"bob"}`: 422, `{"to":"ann","amount":1}`: 422, `{"to":"nobody","amount":1}`: 404, `{"from":"bob","to":"ann","amount":1}`: 422, `{"to":"bob","amount":1,"currency":"USD"}`: 422,
		`{"to":"bob","amount":1,"ttl":"1m"}`: 422, `{"to":"bob","amount":1,"hold":true,"ttl":"soon"}`: 422, `{"postings":[]}`: 422, `{"to":"bob","amount":1,"postings":[{"from":"ann","to":"bob","amount":1}]}`: 422,
	} {
		if w := n.Do(t, "PUT", "/v1/transfers/ann/x", body); w.Code != want {
			t.Errorf("%s: %d %s, want %d", body, w.Code, w.Body, want)
		}
	}
	for target, want := range map[string]int{"/v1/transfers/ann/" + strings.Repeat("x", 101): 422, "/v1/transfers/a%7Bb/x": 422, "/v1/transfers/ann/~x": 422, "/v1/transfers/ann/x?color=red": 400} {
		if w := n.Do(t, "PUT", target, `{"to":"bob","amount":1}`); w.Code != want {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
	answer[wire.Transfer](t, n.Do(t, "PUT", "/v1/transfers/ann/x", `{"to":"bob","amount":"100"}`), 201)
	answer[wire.Account](t, n.Do(t, "PUT", "/v1/accounts/carl", `{"currency":"EUR"}`), 201)
	w := n.Do(t, "POST", "/v1/accounts/carl/deposits", `{"amount":"9223372036854775807"}`)
	if tr := answer[wire.Transfer](t, w, 201); tr.Amount.Value != 9223372036854775807 || !strings.Contains(w.Body.String(), `"9223372036854775807"`) {
		t.Errorf("%s", w.Body)
	}
	answer[wire.Problem](t, n.Do(t, "POST", "/v1/accounts/carl/deposits", `{"amount":1}`), 422)
	n.Level(t)
	report := answer[wire.VerifyReport](t, n.Do(t, "POST", "/v1/ledger/verify", ""), 200)
	if len(report.Faults) > 0 || report.Transfers != 3 {
		t.Errorf("%+v", report)
	}
}

// TestSameRequestAtOnceHasEqualAnswers sends a transfer 50 times at once.
func TestSameRequestAtOnceHasEqualAnswers(t *testing.T) {
	n := newBank(t)
	var mu sync.Mutex
	answers, codes := map[string]int{}, map[int]int{}
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			w := n.Do(t, "PUT", "/v1/transfers/ann/same", `{"to":"bob","amount":10}`)
			mu.Lock()
			defer mu.Unlock()
			answers[w.Body.String()]++
			codes[w.Code]++
		})
	}
	group.Wait()
	if len(answers) != 1 || codes[201] != 1 || codes[200] != 49 {
		t.Errorf("%v %v", codes, answers)
	}
	if a := answer[wire.Account](t, n.Do(t, "GET", "/v1/accounts/bob", ""), 200); a.Balance.Value != 10 {
		t.Errorf("%+v", a)
	}
}

func TestHoldsAndReversalsOverHTTP(t *testing.T) {
	n := newBank(t)
	hold := answer[wire.Transfer](t, n.Do(t, "PUT", "/v1/transfers/ann/h1", `{"to":"bob","amount":50,"hold":true,"ttl":"10m"}`), 201)
	if hold.Status != "HELD" || hold.ExpiresAt == nil {
		t.Errorf("%+v", hold)
	}
	if a := answer[wire.Account](t, n.Do(t, "GET", "/v1/accounts/ann", ""), 200); a.Balance.Value != 100 || a.Held.Value != 50 || a.Available.Value != 50 {
		t.Errorf("%+v", a)
	}
	answer[wire.Problem](t, n.Do(t, "POST", "/v1/transfers/ann/h1/post", `{"amount":51}`), 422)
	if tr := answer[wire.Transfer](t, n.Do(t, "POST", "/v1/transfers/ann/h1/post", `{"amount":20}`), 200); tr.Status != "POSTED" || tr.Settled.Value != 20 {
		t.Errorf("%+v", tr)
	}
	answer[wire.Problem](t, n.Do(t, "POST", "/v1/transfers/ann/h1/void", ""), 409)
	answer[wire.Transfer](t, n.Do(t, "PUT", "/v1/transfers/ann/h2", `{"to":"bob","amount":50,"hold":true}`), 201)
	answer[wire.Transfer](t, n.Do(t, "POST", "/v1/transfers/ann/h2/void", ""), 200)
	back := answer[wire.Transfer](t, n.Do(t, "POST", "/v1/transfers/ann/h1/reversal", ""), 201)
	if back.Status != "POSTED" || back.From != "bob" || back.Amount.Value != 20 || back.Reverses == nil || back.Reverses.ID != "h1" {
		t.Errorf("%+v", back)
	}
	if p := answer[wire.Problem](t, n.Do(t, "POST", "/v1/transfers/ann/h1/reversal", ""), 409); p.Type != "/problems/wrong-state" {
		t.Errorf("%+v", p)
	}
	if tr := answer[wire.Transfer](t, n.Do(t, "GET", "/v1/transfers/ann/h1", ""), 200); tr.ReversedBy == nil || tr.ReversedBy.ID != back.ID {
		t.Errorf("%+v", tr)
	}
	if tr := answer[wire.Transfer](t, n.Do(t, "GET", wire.Path("/v1/transfers/bob/", string(back.ID)), ""), 200); tr.ID != back.ID {
		t.Errorf("%+v", tr)
	}
	answer[wire.Problem](t, n.Do(t, "POST", "/v1/transfers/ann/none/reversal", ""), 404)
}

func TestAccountsChangeUnderTheirTag(t *testing.T) {
	n := newBank(t)
	tag := n.Do(t, "GET", "/v1/accounts/ann", "").Header().Get("Etag")
	w := n.Do(t, "PATCH", "/v1/accounts/ann", `{"name":"Ann Smith","min_balance":-50}`, "If-Match", tag)
	if a := answer[wire.Account](t, w, 200); a.Name != "Ann Smith" || a.Available.Value != 150 {
		t.Errorf("%+v", a)
	}
	answer[wire.Problem](t, n.Do(t, "PATCH", "/v1/accounts/ann", `{"name":"X"}`, "If-Match", tag), 412)
	answer[wire.Problem](t, n.Do(t, "PATCH", "/v1/accounts/ann", `{"currency":"USD"}`), 422)
	answer[wire.Problem](t, n.Do(t, "PATCH", "/v1/accounts/ann", `{"state":"closed"}`), 422)
	answer[wire.Problem](t, n.Do(t, "DELETE", "/v1/accounts/ann", ""), 409)
	if a := answer[wire.Account](t, n.Do(t, "DELETE", "/v1/accounts/bob", ""), 200); a.State != "closed" {
		t.Errorf("%+v", a)
	}
	answer[wire.Problem](t, n.Do(t, "GET", "/v1/accounts/nobody", ""), 404)
	n.Level(t)
	p := answer[wire.AccountPage](t, n.Do(t, "GET", "/v1/accounts?q=smith", ""), 200)
	if len(p.Accounts) != 1 || p.Accounts[0].ID != "ann" {
		t.Errorf("%+v", p)
	}
	p = answer[wire.AccountPage](t, n.Do(t, "GET", "/v1/accounts?limit=1", ""), 200)
	answer[wire.Problem](t, n.Do(t, "GET", "/v1/accounts?q=smith&after="+p.Next, ""), 400)
	if p = answer[wire.AccountPage](t, n.Do(t, "GET", "/v1/accounts?limit=1&after="+p.Next, ""), 200); len(p.Accounts) != 1 || p.Accounts[0].ID != "bob" || p.Next != "" {
		t.Errorf("%+v", p)
	}
}

func TestAsyncTransfersAndBatches(t *testing.T) {
	n := newBank(t)
	w := n.Do(t, "PUT", "/v1/transfers/ann/later", `{"to":"bob","amount":10}`, "Prefer", "respond-async")
	if tr := answer[wire.Transfer](t, w, 202); tr.Status != "PENDING" || w.Header().Get("Preference-Applied") != "respond-async" {
		t.Errorf("%+v %v", tr, w.Header())
	}
	n.Level(t)
	if p := answer[wire.TransferPage](t, n.Do(t, "GET", "/v1/transfers?status=PENDING", ""), 200); len(p.Transfers) != 1 {
		t.Errorf("%+v", p)
	}
	answer[wire.Transfer](t, n.Do(t, "PUT", "/v1/transfers/ann/later", `{"to":"bob","amount":10}`), 200)
	lines := `{"id":"b1","from":"ann","to":"bob","amount":1}` + "\n" + `{"id":"b2","from":"bob","to":"ann","amount":"99"}` + "\n" + `{"id":"b3","from":"ann","to":"bob","amount":1.5}` + "\n" + `{"id":"b1","from":"ann","to":"bob","amount":1}`
	r := answer[wire.TransferResults](t, n.Do(t, "POST", "/v1/transfers/batch", lines, "Content-Type", "application/x-ndjson"), 200)
	var codes []int
	for _, one := range r.Results {
		codes = append(codes, one.Status)
	}
	if fmt.Sprint(codes) != "[201 409 422 200]" {
		t.Errorf("%v: %+v", codes, r)
	}
	n.Level(t)
	if p := answer[wire.TransferPage](t, n.Do(t, "GET", "/v1/transfers?account=ann&status=POSTED&limit=1", ""), 200); len(p.Transfers) != 1 || p.Next == "" {
		t.Errorf("%+v", p)
	}
	answer[wire.Problem](t, n.Do(t, "GET", "/v1/transfers?status=POSTED", ""), 400)
}

// TestTransfersNeedEveryAccount: the sender may write every account of a transfer, and needs the right mint for deposits; the
// history names the key.
func TestTransfersNeedEveryAccount(t *testing.T) {
	keys := apitest.NewKeys(t, map[string]access.Spec{
		"till":  {Prefixes: []access.Prefix{{Prefix: "ann", Access: access.Write}}},
		"desk":  {Roles: []access.Role{access.RoleWrite}},
		"mint":  {Roles: []access.Role{access.RoleWrite}, Rights: []access.Right{access.RightMint}},
		"admin": {Roles: []access.Role{access.RoleAdmin}},
	})
	n := apitest.NewFilled(t, func(o *api.Options) { o.Keys = keys })
	as := func(who, method, target, body string) int {
		t.Helper()
		return n.Do(t, method, target, body, "Authorization", "Bearer "+who).Code
	}
	for _, id := range []string{"ann", "ann2", "bob"} {
		if code := as("admin", "PUT", "/v1/accounts/"+id, `{"currency":"EUR"}`); code != 201 {
			t.Fatal(code)
		}
	}
	for _, c := range []struct {
		who, method, target, body string
		want                      int
	}{
		{"desk", "POST", "/v1/accounts/ann/deposits", `{"amount":10}`, 403},
		{"desk", "PUT", "/v1/transfers/ann/x", `{"postings":[{"from":"@world","to":"ann","amount":5}]}`, 403},
		{"mint", "POST", "/v1/accounts/ann/deposits", `{"amount":10}`, 201},
		{"till", "PUT", "/v1/transfers/ann/1", `{"to":"bob","amount":1}`, 403},
		{"till", "PUT", "/v1/transfers/ann/1", `{"to":"ann2","amount":1}`, 201},
		{"till", "PUT", "/v1/transfers/ann/2", `{"postings":[{"from":"ann","to":"ann2","amount":1},{"from":"bob","to":"ann","amount":1}]}`, 403},
		{"till", "GET", "/v1/accounts/bob", "", 403},
		{"till", "GET", "/v1/accounts?prefix=ann", "", 200},
		{"till", "GET", "/v1/accounts", "", 403},
		{"desk", "POST", "/v1/transfers/ann/1/reversal", "", 403},
		{"desk", "POST", "/v1/ledger/verify", "", 403},
		{"mint", "POST", "/v1/transfers/ann/1/reversal", "", 201},
	} {
		if got := as(c.who, c.method, c.target, c.body); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
	n.Level(t)
	w := n.Do(t, "GET", "/v1/accounts/ann2/history", "", "Authorization", "Bearer admin")
	if h := answer[wire.HistoryPage](t, w, 200); h.History[0].By != "mint" || h.History[1].By != "till" || h.History[2].By != "admin" {
		t.Errorf("%s", w.Body)
	}
}
