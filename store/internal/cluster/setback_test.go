package cluster_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// wantBehind waits until the master is found to have lost writes, and checks that no revision
// is issued.
func wantBehind(t *testing.T, r *storetest.Rig) {
	t.Helper()
	head := func() partition.Revision {
		at, err := r.Parts[0].Positions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return at.Origins["p0"].Revision
	}
	before := head()
	storetest.Eventually(t, "state behind", func() bool { return r.Status().Partitions[0].State == store.Behind })
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
	o := storetest.Options()
	o.Poll = time.Hour
	r := storetest.New(t, 1, o)
	r.MustPut(t, "a", "1")
	restore := r.Parts[0].Backup()
	r.MustPut(t, "b", "lost")
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
	wantBehind(t, r)
}

// TestMasterRestoredWithItsReplicasTakesNoWrites: the process knows the lost revisions only
// from the replicas' former positions.
func TestMasterRestoredWithItsReplicasTakesNoWrites(t *testing.T) {
	r := storetest.New(t, 2, storetest.Options())
	r.MustPut(t, "a", "1")
	r.Level(t)
	other := &storetest.Rig{Parts: []*memory.Partition{r.Parts[0].Reopen(), r.Parts[1].Reopen()}}
	other.Start(t, storetest.Options(), "p0")
	restore := []func(){r.Parts[0].Backup(), r.Parts[1].Backup()}
	lost := r.MustPut(t, "b", "lost")
	r.Level(t)
	storetest.Eventually(t, "sight of the write", func() bool { return other.Status().Partitions[1].Origins[0].Revision == lost.Revision })
	for _, back := range restore {
		back()
	}
	wantBehind(t, other)
}

// TestMasterRestoredToBeforeACopiedWriteTakesNoWrites: the replica was reachable all the
// time and had caught up with the write at once.
func TestMasterRestoredToBeforeACopiedWriteTakesNoWrites(t *testing.T) {
	r := storetest.New(t, 2, storetest.Options())
	r.MustPut(t, "a", "1")
	r.Level(t)
	restore := r.Parts[0].Backup()
	if held, err := r.Copy(t.Context(), r.MustPut(t, "b", "lost"), 2); err != nil || held != 2 {
		t.Fatalf("held by %d, %v", held, err)
	}
	fresh := &storetest.Rig{Parts: []*memory.Partition{r.Parts[0].Reopen(), r.Parts[1].Reopen()}}
	fresh.Start(t, storetest.Options(), "p0")
	restore()
	wantBehind(t, r)
	wantBehind(t, fresh)
}

// TestMasterWrittenPastWhatItsReplicaHoldsTakesNoWrites: the master was restored and
// written to while the replica was away. Once the replica is filled afresh, the master
// takes writes.
func TestMasterWrittenPastWhatItsReplicaHoldsTakesNoWrites(t *testing.T) {
	r := storetest.New(t, 2, storetest.Options())
	r.MustPut(t, "a", "1")
	r.Level(t)
	restore := r.Parts[0].Backup()
	r.MustPut(t, "b", "lost")
	r.Level(t)
	restore()
	alone := &storetest.Rig{Parts: []*memory.Partition{r.Parts[0].Reopen()}}
	alone.Start(t, storetest.Options(), "p0")
	for _, name := range []string{"c", "d", "e"} {
		alone.MustPut(t, name, "own")
	}
	o := storetest.Options()
	o.Masters = []string{"p0"}
	both := &storetest.Rig{Parts: []*memory.Partition{r.Parts[0].Reopen(), r.Parts[1].Reopen()}}
	for _, p := range both.Parts {
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
	wantBehind(t, both)
	if err := r.Parts[1].Reset(t.Context(), "p0"); err != nil {
		t.Fatal(err)
	}
	storetest.Eventually(t, "a master that goes on", func() bool { return both.Status().Partitions[0].Writable })
	both.Level(t)
	both.MustPut(t, "f", "1")
}

// TestSetBackIsReportedByTheSyncProcess: a set-back that the sync process reports counts
// until a later comparison succeeds.
func TestSetBackIsReportedByTheSyncProcess(t *testing.T) {
	r := storetest.New(t, 2, storetest.Options())
	restore := r.Parts[1].Backup()
	r.MustPut(t, "a", "1")
	r.Level(t)
	foreign := r.MustPut(t, "b", "1")
	foreign.Key, foreign.ModifiedAt = store.User.Key("foreign"), foreign.ModifiedAt+1
	at, err := r.Parts[1].Positions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.Replicas()[1].Apply(t.Context(), partition.Copy{Origin: "p0", From: at.Origins["p0"].Revision, To: foreign.Revision, Goal: foreign.Revision, Entries: []store.Entry{foreign}})
	r.SetBack("p0", "p1", partition.ErrSetBack)
	if r.Replicas()[0].SetBack == nil {
		t.Error("p0 may be copied from")
	}
	wantBehind(t, r)
	restore()
	storetest.Eventually(t, "a master that goes on", func() bool { return r.Status().Partitions[0].Writable })
}

// TestMasterTakesNoWritesUntilAllWereAsked: each replica may hold writes that the master
// has lost.
func TestMasterTakesNoWritesUntilAllWereAsked(t *testing.T) {
	before := storetest.New(t, 2, storetest.Options())
	before.MustPut(t, "a", "1")
	before.Level(t)
	slow := before.Parts[1].Reopen()
	var r storetest.Rig
	var refused atomic.Int64
	slow.Fail(func(op string) error {
		if op == memory.OpPrepare {
			if _, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("b")}); errors.Is(err, store.ErrMasterUnavailable) {
				refused.Add(1)
			}
		}
		return nil
	})
	r.Parts = []*memory.Partition{before.Parts[0].Reopen(), slow}
	r.Start(t, storetest.Options(), "p0")
	if refused.Load() != 1 {
		t.Error("a write was taken before all partitions were asked")
	}
	r.MustPut(t, "c", "1")
}
