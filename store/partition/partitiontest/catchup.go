package partitiontest

import (
	"fmt"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
)

var catchUpChecks = []check{
	{"CatchUpBringsAWholeReplicaLevel", checkCatchUp},
	{"CatchUpElsewhereThanThePositionChangesNothing", checkCatchUpMoved},
	{"CatchUpLeavesAloneWhatIsTooFar", checkCatchUpTooFar},
}

// replica returns a partition that holds everything of a master.
func (s suite) replica(t *testing.T, master partition.Partition) node {
	p := s.node(t, beta)
	view := snapshot(t, master, alpha, 0)
	entries, err := drain(t.Context(), view, 1000)
	must(t, err)
	at := view.Position()
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, To: at.Revision, Goal: at.Revision, SyncedAt: at.SyncedAt, Entries: entries}))
	return p
}

func checkCatchUp(t *testing.T, s suite) {
	master := s.node(t, alpha)
	commit(t, master, put("k/a", "1"), put("k/b", "1"))
	p := s.replica(t, master)
	before := position(t, p, alpha)
	commit(t, master, put("k/a", "2"))
	commit(t, master, deletion("k/b"), put("k/c", "1"))
	for range 2 { // the second time there is nothing to do
		at, err := partition.CatchUp(t.Context(), master, p, position(t, p, alpha), 0)
		must(t, err)
		if stands := position(t, p, alpha); at != stands || !at.Holds(position(t, master, alpha).Revision) || at.SyncedAt <= before.SyncedAt {
			t.Errorf("caught up to %+v, and the position is %+v", at, stands)
		}
		wantEntries(t, held(t, p, alpha), held(t, master, alpha))
	}
}

func checkCatchUpMoved(t *testing.T, s suite) {
	master := s.node(t, alpha)
	commit(t, master, put("k/a", "1"))
	p := s.replica(t, master)
	before := position(t, p, alpha)
	commit(t, master, put("k/a", "2"))
	_, err := partition.CatchUp(t.Context(), master, p, before, 0)
	must(t, err)
	want := held(t, p, alpha)
	commit(t, master, put("k/a", "3"))
	_, err = partition.CatchUp(t.Context(), master, p, before, 0)
	wantError(t, err, partition.ErrPositionMoved)
	wantEntries(t, held(t, p, alpha), want)
}

// checkCatchUpTooFar: a replica before the end of its first copy, a replica amid a catch-up, a
// replica that lacks very many entries, and a replica that would miss a deletion.
func checkCatchUpTooFar(t *testing.T, s suite) {
	master := s.node(t, alpha)
	p := s.replica(t, master)
	refused := func(what string) {
		t.Helper()
		before, want := position(t, p, alpha), held(t, p, alpha)
		before.Origin = alpha
		_, err := partition.CatchUp(t.Context(), master, p, before, 0)
		wantError(t, err, partition.ErrTooFar)
		if after := position(t, p, alpha); after.Revision != before.Revision || after.Goal != before.Goal {
			t.Errorf("%s: the position went from %+v to %+v", what, before, after)
		}
		wantEntries(t, held(t, p, alpha), want)
	}
	var many []partition.Entry
	for i := range 5000 {
		many = append(many, put(fmt.Sprintf("k/%d", i), "v"))
	}
	commit(t, master, many...)
	refused("lacks much")
	at, head := position(t, p, alpha), position(t, master, alpha)
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, From: at.Revision, To: head.Revision - 1, Goal: head.Revision, Entries: nil}))
	refused("amid a catch-up")
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, From: head.Revision - 1, To: head.Revision, Goal: head.Revision}))
	claim := commit(t, master, deletion("k/1"))
	_, err := master.Collect(t.Context(), alpha, claim.First)
	must(t, err)
	refused("misses a deletion")
	must(t, p.Reset(t.Context(), alpha))
	refused("was never whole")
}
