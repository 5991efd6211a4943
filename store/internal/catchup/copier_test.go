package catchup_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

func TestCopyReachesEveryReachablePartition(t *testing.T) {
	r := storetest.New(t, 3, storetest.Options())
	r.MustPut(t, "a", "1")
	r.Level(t)
	e := r.MustPut(t, "a", "2")
	r.Parts[0].Fail(func(op string) error {
		if op == memory.OpApply {
			t.Error("the master was given its own entries")
		}
		return nil
	})
	if held, err := r.Copy(t.Context(), e, store.EveryReachable); err != nil || held != 3 {
		t.Errorf("held by %d, %v", held, err)
	}
	for _, p := range r.Parts {
		if got, err := r.Get(t.Context(), e.Key, store.ReadOptions{Partition: p.Name()}); err != nil || string(got.Entry.Value) != "2" {
			t.Errorf("%s has %q, %v", p.Name(), got.Entry.Value, err)
		}
	}
	if at, err := r.Parts[1].Positions(t.Context()); err != nil || !at.Origins["p0"].Holds(e.Revision) {
		t.Errorf("the position is %+v, and %d is held, %v", at.Origins["p0"], e.Revision, err)
	}
	e = r.MustPut(t, "a", "3")
	r.Parts[2].Fail(func(op string) error {
		if op == memory.OpApply {
			return partition.ErrUnavailable
		}
		return nil
	})
	if held, err := r.Copy(t.Context(), e, store.EveryReachable); !errors.Is(err, partition.ErrUnavailable) || held != 2 {
		t.Errorf("with one failing: held by %d, %v", held, err)
	}
}

// TestWritesThatNeedCopiesShareThem: while a replica catches up for a write, the writes
// that arrive meanwhile share the next round.
func TestWritesThatNeedCopiesShareThem(t *testing.T) {
	r := storetest.New(t, 2, storetest.Options())
	r.MustPut(t, "a", "1")
	r.Level(t)
	var applies atomic.Int64
	entered, goOn := make(chan struct{}), make(chan struct{})
	r.Parts[1].Fail(func(op string) error {
		if op == memory.OpApply && applies.Add(1) == 1 {
			close(entered)
			<-goOn
		}
		return nil
	})
	var group sync.WaitGroup
	copied := func(e store.Entry) {
		group.Go(func() {
			if held, err := r.Copy(t.Context(), e, 2); err != nil || held != 2 {
				t.Errorf("held by %d, %v", held, err)
			}
		})
	}
	copied(r.MustPut(t, "first", "1"))
	<-entered
	for i := range 50 {
		copied(r.MustPut(t, fmt.Sprint("k", i), "1"))
	}
	close(goOn)
	group.Wait()
	if n := applies.Load(); n > 50/2 {
		t.Errorf("%d copies of 51 writes", n)
	}
}

// TestCopyThatTheSyncProcessMadeCounts: the sync process moves the position between the
// reading of the position and the Apply.
func TestCopyThatTheSyncProcessMadeCounts(t *testing.T) {
	r := storetest.New(t, 2, storetest.Options())
	r.MustPut(t, "a", "1")
	r.Level(t)
	e := r.MustPut(t, "a", "2")
	var moved atomic.Bool
	r.Parts[1].Fail(func(op string) error {
		if op == memory.OpApply && moved.CompareAndSwap(false, true) {
			r.Level(t)
		}
		return nil
	})
	if held, err := r.Copy(t.Context(), e, 2); err != nil || held != 2 {
		t.Errorf("held by %d, %v", held, err)
	}
}

// TestReplicaThatLacksTooMuchIsNoCopy: the sync process fills the replica, and the write
// stands.
func TestReplicaThatLacksTooMuchIsNoCopy(t *testing.T) {
	r := storetest.New(t, 3, storetest.Options())
	r.MustPut(t, "a", "1")
	r.Level(t)
	behind := r.Parts[2]
	for i := range 5000 {
		r.Parts[0].Plant(store.Entry{Key: store.User.Key(fmt.Sprint(i)), Origin: "p0", Revision: partition.Floor(1) + store.Revision(1000+i)})
	}
	at, err := behind.Positions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Parts[0].Commit(t.Context(), partition.Batch{Epoch: 1, Revisions: 7000}); err != nil {
		t.Fatal(err)
	}
	e := r.MustPut(t, "b", "1")
	if held, err := r.Copy(t.Context(), e, 2); !errors.Is(err, partition.ErrTooFar) || held != 1 {
		t.Errorf("held by %d, %v", held, err)
	}
	if now, err := behind.Positions(t.Context()); err != nil || now.Origins["p0"].Revision != at.Origins["p0"].Revision {
		t.Errorf("the position went from %+v to %+v, %v", at, now, err)
	}
}

// TestCopyIsJudgedByThePositionOfNow: another process has copied much and collected
// tombstones since this process read the replica's positions.
func TestCopyIsJudgedByThePositionOfNow(t *testing.T) {
	o := storetest.Options()
	o.Poll = time.Hour
	r := storetest.New(t, 2, o)
	r.MustPut(t, "a", "1")
	r.Level(t)
	gone := r.MustPut(t, "b", "1")
	storetest.CopyAll(t, t.Context(), r.Parts[0], r.Parts[1], "p0")
	for _, p := range r.Parts {
		if _, err := p.Collect(t.Context(), "p0", gone.Revision); err != nil {
			t.Fatal(err)
		}
	}
	if held, err := r.Copy(t.Context(), r.MustPut(t, "c", "1"), 2); err != nil || held != 2 {
		t.Errorf("held by %d, %v", held, err)
	}
}
