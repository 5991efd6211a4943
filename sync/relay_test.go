package sync

import (
	"testing"

	"github.com/runnelkv/runnel/store/partition"
)

// relays makes p1 and p3 hold two writes more than p2, and p1 one that was
// placed ahead of its turn: it has replaced one that p2 lacks.
func relays(t *testing.T) (w *world, c *site, placed partition.Entry) {
	w = newWorld(t, 1, 4)
	c = w.site(func(o *Options) { o.BatchEntries = 1 })
	w.write("p0", "a", "1")
	c.level()
	w.write("p0", "a", "2")
	w.write("p0", "b", "2")
	w.write("p0", "d", "2")
	other := w.site()
	other.configure("p0", "p1", "p3")
	other.level()
	placed = w.write("p0", "a", "3")
	if err := w.bases["p1"].Place(t.Context(), []partition.Entry{placed}); err != nil {
		t.Fatal(err)
	}
	c.fault("p0", partition.ErrUnavailable)
	c.fault("p3", partition.ErrUnavailable)
	return w, c, placed
}

// TestRelayOfWhatWasPlacedIsWholeAtEveryStep: no step says that all of the
// relay's position is held while what was placed on the relay is still to come.
func TestRelayOfWhatWasPlacedIsWholeAtEveryStep(t *testing.T) {
	w, c, placed := relays(t)
	steps := 0
	c.handles["p2"].Fail(func(op string) error {
		if op == partition.OpApplied {
			steps++
			w.checkPositions()
		}
		return nil
	})
	c.pass()
	if got := w.rows("p2")["k/a"]; got.Revision != placed.Revision || steps != 3 {
		t.Errorf("after %d steps p2 holds %+v", steps, got)
	}
}

// TestRelayedCopyGoesOnFromAnotherRelay: on which nothing was placed, and which has nothing
// to say of what the first step has passed.
func TestRelayedCopyGoesOnFromAnotherRelay(t *testing.T) {
	w, c, _ := relays(t)
	steps := 0
	c.handles["p2"].Fail(func(op string) error {
		if op == partition.OpApply {
			if steps++; steps == 2 {
				return partition.ErrUnavailable
			}
		}
		return nil
	})
	c.pass()
	c.handles["p2"].Fail(nil)
	c.fault("p1", partition.ErrUnavailable)
	c.fault("p3", nil)
	c.pass()
	if at, whole := w.position("p2", "p0"), w.position("p3", "p0"); at.Revision != whole.Revision || !isWhole(at) {
		t.Fatalf("p2 is at %+v, p3 at %+v", at, whole)
	}
	w.checkPositions()
}
