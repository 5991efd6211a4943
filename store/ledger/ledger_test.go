package ledger_test

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/ledger"
)

func TestTransfersMoveMoneyAndNameTheirReason(t *testing.T) {
	for _, masters := range [][]string{{"p0"}, {"p0", "p1"}} {
		t.Run(fmt.Sprint(len(masters), " masters"), func(t *testing.T) {
			b := newBank(t, len(masters), masters...)
			ids := b.apart(t, 2, masters...)
			ann, bob := ids[0], ids[1]
			b.open(t, 100, ann, bob)
			done, repeated, err := b.Transfer(t.Context(), order(ann, bob, "1", 30))
			if err != nil || repeated || done.Status != ledger.Posted || done.FinishedAt == 0 {
				t.Fatalf("%+v, %v, %v", done, repeated, err)
			}
			again, repeated, err := b.Transfer(t.Context(), order(ann, bob, "1", 30))
			if again.Seen, done.Seen = (store.Mark{}), (store.Mark{}); err != nil || !repeated || !reflect.DeepEqual(again, done) {
				t.Errorf("the same again: %+v, %v, %v", again, repeated, err)
			}
			if _, _, err := b.Transfer(t.Context(), order(ann, bob, "1", 31)); !errors.Is(err, ledger.ErrConflict) {
				t.Errorf("other content: %v", err)
			}
			for range 2 {
				_, _, err = b.Transfer(t.Context(), order(ann, bob, "2", 71))
				failed, ok := errors.AsType[*ledger.FailedError](err)
				if !ok || failed.Transfer.Status != ledger.Failed || *failed.Transfer.Reason != (ledger.Reason{Code: ledger.InsufficientFunds, Account: ann, Available: 70, Needed: 71}) {
					t.Errorf("too much: %v", err)
				}
			}
			if _, _, err := b.Transfer(t.Context(), deposit(ann, "3", 1000)); err != nil {
				t.Fatal(err)
			}
			if _, _, err := b.Transfer(t.Context(), order(ann, bob, "2", 71)); err == nil {
				t.Error("a failed id was used again")
			}
			if done, _, err := b.Transfer(t.Context(), order(bob, ledger.World, "4", 130)); err != nil || done.Status != ledger.Posted {
				t.Errorf("a withdrawal: %v", err)
			}
			b.wantBalances(t, map[string]int64{ann: 1070, bob: 0})
			r := b.wantSound(t)
			if s := r.Sums["EUR"]; s.Balances.Int64() != 1070 || s.World.Int64() != -1070 || r.Accounts != 2 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestRefusedOrdersRecordNothing: an order that is not valid leaves neither a record nor a line, and its id stays free.
func TestRefusedOrdersRecordNothing(t *testing.T) {
	b := newBank(t, 1)
	b.open(t, 100, "ann", "bob")
	if _, _, err := b.Create(t.Context(), ledger.Account{ID: "usd", Currency: "USD"}, ""); err != nil {
		t.Fatal(err)
	}
	b.open(t, math.MaxInt64, "rich")
	before := b.wantSound(t)
	two := order("ann", "bob", "x", 1)
	two.Postings = append(two.Postings, ledger.Posting{From: "bob", To: "rich", Amount: 2})
	hold := order("ann", "nobody", "x", 1)
	hold.Hold = time.Minute
	other := order("ann", "bob", "x", 1)
	other.Currency = "USD"
	for what, o := range map[string]ledger.Order{
		"unknown payer": order("nobody", "bob", "x", 1), "unknown payee": order("ann", "nobody", "x", 1), "unknown payee of a hold": hold,
		"the same account": order("ann", "ann", "x", 1), "zero": order("ann", "bob", "x", 0), "negative": order("ann", "bob", "x", -1), "minimum": order("ann", "bob", "x", math.MinInt64),
		"other currency": order("ann", "usd", "x", 1), "named currency": other, "overflow of the payee": order("ann", "rich", "x", 1),
		"overflow of the second posting": two, "deposit overflow": deposit("rich", "x", 1), "world": deposit("usd", "", 1),
		"brace": order("ann", "b{o}b", "x", 1), "reserved account": order("@x", "bob", "x", 1), "reserved id": order("ann", "bob", "~1", 1), "no posting": {Ref: ledger.Ref{Account: "ann", ID: "x"}},
		"foreign record": {Ref: ledger.Ref{Account: "rich", ID: "x"}, Postings: []ledger.Posting{{From: "ann", To: "bob", Amount: 1}}},
	} {
		done, _, err := b.Transfer(t.Context(), o)
		if _, failed := errors.AsType[*ledger.FailedError](err); err == nil || failed {
			t.Errorf("%s: %+v, %v", what, done, err)
		}
	}
	after := b.wantSound(t)
	if before.Transfers != after.Transfers || before.Lines != after.Lines {
		t.Errorf("%d records and %d lines became %d and %d", before.Transfers, before.Lines, after.Transfers, after.Lines)
	}
	if done, _, err := b.Transfer(t.Context(), order("rich", "ann", "x", math.MaxInt64-100)); err != nil || done.Status != ledger.Posted {
		t.Errorf("%+v, %v", done, err)
	}
	b.wantBalances(t, map[string]int64{"ann": math.MaxInt64, "rich": 100})
	b.wantSound(t)
}

// TestSameIDAtOnceHasOneEffect sends an order 50 times at once, on a single master and on two.
func TestSameIDAtOnceHasOneEffect(t *testing.T) {
	b := newBank(t, 2, "p0", "p1")
	for _, to := range []string{"p0", "p1"} {
		from, payee := b.apart(t, 1, "p0")[0], b.apart(t, 2, to)[1]
		if to == "p0" {
			b.open(t, 1000, from)
		}
		b.open(t, 0, payee)
		results := make([]ledger.Transfer, 50)
		var group sync.WaitGroup
		for i := range results {
			group.Go(func() {
				done, _, err := b.Transfer(t.Context(), order(from, payee, "to "+to, 10))
				if err != nil {
					t.Error(err)
				}
				done.Seen = store.Mark{}
				results[i] = done
			})
		}
		group.Wait()
		for _, r := range results {
			if !reflect.DeepEqual(r, results[0]) || r.Status != ledger.Posted {
				t.Errorf("%+v is not %+v", r, results[0])
			}
		}
		b.wantBalances(t, map[string]int64{payee: 10})
	}
	b.wantSound(t)
}

// TestDrainsLetThroughWhatTheAccountCanPay makes 100 withdrawals at once of an account that can pay 37.
func TestDrainsLetThroughWhatTheAccountCanPay(t *testing.T) {
	for _, masters := range [][]string{{"p0"}, {"p0", "p1"}} {
		b := newBank(t, len(masters), masters...)
		ids := b.apart(t, 2, masters...)
		b.open(t, 379, ids[0])
		b.open(t, 0, ids[1])
		var mu sync.Mutex
		posted := 0
		var group sync.WaitGroup
		for i := range 100 {
			group.Go(func() {
				done, _, err := b.Transfer(t.Context(), order(ids[0], ids[1], fmt.Sprint(i), 10))
				if _, failed := errors.AsType[*ledger.FailedError](err); err != nil && !failed {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				if done.Status == ledger.Posted {
					posted++
				}
			})
		}
		group.Wait()
		if posted != 37 {
			t.Errorf("%d of 100 were posted", posted)
		}
		b.wantBalances(t, map[string]int64{ids[0]: 9, ids[1]: 370})
		b.wantSound(t)
	}
}

// TestPostingsAreAllOrNothing: the postings of a transfer follow each other, and fail together.
func TestPostingsAreAllOrNothing(t *testing.T) {
	b := newBank(t, 2, "p0", "p1")
	ids := b.apart(t, 3, "p0")
	b.open(t, 100, ids[0])
	b.open(t, 0, ids[1], ids[2])
	o := order(ids[0], ids[1], "fee", 100)
	o.Postings = append(o.Postings, ledger.Posting{From: ids[1], To: ids[2], Amount: 60}, ledger.Posting{From: ids[1], To: ledger.World, Amount: 41})
	_, _, err := b.Transfer(t.Context(), o)
	if failed, ok := errors.AsType[*ledger.FailedError](err); !ok || failed.Transfer.Reason.Available != 40 {
		t.Errorf("%v", err)
	}
	b.wantBalances(t, map[string]int64{ids[0]: 100, ids[1]: 0, ids[2]: 0})
	o.ID, o.Postings[2].Amount = "fee 2", 40
	if _, _, err := b.Transfer(t.Context(), o); err != nil {
		t.Error(err)
	}
	b.wantBalances(t, map[string]int64{ids[0]: 0, ids[1]: 0, ids[2]: 60})
	far := b.apart(t, 1, "p1")[0]
	b.open(t, 0, far)
	o.ID, o.Postings = "fee 3", []ledger.Posting{{From: ids[0], To: ids[1], Amount: 1}, {From: ids[0], To: far, Amount: 1}}
	if _, _, err := b.Transfer(t.Context(), o); !errors.Is(err, ledger.ErrDifferentMasters) {
		t.Errorf("postings over two masters: %v", err)
	}
	b.wantSound(t)
}

func TestHoldsArePostedVoidedOrExpire(t *testing.T) {
	for _, to := range []string{"p0", "p1"} {
		t.Run("payee at "+to, func(t *testing.T) {
			b := newBank(t, 2, "p0", "p1")
			ann, bob := b.apart(t, 1, "p0")[0], b.apart(t, 2, to)[1]
			b.open(t, 100, ann)
			b.open(t, 0, bob)
			hold := func(id string, amount int64, ttl time.Duration) ledger.Ref {
				o := order(ann, bob, id, amount)
				o.Hold = ttl
				if done, _, err := b.Transfer(t.Context(), o); err != nil || done.Status != ledger.Held {
					t.Fatalf("%+v, %v", done, err)
				}
				return o.Ref
			}
			part, void := hold("part", 40, time.Hour), hold("void", 30, time.Hour)
			o := order(ann, bob, "too much", 31)
			o.Hold = time.Hour
			if _, _, err := b.Transfer(t.Context(), o); err == nil {
				t.Error("more was held than there is")
			}
			soon := hold("soon", 30, time.Millisecond)
			if done, err := b.Post(t.Context(), part, 25, false, "shop"); err != nil || done.Status != ledger.Posted || done.Amount() != 25 {
				t.Errorf("%+v, %v", done, err)
			}
			if done, err := b.Void(t.Context(), void, "shop"); err != nil || done.Status != ledger.Voided {
				t.Errorf("%+v, %v", done, err)
			}
			storetest.Eventually(t, "expiry", func() bool {
				done, _, err := b.Lookup(t.Context(), soon, store.ReadOptions{Consistency: store.FromMaster})
				return err == nil && done.Status == ledger.Voided && done.Reason.Code == ledger.HoldExpired
			})
			for _, r := range []ledger.Ref{part, void, soon} {
				_, posted := b.Post(t.Context(), r, 0, false, "")
				_, voided := b.Void(t.Context(), r, "")
				for _, err := range []error{posted, voided} {
					if _, ok := errors.AsType[*ledger.StateError](err); !ok {
						t.Errorf("a second resolution of %s: %v", r.ID, err)
					}
				}
			}
			if a := b.account(t, ann); a.Balance != 75 || a.Held != 0 || a.Available() != 75 {
				t.Errorf("%+v", a)
			}
			b.wantBalances(t, map[string]int64{bob: 25})
			b.wantSound(t)
		})
	}
}

func TestReversalTakesBackOnce(t *testing.T) {
	for _, to := range []string{"p0", "p1"} {
		b := newBank(t, 2, "p0", "p1")
		ann, bob := b.apart(t, 1, "p0")[0], b.apart(t, 2, to)[1]
		b.open(t, 100, ann)
		b.open(t, 0, bob)
		o := order(ann, bob, "buy", 60)
		if _, _, err := b.Transfer(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if _, _, err := b.Transfer(t.Context(), order(bob, ledger.World, "spend", 50)); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Reverse(t.Context(), o.Ref, "desk"); err == nil {
			t.Error("a reversal without the money")
		}
		if _, _, err := b.Transfer(t.Context(), deposit(bob, "more", 100)); err != nil {
			t.Fatal(err)
		}
		var group sync.WaitGroup
		var mu sync.Mutex
		posted := map[string]bool{}
		for range 20 {
			group.Go(func() {
				done, err := b.Reverse(t.Context(), o.Ref, "desk")
				if _, resolved := errors.AsType[*ledger.StateError](err); err != nil && !resolved {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				if done.Status == ledger.Posted {
					posted[done.ID] = true
				}
			})
		}
		group.Wait()
		if len(posted) != 1 {
			t.Errorf("%d reversals were posted", len(posted))
		}
		b.wantBalances(t, map[string]int64{ann: 100, bob: 50})
		done, _, err := b.Lookup(t.Context(), o.Ref, store.ReadOptions{Consistency: store.FromMaster})
		if err != nil || done.ReversedBy == nil || done.Reversing != nil || done.Attempts != 2 {
			t.Errorf("%+v, %v", done, err)
		}
		b.wantSound(t)
	}
}

func TestFrozenAndClosedAccountsMoveNoMoney(t *testing.T) {
	b := newBank(t, 2, "p0", "p1")
	ids := b.apart(t, 2, "p0", "p1")
	ann, bob := ids[0], ids[1]
	b.open(t, 100, ann, bob)
	frozen, open := ledger.Frozen, ledger.Open
	if _, err := b.Change(t.Context(), bob, ledger.Patch{State: &frozen}, nil, ""); err != nil {
		t.Fatal(err)
	}
	for i, o := range []ledger.Order{order(ann, bob, "1", 10), order(bob, ann, "2", 10), deposit(bob, "3", 1)} {
		_, _, err := b.Transfer(t.Context(), o)
		if failed, ok := errors.AsType[*ledger.FailedError](err); !ok || failed.Transfer.Reason.Code != ledger.AccountFrozen {
			t.Errorf("%d: %v", i, err)
		}
	}
	if _, err := b.Close(t.Context(), bob, nil, ""); err == nil {
		t.Error("an account with money was closed")
	}
	if _, err := b.Change(t.Context(), bob, ledger.Patch{State: &open}, nil, ""); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Transfer(t.Context(), order(bob, ann, "4", 100)); err != nil {
		t.Fatal(err)
	}
	if closed, err := b.Close(t.Context(), bob, nil, ""); err != nil || closed.State != ledger.Closed {
		t.Error(closed, err)
	}
	if _, _, err := b.Transfer(t.Context(), order(ann, bob, "5", 10)); err == nil {
		t.Error("a closed account was paid")
	}
	if _, _, err := b.Create(t.Context(), ledger.Account{ID: bob, Currency: "EUR"}, ""); !errors.Is(err, ledger.ErrConflict) {
		t.Errorf("the id of a closed account: %v", err)
	}
	b.wantBalances(t, map[string]int64{ann: 200, bob: 0})
	b.wantSound(t)
}

func TestHistoryHasALineOfEachOperation(t *testing.T) {
	b := newBank(t, 1)
	b.open(t, 100, "ann", "bob")
	for i := range 5 {
		o := order("ann", "bob", fmt.Sprint(i), 1)
		o.By, o.Memo = "till", "coffee"
		if _, _, err := b.Transfer(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	var lines []ledger.Line
	after := ""
	for {
		p, err := b.History(t.Context(), "ann", after, 3, store.ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, p.Lines...)
		if after = p.Next; after == "" {
			break
		}
	}
	if len(lines) != 7 {
		t.Fatalf("%+v", lines)
	}
	for i, l := range lines[:5] {
		if l.BalanceAfter != int64(95+i) || l.Amount != -1 || l.By != "till" || l.Peer != "bob" || l.Memo != "coffee" || l.Transfer.ID != fmt.Sprint(4-i) {
			t.Errorf("line %d: %+v", i, l)
		}
	}
	if lines[5].Amount != 100 || lines[6].Event != "opened" || lines[6].By != "admin" {
		t.Errorf("%+v", lines[5:])
	}
}

func TestSearchFindsAccountsOnce(t *testing.T) {
	b := newBank(t, 1)
	for i, a := range []ledger.Account{
		{ID: "c-1", Name: "Ann Annetta Miller", Email: "ann@shop.example"}, {ID: "c-2", Name: "Bob Müller", Email: "bob@shop.example"}, {ID: "d-3", Name: "Anna Smith", Email: "Anna@Example.com"},
	} {
		a.Currency = "EUR"
		if _, created, err := b.Create(t.Context(), a, ""); err != nil || !created {
			t.Fatal(i, err)
		}
	}
	name := "Robert Müller"
	if _, err := b.Change(t.Context(), "c-2", ledger.Patch{Name: &name}, nil, ""); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		q    ledger.Query
		want string
	}{
		{ledger.Query{}, "c-1 c-2 d-3"}, {ledger.Query{Prefix: "c-"}, "c-1 c-2"}, {ledger.Query{Words: "ann"}, "c-1 d-3"}, {ledger.Query{Words: "ANN mill"}, "c-1"},
		{ledger.Query{Words: "müll"}, "c-2"}, {ledger.Query{Words: "robert"}, "c-2"}, {ledger.Query{Words: "bob"}, "c-2"}, {ledger.Query{Email: "anna@example.com"}, "d-3"}, {ledger.Query{Words: "shop.example"}, "c-1 c-2"},
		{ledger.Query{Contains: "mit"}, "d-3"}, {ledger.Query{Words: "ann", Prefix: "d"}, "d-3"}, {ledger.Query{Words: "zebra"}, ""},
	} {
		var found []string
		for c.q.Limit = 1; ; {
			p, err := b.Search(t.Context(), c.q, store.ReadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range p.Accounts {
				found = append(found, a.ID)
			}
			if c.q.After = p.Next; p.Next == "" {
				break
			}
		}
		if got := strings.Join(found, " "); got != c.want {
			c.q.After = ""
			t.Errorf("%+v: %q, want %q", c.q, got, c.want)
		}
	}
}

func TestBatchTakesEffectInOrder(t *testing.T) {
	b := newBank(t, 2, "p0", "p1")
	ids := b.apart(t, 2, "p0")
	far := b.apart(t, 1, "p1")[0]
	b.open(t, 0, ids[0], ids[1], far)
	out := b.Batch(t.Context(), []ledger.Order{
		order(ids[0], ids[1], "early", 1), deposit(ids[0], "in", 10), order(ids[0], ids[1], "all", 10), order(ids[1], far, "far", 4), order(ids[0], ids[0], "self", 1), order(ids[1], ids[0], "back", 6),
	})
	var got []string
	for _, o := range out {
		_, invalid := errors.AsType[*ledger.InputError](o.Err)
		got = append(got, fmt.Sprint(o.Transfer.Status, invalid))
	}
	if s := strings.Join(got, " "); s != "FAILED false POSTED false POSTED false POSTED false  true POSTED false" && s != "FAILEDfalse POSTEDfalse POSTEDfalse POSTEDfalse true POSTEDfalse" {
		t.Errorf("%s", s)
	}
	b.wantBalances(t, map[string]int64{ids[0]: 6, ids[1]: 0, far: 4})
	b.wantSound(t)
}
