package sync

import (
	"testing"

	"github.com/runnelkv/runnel/store/partition"
)

// placed makes a world of four level partitions, of which the last alone holds an entry
// placed there ahead of its turn, and its master is away.
func placed(t *testing.T) (w *world, c *site, e partition.Entry) {
	w = newWorld(t, 1, 4)
	c = w.site()
	w.write("p0", "a", "1")
	c.level()
	c.level()
	w.write("p0", "between", "1")
	e = w.write("p0", "a", "2")
	if err := w.bases["p3"].Place(t.Context(), []partition.Entry{e}); err != nil {
		t.Fatal(err)
	}
	c.fault("p0", partition.ErrUnavailable)
	return w, c, e
}

// TestPlacedEntryOfADeadMasterReachesAll: though no partition is further than
// another, and none gets any further.
func TestPlacedEntryOfADeadMasterReachesAll(t *testing.T) {
	w, c, e := placed(t)
	before := w.position("p2", "p0")
	c.pass()
	for _, name := range []string{"p1", "p2", "p3"} {
		if got := w.rows(name)["k/a"]; got.Revision != e.Revision {
			t.Errorf("%s holds %+v", name, got)
		}
		if at := w.position(name, "p0"); at.Revision != before.Revision || !isWhole(at) {
			t.Errorf("%s went from %+v to %+v", name, before, at)
		}
		if st := c.Status().of(name).State; st != Level {
			t.Errorf("%s is %s", name, st)
		}
	}
	w.checkPositions()
	c.fault("p0", nil)
	c.level()
	w.checkEqual()
}

// TestForwardedEntryOutrunsNothing: neither a partition that is further than
// the entry, nor one that is moved or emptied meanwhile, takes it.
func TestForwardedEntryOutrunsNothing(t *testing.T) {
	w, c, e := placed(t)
	c.fault("p0", nil)
	c.configure("p0", "p1", "p2")
	w.delete("p0", "a")
	c.level()
	c.level() // p0, p1 and p2 collect the tombstone: p3 is left out
	if n := w.position("p2", "p0").Collected; n <= e.Revision {
		t.Fatalf("tombstones are collected up to %d, not beyond %d", n, e.Revision)
	}
	c.configure(w.names...)
	c.fault("p0", partition.ErrUnavailable)
	c.pass()
	for _, name := range []string{"p1", "p2"} {
		if got, held := w.rows(name)["k/a"]; held {
			t.Errorf("%s holds %+v, which is deleted", name, got)
		}
	}
	c.fault("p0", nil)
	c.level()
	w.checkEqual()
}

// TestForwardToAnEmptiedPartitionIsRefused: a Reset comes between the look at
// the position and the step.
func TestForwardToAnEmptiedPartitionIsRefused(t *testing.T) {
	w, c, e := placed(t)
	emptied := false
	c.handles["p2"].Fail(func(op string) error {
		if op == partition.OpApply && !emptied {
			emptied = true
			return w.bases["p2"].Reset(t.Context(), "p0")
		}
		return nil
	})
	c.configure("p0", "p2", "p3")
	c.pass()
	if !emptied {
		t.Fatal("nothing was forwarded")
	}
	if got, held := w.rows("p2")["k/a"]; held && w.position("p2", "p0").Revision == 0 {
		t.Errorf("p2, which is empty, holds %+v beside %+v", got, e)
	}
	c.fault("p0", nil)
	c.configure(w.names...)
	c.level()
	w.checkEqual()
	w.checkPositions()
}
