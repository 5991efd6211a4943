package partitiontest

import (
	"testing"

	"github.com/runnelkv/runnel/store/partition"
)

var placeChecks = []check{
	{"PlaceMovesNoPosition", checkPlaceMovesNothing},
	{"PlaceNeverReplacesANewerEntry", checkPlaceGuarded},
	{"PlaceLeavesOutWhatThePositionHasReached", checkPlaceBehindPosition},
	{"PlacedEntriesAreStreamed", checkPlacedStreamed},
	{"ApplyPassesPlacedEntries", checkApplyPassesPlaced},
	{"ApplyCarriesWhatWasPlacedAtTheSource", checkApplyCarriesPlaced},
}

func checkPlaceMovesNothing(t *testing.T, s suite) {
	p := s.node(t, beta)
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, To: 5, Goal: 7, SyncedAt: 3, Entries: []partition.Entry{at(put("k/a", "1"), alpha, 5)}}))
	before := position(t, p, alpha)
	placed := []partition.Entry{at(put("k/a", "2"), alpha, 9), at(put("k/b", "2"), alpha, 6), at(deletion("k/c"), "gamma", 1)}
	for range 2 {
		must(t, p.Place(t.Context(), placed))
		wantEntries(t, get(t, p, "k/a", "k/b", "k/c"), placed)
	}
	must(t, p.Place(t.Context(), nil))
	positions, err := p.open(t).Positions(t.Context())
	must(t, err)
	if positions.Origins[alpha] != before || len(positions.Origins) != 1 {
		t.Errorf("positions are %+v, want %+v alone", positions.Origins, before)
	}
}

func checkPlaceGuarded(t *testing.T, s suite) {
	p := s.node(t, beta)
	newest := []partition.Entry{at(put("k/a", "new"), alpha, 9), at(deletion("k/b"), "gamma", 8)}
	must(t, p.Place(t.Context(), newest))
	must(t, p.Place(t.Context(), []partition.Entry{at(put("k/a", "old"), alpha, 5), at(put("k/b", "old"), alpha, 7), at(put("k/a", "old"), "gamma", 8)}))
	wantEntries(t, get(t, p, "k/a", "k/b"), newest)
	newer := []partition.Entry{at(deletion("k/a"), "gamma", 10), at(put("k/b", "newer"), alpha, 11)}
	must(t, p.Place(t.Context(), newer))
	wantEntries(t, get(t, p, "k/a", "k/b"), newer)
}

func checkPlaceBehindPosition(t *testing.T, s suite) {
	p := s.node(t, beta)
	gone := []partition.Entry{at(deletion("k/a"), alpha, 5)}
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, To: 6, Goal: 6, Entries: gone}))
	n, err := p.Collect(t.Context(), alpha, 5)
	must(t, err)
	if n != 1 {
		t.Errorf("%d tombstones were collected, want 1", n)
	}
	beyond := at(put("k/d", "4"), alpha, 7)
	must(t, p.Place(t.Context(), []partition.Entry{
		at(put("k/a", "back from the dead"), alpha, 4), at(put("k/b", "2"), alpha, 6), at(put("k/c", "3"), "gamma", 2), beyond,
	}))
	wantEntries(t, get(t, p, "k/a", "k/b", "k/c", "k/d"), []partition.Entry{at(put("k/c", "3"), "gamma", 2), beyond})
}

func checkPlacedStreamed(t *testing.T, s suite) {
	p := s.node(t, beta)
	entries := []partition.Entry{at(put("k/a", "1"), alpha, 2), at(put("k/b", "1"), alpha, 3)}
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, To: 5, Goal: 5, Entries: entries}))
	placed := at(put("k/a", "2"), alpha, 8) // replaces what a reader after 0 would have found before 5
	must(t, p.Place(t.Context(), []partition.Entry{placed}))
	view := snapshot(t, p, alpha, 0)
	if at := view.Position().Revision; at != 5 {
		t.Errorf("the snapshot is at %d, want 5", at)
	}
	got, err := drain(t.Context(), view, 10)
	must(t, err)
	wantEntries(t, got, []partition.Entry{entries[1], placed})
}

func checkApplyPassesPlaced(t *testing.T, s suite) {
	p := s.node(t, beta)
	placed := []partition.Entry{at(put("k/a", "2"), alpha, 8), at(put("k/b", "2"), alpha, 4)}
	must(t, p.Place(t.Context(), placed))
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, To: 5, Goal: 9, Entries: []partition.Entry{at(put("k/a", "1"), alpha, 3), placed[1]}}))
	wantEntries(t, get(t, p, "k/a", "k/b"), placed)
	last := at(deletion("k/b"), alpha, 9)
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, From: 5, To: 9, Goal: 9, Entries: []partition.Entry{placed[0], last}}))
	wantEntries(t, held(t, p, alpha), []partition.Entry{placed[0], last})
	if got := position(t, p, alpha).Revision; got != 9 {
		t.Errorf("position is %d, want 9", got)
	}
}

func checkApplyCarriesPlaced(t *testing.T, s suite) {
	p := s.node(t, beta)
	beyond := []partition.Entry{at(put("k/a", "2"), alpha, 8), at(deletion("k/b"), alpha, 9)}
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, To: 5, Goal: 5, Entries: beyond}))
	wantEntries(t, held(t, p, alpha), beyond)
	older := at(put("k/b", "old"), alpha, 7)
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, From: 5, To: 6, Goal: 6, Entries: []partition.Entry{older}}))
	wantEntries(t, held(t, p, alpha), beyond)
	if got := position(t, p, alpha).Revision; got != 6 {
		t.Errorf("position is %d, want 6", got)
	}
}
