package sync

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnelkv/runnel/store/partition/memory"
)

func TestExpiredEntriesBecomeTombstonesEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, 3)
		c := w.site()
		defer c.running(t)()
		for i := range 2*sweepBatch + 10 {
			w.expiring("p0", fmt.Sprint(i), time.Second)
		}
		w.expiring("p1", "other", time.Second)
		w.expiring("p1", "later", time.Hour)
		w.write("p1", "for ever", "v")
		time.Sleep(15 * time.Second)
		synctest.Wait()
		for i, want := range []int64{2*sweepBatch + 10, 1, 0} {
			if got := c.Status().of(w.names[i]).Swept; got != want {
				t.Errorf("%s: %d swept, not %d", w.names[i], got, want)
			}
		}
		for _, name := range w.names {
			rows := w.rows(name)
			if e := rows["k/0"]; !e.Deleted || len(e.Value) > 0 {
				t.Errorf("%s holds %+v", name, e)
			}
			if rows["k/later"].Deleted || rows["k/for ever"].Deleted {
				t.Errorf("%s: what lives was swept", name)
			}
		}
		w.checkEqual()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if n := len(w.rows("p2")); n != 2 {
			t.Errorf("%d rows are left when tombstones are collected, not 2", n)
		}
	})
}

// TestSweptEntriesAreCopiedAtOnce, before the next scheduled pass.
func TestSweptEntriesAreCopiedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		c := w.site(hourly)
		w.expiring("p0", "a", 0)
		time.Sleep(time.Millisecond)
		defer c.running(t)()
		if !w.rows("p1")["k/a"].Deleted {
			t.Error("p1 has no tombstone")
		}
	})
}

// TestSweepGoesByTheMastersClock: the clocks of the process and of replicas may be an hour off.
func TestSweepGoesByTheMastersClock(t *testing.T) {
	for _, wrong := range []time.Duration{-time.Hour, time.Hour} {
		w := newWorld(t, 1, 2)
		w.clock = map[string]time.Duration{"p0": wrong, "p1": -wrong}
		c := w.site()
		w.expiring("p0", "lives", time.Minute)
		w.expiring("p0", "gone", 0)
		c.level()
		if rows := w.rows("p1"); rows["k/lives"].Deleted || !rows["k/gone"].Deleted {
			t.Errorf("with the master's clock %v off: %+v", wrong, rows)
		}
		w.checkEqual()
	}
}

// TestSweepLeavesWhatWasWrittenSinceItLooked: the commit decides, not the search.
func TestSweepLeavesWhatWasWrittenSinceItLooked(t *testing.T) {
	w := newWorld(t, 1, 2)
	c := w.site()
	for _, key := range []string{"again", "longer", "deleted", "gone"} {
		w.expiring("p0", key, 0)
	}
	var done atomic.Bool
	c.handles["p0"].Fail(func(op string) error {
		if op == memory.OpCommit && done.CompareAndSwap(false, true) {
			w.write("p0", "again", "v")
			w.expiring("p0", "longer", time.Hour)
			w.delete("p0", "deleted")
		}
		return nil
	})
	w.unlocked = true // the hook writes while the sweep commits
	c.level()
	rows := w.rows("p1")
	if rows["k/again"].Deleted || rows["k/longer"].Deleted || !rows["k/deleted"].Deleted || !rows["k/gone"].Deleted {
		t.Errorf("%+v", rows)
	}
	if n := c.Status().of("p0").Swept; n != 1 {
		t.Errorf("%d swept, not 1", n)
	}
}

// TestSweepIsTheLeaseHoldersWork: another process does not sweep.
func TestSweepIsTheLeaseHoldersWork(t *testing.T) {
	w := newWorld(t, 1, 2)
	if _, err := w.bases["p0"].Acquire(t.Context(), "other", 15*time.Second); err != nil {
		t.Fatal(err)
	}
	c := w.site()
	w.expiring("p0", "a", 0)
	c.pass()
	if n := c.Status().of("p0").Swept; n != 0 {
		t.Errorf("%d swept", n)
	}
}

// TestSweepOfMuchTakesItsTime: between two commits the sweep pauses for as long as a commit takes.
func TestSweepOfMuchTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		for i := range 4 * sweepBatch {
			w.expiring("p0", fmt.Sprint(i), 0)
		}
		c := w.site()
		c.handles["p0"].Fail(func(op string) error {
			if op == memory.OpCommit {
				time.Sleep(time.Second)
			}
			return nil
		})
		began := time.Now()
		if _, err := c.Pass(context.Background()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 8*time.Second {
			t.Errorf("4 commits of a second each took %v", took)
		}
	})
}
