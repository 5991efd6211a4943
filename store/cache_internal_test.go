package store

import (
	"fmt"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
)

// TestCacheEndsWhenRevisionsComeTwice: a commit with revisions that the cache has seen on
// other keys comes from a master that lost these revisions.
func TestCacheEndsWhenRevisionsComeTwice(t *testing.T) {
	c, err := newCache(1<<20, func() {})
	if err != nil {
		t.Fatal(err)
	}
	commit := func(first Revision, keys ...Key) {
		b := newBatch("p0", 1<<20)
		b.revs = len(keys)
		for i, k := range keys {
			b.rows = append(b.rows, rowState{key: k, changed: true, entry: Entry{Key: k, Origin: "p0", Revision: first + Revision(i)}})
		}
		c.applyCommit(b, first)
	}
	upTo := func() Revision {
		if st := c.state.Load(); st != nil {
			return st.upTo.At("p0")
		}
		return -1
	}
	c.startGeneration(ChangeToken{}.at("p0", 10), nil)
	for _, step := range []struct {
		first Revision
		keys  []Key
		want  Revision
	}{
		{11, []Key{"k/a", "k/b"}, 12},
		{11, []Key{"k/a", "k/b"}, 12}, // the tail was faster
		{14, []Key{"k/c"}, 12},        // revision 13 is another process's
		{13, []Key{"k/d"}, 13},
		{12, []Key{"k/e"}, -1},
		{13, []Key{"k/d"}, -1},
	} {
		if commit(step.first, step.keys...); upTo() != step.want {
			t.Fatalf("after %d: up to %d, want %d", step.first, upTo(), step.want)
		}
	}
}

// TestRecentChangesMissNone: every change after since is recorded.
func TestRecentChangesMissNone(t *testing.T) {
	r := recentChanges{newGen: map[uint64]Revision{}}
	at := Revision(0)
	for range 100 {
		r.rotate(VectorOf(Mark{"p0", at}))
		for range 300 {
			at++
			r.recordChange(Key(fmt.Sprint("k/", at)), at)
		}
		since := r.since.At("p0")
		for _, back := range []Revision{since + 1, (since + at) / 2, at} {
			if got := r.newestOf(Key(fmt.Sprint("k/", back))); got != back {
				t.Fatalf("at %d, since %d: the change at %d is known as %d", at, since, back, got)
			}
		}
	}
	if since := r.since.At("p0"); at-since < mostRecent || at-since > 3*mostRecent || partition.Floor(1) < at {
		t.Errorf("%d changes since %d", at-since, since)
	}
}
