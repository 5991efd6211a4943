package ledger_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/ledger"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// refuseCopies lets partitions take no copies, as if they were away from the masters.
func refuseCopies(parts ...*memory.Partition) {
	for _, p := range parts {
		p.Fail(func(op string) error {
			if op == memory.OpApply {
				return partition.ErrUnavailable
			}
			return nil
		})
	}
}

// waiting counts the log lines of transfers that wait for their next step.
type waiting struct {
	slog.Handler
	lines atomic.Int64
}

func (w *waiting) Enabled(context.Context, slog.Level) bool { return true }
func (w *waiting) Handle(context.Context, slog.Record) error {
	w.lines.Add(1)
	return nil
}

// TestNothingIsAnsweredBeforeAMajorityHoldsIt: while no replica takes copies, no operation is answered as successful, and none
// that finds the effect of an earlier request. No further step begins. Afterwards the same requests are answered.
func TestNothingIsAnsweredBeforeAMajorityHoldsIt(t *testing.T) {
	log := &waiting{Handler: slog.DiscardHandler}
	b := newIdleBank(t, 3, ledger.Options{Grace: time.Millisecond, Logger: slog.New(log)}, "p0", "p1")
	ids := b.apart(t, 4, "p0", "p1")
	ann, carl, bob := ids[0], ids[2], ids[1]
	b.open(t, 100, ann, carl)
	b.open(t, 0, bob)
	if _, _, err := b.Transfer(t.Context(), order(ann, carl, "old", 1)); err != nil {
		t.Fatal(err)
	}
	hold := order(ann, carl, "hold", 5)
	hold.Hold = time.Hour
	if _, _, err := b.Transfer(t.Context(), hold); err != nil {
		t.Fatal(err)
	}
	later := order(ann, carl, "later", 3)
	later.Async = true
	b.stopSync()
	refuseCopies(b.rig.Parts...)
	transfer := func(o ledger.Order) func() error {
		return func() error { _, _, err := b.Transfer(t.Context(), o); return err }
	}
	for _, operation := range []struct {
		name string
		run  func() error
	}{
		{"transfer", transfer(order(ann, carl, "one", 10))},
		{"the same transfer", transfer(order(ann, carl, "one", 10))},
		{"deposit", transfer(deposit(ann, "in", 10))},
		{"refused transfer", transfer(order(ann, carl, "much", 1000))},
		{"debit", transfer(later)},
		{"debit of two masters", transfer(order(ann, bob, "far", 20))},
		{"the same debit", transfer(order(ann, bob, "far", 20))},
		{"batch", func() error { return b.Batch(t.Context(), []ledger.Order{order(ann, carl, "two", 1)})[0].Err }},
		{"the same batch", func() error { return b.Batch(t.Context(), []ledger.Order{order(ann, carl, "two", 1)})[0].Err }},
		{"account", func() error {
			_, _, err := b.Create(t.Context(), ledger.Account{ID: ids[0] + "x", Currency: "EUR"}, "")
			return err
		}},
		{"posted hold", func() error { _, err := b.Post(t.Context(), hold.Ref, 0, false, ""); return err }},
		{"reversal", func() error { _, err := b.Reverse(t.Context(), order(ann, carl, "old", 1).Ref, ""); return err }},
		{"the same reversal", func() error { _, err := b.Reverse(t.Context(), order(ann, carl, "old", 1).Ref, ""); return err }},
	} {
		if err := operation.run(); !errors.Is(err, ledger.ErrNotHeld) || !errors.Is(err, store.ErrOutcomeUnknown) {
			t.Errorf("%s: %v", operation.name, err)
		}
	}
	b.work(t)
	before := log.lines.Load()
	storetest.Eventually(t, "three attempts of the worker", func() bool { return log.lines.Load() >= before+3 })
	b.wantBalances(t, map[string]int64{bob: 0, ann: 100 - 1 - 10 + 10 - 3 - 20 - 1 - 5})
	for _, p := range b.rig.Parts {
		p.Fail(nil)
	}
	storetest.RunSync(t, b.rig)
	if _, _, err := b.Transfer(t.Context(), order(ann, carl, "one", 10)); err != nil {
		t.Errorf("with a majority: %v", err)
	}
	b.wantSound(t)
	b.wantBalances(t, map[string]int64{bob: 20, ann: 100 - 10 + 10 - 3 - 20 - 1 - 5})
}

// TestTwoPartitionsDoNotWaitForEachOther: with two voters no majority outlives the master, and a lost replica stops nothing.
func TestTwoPartitionsDoNotWaitForEachOther(t *testing.T) {
	b := newBank(t, 2, "p0")
	b.open(t, 100, "ann", "bob")
	b.stopSync()
	refuseCopies(b.rig.Parts[1])
	if _, _, err := b.Transfer(t.Context(), order("ann", "bob", "1", 10)); err != nil {
		t.Error(err)
	}
}

// TestUndonePayeeIsRefused: the payee vanishes between debit and credit, as an account does that no majority held before a
// promotion. The payer is refunded.
func TestUndonePayeeIsRefused(t *testing.T) {
	var vanish func()
	b := newIdleBank(t, 2, ledger.Options{Grace: time.Minute, Failpoint: func(point string) {
		if point == "debited" {
			vanish()
		}
	}}, "p0", "p1")
	ids := b.apart(t, 2, "p0", "p1")
	b.open(t, 100, ids[0])
	b.open(t, 0, ids[1])
	vanish = func() {
		key := store.Space("account").Key("{" + ids[1] + "}")
		if err := b.rig.Update(t.Context(), []store.Key{key}, store.UpdateOptions{}, func(tx *store.Tx) error { tx.Delete(key); return nil }); err != nil {
			t.Error(err)
		}
	}
	_, _, err := b.Transfer(t.Context(), order(ids[0], ids[1], "1", 30))
	if failed, ok := errors.AsType[*ledger.FailedError](err); !ok || failed.Transfer.Reason.Code != ledger.AccountUnknown {
		t.Errorf("%v", err)
	}
	b.wantBalances(t, map[string]int64{ids[0]: 100})
	h, err := b.History(t.Context(), ids[0], "", 10, store.ReadOptions{Consistency: store.FromMaster})
	if err != nil || !slices.ContainsFunc(h.Lines, func(l ledger.Line) bool { return l.Event == "refunded" && l.Amount == 30 }) {
		t.Errorf("%+v, %v", h.Lines, err)
	}
}
