package sync

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// The tests of this file move slots: a map with the move is accepted, the former master's counter is raised by that, the new
// master is brought level, and writes at the new master.

func slotOf(key string) uint16 { return uint16(store.SlotOf(store.User.Key(key))) }

// own makes a master the owner of keys in the founding map, before any partition has joined a later map.
func (w *world) own(master string, keys ...string) {
	for _, k := range keys {
		w.cluster.Slots[slotOf(k)] = uint16(slices.Index(w.cluster.Masters, master))
	}
}

// nextMap returns a copy of the newest map for the next epoch.
func (w *world) nextMap() partition.Cluster {
	c := w.cluster
	c.Epoch++
	c.Slots, c.Moves = slices.Clone(c.Slots), slices.Clone(c.Moves)
	c.Epochs = maps.Clone(c.Epochs)
	if c.Epochs == nil {
		c.Epochs = make(map[string]int64)
		for _, name := range c.Masters {
			c.Epochs[name] = w.cluster.Epoch
		}
	}
	return c
}

// begin begins a move of the slots of keys, which only the former master learns of here.
func (w *world) begin(from, to string, keys ...string) {
	w.t.Helper()
	c := w.nextMap()
	var slots []uint16
	for _, k := range keys {
		slots = append(slots, slotOf(k))
	}
	c.Moves = append(c.Moves, partition.Move{Slots: partition.NewSlotSet(store.Slots, slots...), From: from, To: to, Began: c.Epoch})
	c.Epochs[from] = c.Epoch
	w.cluster = c
	w.accept(from)
}

// finish makes the candidate of the last move the master.
func (w *world) finish() {
	w.t.Helper()
	c := w.nextMap()
	m := &c.Moves[len(c.Moves)-1]
	m.Done, c.Epochs[m.To] = c.Epoch, c.Epoch
	for _, slot := range m.Slots.All() {
		c.Slots[slot] = uint16(slices.Index(c.Masters, m.To))
	}
	w.cluster = c
	w.accept(m.To)
}

// accept teaches partitions the newest map.
func (w *world) accept(names ...string) {
	w.t.Helper()
	for _, name := range names {
		if _, err := w.bases[name].Accept(w.t.Context(), w.cluster); err != nil {
			w.t.Fatal(err)
		}
	}
}

// move moves the slots of keys, while all partitions of a process are reachable.
func (w *world) move(c *site, from, to string, keys ...string) {
	w.t.Helper()
	w.begin(from, to, keys...)
	w.accept(c.names...)
	c.level()
	w.finish()
	w.accept(c.names...)
	c.level()
}

// moved is a world in which "a" was written on p0 and, after its mastership moved, belongs to p1.
func moved(t *testing.T, change ...func(*Options)) (*world, *site) {
	w := newWorld(t, 2, 3)
	w.own("p1", "own", "other0", "other1", "other2", "other3", "other4", "other5")
	c := w.site(change...)
	w.write("p0", "a", "1")
	for i := range 6 {
		w.write("p1", fmt.Sprint("other", i), "x")
	}
	return w, c
}

// TestReplicaIsNotWholeForKeysThatMovedWithoutTheirNewMaster: a target copies each origin by itself, and p0's entry of "a" is
// gone from every source, because p1 has written the key since.
func TestReplicaIsNotWholeForKeysThatMovedWithoutTheirNewMaster(t *testing.T) {
	seen := false
	for try := 0; try < 200 && !seen; try++ {
		w, c := moved(t, func(o *Options) { o.CollectEvery = -1 })
		c.level()
		c.configure("p0", "p1")
		w.write("p0", "a", "2")
		w.move(c, "p0", "p1", "a")
		w.write("p1", "a", "3")
		c.level()
		c.configure("p0", "p1", "p2")
		w.accept("p2")
		var applies atomic.Int32
		c.handles["p2"].Fail(func(op string) error { // the connection to p2 breaks after a copy
			if op == memory.OpApply {
				if applies.Add(1) > 1 {
					return partition.ErrUnavailable
				}
			}
			return nil
		})
		c.pass()
		c.handles["p2"].Fail(nil)
		w.checkPositions()
		if p0, p1 := w.position("p2", "p0"), w.position("p2", "p1"); p0.Whole() && w.rows("p2")["k/a"].Revision < w.history["p0"][1].Revision {
			seen = seen || p0.Revision >= w.history["p0"][1].Revision
			if p0.Revision >= w.history["p0"][1].Revision && p1.Whole() {
				t.Errorf("try %d: p2 is at %+v of p0 and %+v of p1, and holds an older a", try, p0, p1)
			}
		}
		c.level()
		w.checkEqual()
		if !w.isWhole("p2") {
			t.Errorf("p2 is at %+v, %+v", w.position("p2", "p0"), w.position("p2", "p1"))
		}
	}
	if !seen {
		t.Error("the copies never came in that order")
	}
}

// TestReplicaThatMissedDeletionsIsEmptiedOfAllOrigins: p2 holds p0's entry of "a", and is away until p1's tombstone of the key is
// collected.
func TestReplicaThatMissedDeletionsIsEmptiedOfAllOrigins(t *testing.T) {
	w, c := moved(t)
	c.level()
	w.move(c, "p0", "p1", "a")
	c.configure("p0", "p1")
	w.delete("p1", "a")
	for range 4 {
		c.level()
	}
	if n := w.tombstones("p0") + w.tombstones("p1"); n != 0 {
		t.Fatalf("%d tombstones are left", n)
	}
	c.configure("p0", "p1", "p2")
	if n := c.level().of("p2").Refills; n != 1 {
		t.Errorf("p2 was refilled %d times", n)
	}
	w.checkEqual()
	w.checkPositions()
}

// TestInterruptedEmptyingIsNoticed: the origin whose deletions were missed is the last to be emptied.
func TestInterruptedEmptyingIsNoticed(t *testing.T) {
	for failed := 1; failed <= 2; failed++ {
		w, c := moved(t)
		c.level()
		w.move(c, "p0", "p1", "a")
		c.configure("p0", "p1")
		w.delete("p1", "a")
		for range 4 {
			c.level()
		}
		c.configure("p0", "p1", "p2")
		var n atomic.Int32
		c.handles["p2"].Fail(func(op string) error {
			if op == memory.OpReset {
				if int(n.Add(1)) == failed {
					return partition.ErrUnavailable
				}
			}
			return nil
		})
		c.pass()
		c.handles["p2"].Fail(nil)
		w.checkPositions()
		c.pass()
		c.level()
		w.checkEqual()
	}
}

// TestFormerMasterThatMissedDeletionsIsRefused: its own entries cannot be emptied one origin at a time.
func TestFormerMasterThatMissedDeletionsIsRefused(t *testing.T) {
	w, c := moved(t)
	c.level()
	w.move(c, "p0", "p1", "a")
	c.configure("p1", "p2")
	w.delete("p1", "a")
	for range 4 {
		c.pass()
	}
	c.configure("p0", "p1", "p2")
	if r := c.pass().of("p0"); r.State != Refused || r.Refills != 0 {
		t.Errorf("p0 is %s after %d refills: %v", r.State, r.Refills, r.Err)
	}
	if _, held := w.rows("p0")["k/a"]; !held {
		t.Error("the own entries of p0 are gone")
	}
}

// TestNewMasterThatMissedDeletionsIsRefused: p1 has taken "a" over from p0, and keeps p0's entries of its slots.
func TestNewMasterThatMissedDeletionsIsRefused(t *testing.T) {
	w, c := moved(t)
	w.write("p0", "b", "1")
	c.level()
	w.move(c, "p0", "p1", "a")
	c.configure("p0", "p2")
	w.delete("p0", "b")
	for range 4 {
		c.pass()
	}
	c.configure("p0", "p1", "p2")
	if r := c.pass().of("p1"); r.State != Refused || r.Refills != 0 {
		t.Errorf("p1 is %s after %d refills: %v", r.State, r.Refills, r.Err)
	}
	if _, held := w.rows("p1")["k/a"]; !held {
		t.Error("the master has lost an entry of its slots")
	}
}

// TestNewMasterSweepsEntriesOfTheFormer, and only those of its slots; the former master sweeps the rest.
func TestNewMasterSweepsEntriesOfTheFormer(t *testing.T) {
	w, c := moved(t)
	base, off := time.Now(), time.Duration(0)
	w.now = func() time.Time { return base.Add(off) }
	w.expiring("p0", "soon", time.Second)
	w.expiring("p0", "stays", time.Second)
	w.expiring("p1", "own", time.Second)
	c.level()
	w.move(c, "p0", "p1", "a", "soon")
	off = time.Hour
	for range 4 {
		c.pass()
	}
	w.checkEqual()
	rows := w.rows("p2")
	for _, k := range []partition.Key{"k/soon", "k/own", "k/stays"} {
		if e, held := rows[k]; held && !e.Deleted {
			t.Errorf("%s of %s expired an hour ago and stands", k, e.Origin)
		}
	}
	for name, want := range map[string]int64{"p0": 1, "p1": 2} {
		if n := c.Status().of(name).Swept; n != want {
			t.Errorf("%s swept %d, not %d", name, n, want)
		}
	}
}

// TestEntriesOfTheFormerMasterExpireByItsClock, as far as the clock is known.
func TestEntriesOfTheFormerMasterExpireByItsClock(t *testing.T) {
	w, c := moved(t)
	w.clock = map[string]time.Duration{"p0": -time.Hour}
	w.expiring("p0", "soon", time.Minute)
	w.expiring("p1", "own", 0)
	c.level()
	w.move(c, "p0", "p1", "a", "soon")
	for range 2 {
		c.pass()
	}
	if w.rows("p1")["k/soon"].Deleted {
		t.Error("swept early")
	}
	w.clock["p0"] = 2 * time.Minute
	for range 2 {
		c.pass()
	}
	if e, held := w.rows("p1")["k/soon"]; held && !e.Deleted {
		t.Error("not swept")
	}
	w.clock["p0"] = -time.Hour
	w.checkEqual()
}

// TestSweepGoesOnAfterEntriesOfOtherMasters: a page may be full of entries that another master has to sweep.
func TestSweepGoesOnAfterEntriesOfOtherMasters(t *testing.T) {
	w, c := moved(t)
	var gone []string
	for i := range sweepBatch + 10 {
		k := fmt.Sprint("gone", i)
		gone = append(gone, k)
		w.expiring("p0", k, 0)
	}
	kept := 0
	for i := 0; kept < 3; i++ {
		if k := fmt.Sprint("kept", i); !slices.ContainsFunc(gone, func(g string) bool { return slotOf(g) == slotOf(k) }) {
			w.expiring("p0", k, time.Millisecond)
			kept++
		}
	}
	c.handles["p1"].Fail(failOn(partition.ErrUnavailable, memory.OpCommit))
	c.handles["p0"].Fail(failOn(partition.ErrUnavailable, memory.OpExpired))
	c.pass()
	w.move(c, "p0", "p1", append(gone, "a")...)
	c.handles["p0"].Fail(nil)
	c.pass()
	if n := c.Status().of("p0").Swept; n != int64(kept) {
		t.Errorf("p0 swept %d, not %d", n, kept)
	}
}

// TestSourceOfALaterEpochWaitsForTheTarget: p2 learns the map before p1's entries in it.
func TestSourceOfALaterEpochWaitsForTheTarget(t *testing.T) {
	w, c := moved(t)
	c.level()
	w.begin("p0", "p1", "a")
	w.accept("p1")
	c.pass()
	w.finish()
	w.accept("p0")
	w.write("p1", "a", "2")
	r := c.pass().of("p2")
	if r.State != Waiting || r.Err == nil || !strings.Contains(r.Err.Error(), "cluster map") {
		t.Errorf("p2 is %s: %v", r.State, r.Err)
	}
	if r.Errors != 0 {
		t.Errorf("%d failures are counted", r.Errors)
	}
	if w.rows("p2")["k/a"].Origin != "p0" {
		t.Error("p2 holds an entry of an epoch that it does not know")
	}
	w.accept("p2")
	c.level()
	w.checkEqual()
}
