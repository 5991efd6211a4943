package partitiontest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
)

var removalChecks = []check{
	{"ResetRemovesAnOriginWhole", checkReset},
	{"ResetOfItsOwnOriginIsRefused", checkResetOwn},
	{"ResetLeavesWhoFillsMeanwhileAlone", checkResetRace},
	{"CollectRemovesTombstonesUpToARevision", checkCollect},
	{"CollectAtAMasterKeepsItsCounter", checkCollectAtMaster},
	{"CollectBeyondThePositionIsRefused", checkCollectBeyond},
	{"CollectRemovesMany", checkCollectMany},
}

func checkReset(t *testing.T, s suite) {
	p := s.node(t, alpha)
	own := stamped(alpha, commit(t, p, put("k/own", "1")), put("k/own", "1"))
	var many []partition.Entry
	for i := range 3000 {
		many = append(many, at(put(fmt.Sprintf("k/%04d", i), "v"), beta, partition.Revision(i+1)))
	}
	many = append(many, at(deletion("k/gone"), beta, 3001))
	must(t, p.Apply(t.Context(), partition.Copy{Origin: beta, To: 3001, Goal: 3001, SyncedAt: 5, Entries: many}))
	kept := []partition.Entry{at(put("k/gamma", "1"), "gamma", 2)}
	must(t, p.Apply(t.Context(), partition.Copy{Origin: "gamma", To: 2, Goal: 2, Entries: kept}))

	must(t, p.Reset(t.Context(), beta))
	must(t, p.Reset(t.Context(), beta))
	positions, err := p.Positions(t.Context())
	must(t, err)
	if got, want := positions.Origins[beta], (partition.Position{Origin: beta, Goal: 3001}); got != want || len(positions.Origins) != 3 {
		t.Errorf("positions are %+v", positions.Origins)
	}
	must(t, p.Reset(t.Context(), "nobody"))
	if got, want := position(t, p, "nobody"), (partition.Position{}); got != want {
		t.Errorf("without a position, it is %+v", got)
	}
	wantEntries(t, held(t, p, beta), nil)
	wantEntries(t, held(t, p, alpha), own)
	wantEntries(t, held(t, p, "gamma"), kept)
	if entries, _, err := p.List(t.Context(), partition.Span{Limit: 10}); err != nil || keysOf(entries) != "k/gamma k/own" {
		t.Errorf("the list is %s (%v)", keysOf(entries), err)
	}
	must(t, p.Apply(t.Context(), partition.Copy{Origin: beta, To: 3001, Goal: 3001, Entries: many}))
	wantEntries(t, held(t, p, beta), many)
	if got := position(t, p, beta); got.SyncedAt != 0 || got.Collected != 0 {
		t.Errorf("filled afresh, the position is %+v", got)
	}
}

func checkResetOwn(t *testing.T, s suite) {
	p := s.node(t, alpha)
	claim := commit(t, p, put("k/a", "1"))
	wantError(t, p.Reset(t.Context(), alpha), partition.ErrRefused)
	wantEntries(t, held(t, p, alpha), stamped(alpha, claim, put("k/a", "1")))
	if got := position(t, p, alpha).Revision; got != claim.First {
		t.Errorf("position is %d, want %d", got, claim.First)
	}
}

// checkResetRace: a process resets an origin repeatedly while another process copies it. The final
// state holds everything that was applied, or nothing.
func checkResetRace(t *testing.T, s suite) {
	filler := s.node(t, alpha)
	emptier := filler.open(t)
	var many []partition.Entry
	for i := range 2500 {
		many = append(many, at(put(fmt.Sprintf("k/%04d", i), "v"), beta, partition.Revision(i+1)))
	}
	full := partition.Copy{Origin: beta, To: 2500, Goal: 2500, SyncedAt: 5, Entries: many}
	for range 4 {
		together(t,
			func() error { return unless(filler.Apply(t.Context(), full), partition.ErrPositionMoved) },
			func() error { return unless(emptier.Reset(t.Context(), beta), partition.ErrPositionMoved) },
		)
		if position(t, filler, beta).Revision == 0 {
			wantEntries(t, held(t, filler, beta), nil)
		} else {
			wantEntries(t, held(t, filler, beta), many)
		}
	}
}

func checkCollect(t *testing.T, s suite) {
	p := s.node(t, beta)
	expired := at(put("k/expired", "1"), alpha, 2)
	expired.ExpiresAt = 1
	entries := []partition.Entry{
		at(deletion("k/a"), alpha, 1), expired, at(deletion("k/c"), alpha, 3),
		at(put("k/d", "1"), alpha, 4), at(deletion("k/e"), alpha, 5), at(deletion("k/f"), alpha, 6),
	}
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, To: 8, Goal: 8, SyncedAt: 7, Entries: entries}))
	other := []partition.Entry{at(deletion("k/other"), "gamma", 2)}
	must(t, p.Apply(t.Context(), partition.Copy{Origin: "gamma", To: 2, Goal: 2, Entries: other}))

	for _, c := range []struct {
		upTo      partition.Revision
		collected int
		floor     partition.Revision // highest tombstone removed so far
		want      []partition.Entry
	}{
		{5, 3, 5, []partition.Entry{entries[1], entries[3], entries[5]}},
		{5, 0, 5, []partition.Entry{entries[1], entries[3], entries[5]}},
		{2, 0, 5, []partition.Entry{entries[1], entries[3], entries[5]}},
		{8, 1, 6, []partition.Entry{entries[1], entries[3]}},
	} {
		n, err := p.Collect(t.Context(), alpha, c.upTo)
		must(t, err)
		if n != c.collected {
			t.Errorf("up to %d, %d were collected, want %d", c.upTo, n, c.collected)
		}
		wantEntries(t, held(t, p, alpha), c.want)
		got := snapshot(t, p, alpha, 0).Position()
		if got.Collected < c.floor || got.Collected > max(c.upTo, c.floor) {
			t.Errorf("up to %d, Collected is %d, not from %d", c.upTo, got.Collected, c.floor)
		}
		if row := position(t, p, alpha); row != got || row.Revision != 8 || row.Goal != 8 || row.SyncedAt != 7 {
			t.Errorf("the row is %+v, the snapshot says %+v", row, got)
		}
	}
	wantEntries(t, held(t, p, "gamma"), other)
	before := position(t, p, alpha).Collected
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, From: 8, To: 9, Goal: 9}))
	if got := position(t, p, alpha).Collected; got != before {
		t.Errorf("a copy changed Collected from %d to %d", before, got)
	}
}

func checkCollectAtMaster(t *testing.T, s suite) {
	p := s.node(t, alpha)
	claim := commit(t, p, deletion("k/a"), put("k/b", "1"), deletion("k/c"))
	n, err := p.Collect(t.Context(), alpha, claim.First+1)
	must(t, err)
	got := position(t, p, alpha)
	if n != 1 || got.Revision != claim.First+2 || got.Collected < claim.First || got.Collected > claim.First+1 {
		t.Errorf("%d were collected, the position is %+v", n, got)
	}
	if keys := keysOf(held(t, p, alpha)); keys != "k/b k/c" {
		t.Errorf("%s stand", keys)
	}
	if next := commit(t, p, put("k/a", "2")); next.First != claim.First+3 {
		t.Errorf("the next claim begins at %d, want %d", next.First, claim.First+3)
	}
	if after := position(t, p, alpha); after.Collected != got.Collected {
		t.Errorf("a commit changed Collected from %d to %d", got.Collected, after.Collected)
	}
}

func checkCollectBeyond(t *testing.T, s suite) {
	p := s.node(t, beta)
	entries := []partition.Entry{at(deletion("k/a"), alpha, 3)}
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, To: 4, Goal: 9, Entries: entries}))
	for origin, upTo := range map[partition.Origin]partition.Revision{alpha: 5, "nobody": 1} {
		n, err := p.Collect(t.Context(), origin, upTo)
		wantError(t, err, partition.ErrRefused)
		if n != 0 {
			t.Errorf("%d tombstones of %s were collected", n, origin)
		}
	}
	wantEntries(t, held(t, p, alpha), entries)
	if got := position(t, p, alpha).Collected; got != 0 {
		t.Errorf("Collected is %d", got)
	}
}

func checkCollectMany(t *testing.T, s suite) {
	p := s.node(t, beta)
	var entries []partition.Entry
	for i := range 3000 {
		e := at(deletion(fmt.Sprintf("k/%04d", i)), alpha, partition.Revision(i+1))
		if i%3 == 0 {
			e = at(put(string(e.Key), "v"), alpha, e.Revision)
		}
		entries = append(entries, e)
	}
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, To: 3000, Goal: 3000, Entries: entries}))
	n, err := p.Collect(t.Context(), alpha, 2999)
	must(t, err)
	want := slices.DeleteFunc(slices.Clone(entries), func(e partition.Entry) bool { return e.Deleted && e.Revision <= 2999 })
	if n != len(entries)-len(want) {
		t.Errorf("%d were collected, want %d", n, len(entries)-len(want))
	}
	wantEntries(t, held(t, p, alpha), want)
}
