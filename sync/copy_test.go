package sync

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// answered writes like a client of the site's process: the store knows the answered, durable
// write and wakes the syncer.
func (c *site) answered(key string) partition.Entry {
	e := c.w.write("p0", key, "v")
	c.told(e)
	return e
}

func (c *site) told(e partition.Entry) {
	l := c.w.ledger
	l.mu.Lock()
	l.durable[e.Origin] = max(l.durable[e.Origin], e.Revision)
	l.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.committed[string(e.Origin)] = max(c.committed[string(e.Origin)], e.Revision)
}

// TestCommitOfTheProcessIsCopiedWithoutAsking: an answered commit requires neither a reading of
// positions nor a barrier.
func TestCommitOfTheProcessIsCopiedWithoutAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 3)
		c := w.site(hourly)
		defer c.running(t)()
		at := c.answered("first").Revision
		c.woken()
		reads := 0
		c.handles["p0"].read = func() { reads++ }
		barriers := w.ledger.barriers()
		for _, key := range []string{"second", "third"} {
			time.Sleep(time.Second)
			at = c.answered(key).Revision
			c.woken()
		}
		for _, name := range w.names[1:] {
			if got := w.position(name, "p0").Revision; got != at {
				t.Errorf("%s is at %d, not %d", name, got, at)
			}
		}
		if n := w.ledger.barriers() - barriers; n > 0 || reads > 0 {
			t.Errorf("%d barriers, and positions were read %d times", n, reads)
		}
		w.checkPositions()
	})
}

// TestCommitOfAnotherProcessNeedsItsBarrier: a commit that is visible after the last commit of
// this process may not be durable yet.
func TestCommitOfAnotherProcessNeedsItsBarrier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		c := w.site(hourly)
		defer c.running(t)()
		c.answered("ours")
		at := w.write("p0", "theirs", "v").Revision
		c.woken()
		if got := w.position("p1", "p0").Revision; got != at {
			t.Errorf("p1 is at %d, not %d", got, at)
		}
		w.checkPositions() // and nothing was copied early
	})
}

// TestOriginBehindWhatWasCommittedIsNotCopied: the database was replaced, and may assign
// revisions again that were copied before.
func TestOriginBehindWhatWasCommittedIsNotCopied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		c := w.site(hourly)
		defer c.running(t)()
		at := c.answered("a").Revision
		c.woken()
		w.write("p0", "b", "v")
		c.mu.Lock()
		c.committed["p0"] = at + 2 // a write that the origin has lost
		c.mu.Unlock()
		c.woken()
		if got := w.position("p1", "p0").Revision; got != at {
			t.Errorf("p1 is at %d, not %d", got, at)
		}
		reads := 0
		c.handles["p0"].read = func() { reads++ }
		c.mu.Lock()
		c.committed["p0"] = 0 // seen to be less
		c.mu.Unlock()
		c.woken()
		if reads == 0 {
			t.Error("the origin was not asked")
		}
		if got := w.position("p1", "p0").Revision; got != at+1 {
			t.Errorf("p1 is at %d, not %d", got, at+1)
		}
	})
}

// TestProcessesThatKnowTheirOwnCommits runs two processes in parallel. Both write to two
// masters, and each knows only its own commits.
func TestProcessesThatKnowTheirOwnCommits(t *testing.T) {
	w := newWorld(t, 2, 4)
	change := func(o *Options) { o.BatchEntries = 3; o.LeaseTTL = 10 * time.Millisecond }
	sites := []*site{w.site(change), w.site(change)}
	ctx, stop := context.WithCancel(t.Context())
	var running, writing sync.WaitGroup
	for i, c := range sites {
		running.Go(func() {
			if err := c.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		for _, master := range w.masters {
			writing.Go(func() {
				for n := range 500 {
					c.told(w.write(master, fmt.Sprint(master, "-", n%37), fmt.Sprint(i, n)))
					notify(c.wake)
				}
			})
		}
	}
	writing.Wait()
	stop()
	running.Wait()
	sites[0].level()
	w.checkEqual()
	w.checkPositions()
}

// fork restores p0 to before its last writes, which p1 holds, and writes different entries
// at the same revisions. A new process knows of neither history.
func fork(t *testing.T, w *world, own ...string) *site {
	c := w.site()
	w.write("p0", "a", "1")
	c.level()
	restore, history := w.bases["p0"].Backup(), w.history["p0"]
	for _, key := range []string{"a", "lost"} {
		w.write("p0", key, "lost")
	}
	c.level()
	restore()
	w.history["p0"] = history
	for _, key := range own {
		w.write("p0", key, "own")
	}
	next := w.site()
	next.mayBeSetBack = true
	return next
}

// TestOriginThatWasSetBackIsNotCopied, however many revisions the origin has assigned since.
func TestOriginThatWasSetBackIsNotCopied(t *testing.T) {
	for name, own := range map[string][]string{
		"other keys": {"c", "d", "e"},
		"the same":   {"lost", "lost"},
		"few":        {"c", "d", "a"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, 2)
			c := fork(t, w, own...)
			if name == "the same" {
				w.write("p0", "b", "own")
			}
			before, at := w.full("p1"), w.position("p1", "p0")
			for range 3 {
				if r := c.pass(); r.Level() || r.of("p1").State != Waiting {
					t.Errorf("the report says\n%s", r)
				}
			}
			if c.setBack["p0"] == nil || c.Status().of("p0").State != Behind {
				t.Errorf("p0 is %s, and the store was told %v", c.Status().of("p0").State, c.setBack["p0"])
			}
			if now := w.full("p1"); fmt.Sprint(now) != fmt.Sprint(before) || w.position("p1", "p0") != at {
				t.Errorf("p1 held %v, and holds %v", before, now)
			}
		})
	}
}

// TestOriginRestoredUnderTheSyncProcessIsFoundByTheNextCopy: the process remembers the copied
// entries, and the restored origin has reached or passed the target again.
func TestOriginRestoredUnderTheSyncProcessIsFoundByTheNextCopy(t *testing.T) {
	w := newWorld(t, 1, 2)
	c := w.site()
	c.mayBeSetBack = true
	w.write("p0", "a", "1")
	c.level()
	restore := w.bases["p0"].Backup()
	w.write("p0", "lost", "1")
	c.level()
	restore()
	w.write("p0", "own", "1")
	w.write("p0", "more", "1")
	if r := c.pass(); r.of("p1").State != Waiting || c.setBack["p0"] == nil {
		t.Errorf("the report says\n%s", r)
	}
	if _, held := w.rows("p1")["k/more"]; held {
		t.Error("p1 was given what was written after the restore")
	}
}

// TestReplicaIsNotEmptiedForAnOriginThatWasSetBack: the origin has collected tombstones that
// the replica has not passed, and only the replica holds the lost writes.
func TestReplicaIsNotEmptiedForAnOriginThatWasSetBack(t *testing.T) {
	w := newWorld(t, 1, 2)
	c := fork(t, w, "c", "d", "e")
	gone := w.delete("p0", "c")
	if _, err := w.bases["p0"].Collect(t.Context(), "p0", gone.Revision); err != nil {
		t.Fatal(err)
	}
	before := w.full("p1")
	if r := c.pass(); r.Level() || c.setBack["p0"] == nil {
		t.Errorf("the report says\n%s", r)
	}
	if now := w.full("p1"); fmt.Sprint(now) != fmt.Sprint(before) {
		t.Errorf("p1 held %v, and holds %v", before, now)
	}
}

// TestRelayOfAnotherHistoryIsNotCopied: the origin is unreachable, and a replica has followed
// the origin after it was set back.
func TestRelayOfAnotherHistoryIsNotCopied(t *testing.T) {
	w := newWorld(t, 1, 3)
	w.names = []string{"p0", "p1"}
	c := fork(t, w, "c", "d", "e")
	c.configure("p0", "p2")
	c.level()
	c.configure("p0", "p1", "p2")
	c.fault("p0", partition.ErrUnavailable)
	w.names = []string{"p0", "p1", "p2"}
	before := w.full("p1")
	if r := c.pass(); r.of("p1").State == Level {
		t.Errorf("the report says\n%s", r)
	}
	if now := w.full("p1"); fmt.Sprint(now) != fmt.Sprint(before) || c.setBack["p0"] != nil {
		t.Errorf("p1 held %v, and holds %v; p0: %v", before, now, c.setBack["p0"])
	}
}
