package ledger_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store/access"
)

// TestScriptOfTheDataServer does the client script of the data server of 2019: authentication is needed; operations apply
// in order; deposits, withdrawals and transfers add up; no balance is negative; concurrent mixes net to zero.
func TestScriptOfTheDataServer(t *testing.T) {
	keys := apitest.NewKeys(t, map[string]access.Spec{"business": {Roles: []access.Role{access.RoleWrite}, Rights: []access.Right{access.RightMint}}})
	n := apitest.NewFilled(t, func(o *api.Options) { o.Keys = keys })
	do := func(method, target, body string, headers ...string) int {
		return n.Do(t, method, target, body, append(headers, "Authorization", "Bearer business")...).Code
	}
	balance := func(id string) int64 {
		t.Helper()
		return answer[wire.Account](t, n.Do(t, "GET", "/v1/accounts/"+id, "", "Authorization", "Bearer business"), 200).Balance.Value
	}
	for _, target := range []string{"/v1/accounts/a", "/v1/accounts/a/history", "/v1/transfers/a/1"} {
		if w := n.Do(t, "GET", target, ""); w.Code != 401 {
			t.Errorf("%s without a key: %d", target, w.Code)
		}
	}
	if w := n.Do(t, "POST", "/v1/accounts/a/deposits", `{"amount":1}`, "Authorization", "Bearer wrong"); w.Code != 401 {
		t.Errorf("a deposit with a wrong key: %d", w.Code)
	}
	for _, id := range []string{"a", "b"} {
		if code := do("PUT", "/v1/accounts/"+id, `{"currency":"EUR"}`); code != 201 {
			t.Fatal(code)
		}
	}
	// In order: the second withdrawal finds what the first has left.
	for _, step := range []struct {
		target, body string
		code         int
		want         int64
	}{
		{"/v1/accounts/a/deposits", `{"amount":100}`, 201, 100}, {"/v1/accounts/a/withdrawals", `{"amount":30}`, 201, 70}, {"/v1/accounts/a/withdrawals", `{"amount":71}`, 409, 70},
		{"/v1/transfers", `{"from":"a","to":"b","amount":20}`, 201, 50}, {"/v1/transfers", `{"from":"a","to":"b","amount":51}`, 409, 50}, {"/v1/transfers", `{"from":"b","to":"a","amount":20}`, 201, 70},
	} {
		if code := do("POST", step.target, step.body); code != step.code || balance("a") != step.want {
			t.Errorf("%+v: %d, and %d are left", step, code, balance("a"))
		}
	}
	// Mixes that net to zero, from many clients at once.
	var group sync.WaitGroup
	for client := range 10 {
		group.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(client)))
			for i := range 10 {
				amount := fmt.Sprintf(`"amount":%d`, 1+rng.IntN(5))
				for j, op := range []string{"/v1/accounts/a/deposits {" + amount + "}", "/v1/transfers {\"from\":\"a\",\"to\":\"b\"," + amount + "}", "/v1/transfers {\"from\":\"b\",\"to\":\"a\"," + amount + "}", "/v1/accounts/a/withdrawals {" + amount + "}"} {
					var target, body string
					fmt.Sscanf(op, "%s %s", &target, &body)
					if code := do("POST", target, body, "Idempotency-Key", fmt.Sprint(client, "-", i, "-", j)); code != 201 {
						t.Errorf("%s: %d", op, code)
					}
				}
				if balance("a") < 0 || balance("b") < 0 {
					t.Error("a balance is negative")
				}
			}
		})
	}
	group.Wait()
	if balance("a") != 70 || balance("b") != 0 {
		t.Errorf("the mixes leave %d and %d", balance("a"), balance("b"))
	}
}
