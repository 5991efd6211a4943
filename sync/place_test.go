package sync

import (
	"errors"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
)

// amid calls f when a step of a copy to a partition is done, but for the first of them.
func (c *site) amid(name string, f func()) {
	steps := 0
	c.handles[name].Fail(func(op string) error {
		if op == partition.OpApplied {
			if steps++; steps == 2 {
				f()
			}
		}
		return nil
	})
}

// TestPlaceAmidAFillBringsNothingBack: a write that was long on its way arrives on
// a partition that is being filled, from where its tombstone is collected.
func TestPlaceAmidAFillBringsNothingBack(t *testing.T) {
	w := newWorld(t, 1, 2)
	c := w.site(func(o *Options) { o.BatchEntries = 1 })
	w.write("p0", "first", "1")
	w.write("p0", "second", "1")
	late := w.write("p0", "a", "1")
	w.delete("p0", "a")
	w.write("p0", "last", "1")
	c.level()
	c.level()
	if n := w.position("p0", "p0").Collected; n <= late.Revision {
		t.Fatalf("tombstones are collected up to %d, not beyond %d", n, late.Revision)
	}
	w.add()
	c.configure(w.names...)
	var err error
	c.amid("p2", func() { err = w.bases["p2"].Place(t.Context(), []partition.Entry{late}) })
	c.level()
	if !errors.Is(err, partition.ErrNotWhole) {
		t.Errorf("placed amid the fill: %v", err)
	}
	w.checkEqual()
}

// TestPlaceAmidACatchUpIsHeldOrRefused: what was replaced since comes at the end of
// a catch-up, though its position has passed what it replaced.
func TestPlaceAmidACatchUpIsHeldOrRefused(t *testing.T) {
	w := newWorld(t, 1, 2)
	c := w.site(func(o *Options) { o.BatchEntries = 1 })
	w.write("p0", "a", "1")
	c.level()
	late := w.write("p0", "a", "2")
	w.write("p0", "b", "1")
	w.write("p0", "c", "1")
	w.write("p0", "a", "3")
	var err error
	var stood partition.Entry
	c.amid("p1", func() {
		err = w.bases["p1"].Place(t.Context(), []partition.Entry{late})
		stood = w.rows("p1")["k/a"]
	})
	c.level()
	if err == nil && stood.Revision < late.Revision {
		t.Errorf("%d is said to be held, and %d is", late.Revision, stood.Revision)
	}
	if err != nil && !errors.Is(err, partition.ErrNotWhole) {
		t.Error(err)
	}
	w.checkEqual()
}
