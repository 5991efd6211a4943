package partitiontest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
)

var convergenceChecks = []check{
	{"CopiesInAnyOrderEndTheSame", checkAnyOrder},
	{"CopiesOfAMasterEndAsTheMaster", checkCopiesOfMaster},
}

// history holds the writes of origins, per origin in the order of revisions, and the final state.
type history struct {
	origins []partition.Origin
	writes  map[partition.Origin][]partition.Entry
	end     map[partition.Key]partition.Entry
}

// newHistory lets three masters, each in epochs of its own, write the same keys.
func newHistory(r *rand.Rand) history {
	h := history{
		origins: []partition.Origin{alpha, beta, "gamma"},
		writes:  map[partition.Origin][]partition.Entry{},
		end:     map[partition.Key]partition.Entry{},
	}
	for turn := range int64(6) {
		origin := h.origins[r.IntN(len(h.origins))]
		for i := range 5 + r.IntN(20) {
			key := fmt.Sprintf("k/%02d", r.IntN(25))
			e := put(key, fmt.Sprint(turn, i))
			if r.IntN(3) == 0 {
				e = deletion(key)
			}
			e = at(e, origin, partition.Floor(turn+1)+partition.Revision(i+1))
			h.writes[origin] = append(h.writes[origin], e)
			h.end[e.Key] = e
		}
	}
	return h
}

// checkAnyOrder is invariant 3: steps of several origins in a random order, with repetitions,
// always end in the newest entry of each key, even if copied from a copy. Each step preserves
// invariant 2.
func checkAnyOrder(t *testing.T, s suite) {
	r := seeded(t)
	h := newHistory(r)
	for range 3 {
		p, far := s.node(t, "delta"), s.node(t, "epsilon")
		must(t, h.copyTo(t, p, far, r))
		h.compare(t, p)
		h.compare(t, far)
	}
}

// copyTo copies everything to p, and from p to far.
func (h history) copyTo(t *testing.T, p, far partition.Partition, r *rand.Rand) error {
	var done []partition.Copy
	at := map[partition.Origin]int{}
	for !h.copied(at) {
		origin := h.origins[r.IntN(len(h.origins))]
		writes := h.writes[origin]
		switch {
		case r.IntN(6) == 0:
			if err := follow(t, p, far, origin); err != nil {
				return err
			}
			h.wantFollowed(t, p, far, origin)
		case r.IntN(4) == 0 && len(done) > 0:
			again := done[r.IntN(len(done))]
			if err := p.Apply(t.Context(), again); !errors.Is(err, partition.ErrPositionMoved) {
				return fmt.Errorf("a step that was done before answers %w", err)
			}
		case at[origin] < len(writes):
			next := at[origin] + 1 + r.IntN(min(8, len(writes)-at[origin]))
			c := h.step(origin, at[origin], next)
			if err := p.Apply(t.Context(), c); err != nil {
				return err
			}
			done, at[origin] = append(done, c), next
			h.wantWhole(t, p, origin)
		}
	}
	for _, o := range h.origins {
		if err := follow(t, p, far, o); err != nil {
			return err
		}
	}
	return nil
}

// wantWhole is invariant 2: p holds every write of origin up to its position, or a newer write of
// the same key.
func (h history) wantWhole(t *testing.T, p partition.Partition, origin partition.Origin) {
	t.Helper()
	if lacking := h.lacking(t, p, origin); len(lacking) > 0 {
		t.Errorf("at %d, %s lacks %s", position(t, p, origin).Revision, p.Name(), text(lacking))
	}
}

// wantFollowed is the state after following a single origin: entries of source that belong to other
// origins arrive only when those are followed.
func (h history) wantFollowed(t *testing.T, source, p partition.Partition, origin partition.Origin) {
	t.Helper()
	for _, e := range h.lacking(t, p, origin) {
		if stands := get(t, source, e.Key); len(stands) == 0 || stands[0].Origin == origin {
			t.Errorf("at %d, %s lacks %s", position(t, p, origin).Revision, p.Name(), text([]partition.Entry{e}))
		}
	}
}

// lacking lists the writes of origin up to p's position of which p holds neither the write nor a
// newer write of the key.
func (h history) lacking(t *testing.T, p partition.Partition, origin partition.Origin) []partition.Entry {
	t.Helper()
	var keys []partition.Key
	for k := range h.end {
		keys = append(keys, k)
	}
	stands := map[partition.Key]partition.Revision{}
	for _, e := range get(t, p, keys...) {
		stands[e.Key] = e.Revision
	}
	reached := position(t, p, origin).Revision
	var lacking []partition.Entry
	for _, e := range h.writes[origin] {
		if e.Revision <= reached && stands[e.Key] < e.Revision {
			lacking = append(lacking, e)
		}
	}
	return lacking
}

// copied reports whether all writes have been copied, with at writes per origin.
func (h history) copied(at map[partition.Origin]int) bool {
	for _, o := range h.origins {
		if at[o] < len(h.writes[o]) {
			return false
		}
	}
	return true
}

// step copies an origin's writes from ≤ index < to, of each key the latest.
func (h history) step(origin partition.Origin, from, to int) partition.Copy {
	writes := h.writes[origin]
	c := partition.Copy{Origin: origin, To: writes[to-1].Revision, SyncedAt: 1}
	c.Goal = c.To
	if from > 0 {
		c.From = writes[from-1].Revision
	}
	latest := map[partition.Key]int{}
	for i := from; i < to; i++ {
		latest[writes[i].Key] = i
	}
	for i := from; i < to; i++ {
		if latest[writes[i].Key] == i {
			c.Entries = append(c.Entries, writes[i])
		}
	}
	return c
}

func (h history) compare(t *testing.T, p partition.Partition) {
	t.Helper()
	var want, got []partition.Entry
	for _, e := range h.end {
		want = append(want, e)
	}
	for _, o := range h.origins {
		got = append(got, held(t, p, o)...)
	}
	wantEntries(t, byKey(got), byKey(want))
}

// checkCopiesOfMaster streams a master with random writes into two copies, of which the second
// reads from the first, and compares the final states.
func checkCopiesOfMaster(t *testing.T, s suite) {
	r := seeded(t)
	master, near, far := s.node(t, alpha), s.node(t, beta), s.node(t, "gamma")
	for range 15 {
		for range r.IntN(4) {
			var entries []partition.Entry
			for _, i := range r.Perm(12)[:1+r.IntN(5)] {
				e := put(fmt.Sprintf("k/%02d", i), fmt.Sprint(r.Uint32()))
				if r.IntN(3) == 0 {
					e = deletion(string(e.Key))
				}
				entries = append(entries, e)
			}
			commit(t, master, entries...)
		}
		if r.IntN(2) == 0 {
			must(t, follow(t, master, near, alpha))
		}
		if r.IntN(3) == 0 {
			must(t, follow(t, near, far, alpha))
		}
	}
	must(t, follow(t, master, near, alpha))
	must(t, follow(t, near, far, alpha))
	want := held(t, master, alpha)
	for _, p := range []node{near, far} {
		wantEntries(t, held(t, p, alpha), want)
		if got := position(t, p, alpha); got.Revision != position(t, master, alpha).Revision || got.SyncedAt == 0 {
			t.Errorf("%s ends at %+v", p.Name(), got)
		}
	}
}

// follow brings target to the state of source for origin, in a single transaction.
func follow(t *testing.T, source, target partition.Partition, origin partition.Origin) error {
	from := position(t, target, origin).Revision
	view, err := source.Snapshot(t.Context(), origin, from)
	if err != nil {
		return err
	}
	defer view.Close()
	entries, err := drain(t.Context(), view, 4)
	if err != nil {
		return err
	}
	p := view.Position()
	return target.Apply(t.Context(), partition.Copy{
		Origin: origin, From: from, To: p.Revision, Goal: p.Revision, SyncedAt: p.SyncedAt, Entries: entries,
	})
}
