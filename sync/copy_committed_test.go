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
