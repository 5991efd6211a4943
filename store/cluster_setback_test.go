package store_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// behind waits until the master is found to have lost writes, and checks that no revision
// is issued.
func (r *rig) behind(t *testing.T) {
	t.Helper()
	head := func() partition.Revision {
		at, err := r.parts[0].Positions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return at.Origins["p0"].Revision
	}
	before := head()
	eventually(t, "state behind", func() bool { return r.Status().Partitions[0].State == store.Behind })
	for range 5 {
		if _, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("new")}); !errors.Is(err, store.ErrMasterUnavailable) {
			t.Errorf("Put: %v", err)
		}
	}
	if now := head(); now != before {
		t.Errorf("the counter went from %d to %d", before, now)
	}
}

// TestMasterRestoredUnderItsWriterTakesNoWrites: only the process that committed the lost
// writes knows them. The very first write is refused.
func TestMasterRestoredUnderItsWriterTakesNoWrites(t *testing.T) {
	o := options()
	o.Poll = time.Hour
	r := newRig(t, 1, o)
	r.put(t, "a", "1")
	restore := r.parts[0].Backup()
	r.put(t, "b", "lost")
	restore()
	for _, write := range []func() error{
		func() error {
			_, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("c")})
			return err
		},
		func() error {
			return r.Update(t.Context(), []store.Key{store.User.Key("c")}, store.UpdateOptions{}, func(v *store.Tx) error {
				v.Put(store.Entry{Key: store.User.Key("c")})
				return nil
			})
		},
	} {
		if err := write(); !errors.Is(err, store.ErrMasterUnavailable) {
			t.Errorf("a write on the restored master: %v", err)
		}
	}
	r.Connect(t.Context())
	r.behind(t)
}

// TestMasterRestoredWithItsReplicasTakesNoWrites: the process knows the lost revisions only
// from the replicas' former positions.
func TestMasterRestoredWithItsReplicasTakesNoWrites(t *testing.T) {
	r := newRig(t, 2, options())
	r.put(t, "a", "1")
	r.level(t)
	other := &rig{parts: []*memory.Partition{r.parts[0].Reopen(), r.parts[1].Reopen()}}
	other.start(t, options(), "p0")
	restore := []func(){r.parts[0].Backup(), r.parts[1].Backup()}
	lost := r.put(t, "b", "lost")
	r.level(t)
	eventually(t, "sight of the write", func() bool { return other.Status().Partitions[1].Origins[0].Revision == lost.Revision })
	for _, back := range restore {
		back()
	}
	other.behind(t)
}

// TestMasterRestoredToBeforeACopiedWriteTakesNoWrites: the replica was reachable all the
// time and had caught up with the write at once.
func TestMasterRestoredToBeforeACopiedWriteTakesNoWrites(t *testing.T) {
	r := newRig(t, 2, options())
	r.put(t, "a", "1")
	r.level(t)
	restore := r.parts[0].Backup()
	if held, err := r.Copy(t.Context(), r.put(t, "b", "lost"), 2); err != nil || held != 2 {
		t.Fatalf("held by %d, %v", held, err)
	}
	fresh := &rig{parts: []*memory.Partition{r.parts[0].Reopen(), r.parts[1].Reopen()}}
	fresh.start(t, options(), "p0")
	restore()
	r.behind(t)
	fresh.behind(t)
}

// TestMasterWrittenPastWhatItsReplicaHoldsTakesNoWrites: the master was restored and
// written to while the replica was away. Once the replica is filled afresh, the master
// takes writes.
func TestMasterWrittenPastWhatItsReplicaHoldsTakesNoWrites(t *testing.T) {
	r := newRig(t, 2, options())
	r.put(t, "a", "1")
	r.level(t)
	restore := r.parts[0].Backup()
	r.put(t, "b", "lost")
	r.level(t)
	restore()
	alone := &rig{parts: []*memory.Partition{r.parts[0].Reopen()}}
	alone.start(t, options(), "p0")
	for _, name := range []string{"c", "d", "e"} {
		alone.put(t, name, "own")
	}
	o := options()
	o.Masters = []string{"p0"}
	both := &rig{parts: []*memory.Partition{r.parts[0].Reopen(), r.parts[1].Reopen()}}
	for _, p := range both.parts {
		o.Partitions = append(o.Partitions, p)
	}
	s, err := store.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	both.Store = s
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done; s.Close() })
	both.behind(t)
	if err := r.parts[1].Reset(t.Context(), "p0"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a master that goes on", func() bool { return both.Status().Partitions[0].Writable })
	both.level(t)
	both.put(t, "f", "1")
}

// TestSetBackIsReportedByTheSyncProcess: a set-back that the sync process reports counts
// until a later comparison succeeds.
func TestSetBackIsReportedByTheSyncProcess(t *testing.T) {
	r := newRig(t, 2, options())
	restore := r.parts[1].Backup()
	r.put(t, "a", "1")
	r.level(t)
	foreign := r.put(t, "b", "1")
	foreign.Key, foreign.ModifiedAt = store.User.Key("foreign"), foreign.ModifiedAt+1
	at, err := r.parts[1].Positions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.Replicas()[1].Apply(t.Context(), partition.Copy{Origin: "p0", From: at.Origins["p0"].Revision, To: foreign.Revision, Goal: foreign.Revision, Entries: []store.Entry{foreign}})
	r.SetBack("p0", "p1", partition.ErrSetBack)
	if r.Replicas()[0].SetBack == nil {
		t.Error("p0 may be copied from")
	}
	r.behind(t)
	restore()
	eventually(t, "a master that goes on", func() bool { return r.Status().Partitions[0].Writable })
}

// TestMasterTakesNoWritesUntilAllWereAsked: each replica may hold writes that the master
// has lost.
func TestMasterTakesNoWritesUntilAllWereAsked(t *testing.T) {
	before := newRig(t, 2, options())
	before.put(t, "a", "1")
	before.level(t)
	slow := before.parts[1].Reopen()
	var r rig
	var refused atomic.Int64
	slow.Fail(func(op string) error {
		if op == memory.OpPrepare {
			if _, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("b")}); errors.Is(err, store.ErrMasterUnavailable) {
				refused.Add(1)
			}
		}
		return nil
	})
	r.parts = []*memory.Partition{before.parts[0].Reopen(), slow}
	r.start(t, options(), "p0")
	if refused.Load() != 1 {
		t.Error("a write was taken before all partitions were asked")
	}
	r.put(t, "c", "1")
}
