package sync

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// count counts the operations of a handle.
func (h *handle) count(ops ...string) *atomic.Int32 {
	n := new(atomic.Int32)
	h.Fail(func(op string) error {
		if failOn(errors.New("counted"), ops...)(op) != nil {
			n.Add(1)
		}
		return nil
	})
	return n
}

func TestTargetsSideBySideReadTheOriginOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 4)
		c := w.site(hourly)
		defer c.running(t)()
		w.write("p0", "first", "1")
		c.woken()
		snapshots := c.handles["p0"].count(memory.OpSnapshot)
		counts := []*atomic.Int32{c.handles["p1"].count(memory.OpPositions), c.handles["p2"].count(memory.OpPositions)}
		at := w.write("p0", "a", "2").Revision
		c.woken()
		if snapshots.Load() != 1 {
			t.Errorf("%d snapshots for 3 targets", snapshots.Load())
		}
		for i, n := range counts {
			if n.Load() > 0 {
				t.Errorf("p%d was asked for its position %d times", i+1, n.Load())
			}
			if got := c.observed[w.names[i+1]].Origins["p0"].Revision; got != at {
				t.Errorf("the store was told %d of p%d, not %d", got, i+1, at)
			}
		}
		w.checkEqual()
		w.checkPositions()
	})
}

// TestTargetsAtDifferentPositionsShareWhatTheyLack: each target receives the entries after
// its position.
func TestTargetsAtDifferentPositionsShareWhatTheyLack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 3)
		c := w.site(hourly, func(o *Options) { o.BatchEntries = 2 })
		defer c.running(t)()
		w.write("p0", "0", "v")
		c.woken()
		c.fault("p2", partition.ErrUnavailable)
		w.write("p0", "1", "v")
		c.woken()
		c.fault("p2", nil)
		w.write("p0", "2", "v")
		before := c.Status().of("p1").Entries
		snapshots := c.handles["p0"].count(memory.OpSnapshot)
		c.woken()
		if n := c.Status().of("p1").Entries - before; snapshots.Load() != 1 || n != 1 {
			t.Errorf("%d snapshots, %d entries for p1", snapshots.Load(), n)
		}
		w.checkEqual()
		w.checkPositions()
	})
}

// TestSlowTargetLeavesItsShare: a slow target delays no other target, and reads the chunks
// that have left the window from a snapshot of its own.
func TestSlowTargetLeavesItsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 3)
		c := w.site(hourly, func(o *Options) { o.BatchEntries = 2 })
		defer c.running(t)()
		w.write("p0", "first", "v")
		c.woken()
		release := make(chan struct{})
		c.handles["p2"].Fail(func(op string) error {
			if op == memory.OpApply {
				<-release
			}
			return nil
		})
		snapshots := c.handles["p0"].count(memory.OpSnapshot)
		var at partition.Revision
		for i := range 120 { // 40 chunks of 2 keys, 10 times what the targets share
			at = w.write("p0", fmt.Sprint(i%80), "v").Revision
		}
		c.woken()
		if got := w.position("p1", "p0").Revision; got != at {
			t.Errorf("p1 is at %d, not %d, while p2 is slow", got, at)
		}
		close(release)
		synctest.Wait()
		if snapshots.Load() < 2 {
			t.Error("p2 has not read for itself")
		}
		w.checkEqual()
		w.checkPositions()
	})
}

// TestFailureOfOneLeavesTheOthersOfItsShare: the target that reads for all may fail at any time.
func TestFailureOfOneLeavesTheOthersOfItsShare(t *testing.T) {
	for _, op := range []string{memory.OpSnapshot, memory.OpNext} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 1, 4)
			c := w.site(hourly)
			defer c.running(t)()
			w.write("p0", "first", "v")
			c.woken()
			var failed atomic.Bool
			c.handles["p0"].Fail(func(got string) error {
				if got == op && failed.CompareAndSwap(false, true) {
					return partition.ErrUnavailable
				}
				return nil
			})
			at := w.write("p0", "a", "v").Revision
			c.woken()
			level := 0
			for _, name := range w.names[1:] {
				if w.position(name, "p0").Revision == at {
					level++
				}
			}
			if level != 2 {
				t.Errorf("after a failing %s %d targets are level, not the 2 that did not fail", op, level)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			w.checkEqual()
			w.checkPositions()
		})
	}
}

// TestReadingUnderWayTakesNoCopyBack: positions that were read before a copy, and arrive after the
// copy, do not make the next pass repeat the copy.
func TestReadingUnderWayTakesNoCopyBack(t *testing.T) {
	w := newWorld(t, 1, 2)
	c := w.site()
	w.write("p0", "a", "1")
	c.pass()
	var at partition.Revision
	c.handles["p1"].read = func() {
		at = w.write("p0", "a", "2").Revision
		if err := c.startPass(t.Context(), onCommit).waitAll(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.replicas[1].readPositions(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := c.replicas[1].known.Origins["p0"].Revision; got != at {
		t.Errorf("p1 is believed to be at %d, not %d", got, at)
	}
	if got := c.observed["p1"].Origins["p0"].Revision; got != at {
		t.Errorf("the store was told %d, not %d", got, at)
	}
}
