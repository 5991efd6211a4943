package ledger_test

import (
	"os"
	"testing"

	"github.com/runnelkv/runnel/test/model/ledger"
)

// search makes runs and counts those with faults.
func search(runs int, rules ledger.Rules) (money, undone int) {
	for seed := range runs {
		f := ledger.Run(uint64(seed), rules)
		if f.Money {
			money++
		}
		if f.Undone {
			undone++
		}
	}
	return money, undone
}

func TestBothRulesKeepTheMoney(t *testing.T) {
	runs := 20_000
	if os.Getenv("RUNNEL_TEST_LONG") == "1" {
		runs = 100_000
	}
	if money, undone := search(runs, ledger.Rules{ByMajority: true, SetAside: true}); money+undone > 0 {
		t.Errorf("of %d runs %d make or lose money, and %d undo an answered transfer", runs, money, undone)
	}
}

// TestWithoutEitherRuleMoneyIsLost shows that the simulation finds the lack of each rule.
func TestWithoutEitherRuleMoneyIsLost(t *testing.T) {
	for _, rules := range []ledger.Rules{{SetAside: true}, {ByMajority: true}, {}} {
		money, undone := search(3000, rules)
		t.Logf("%+v: of 3000 runs %d make or lose money, and %d undo an answered transfer", rules, money, undone)
		if money < 30 || rules == (ledger.Rules{SetAside: true}) && undone == 0 {
			t.Errorf("%+v: of 3000 runs only %d make or lose money, and %d undo an answered transfer", rules, money, undone)
		}
	}
}
