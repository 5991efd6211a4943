package cache

import (
	"fmt"
	"testing"

	"github.com/runnelkv/runnel/store/internal/version"
	"github.com/runnelkv/runnel/store/partition"
)

// TestCacheEndsWhenRevisionsComeTwice: a commit with revisions that the cache has seen on
// different keys comes from a master that lost these revisions.
func TestCacheEndsWhenRevisionsComeTwice(t *testing.T) {
	c, err := New(1<<20, func() {})
	if err != nil {
		t.Fatal(err)
	}
	commit := func(first partition.Revision, keys ...partition.Key) {
		last := version.Mark{Origin: "p0", Revision: first + partition.Revision(len(keys)) - 1}
		c.ApplyCommit(first, last, func(yield func(*partition.Entry) bool) {
			for i, k := range keys {
				if !yield(&partition.Entry{Key: k, Origin: "p0", Revision: first + partition.Revision(i)}) {
					return
				}
			}
		})
	}
	upTo := func() partition.Revision {
		if st := c.state.Load(); st != nil {
			return st.UpTo.At("p0")
		}
		return -1
	}
	c.StartGeneration(version.Of(version.Mark{Origin: "p0", Revision: 10}), 1, nil)
	for _, step := range []struct {
		first partition.Revision
		keys  []partition.Key
		want  partition.Revision
	}{
		{11, []partition.Key{"k/a", "k/b"}, 12},
		{11, []partition.Key{"k/a", "k/b"}, 12}, // the tail was faster
		{14, []partition.Key{"k/c"}, 12},        // revision 13 is another process's
		{13, []partition.Key{"k/d"}, 13},
		{12, []partition.Key{"k/e"}, -1},
		{13, []partition.Key{"k/d"}, -1},
	} {
		if commit(step.first, step.keys...); upTo() != step.want {
			t.Fatalf("after %d: up to %d, want %d", step.first, upTo(), step.want)
		}
	}
}

// TestRoundOfALaterEpochEndsTheCache: entries of a former master may be missing from the round.
func TestRoundOfALaterEpochEndsTheCache(t *testing.T) {
	c, err := New(1<<20, func() {})
	if err != nil {
		t.Fatal(err)
	}
	at := func(r partition.Revision) version.Vector {
		return version.Of(version.Mark{Origin: "p0", Revision: r})
	}
	c.StartGeneration(at(10), 2, nil)
	c.ApplyRound(at(10), at(11), 2, "p1", nil)
	if st := c.Current(); st == nil || st.UpTo.At("p0") != 11 {
		t.Fatalf("after a round of the same epoch: %+v", st)
	}
	c.ApplyRound(at(11), at(12), 3, "p1", nil)
	if st := c.Current(); st != nil {
		t.Errorf("after a round of a later epoch: %+v", st)
	}
}

// TestRecentChangesMissNone: every change after since is recorded.
func TestRecentChangesMissNone(t *testing.T) {
	r := recentChanges{newGen: map[uint64]partition.Revision{}}
	at := partition.Revision(0)
	for range 100 {
		r.rotate(version.Of(version.Mark{Origin: "p0", Revision: at}))
		for range 300 {
			at++
			r.recordChange(partition.Key(fmt.Sprint("k/", at)), at)
		}
		since := r.since.At("p0")
		for _, back := range []partition.Revision{since + 1, (since + at) / 2, at} {
			if got := r.newestOf(partition.Key(fmt.Sprint("k/", back))); got != back {
				t.Fatalf("at %d, since %d: the change at %d is known as %d", at, since, back, got)
			}
		}
	}
	if since := r.since.At("p0"); at-since < mostRecent || at-since > 3*mostRecent || partition.Floor(1) < at {
		t.Errorf("%d changes since %d", at-since, since)
	}
}
