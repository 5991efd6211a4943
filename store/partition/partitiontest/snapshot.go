package partitiontest

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runnelkv/runnel/store/partition"
)

var snapshotChecks = []check{
	{"SnapshotStreamsInOrderOfRevisions", checkSnapshotOrder},
	{"SnapshotBeginsAfterItsRevision", checkSnapshotAfter},
	{"SnapshotStaysAsItWasOpened", checkSnapshotIsolated},
	{"SnapshotNextKeepsItsLimits", checkSnapshotLimits},
	{"SnapshotOfTheOriginReadsItsClock", checkSnapshotClock},
	{"SnapshotOfACopyTellsItsPosition", checkSnapshotOfCopy},
	{"SnapshotOfAnUnknownOriginIsEmpty", checkSnapshotUnknown},
	{"SnapshotTellsTheHeadsOfAllOrigins", checkSnapshotHeads},
}

func checkSnapshotOrder(t *testing.T, s suite) {
	p := s.node(t, alpha)
	// Keys and revisions run in opposite orders, and the first key is written again at the end.
	entries := []partition.Entry{put("k/d", "1"), deletion("k/c"), put("k/b", "3"), put("k/a", "4")}
	want := stamped(alpha, commit(t, p, entries...), entries...)
	want = append(want[1:], stamped(alpha, commit(t, p, put("k/d", "5")), put("k/d", "5"))...)
	must(t, p.Apply(t.Context(), partition.Copy{Origin: beta, To: 9, Goal: 9, Entries: []partition.Entry{at(put("k/e", "6"), beta, 9)}}))
	for _, maxEntries := range []int{1, 3, 100} {
		got, err := drain(t.Context(), snapshot(t, p, alpha, 0), maxEntries)
		must(t, err)
		wantEntries(t, got, want)
	}
}

func checkSnapshotAfter(t *testing.T, s suite) {
	p := s.node(t, alpha)
	entries := []partition.Entry{put("k/a", "1"), put("k/b", "2"), put("k/c", "3")}
	claim := commit(t, p, entries...)
	all := stamped(alpha, claim, entries...)
	for i := range 4 {
		view := snapshot(t, p, alpha, claim.First+partition.Revision(i)-1)
		got, err := drain(t.Context(), view, 2)
		must(t, err)
		wantEntries(t, got, all[i:])
		if at := view.Position().Revision; at != claim.First+2 {
			t.Errorf("the snapshot is at %d, want %d", at, claim.First+2)
		}
		_, err = view.Next(t.Context(), 1, 1)
		if err != io.EOF {
			t.Errorf("after the end Next answers %v", err)
		}
	}
}

func checkSnapshotIsolated(t *testing.T, s suite) {
	p := s.node(t, alpha)
	var entries []partition.Entry
	for i := range 20 {
		entries = append(entries, put(fmt.Sprintf("k/%02d", i), "before"))
	}
	entries = append(entries, deletion("k/20"))
	claim := commit(t, p, entries...)
	want, last := stamped(alpha, claim, entries...), claim.First+20
	view := snapshot(t, p.open(t), alpha, 0)
	first, err := view.Next(t.Context(), 2, 1<<20)
	must(t, err)

	other := p.open(t)
	commit(t, other, put("k/00", "after"), deletion("k/10"), put("k/19", "after"), put("k/new", "after"))
	_, err = other.Collect(t.Context(), alpha, last)
	must(t, err)
	rest, err := drain(t.Context(), view, 3)
	must(t, err)
	wantEntries(t, append(first, rest...), want)
	if got := view.Position(); got.Revision != last || got.Collected != 0 {
		t.Errorf("the snapshot's position moved to %+v", got)
	}
	must(t, view.Close())
	if got := len(held(t, p, alpha)); got != 21 {
		t.Errorf("a later snapshot holds %d entries, want 21", got)
	}
}

func checkSnapshotLimits(t *testing.T, s suite) {
	p := s.node(t, alpha)
	var entries []partition.Entry
	for i := range 6 {
		entries = append(entries, put(fmt.Sprintf("k/%d", i), strings.Repeat("v", 100)))
	}
	want := stamped(alpha, commit(t, p, entries...), entries...)
	for _, c := range []struct {
		maxEntries int
		maxBytes   int64
		want       int
	}{{1, 1000, 1}, {4, 1000, 4}, {10, 1, 1}, {10, 100, 1}, {10, 101, 2}, {10, 250, 3}, {2, 250, 2}, {10, 1000, 6}} {
		got, err := snapshot(t, p, alpha, 0).Next(t.Context(), c.maxEntries, c.maxBytes)
		must(t, err)
		if len(got) != c.want {
			t.Errorf("%d entries within %d and %d bytes, want %d", len(got), c.maxEntries, c.maxBytes, c.want)
		}
	}
	view := snapshot(t, p, alpha, 0)
	var all []partition.Entry
	for len(all) < len(want) {
		got, err := view.Next(t.Context(), 2, 150)
		must(t, err)
		all = append(all, got...)
	}
	wantEntries(t, all, want)
}

func checkSnapshotClock(t *testing.T, s suite) {
	p := s.node(t, alpha)
	claim := commit(t, p, put("k/a", "1"))
	before := now(t, p)
	got := snapshot(t, p, alpha, 0).Position()
	after := now(t, p)
	if got.SyncedAt < before || got.SyncedAt > after {
		t.Errorf("SyncedAt is %d, not between %d and %d", got.SyncedAt, before, after)
	}
	if got.Origin != alpha || got.Revision != claim.First || got.Collected != 0 {
		t.Errorf("position is %+v", got)
	}
}

func checkSnapshotOfCopy(t *testing.T, s suite) {
	p := s.node(t, beta)
	entries := []partition.Entry{at(put("k/a", "1"), alpha, 4), at(deletion("k/b"), alpha, 5)}
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, To: 6, Goal: 8, SyncedAt: 3, Entries: entries}))
	view := snapshot(t, p, alpha, 4)
	want := partition.Position{Origin: alpha, Revision: 6, Goal: 8, SyncedAt: 3}
	if got := view.Position(); got != want {
		t.Errorf("position is %+v, want %+v", got, want)
	}
	got, err := drain(t.Context(), view, 10)
	must(t, err)
	wantEntries(t, got, entries[1:])
}

func checkSnapshotUnknown(t *testing.T, s suite) {
	p := s.node(t, alpha)
	commit(t, p, put("k/a", "1"))
	view := snapshot(t, p, "nobody", 0)
	if got, want := view.Position(), (partition.Position{Origin: "nobody"}); got != want {
		t.Errorf("position is %+v, want %+v", got, want)
	}
	if _, err := view.Next(t.Context(), 1, 1); err != io.EOF {
		t.Errorf("Next answers %v", err)
	}
}

// checkSnapshotHeads: the heads are as of the view, whatever happens to the partition afterwards.
func checkSnapshotHeads(t *testing.T, s suite) {
	p := s.node(t, alpha)
	claim := commit(t, p, put("k/a", "1"))
	copied := partition.Copy{Origin: beta, To: 9, Goal: 12, SyncedAt: 5, Collected: 3, Entries: []partition.Entry{at(put("k/b", "2"), beta, 9)}}
	must(t, p.Apply(t.Context(), copied))
	views := []partition.Snapshot{snapshot(t, p, alpha, 0), snapshot(t, p, beta, 0), snapshot(t, p, "nobody", 0)}
	whole, err := p.View(t.Context())
	must(t, err)
	defer whole.Close()

	other := p.open(t)
	commit(t, other, put("k/c", "3"))
	must(t, other.Apply(t.Context(), partition.Copy{Origin: beta, From: 9, To: 12, Goal: 12, SyncedAt: 6}))
	must(t, other.Apply(t.Context(), partition.Copy{Origin: "gamma", To: 1, Goal: 1}))
	later := clusterOf(alpha)
	later.Epoch++
	_, err = other.Accept(t.Context(), later)
	must(t, err)
	inView, err := whole.Snapshot(t.Context(), beta, 0)
	must(t, err)
	defer inView.Close()
	for i, view := range append(views, inView) {
		at, heads := view.Heads()
		want := map[partition.Origin]partition.Position{
			alpha: {Origin: alpha, Revision: claim.First, SyncedAt: heads[alpha].SyncedAt},
			beta:  {Origin: beta, Revision: 9, Goal: 12, SyncedAt: 5, Collected: 3},
		}
		if diff := cmp.Diff(want, heads); at != epoch || diff != "" {
			t.Errorf("view %d: of epoch %d, heads %s", i, at, diff)
		}
	}
	if at, heads := snapshot(t, p, alpha, 0).Heads(); at != epoch+1 || heads["gamma"].Revision != 1 {
		t.Errorf("a later view is of epoch %d, with %+v", at, heads)
	}
	if at, heads := snapshot(t, s.fresh(t, beta), alpha, 0).Heads(); at != 0 || len(heads) != 0 {
		t.Errorf("of no cluster: epoch %d, heads %+v", at, heads)
	}
}
