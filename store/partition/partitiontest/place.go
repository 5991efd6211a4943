package partitiontest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
)

var placeChecks = []check{
	{"PlaceMovesNoPosition", checkPlaceMovesNothing},
	{"PlaceNeverReplacesANewerEntry", checkPlaceGuarded},
	{"PlaceLeavesOutWhatThePositionHasReached", checkPlaceBehindPosition},
	{"PlaceRefusesWhatItCannotVouchFor", checkPlaceNotWhole},
	{"PlaceDuringAResetLeavesNothing", checkPlaceDuringReset},
	{"PlacedEntriesAreStreamed", checkPlacedStreamed},
	{"ApplyPassesPlacedEntries", checkApplyPassesPlaced},
	{"ApplyCarriesWhatWasPlacedAtTheSource", checkApplyCarriesPlaced},
	{"ApplyBringsWhatIsAheadToWhereItStands", checkApplyStanding},
}

func checkPlaceMovesNothing(t *testing.T, s suite) {
	p := s.node(t, beta)
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, To: 5, Goal: 7, SyncedAt: 3, Entries: []partition.Entry{at(put("k/a", "1"), alpha, 5)}}))
	whole(t, p, "gamma")
	before := position(t, p, alpha)
	placed := []partition.Entry{at(put("k/a", "2"), alpha, 9), at(put("k/b", "2"), alpha, 6), at(deletion("k/c"), "gamma", 2)}
	for range 2 {
		must(t, p.Place(t.Context(), placed))
		wantEntries(t, get(t, p, "k/a", "k/b", "k/c"), placed)
	}
	must(t, p.Place(t.Context(), nil))
	positions, err := p.open(t).Positions(t.Context())
	must(t, err)
	if positions.Origins[alpha] != before || len(positions.Origins) != 2 {
		t.Errorf("positions are %+v, want %+v and that of gamma", positions.Origins, before)
	}
}

func checkPlaceGuarded(t *testing.T, s suite) {
	p := s.node(t, beta)
	whole(t, p, alpha, "gamma")
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
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, To: 6, Goal: 6, SyncedAt: 3, Entries: gone}))
	whole(t, p, "gamma")
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

// checkPlaceNotWhole tries every state in which a partition cannot know that it
// holds an entry, or that the entry is not deleted.
func checkPlaceNotWhole(t *testing.T, s suite) {
	p := s.node(t, beta)
	whole(t, p, "gamma")
	refused := func(state string, want error, entries ...partition.Entry) {
		t.Helper()
		if err := p.Place(t.Context(), entries); !errors.Is(err, want) {
			t.Errorf("%s: error is %v, want %v", state, err, want)
		}
	}
	wanted := at(put("k/gamma", "1"), "gamma", 9)
	refused("no position", partition.ErrNotWhole, wanted, at(put("k/a", "1"), alpha, 3))
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, To: 5, Goal: 9}))
	refused("being filled, beyond the position", partition.ErrNotWhole, at(put("k/a", "1"), alpha, 7), wanted)
	refused("being filled, behind the position", partition.ErrNotWhole, at(put("k/a", "1"), alpha, 4))
	refused("its own", partition.ErrRefused, wanted, at(put("k/own", "1"), beta, partition.Floor(epoch)+9))
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, From: 5, To: 9, Goal: 9, SyncedAt: 7}))
	must(t, p.Place(t.Context(), []partition.Entry{at(put("k/a", "1"), alpha, 8)}))
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, From: 9, To: 12, Goal: 20}))
	refused("amid a catch-up, passed by its position", partition.ErrNotWhole, at(put("k/a", "1"), alpha, 11))
	wantEntries(t, get(t, p, "k/a", "k/gamma", "k/own"), nil)
	beyond := at(put("k/b", "1"), alpha, 13)
	must(t, p.Place(t.Context(), []partition.Entry{beyond}))
	must(t, p.Reset(t.Context(), alpha))
	refused("emptied", partition.ErrNotWhole, beyond)
	wantEntries(t, get(t, p, "k/a", "k/b", "k/gamma", "k/own"), nil)
}

// checkPlaceDuringReset places without end while the origin is removed: what was
// taken is removed too.
func checkPlaceDuringReset(t *testing.T, s suite) {
	for range 5 {
		p := s.node(t, beta)
		other := p.open(t)
		var many []partition.Entry
		for i := range 50 {
			many = append(many, at(put(fmt.Sprintf("k/%02d", i), "v"), alpha, partition.Revision(i+1)))
		}
		must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, To: 50, Goal: 50, SyncedAt: 5, Entries: many}))
		placing := make(chan struct{})
		together(t, func() error {
			<-placing
			return p.Reset(t.Context(), alpha)
		}, func() error {
			for r := partition.Revision(51); ; r++ {
				err := other.Place(t.Context(), []partition.Entry{at(put(fmt.Sprint("k/late", r), "v"), alpha, r)})
				if r == 53 || err != nil {
					select {
					case <-placing:
					default:
						close(placing)
					}
				}
				if err != nil {
					return unless(err, partition.ErrNotWhole)
				}
			}
		})
		wantEntries(t, held(t, p, alpha), nil)
	}
}

func checkPlacedStreamed(t *testing.T, s suite) {
	p := s.node(t, beta)
	entries := []partition.Entry{at(put("k/a", "1"), alpha, 2), at(put("k/b", "1"), alpha, 3)}
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, To: 5, Goal: 5, SyncedAt: 3, Entries: entries}))
	placed := at(put("k/a", "2"), alpha, 8) // replaces what a reader after 0 would have found before 5
	must(t, p.Place(t.Context(), []partition.Entry{placed}))
	whole(t, p, "gamma")
	gone := at(deletion("k/gone"), "gamma", 9)
	must(t, p.Place(t.Context(), []partition.Entry{gone}))
	whole(t, p, "delta") // of which nothing is held
	if newest, err := p.Newest(t.Context()); err != nil || len(newest) != 2 || newest[alpha] != 8 || newest["gamma"] != 9 {
		t.Errorf("newest are %v, %v", newest, err)
	}
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
	whole(t, p, alpha)
	placed := []partition.Entry{at(put("k/a", "2"), alpha, 8), at(put("k/b", "2"), alpha, 4)}
	must(t, p.Place(t.Context(), placed))
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, From: 1, To: 5, Goal: 9, Entries: []partition.Entry{at(put("k/a", "1"), alpha, 3), placed[1]}}))
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

// checkApplyStanding makes steps that move nothing, to a partition that is empty and to
// one that is whole: twice, as somebody who repeats them would.
func checkApplyStanding(t *testing.T, s suite) {
	p := s.node(t, beta)
	first := []partition.Entry{at(put("k/a", "1"), alpha, 8)}
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, Entries: first}))
	wantEntries(t, held(t, p, alpha), first)
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, To: 5, Goal: 5, SyncedAt: 3}))
	before := position(t, p, alpha)
	next := []partition.Entry{at(put("k/b", "1"), alpha, 9), at(put("k/a", "2"), alpha, 10)}
	for range 2 {
		must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, From: 5, To: 5, Goal: 5, Entries: next}))
		wantEntries(t, held(t, p, alpha), next)
		if got := position(t, p, alpha); got != before {
			t.Errorf("position went from %+v to %+v", before, got)
		}
	}
	wantError(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, From: 4, To: 4, Goal: 4, Entries: next}), partition.ErrPositionMoved)
}
