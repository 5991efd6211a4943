package partitiontest

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
)

var guardChecks = []check{
	{"GuardsAreCountedByTheCommitsThatWriteThem", checkGuardsCounted},
	{"UnguardedClaimsNeedAMasterWithoutGuards", checkUnguarded},
	{"GuardsAreNotWrittenUnread", checkGuardsRead},
	{"NewEpochForgetsTheNumberOfGuards", checkGuardsForgotten},
	{"CountOfGuardsIsExactAmidCommits", checkCountAmidCommits},
	{"CountOfAnotherEpochIsRefused", checkCountOfEpoch},
}

// guard returns a guard to be written.
func guard(name string) partition.Entry {
	e := put("lock/"+name, "held")
	e.ContentType = partition.GuardContentType
	return e
}

// decide commits entries with a decision that has read their keys, and returns the number of guards before.
func decide(t *testing.T, p partition.Partition, e int64, entries ...partition.Entry) int64 {
	t.Helper()
	claim, err := p.Commit(t.Context(), decision(e, entries...))
	must(t, err)
	return claim.Guards
}

func decision(e int64, entries ...partition.Entry) partition.Batch {
	b := batch(entries...)
	b.Epoch = e
	for i := range entries {
		b.Heads = append(b.Heads, entries[i].Key)
	}
	write := b.Write
	b.Decide = func(c partition.Claim) ([]partition.Entry, error) {
		decided := slices.Clone(write)
		for i := range decided {
			decided[i].Revision += c.First
		}
		return decided, nil
	}
	return b
}

// guards returns the number of guards.
func guards(t *testing.T, p partition.Partition, e int64) int64 {
	t.Helper()
	return decide(t, p, e)
}

func checkGuardsCounted(t *testing.T, s suite) {
	p := s.node(t, alpha)
	plain := put("lock/a", "held")
	for i, step := range []struct {
		entries []partition.Entry
		want    int64
	}{
		{[]partition.Entry{plain, put("k/a", "1")}, 0},
		{[]partition.Entry{guard("a")}, 1},
		{[]partition.Entry{guard("a"), guard("b"), put("lock/c", "held")}, 2},
		{[]partition.Entry{plain, guard("c")}, 2},
		{[]partition.Entry{deletion("lock/b"), deletion("lock/a")}, 1},
		{[]partition.Entry{deletion("lock/b"), deletion("lock/c"), guard("d"), guard("e")}, 2},
		{[]partition.Entry{deletion("lock/d"), deletion("lock/e")}, 0},
	} {
		decide(t, p, epoch, step.entries...)
		if got := guards(t, p.open(t), epoch); got != step.want {
			t.Errorf("after step %d there are %d guards, want %d", i, got, step.want)
		}
	}
	foreign := guard("k")
	foreign.Key = "k/lock/" // not within the range of guards
	decide(t, p, epoch, foreign)
	if got := guards(t, p, epoch); got != 0 {
		t.Errorf("a key of a user counts as %d guards", got)
	}
}

func checkUnguarded(t *testing.T, s suite) {
	p := s.node(t, alpha)
	claims := func(value string) []partition.Batch {
		blind, asks, decides := batch(put("k/a", value)), batch(put("k/b", value)), batch()
		asks.Heads = []partition.Key{"k/b"}
		decides.Decide = func(c partition.Claim) ([]partition.Entry, error) {
			return []partition.Entry{at(put("k/c", value), alpha, c.First)}, nil
		}
		batches := []partition.Batch{blind, asks, decides}
		for i := range batches {
			batches[i].Unguarded = true
		}
		return batches
	}
	for _, b := range claims("before") {
		_, err := p.Commit(t.Context(), b)
		must(t, err)
	}
	decide(t, p, epoch, guard("x"))
	stood, before := held(t, p, alpha), position(t, p, alpha)
	for _, b := range claims("guarded") {
		_, err := p.open(t).Commit(t.Context(), b)
		wantError(t, err, partition.ErrPositionMoved)
	}
	wantEntries(t, held(t, p, alpha), stood)
	if after := position(t, p, alpha); after != before {
		t.Errorf("the position went from %+v to %+v", before, after)
	}
	decide(t, p, epoch, deletion("lock/x"))
	for _, b := range claims("after") {
		_, err := p.Commit(t.Context(), b)
		must(t, err)
	}
}

func checkGuardsRead(t *testing.T, s suite) {
	p := s.node(t, alpha)
	if _, err := p.Commit(t.Context(), batch(guard("a"))); err == nil {
		t.Error("a guard was written without reading its key")
	}
	b := batch()
	b.Decide = func(c partition.Claim) ([]partition.Entry, error) {
		return []partition.Entry{at(guard("a"), alpha, c.First)}, nil
	}
	if _, err := p.Commit(t.Context(), b); err == nil {
		t.Error("a decision wrote a guard without reading its key")
	}
	b = batch(guard("a"))
	b.Heads = []partition.Key{"lock/a"}
	_, err := p.Commit(t.Context(), b)
	must(t, err)
	if got := guards(t, p, epoch); got != 1 {
		t.Errorf("a guard without a decision counts as %d", got)
	}
}

// nextEpoch lets p accept a map of the next epoch.
func nextEpoch(t *testing.T, p partition.Partition, e int64) {
	t.Helper()
	c := clusterOf(alpha)
	c.Epoch = e
	_, err := p.Accept(t.Context(), c)
	must(t, err)
}

func checkGuardsForgotten(t *testing.T, s suite) {
	p := s.node(t, alpha)
	nextEpoch(t, p, epoch+1)
	if got := guards(t, p, epoch+1); got != 0 {
		t.Errorf("an empty partition has %d guards", got)
	}
	decide(t, p, epoch+1, guard("mine"), guard("other"), put("lock/plain", "held"))
	nextEpoch(t, p, epoch+2)
	if got := guards(t, p, epoch+2); got < partition.GuardsUnknown {
		t.Errorf("after a new epoch the number of guards is known: %d", got)
	}
	b := batch(put("k/a", "1"))
	b.Epoch, b.Unguarded = epoch+2, true
	_, err := p.Commit(t.Context(), b)
	wantError(t, err, partition.ErrPositionMoved)
	for range 2 { // the repetition changes nothing
		must(t, p.CountGuards(t.Context(), epoch+2, func(k partition.Key) bool { return k == "lock/mine" }))
		if got := guards(t, p, epoch+2); got != 1 {
			t.Errorf("%d guards were counted, want 1", got)
		}
	}
	replica := s.node(t, beta)
	must(t, replica.CountGuards(t.Context(), epoch, func(partition.Key) bool { return true }))
}

// checkCountAmidCommits counts while other handles write guards.
func checkCountAmidCommits(t *testing.T, s suite) {
	p := s.node(t, alpha)
	var stable []partition.Entry
	for i := range 50 {
		stable = append(stable, guard(fmt.Sprintf("stable/%d", i)))
	}
	decide(t, p, epoch, stable...)
	nextEpoch(t, p, epoch+1)
	var counting atomic.Int32
	counting.Store(2)
	var work []func() error
	for i := range 2 {
		writer, counter := p.open(t), p.open(t)
		work = append(work, func() error {
			name := fmt.Sprintf("moving/%d", i)
			for running := true; running; running = counting.Load() > 0 {
				for _, b := range []partition.Batch{decision(epoch+1, guard(name), guard(name+"+")), decision(epoch+1, deletion("lock/"+name))} {
					if _, err := writer.Commit(t.Context(), b); err != nil {
						return err
					}
				}
			}
			return nil
		}, func() error {
			defer counting.Add(-1)
			for range 5 {
				err := counter.CountGuards(t.Context(), epoch+1, func(k partition.Key) bool { return strings.HasPrefix(string(k), "lock/") })
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	together(t, work...)
	if got := guards(t, p, epoch+1); got != 52 {
		t.Errorf("there are %d guards, want 52", got)
	}
}

func checkCountOfEpoch(t *testing.T, s suite) {
	p := s.node(t, alpha)
	decide(t, p, epoch, guard("a"))
	nextEpoch(t, p, epoch+1)
	wantError(t, p.CountGuards(t.Context(), epoch, func(partition.Key) bool { return false }), partition.ErrStaleEpoch)
	if got := guards(t, p, epoch+1); got < partition.GuardsUnknown {
		t.Errorf("a refused count set the number of guards to %d", got)
	}
}
