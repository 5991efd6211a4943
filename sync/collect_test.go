package sync

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

func (w *world) tombstones(name string) (n int) {
	for _, e := range w.rows(name) {
		if e.Deleted {
			n++
		}
	}
	return n
}

func TestTombstonesAreCollectedOncePassedByAll(t *testing.T) {
	w := newWorld(t, 2, 4)
	c := w.site()
	w.write("p0", "a", "1")
	c.level()
	w.delete("p0", "a")
	c.fault("p3", partition.ErrUnavailable)
	c.pass()
	c.pass()
	if n := w.tombstones("p0"); n != 1 {
		t.Fatalf("%d tombstones while p3 is away", n)
	}
	c.fault("p3", nil)
	c.level()
	c.level()
	for _, name := range w.names {
		if n := w.tombstones(name); n != 0 {
			t.Errorf("%s keeps %d tombstones", name, n)
		}
	}
	if st := c.Status().of("p0"); st.Collected != 1 {
		t.Errorf("%d collected", st.Collected)
	}
	w.checkEqual()
	w.checkPositions()
}

// A partition that had passed a tombstone at its last reading is not enough.
func TestNothingIsCollectedWhileAPartitionIsAway(t *testing.T) {
	w := newWorld(t, 1, 3)
	c := w.site()
	w.delete("p0", "a")
	c.level()
	c.fault("p2", partition.ErrUnavailable)
	c.pass()
	c.pass()
	if n := w.tombstones("p0"); n != 1 {
		t.Errorf("%d tombstones", n)
	}
}

func TestCollectionKeepsToItsIntervalAndGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		c := w.site(func(o *Options) { o.TombstoneGrace = time.Hour })
		defer c.running(t)()
		time.Sleep(10*time.Second + time.Millisecond)
		w.delete("p0", "a")
		time.Sleep(time.Hour)
		if n := w.tombstones("p0"); n != 1 {
			t.Error("collected within the grace")
		}
		time.Sleep(time.Hour + 3*time.Minute)
		synctest.Wait()
		if n := w.tombstones("p0") + w.tombstones("p1"); n != 0 {
			t.Errorf("%d tombstones after the grace", n)
		}
	})
}

func TestWokenPassesCollectNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		c := w.site(hourly, func(o *Options) { o.CollectEvery = time.Nanosecond })
		defer c.running(t)()
		w.delete("p0", "a")
		c.woken()
		c.woken()
		if n := w.tombstones("p1"); n != 1 {
			t.Errorf("%d tombstones", n)
		}
	})
}

// p2 was not configured while tombstones were collected.
func TestTargetOlderThanCollectedTombstonesIsFilledAfresh(t *testing.T) {
	w := newWorld(t, 1, 3)
	c := w.site()
	w.write("p0", "gone", "1")
	w.write("p0", "kept", "1")
	c.level()
	c.configure("p0", "p1")
	w.delete("p0", "gone")
	c.level()
	c.level()
	if n := w.tombstones("p0"); n != 0 {
		t.Fatalf("%d tombstones", n)
	}
	c.configure("p0", "p1", "p2")
	c.fault("p0", partition.ErrUnavailable)
	if r := c.pass(); r.Level() || r.of("p2").State != Waiting {
		t.Errorf("without the origin the report says\n%s", r)
	}
	c.fault("p0", nil)
	if r := c.level(); r.of("p2").Refills != 1 {
		t.Errorf("%d refills", r.of("p2").Refills)
	}
	w.checkEqual()
	w.checkPositions()
}

func TestBrokenFillOlderThanCollectedTombstonesIsBegunAfresh(t *testing.T) {
	w := newWorld(t, 1, 3)
	for i := range 6 {
		w.write("p0", fmt.Sprint(i), "v")
	}
	c := w.site(func(o *Options) { o.BatchEntries = 2 })
	var applies atomic.Int32
	c.handles["p2"].Fail(func(op string) error {
		if op == memory.OpApply {
			if applies.Add(1) == 2 {
				return partition.ErrUnavailable
			}
		}
		return nil
	})
	c.pass()
	c.handles["p2"].Fail(nil)
	if p := w.position("p2", "p0"); p.SyncedAt != 0 || p.Revision == 0 {
		t.Fatalf("p2 is at %+v", p)
	}
	other := w.site() // does not know p2
	other.configure("p0", "p1")
	w.delete("p0", "0")
	other.level()
	other.level()
	if r := c.level(); r.of("p2").Refills != 1 {
		t.Errorf("%d refills", r.of("p2").Refills)
	}
	w.checkEqual()
	w.checkPositions()
}

// A Reset that was cut short leaves rows without a position.
func TestFillBeginsWithAnEmptyTarget(t *testing.T) {
	w := newWorld(t, 1, 2)
	w.write("p0", "kept", "1")
	w.bases["p1"].Plant(partition.Entry{Key: "k/gone", Origin: "p0", Revision: partition.Floor(1)})
	w.site().level()
	w.checkEqual()
}

func TestFilledTargetKnowsWhatWasCollectedBeforeItIsWhole(t *testing.T) {
	w := newWorld(t, 1, 2)
	c := w.site()
	for i := range 4 {
		w.write("p0", fmt.Sprint(i), "v")
	}
	w.delete("p0", "0")
	c.level()
	c.level()
	collected := w.position("p0", "p0").Collected
	name := w.add()
	c.configure(w.names...)
	c.handles[name].Fail(func(op string) error {
		if p := w.position(name, "p0"); op == memory.OpApplied && p.Collected < collected {
			t.Errorf("a step left it at %+v, but the origin has collected up to %d", p, collected)
		}
		return nil
	})
	c.level()
	if p := w.position(name, "p0"); p.Collected < collected {
		t.Errorf("%s is at %+v, but the origin has collected up to %d", name, p, collected)
	}
}

// TestInterruptedFillGoesOn: an interrupted fill continues after the origin has collected
// tombstones beyond its position, unless the origin collects more.
func TestInterruptedFillGoesOn(t *testing.T) {
	w := newWorld(t, 1, 2)
	c := w.site(func(o *Options) { o.BatchEntries = 2 })
	for i := range 8 {
		w.write("p0", fmt.Sprint(i), "v")
	}
	w.delete("p0", "7")
	c.level()
	c.level()
	name := w.add()
	c.configure(w.names...)
	var applies atomic.Int32
	c.handles[name].Fail(func(op string) error {
		if op == memory.OpApply {
			if applies.Add(1) == 3 {
				return partition.ErrUnavailable
			}
		}
		return nil
	})
	c.pass()
	at := w.position(name, "p0")
	if at.SyncedAt != 0 || at.Revision == 0 || w.position("p0", "p0").Collected <= at.Revision {
		t.Fatalf("the fill was interrupted at %+v", at)
	}
	c.handles[name].Fail(func(op string) error {
		if op == memory.OpReset {
			t.Error("the fill began anew")
		}
		return nil
	})
	if r := c.level(); r.of(name).Refills != 0 {
		t.Errorf("%d refills", r.of(name).Refills)
	}
	w.checkEqual()
	w.checkPositions()
}

// A tombstone of p1 may have replaced an entry of p0 that a slow copy to p2
// still carries. The tombstone stays until p2 has passed p0's head of that moment.
func TestTombstonesStayWhileAnotherOriginLags(t *testing.T) {
	w := newWorld(t, 2, 3)
	c := w.site()
	c.level()
	w.write("p0", "a", "1")
	c.handles["p2"].Fail(nil)
	at := func(p0, p1 partition.Revision) *survey {
		positions := partition.Positions{Origins: map[partition.Origin]partition.Position{
			"p0": {Revision: p0, Goal: p0, SyncedAt: 1}, "p1": {Revision: p1, Goal: p1, SyncedAt: 1}}}
		head := partition.Positions{Origins: map[partition.Origin]partition.Position{
			"p0": {Revision: 10, SyncedAt: 1}, "p1": {Revision: 10, SyncedAt: 1}}}
		v := &survey{origins: []partition.Origin{"p0", "p1"}}
		for i, p := range c.replicas {
			v.observations = append(v.observations, observation{replica: p, at: head, ok: true, fresh: true})
			if i == 2 {
				v.observations[i].at = positions
			}
		}
		return v
	}
	c.mark = nil
	if due := c.dueForCollection(at(5, 9)); due != nil {
		t.Errorf("collected at once: %v", due)
	}
	if due := c.dueForCollection(at(9, 10)); due != nil {
		t.Errorf("collected while p2 is behind where p0 was: %v", due)
	}
	if due := c.dueForCollection(at(10, 10)); due["p1"] != 9 || due["p0"] != 5 {
		t.Errorf("due is %v", due)
	}
}

// TestPartitionThatIsFilledAfreshSaysSo: the status says so, and the position serves
// no reads until the partition is complete.
func TestPartitionThatIsFilledAfreshSaysSo(t *testing.T) {
	w := newWorld(t, 1, 3)
	c := w.site(func(o *Options) { o.BatchEntries = 1 })
	for _, key := range []string{"gone", "a", "b", "c"} {
		w.write("p0", key, "1")
	}
	c.level()
	c.configure("p0", "p1")
	w.delete("p0", "gone")
	c.level()
	c.level()
	c.configure(w.names...)
	var chunks atomic.Int32
	c.handles["p2"].Fail(func(op string) error {
		if op == memory.OpApply {
			chunks.Add(1)
			if st := c.Status().of("p2"); st.State != Refilling {
				t.Errorf("before chunk %d the status says %s", chunks.Load(), st.State)
			}
			if p := w.position("p2", "p0"); p.SyncedAt != 0 {
				t.Errorf("before chunk %d reads are served at %+v", chunks.Load(), p)
			}
		}
		return nil
	})
	r := c.level()
	if got := r.of("p2"); chunks.Load() < 3 || got.Refills != 1 || got.State != Level {
		t.Errorf("after %d chunks: %s", chunks.Load(), got)
	}
	w.checkEqual()
}
