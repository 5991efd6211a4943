package partitiontest

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runnelkv/runnel/store/partition"
)

var viewChecks = []check{
	{"ViewStaysAsItWasOpened", checkViewIsolated},
	{"ViewHoldsEverything", checkViewWhole},
	{"ViewListsASpanAsItWasOpened", checkViewList},
	{"ViewNeedsACluster", checkViewWithoutCluster},
}

// view opens a view, which is closed when t ends.
func view(t *testing.T, p partition.Partition) partition.View {
	t.Helper()
	v, err := p.View(t.Context())
	must(t, err)
	t.Cleanup(func() { v.Close() })
	return v
}

// drainOrigin reads an origin of a view.
func drainOrigin(t *testing.T, v partition.View, origin partition.Origin, after partition.Revision) []partition.Entry {
	t.Helper()
	snap, err := v.Snapshot(t.Context(), origin, after)
	must(t, err)
	entries, err := drain(t.Context(), snap, 3)
	must(t, err)
	must(t, snap.Close())
	return entries
}

// checkViewIsolated changes every origin after the view was opened. In particular a key moves to
// an origin that is read first: snapshots of single origins would all miss the key.
func checkViewIsolated(t *testing.T, s suite) {
	p := s.node(t, alpha)
	entries := []partition.Entry{put("k/a", "1"), put("k/moved", "2"), deletion("k/c")}
	claim := commit(t, p, entries...)
	foreign := at(put("k/d", "4"), beta, 9)
	must(t, p.Apply(t.Context(), partition.Copy{Origin: beta, To: 9, Goal: 9, SyncedAt: 5, Entries: []partition.Entry{foreign}}))
	v := view(t, p.open(t))
	wantEntries(t, drainOrigin(t, v, beta, 0), []partition.Entry{foreign})

	other, later := p.open(t), partition.Floor(epoch+1)
	commit(t, other, put("k/a", "after"))
	moved := at(put("k/moved", "after"), beta, later)
	must(t, other.Apply(t.Context(), partition.Copy{Origin: beta, From: 9, To: later, Goal: later, Entries: []partition.Entry{moved}}))
	_, err := other.Collect(t.Context(), alpha, claim.First+2)
	must(t, err)
	wantEntries(t, drainOrigin(t, v, alpha, 0), stamped(alpha, claim, entries...))
	wantEntries(t, drainOrigin(t, v, beta, 0), []partition.Entry{foreign})
}

func checkViewWhole(t *testing.T, s suite) {
	p := s.node(t, alpha)
	entries := []partition.Entry{put("k/a", "1"), deletion("k/b"), put("k/c", "3")}
	claim := commit(t, p, entries...)
	copied := partition.Copy{Origin: beta, To: 9, Goal: 12, SyncedAt: 5, Collected: 3, Entries: []partition.Entry{at(put("k/d", "4"), beta, 9)}}
	must(t, p.Apply(t.Context(), copied))
	before := now(t, p)
	v := view(t, p)
	after := now(t, p)

	row, err := p.Cluster(t.Context())
	must(t, err)
	if diff := cmp.Diff(row, v.Cluster()); diff != "" {
		t.Errorf("the cluster row differs: %s", diff)
	}
	at := v.Positions()
	own := at.Origins[alpha]
	if own.SyncedAt != at.Now || at.Now < before || at.Now > after {
		t.Errorf("the clock is %d, and %d of its own entries, not between %d and %d", at.Now, own.SyncedAt, before, after)
	}
	own.SyncedAt = 0
	want := map[partition.Origin]partition.Position{
		alpha: {Origin: alpha, Revision: claim.First + 2},
		beta:  {Origin: beta, Revision: 9, Goal: 12, SyncedAt: 5, Collected: 3},
	}
	if diff := cmp.Diff(want, map[partition.Origin]partition.Position{alpha: own, beta: at.Origins[beta]}); diff != "" || len(at.Origins) != 2 {
		t.Errorf("positions: %s", diff)
	}
	wantEntries(t, drainOrigin(t, v, alpha, claim.First), stamped(alpha, claim, entries...)[1:])
	wantEntries(t, drainOrigin(t, v, "nobody", 0), nil)
	must(t, v.Close())
	if _, err := v.Snapshot(t.Context(), alpha, 0); err == nil {
		t.Error("a closed view opens a snapshot")
	}
}

// checkViewList changes, removes and adds keys of a span after the view was opened.
func checkViewList(t *testing.T, s suite) {
	p := s.node(t, alpha)
	expired := put("k/c", "3")
	expired.ExpiresAt = 1
	entries := []partition.Entry{put("k/a", "1"), deletion("k/b"), expired, put("k/d", "4"), put("k/e", "5"), put("l/a", "6")}
	claim := commit(t, p, entries...)
	foreign := at(put("k/dd", "7"), beta, 9)
	must(t, p.Apply(t.Context(), partition.Copy{Origin: beta, To: 9, Goal: 9, SyncedAt: 5, Entries: []partition.Entry{foreign}}))
	v := view(t, p.open(t))
	commit(t, p, put("k/a", "after"), deletion("k/d"), put("k/aa", "after"))

	stood := stamped(alpha, claim, entries...)
	span := partition.Span{From: "k/", To: "k0", Limit: 2}
	for _, want := range [][]partition.Entry{{stood[0], stood[3]}, {foreign, stood[4]}} {
		got, more, err := v.List(t.Context(), span)
		must(t, err)
		wantEntries(t, got, want)
		if wantMore := want[0].Key == "k/a"; more != wantMore {
			t.Errorf("after %s: more is %v", text(got), more)
		}
		span.From = got[len(got)-1].Key + "\x00"
	}
	span.From, span.To = "l/", ""
	got, _, err := v.List(t.Context(), span)
	must(t, err)
	wantEntries(t, got, stood[5:])
	must(t, v.Close())
	if _, _, err := v.List(t.Context(), span); err == nil {
		t.Error("a closed view lists")
	}
}

func checkViewWithoutCluster(t *testing.T, s suite) {
	_, err := s.fresh(t, alpha).View(t.Context())
	wantError(t, err, partition.ErrNoCluster)
}
