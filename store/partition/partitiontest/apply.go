package partitiontest

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

var applyChecks = []check{
	{"ApplyMovesRowsAndPositionTogether", checkApplyMoves},
	{"ApplyNeverReplacesANewerEntry", checkApplyGuarded},
	{"ApplyElsewhereThanThePositionChangesNothing", checkApplyMoved},
	{"ApplyRefusesEntriesOutsideItsStep", checkApplyOutside},
	{"ApplyHeartbeatsMoveTheClockAlone", checkApplyHeartbeat},
	{"ApplyKeepsTheLatestSyncedAt", checkApplySyncedAt},
	{"ApplyRaisesTheGoal", checkApplyGoal},
	{"ApplyRaisesGoalsOfFurtherOrigins", checkApplyGoals},
	{"ApplyThatFailsRaisesNoGoals", checkApplyGoalsFailed},
	{"ApplyNotesWhatTheSourceHasCollected", checkApplyCollected},
	{"ApplyUnderALostLeaseChangesNothing", checkApplyFence},
	{"ApplyFromAnOlderMapChangesNothing", checkApplyEpoch},
	{"ApplyToItsOwnOriginMovesTheCounter", checkApplyOwnOrigin},
	{"ApplyRacesHaveOneWinnerAStep", checkApplyRaces},
	{"ApplyRacesWithCommits", checkApplyWithCommits},
}

func checkApplyMoves(t *testing.T, s suite) {
	p := s.node(t, beta)
	first := []partition.Entry{at(put("k/a", "1"), alpha, 3), at(put("k/b", "1"), alpha, 5), at(deletion("k/c"), alpha, 6)}
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, To: 7, Goal: 7, Entries: first}))
	wantEntries(t, held(t, p, alpha), first)
	second := []partition.Entry{at(deletion("k/a"), alpha, 8), at(put("k/c", "2"), alpha, 11)}
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, From: 7, To: 11, Goal: 11, SyncedAt: 77, Entries: second}))
	wantEntries(t, held(t, p, alpha), []partition.Entry{first[1], second[0], second[1]})
	wantEntries(t, get(t, p, "k/a", "k/b", "k/c"), []partition.Entry{second[0], first[1], second[1]})
	want := partition.Position{Origin: alpha, Revision: 11, Goal: 11, SyncedAt: 77}
	if got := position(t, p, alpha); got != want {
		t.Errorf("position is %+v, want %+v", got, want)
	}
}

func checkApplyGuarded(t *testing.T, s suite) {
	p := s.node(t, beta)
	newer := at(put("k/a", "newer"), "gamma", partition.Floor(5)+1)
	newer.Metadata, newer.ExpiresAt = []byte(`{}`), 9
	gone := at(deletion("k/b"), "gamma", partition.Floor(5)+2)
	must(t, p.Apply(t.Context(), partition.Copy{Origin: "gamma", To: gone.Revision, Goal: gone.Revision, Entries: []partition.Entry{newer, gone}}))
	older := []partition.Entry{
		at(put("k/a", "older"), alpha, partition.Floor(4)+7),
		at(put("k/b", "older"), alpha, partition.Floor(4)+8),
		at(put("k/c", "only"), alpha, partition.Floor(4)+9),
	}
	to := older[2].Revision
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, To: to, Goal: to, Entries: older}))
	wantEntries(t, get(t, p, "k/a", "k/b", "k/c"), []partition.Entry{newer, gone, older[2]})
	wantEntries(t, held(t, p, "gamma"), []partition.Entry{newer, gone})
	wantEntries(t, held(t, p, alpha), older[2:])
	if got := position(t, p, alpha).Revision; got != to {
		t.Errorf("position is %d, want %d", got, to)
	}
	latest := at(deletion("k/a"), alpha, partition.Floor(6)+1)
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, From: to, To: latest.Revision, Goal: latest.Revision, Entries: []partition.Entry{latest}}))
	wantEntries(t, get(t, p, "k/a"), []partition.Entry{latest})
}

// checkApplyOutside offers entries that the position covers already, entries beyond the position of
// the copy, and an entry of another origin.
func checkApplyOutside(t *testing.T, s suite) {
	p := s.node(t, beta)
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, To: 5, Goal: 5, SyncedAt: 3}))
	before := position(t, p, alpha)
	for _, e := range []partition.Entry{
		at(put("k/a", "1"), alpha, 5), at(put("k/a", "1"), alpha, 9), at(deletion("k/a"), alpha, 9), at(put("k/a", "1"), "gamma", 7),
	} {
		c := partition.Copy{Origin: alpha, From: 5, To: 8, Goal: 12, Entries: []partition.Entry{at(put("k/b", "1"), alpha, 6), e}}
		if err := p.Apply(t.Context(), c); err == nil {
			t.Errorf("a step from 5 to 8 took %s %d", e.Origin, e.Revision)
		}
	}
	wantEntries(t, get(t, p, "k/a", "k/b"), nil)
	if after := position(t, p, alpha); after != before {
		t.Errorf("position went from %+v to %+v", before, after)
	}
}

func checkApplyMoved(t *testing.T, s suite) {
	p := s.node(t, beta)
	stands := []partition.Entry{at(put("k/a", "1"), alpha, 5)}
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, To: 5, Goal: 5, SyncedAt: 5, Entries: stands}))
	before := position(t, p, alpha)
	for _, from := range []partition.Revision{0, 1, 4, 6, 1 << 40} {
		to := from + 10
		err := p.Apply(t.Context(), partition.Copy{
			Origin: alpha, From: from, To: to, Goal: to, SyncedAt: 99,
			Entries: []partition.Entry{at(put("k/a", "2"), alpha, to-1), at(put("k/b", "2"), alpha, to)},
		})
		wantError(t, err, partition.ErrPositionMoved)
	}
	err := p.Apply(t.Context(), partition.Copy{Origin: "nobody", From: 5, To: 6, Goal: 6, Entries: []partition.Entry{at(put("k/b", "2"), "nobody", 6)}})
	wantError(t, err, partition.ErrPositionMoved)
	wantEntries(t, get(t, p, "k/a", "k/b"), stands)
	positions, err := p.Positions(t.Context())
	must(t, err)
	if positions.Origins[alpha] != before || len(positions.Origins) != 1 {
		t.Errorf("positions are %+v, want %+v alone", positions.Origins, before)
	}
}

func checkApplyHeartbeat(t *testing.T, s suite) {
	p := s.node(t, beta)
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, To: 5, Goal: 5, SyncedAt: 5}))
	for i := range partition.Instant(3) {
		heartbeat := partition.Copy{Origin: alpha, From: 5, To: 5, Goal: 5, SyncedAt: 6 + i}
		must(t, p.Apply(t.Context(), heartbeat))
		must(t, p.Apply(t.Context(), heartbeat)) // the repetition is no error
		want := partition.Position{Origin: alpha, Revision: 5, Goal: 5, SyncedAt: 6 + i}
		if got := position(t, p, alpha); got != want {
			t.Errorf("position is %+v, want %+v", got, want)
		}
	}
}

func checkApplySyncedAt(t *testing.T, s suite) {
	p := s.node(t, beta)
	at := partition.Revision(0)
	for _, c := range []struct{ given, want partition.Instant }{{0, 0}, {50, 50}, {49, 50}, {0, 50}, {50, 50}, {51, 51}} {
		must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, From: at, To: at + 1, Goal: at + 1, SyncedAt: c.given}))
		at++
		if got := position(t, p, alpha); got.SyncedAt != c.want || got.Revision != at {
			t.Errorf("after SyncedAt %d the position is %+v, want %d", c.given, got, c.want)
		}
	}
}

func checkApplyGoal(t *testing.T, s suite) {
	p := s.node(t, beta)
	for _, c := range []struct {
		partition.Copy
		want partition.Revision
	}{
		{partition.Copy{From: 0, To: 3, Goal: 9}, 9}, {partition.Copy{From: 3, To: 6, Goal: 12}, 12}, {partition.Copy{From: 6, To: 6, Goal: 8}, 12},
		{partition.Copy{From: 6, To: 8, Goal: 8}, 12}, {partition.Copy{From: 8, To: 13, Goal: 13}, 13},
	} {
		c.Origin = alpha
		must(t, p.Apply(t.Context(), c.Copy))
		want := partition.Position{Origin: alpha, Revision: c.To, Goal: c.want}
		if got := position(t, p, alpha); got != want {
			t.Errorf("position is %+v, want %+v", got, want)
		}
	}
}

// checkApplyGoals: the rest of each position stays, an own position stays whole, and an origin without a
// position does not look filled, nor after the Reset with which its first copy begins.
func checkApplyGoals(t *testing.T, s suite) {
	p := s.node(t, alpha)
	own := commit(t, p, put("k/own", "1")).First
	must(t, p.Apply(t.Context(), partition.Copy{Origin: beta, To: 5, Goal: 5, SyncedAt: 7, Collected: 2}))
	must(t, p.Apply(t.Context(), partition.Copy{Origin: "gamma", To: 5, Goal: 20, SyncedAt: 8}))
	for _, from := range []partition.Revision{0, 3} { // the first copy of an origin, and a later one
		goals := map[partition.Origin]partition.Revision{alpha: own + 9, beta: 9 + from, "gamma": 10, "new": 11}
		e := at(put("k/a", "1"), "delta", from+2)
		must(t, p.Apply(t.Context(), partition.Copy{Origin: "delta", From: from, To: from + 3, Goal: from + 3, Goals: goals, Entries: []partition.Entry{e}}))
		wantEntries(t, held(t, p, "delta"), []partition.Entry{e})
		for _, want := range []partition.Position{
			{Origin: "delta", Revision: from + 3, Goal: from + 3},
			{Origin: beta, Revision: 5, Goal: 9 + from, SyncedAt: 7, Collected: 2},
			{Origin: "gamma", Revision: 5, Goal: 20, SyncedAt: 8},
			{Origin: "new", Goal: 11},
		} {
			if got := position(t, p, want.Origin); got != want {
				t.Errorf("the position is %+v, want %+v", got, want)
			}
		}
		if got := position(t, p, alpha); got.Revision != own || got.CatchingUp() {
			t.Errorf("its own position is %+v", got)
		}
	}
	must(t, p.Reset(t.Context(), "new"))
	if got, want := position(t, p, "new"), (partition.Position{Origin: "new", Goal: 11}); got != want {
		t.Errorf("after a reset the position is %+v, want %+v", got, want)
	}
	must(t, p.Apply(t.Context(), partition.Copy{Origin: "new", To: 4, Goal: 4, SyncedAt: 3}))
	if got, want := position(t, p, "new"), (partition.Position{Origin: "new", Revision: 4, Goal: 11, SyncedAt: 3}); got != want {
		t.Errorf("after the first copy the position is %+v, want %+v", got, want)
	}
}

func checkApplyGoalsFailed(t *testing.T, s suite) {
	p := s.node(t, alpha)
	must(t, p.Apply(t.Context(), partition.Copy{Origin: beta, To: 5, Goal: 5, SyncedAt: 7}))
	must(t, p.Apply(t.Context(), partition.Copy{Origin: "gamma", To: 5, Goal: 5, SyncedAt: 7}))
	err := p.Apply(t.Context(), partition.Copy{Origin: beta, From: 4, To: 6, Goal: 6, Goals: map[partition.Origin]partition.Revision{"gamma": 9, "new": 9}})
	wantError(t, err, partition.ErrPositionMoved)
	if got := position(t, p, "gamma"); got.Goal != 5 {
		t.Errorf("the position is %+v", got)
	}
	if got := position(t, p, "new"); got.Goal != 0 {
		t.Errorf("the position is %+v", got)
	}
}

func checkApplyCollected(t *testing.T, s suite) {
	p := s.node(t, beta)
	for i, c := range []struct{ noted, want partition.Revision }{{9, 9}, {0, 9}, {12, 12}, {5, 12}} {
		from := partition.Revision(i)
		entries := []partition.Entry{at(put("k/a", "1"), alpha, from+1)}
		must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, From: from, To: from + 1, Goal: 20, Collected: c.noted, Entries: entries}))
		if got := position(t, p, alpha); got.Collected != c.want || got.Revision != from+1 {
			t.Errorf("after step %d with %d the position is %+v, want %d", i, c.noted, got, c.want)
		}
		wantEntries(t, held(t, p, alpha), entries)
	}
}

func checkApplyFence(t *testing.T, s suite) {
	p := s.node(t, beta)
	first, err := p.Acquire(t.Context(), "one", time.Hour)
	must(t, err)
	step := partition.Copy{Origin: alpha, To: 5, Goal: 5, Fence: first.Fence, Entries: []partition.Entry{at(put("k/a", "1"), alpha, 5)}}
	must(t, p.Apply(t.Context(), step))
	must(t, p.Release(t.Context(), first))
	second, err := p.Acquire(t.Context(), "two", time.Hour)
	must(t, err)

	before := position(t, p, alpha)
	stale := partition.Copy{Origin: alpha, From: 5, To: 9, Goal: 9, SyncedAt: 9, Entries: []partition.Entry{at(put("k/a", "2"), alpha, 9)}}
	for _, fence := range []int64{first.Fence, second.Fence + 1} {
		stale.Fence = fence
		wantError(t, p.Apply(t.Context(), stale), partition.ErrLeaseLost)
	}
	wantEntries(t, held(t, p, alpha), step.Entries)
	if after := position(t, p, alpha); after != before {
		t.Errorf("the position went from %+v to %+v", before, after)
	}
	stale.Fence = second.Fence
	must(t, p.Apply(t.Context(), stale))
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, From: 9, To: 10, Goal: 10})) // no fence: not checked
}

// checkApplyEpoch: entries of a source with an older cluster map may not count.
func checkApplyEpoch(t *testing.T, s suite) {
	p := s.node(t, beta)
	row, err := p.Cluster(t.Context())
	must(t, err)
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, To: 5, Goal: 5, Entries: []partition.Entry{at(put("k/a", "1"), alpha, 5)}, Epoch: row.Epoch}))
	next := row
	next.Epoch++
	_, err = p.Accept(t.Context(), next)
	must(t, err)
	before := position(t, p, alpha)
	late := partition.Copy{Origin: alpha, From: 5, To: 9, Goal: 9, SyncedAt: 9, Entries: []partition.Entry{at(put("k/a", "2"), alpha, 9)}, Epoch: row.Epoch}
	wantError(t, p.Apply(t.Context(), late), partition.ErrPositionMoved)
	wantError(t, p.Apply(t.Context(), partition.Copy{Origin: "gamma", To: 9, Goal: 9, Epoch: row.Epoch}), partition.ErrPositionMoved)
	if after := position(t, p, alpha); after != before || keysOf(held(t, p, alpha)) != "k/a" || position(t, p, "gamma").Revision != 0 {
		t.Errorf("the position went from %+v to %+v", before, after)
	}
	late.Epoch = next.Epoch
	must(t, p.Apply(t.Context(), late))
	late.From, late.To, late.Goal, late.Entries, late.Epoch = 9, 10, 10, nil, next.Epoch+1
	must(t, p.Apply(t.Context(), late))
}

// checkApplyOwnOrigin: a master recovers its lost entries from a copy.
func checkApplyOwnOrigin(t *testing.T, s suite) {
	p := s.node(t, alpha)
	claim := commit(t, p, put("k/a", "1"))
	lost := at(put("k/b", "2"), alpha, claim.First+9)
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, From: claim.First, To: claim.First + 10, Goal: claim.First + 10, Entries: []partition.Entry{lost}}))
	next := commit(t, p, put("k/c", "3"))
	if next.First != claim.First+11 {
		t.Errorf("the next claim begins at %d, want %d", next.First, claim.First+11)
	}
	if keys := keysOf(held(t, p, alpha)); keys != "k/a k/b k/c" {
		t.Errorf("%s stand", keys)
	}
}

func checkApplyRaces(t *testing.T, s suite) {
	n := s.node(t, beta)
	const steps = 30
	handles := []partition.Partition{n, n.open(t)}
	var won [2][steps]bool
	var wins atomic.Int32
	var race []func() error
	for i, p := range handles {
		race = append(race, func() error {
			for step := range partition.Revision(steps) {
				c := partition.Copy{Origin: alpha, From: step, To: step + 1, Goal: steps}
				c.Entries = []partition.Entry{at(put(fmt.Sprintf("k/%02d", step), fmt.Sprint(i)), alpha, step+1)}
				switch err := p.Apply(t.Context(), c); {
				case err == nil:
					won[i][step] = true
					wins.Add(1)
				case !errors.Is(err, partition.ErrPositionMoved):
					return err
				}
			}
			return nil
		})
	}
	together(t, race...)
	if got := wins.Load(); got != steps {
		t.Errorf("%d steps were won %d times", steps, got)
	}
	entries := held(t, n, alpha)
	if len(entries) != steps {
		t.Fatalf("%d entries stand, want %d", len(entries), steps)
	}
	for step, e := range entries {
		if winner := int(e.Value[0] - '0'); !won[winner][step] || won[1-winner][step] {
			t.Errorf("step %d shows the entry of %d, which did not win alone", step, winner)
		}
	}
}

// checkApplyWithCommits applies copies to a partition during commits.
func checkApplyWithCommits(t *testing.T, s suite) {
	n := s.node(t, alpha)
	other := n.open(t)
	together(t, func() error {
		for i := range commitsPerWriter {
			if _, err := n.Commit(t.Context(), batch(put(fmt.Sprintf("k/own/%d", i), "v"))); err != nil {
				return err
			}
		}
		return nil
	}, func() error {
		for i := range partition.Revision(commitsPerWriter) {
			e := at(put(fmt.Sprintf("k/copied/%d", i), "v"), beta, i+1)
			if err := other.Apply(t.Context(), partition.Copy{Origin: beta, From: i, To: i + 1, Goal: i + 1, Entries: []partition.Entry{e}}); err != nil {
				return err
			}
		}
		return nil
	})
	if own, copied := len(held(t, n, alpha)), len(held(t, n, beta)); own != commitsPerWriter || copied != commitsPerWriter {
		t.Errorf("%d own and %d copied entries stand, want %d each", own, copied, commitsPerWriter)
	}
}
