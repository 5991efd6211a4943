package sync

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/partitiontest"
	"github.com/runnelkv/runnel/store/verify"
)

// damage changes a column of a row.
func (w *world) damage(name, key string, change func(*partition.Entry)) {
	w.t.Helper()
	e := w.full(name)[partition.Key("k/"+key)]
	change(&e)
	w.bases[name].Damage(partition.Key("k/"+key), e)
}

// TestDamageIsNotCopied damages each column of a row of the source in turn: a new partition gets the right row, and the
// source is repaired. A row with another origin or revision is not in the stream, and a verification restores the row.
func TestDamageIsNotCopied(t *testing.T) {
	for column, change := range partitiontest.Damages() {
		t.Run(column, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, 3)
				c := w.site()
				c.configure("p0", "p1")
				w.write("p0", "a", "1")
				w.write("p0", "b", "2")
				c.level()
				w.damage("p0", "b", change)
				c.configure("p0", "p1", "p2")
				for range 3 { // a renamed row is found by the next pass
					c.pass()
				}
				c.level()
				for _, e := range w.full("p2") {
					if !e.Intact() {
						t.Errorf("p2 holds %+v", e)
					}
				}
				if column == "origin" || column == "revision" {
					w.repair()
				}
				w.checkEqual()
				w.checkPositions()
			})
		})
	}
}

// repair verifies all partitions.
func (w *world) repair() {
	w.t.Helper()
	var parts []partition.Partition
	for _, name := range w.names {
		parts = append(parts, w.bases[name])
	}
	r, err := verify.Run(context.Background(), parts, verify.Options{Repair: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil || r.Found == 0 || r.Repaired != r.Found {
		w.t.Errorf("the verification is %+v, %v", r, err)
	}
}

// TestDamageWithoutARightCopyIsNotCopied: the stream stops before the entry, and goes on once the key is written.
func TestDamageWithoutARightCopyIsNotCopied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 3)
		c := w.site()
		w.write("p0", "a", "1")
		c.level()
		w.write("p0", "b", "2")
		w.damage("p0", "b", func(e *partition.Entry) { e.Value = []byte("x") })
		for _, name := range []string{"p1", "p2"} {
			if r := c.pass(); r.of(name).State != Waiting || !errors.Is(r.of(name).Err, errDamaged) {
				t.Errorf("%s is %s: %v", name, r.of(name).State, r.of(name).Err)
			}
			if _, holds := w.full(name)["k/b"]; holds {
				t.Errorf("%s holds the damaged entry", name)
			}
		}
		if _, err := partition.CatchUp(t.Context(), w.bases["p0"], w.bases["p1"], w.position("p1", "p0"), 0); !errors.Is(err, partition.ErrTooFar) || !errors.Is(err, partition.ErrDamaged) {
			t.Errorf("a catch-up ended with %v", err)
		}
		w.write("p0", "b", "3")
		c.level()
		w.checkEqual()
	})
}

// TestScheduleStartsVerifications of the process that copies. A process that stands by does not verify.
func TestScheduleStartsVerifications(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		c := w.site(func(o *Options) { o.Verify = cron.Every(time.Hour) })
		w.write("p0", "a", "1")
		defer c.running(t)()
		time.Sleep(time.Minute)
		w.damage("p1", "a", func(e *partition.Entry) { e.Value = []byte("x") })
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		w.checkEqual()
		for _, name := range w.names {
			at, err := w.bases[name].Positions(t.Context())
			if err != nil || at.VerifiedAt == 0 {
				t.Errorf("%s was verified at %d, %v", name, at.VerifiedAt, err)
			}
		}
	})
}
