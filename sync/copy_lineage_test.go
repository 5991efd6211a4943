package sync

import (
	"fmt"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
)

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
