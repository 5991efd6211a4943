package backup_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/backup"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// running is a store that runs until the test, or stop, ends it.
type running struct {
	*store.Store
	stop func()
}

func open(t *testing.T, masters []string, parts ...*memory.Partition) *store.Store {
	t.Helper()
	o := store.Options{Masters: masters, Poll: 10 * time.Millisecond, Timeout: time.Second}
	for _, p := range parts {
		o.Partitions = append(o.Partitions, p.Reopen())
	}
	s, err := store.Open(o)
	must(t, err)
	return s
}

func run(t *testing.T, masters []string, parts ...*memory.Partition) *running {
	t.Helper()
	r := &running{Store: open(t, masters, parts...)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = r.Run(ctx) }()
	r.stop = func() { cancel(); <-ended; _ = r.Close() }
	t.Cleanup(r.stop)
	return r
}

// put writes a key as soon as its master takes writes.
func (r *running) put(t *testing.T, name string) store.Entry {
	t.Helper()
	var got store.PutResult
	eventually(t, "a write of "+name, func() (err error) {
		got, err = r.Put(t.Context(), store.Entry{Key: store.User.Key(name), Value: []byte(name)})
		return err
	})
	return got.Entry
}

func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func sessionOf(e store.Entry) store.Vector {
	return store.VectorOf(store.Mark{Origin: e.Origin, Revision: e.Revision})
}

// copyAll brings a replica level with the master a.
func copyAll(t *testing.T, a, b *memory.Partition) {
	t.Helper()
	at, err := b.Positions(t.Context())
	must(t, err)
	snap, err := a.Snapshot(t.Context(), "a", at.Origins["a"].Revision)
	must(t, err)
	defer snap.Close()
	head := snap.Position()
	c := partition.Copy{Origin: "a", From: at.Origins["a"].Revision, To: head.Revision, Goal: head.Revision, SyncedAt: head.SyncedAt}
	c.Entries, err = snap.Next(t.Context(), 1000, 1<<30)
	must(t, err)
	must(t, b.Apply(t.Context(), c))
}

func beginEpoch(t *testing.T, parts ...*memory.Partition) store.Restored {
	t.Helper()
	s := open(t, []string{"a"}, parts...)
	defer s.Close()
	done, err := s.Restore(t.Context(), time.Minute)
	must(t, err)
	return done
}

// wantUnused checks that a running store neither reads nor writes the master a, and says why.
func wantUnused(t *testing.T, why string, parts ...*memory.Partition) {
	t.Helper()
	r := run(t, []string{"a"}, parts...)
	defer r.stop()
	eventually(t, "refusal of a", func() error {
		if p := r.Status().Partitions[0]; p.State != store.Refused || !strings.Contains(p.Err.Error(), why) {
			return errors.Join(errors.New(string(p.State)), p.Err)
		}
		return nil
	})
	if _, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("x")}); err == nil {
		t.Error("a write was accepted")
	}
	if got, err := r.Get(t.Context(), store.User.Key("kept"), store.ReadOptions{}); err == nil && got.Partition == "a" {
		t.Errorf("a read was answered: %+v", got)
	}
	if row, err := parts[0].Cluster(t.Context()); err != nil || row.Epoch >= 0 {
		t.Errorf("the row is %+v, %v", row, err)
	}
}

// TestRestoreOfEverythingRaisesTheEpoch: the master comes from a backup and everything else is
// empty. Sessions of later writes are recognised as lost, and no revision is issued twice, however
// often that happens on a day.
func TestRestoreOfEverythingRaisesTheEpoch(t *testing.T) {
	a, b := memory.New("a"), memory.New("b")
	before := int64(0)
	for range 3 {
		r := run(t, []string{"a"}, a, b)
		kept := r.put(t, "kept")
		file, _ := take(t, a, backup.Options{})
		lost := r.put(t, "lost")
		r.stop()

		a, b = memory.New("a"), memory.New("b")
		done, err := restore(t, a, file)
		if err != nil || !done.IsMaster {
			t.Fatalf("%+v, %v", done, err)
		}
		wantUnused(t, "run 'runnel restore'", a, b)
		began := beginEpoch(t, a, b)
		if began.Epoch <= max(before, 1) || began.Ends[0].Cut != kept.Revision {
			t.Errorf("%+v after epoch %d and %d", began, before, kept.Revision)
		}
		before = began.Epoch
		r = run(t, []string{"a"}, a, b)
		written := r.put(t, "new")
		if written.Revision <= lost.Revision {
			t.Errorf("%d is given out after %d was lost", written.Revision, lost.Revision)
		}
		if !r.Lost(sessionOf(lost)) || r.Lost(sessionOf(kept)) || r.Lost(sessionOf(written)) {
			t.Errorf("lost: %v %v %v", r.Lost(sessionOf(lost)), r.Lost(sessionOf(kept)), r.Lost(sessionOf(written)))
		}
		got, err := r.Get(t.Context(), kept.Key, store.ReadOptions{Consistency: store.FromMaster})
		if err != nil || got.Entry.Revision != kept.Revision {
			t.Errorf("%+v, %v", got.Entry, err)
		}
		r.stop()
	}
}

// TestRestoredMasterTakesBackWhatItsReplicaHolds: only the master comes from a backup.
func TestRestoredMasterTakesBackWhatItsReplicaHolds(t *testing.T) {
	a, b := memory.New("a"), memory.New("b")
	r := run(t, []string{"a"}, a, b)
	r.put(t, "kept")
	file, _ := take(t, a, backup.Options{})
	later := r.put(t, "later")
	r.stop()
	copyAll(t, a, b)
	a = memory.New("a")
	if _, err := restore(t, a, file); err != nil {
		t.Fatal(err)
	}
	wantUnused(t, "run 'runnel restore'", a, b)
	if began := beginEpoch(t, a, b); began.Back["a"] != 1 || began.Ends[0].Cut != later.Revision {
		t.Errorf("%+v", began)
	}
	r = run(t, []string{"a"}, a, b)
	r.put(t, "new")
	for _, p := range []*memory.Partition{a, b} {
		if got, err := p.Get(t.Context(), []store.Key{later.Key}); err != nil || len(got) != 1 || got[0].Revision != later.Revision {
			t.Errorf("%s: %+v, %v", p.Name(), got, err)
		}
	}
}

// TestRestoredReplicaCatchesUpWhereTheBackupEnded: it belongs to the cluster at once, also if a later
// epoch has begun since, and is not filled again.
func TestRestoredReplicaCatchesUpWhereTheBackupEnded(t *testing.T) {
	a, b := memory.New("a"), memory.New("b")
	r := run(t, []string{"a"}, a, b)
	kept := r.put(t, "kept")
	copyAll(t, a, b)
	file, _ := take(t, b, backup.Options{})
	r.stop()
	beginEpoch(t, a, b)
	b = memory.New("b")
	if done, err := restore(t, b, file); err != nil || done.IsMaster {
		t.Fatalf("%+v, %v", done, err)
	}
	r = run(t, []string{"a"}, a, b)
	eventually(t, "readiness of b", func() error {
		if p := r.Status().Partitions[1]; p.State != store.Ready {
			return errors.Join(errors.New(string(p.State)), p.Err)
		}
		return nil
	})
	if got, err := r.Get(t.Context(), kept.Key, store.ReadOptions{Partition: "b"}); err != nil || got.Entry.Revision != kept.Revision {
		t.Errorf("%+v, %v", got, err)
	}
	r.put(t, "new")
	copyAll(t, a, b)
}

// TestPartitionAmidARestoreIsNotUsed by stores, and no epoch begins.
func TestPartitionAmidARestoreIsNotUsed(t *testing.T) {
	chain, _ := sample(t)
	a := memory.New("a")
	if !interrupted(t, a, chain, memory.OpApply, 3) {
		t.Fatal("not interrupted")
	}
	wantUnused(t, "let 'runnel restore FILE' finish", a, memory.New("b"))
	s := open(t, []string{"a"}, a)
	defer s.Close()
	_, err := s.Restore(t.Context(), time.Minute)
	if !errors.Is(err, partition.ErrRefused) || !strings.Contains(err.Error(), "a: refused: a backup is being restored") {
		t.Error(err)
	}
}

// TestRestoreKeepsMoves: older entries of a moved slot have the origin of its former master, so moves survive the restore
// of everything. The new epoch is that of all masters.
func TestRestoreKeepsMoves(t *testing.T) {
	onEveryKind(t, func(t *testing.T, create func(name string) partition.Partition) {
		p := create("a")
		found(t, p, "a")
		must(t, p.Finish(t.Context()))
		row, err := p.Cluster(t.Context())
		must(t, err)
		row.Epoch, row.Accepted, row.Chosen = 3, 4, 4
		row.Epochs, row.Voters = map[string]int64{"a": 2}, []string{"a", "b"}
		row.Moves = []partition.Move{{Slots: partition.NewSlotSet(store.Slots, 3), From: "b", To: "a", Began: 2, Done: 3}}
		_, err = p.Accept(t.Context(), row)
		must(t, err)
		file, _ := take(t, p, backup.Options{})

		a, b := create("a"), create("b")
		for e, p := range map[int64]partition.Partition{-3: a, 3: b} {
			_, err := restore(t, p, file)
			must(t, err)
			got, err := p.Cluster(t.Context())
			must(t, err)
			want := row
			want.PartitionID, want.Name, want.Epoch, want.Promised, want.Accepted, want.Chosen = got.PartitionID, p.Name(), e, 0, 0, 0
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("the row of %s differs: %s", p.Name(), diff)
			}
			if s, err := p.Schema(t.Context()); err != nil || s.CheckBallots() != nil {
				t.Errorf("binaries that ignore moves may use %s: %+v, %v", p.Name(), s, err)
			}
		}
		s, err := store.Open(store.Options{Masters: []string{"a"}, Partitions: []partition.Partition{a, b}, Timeout: 10 * time.Second})
		must(t, err)
		defer s.Close()
		done, err := s.Restore(t.Context(), time.Minute)
		must(t, err)
		for _, p := range []partition.Partition{a, b} {
			got, err := p.Cluster(t.Context())
			must(t, err)
			if got.Epoch != done.Epoch || len(got.Epochs) > 0 || !cmp.Equal(got.Moves, row.Moves) || !cmp.Equal(got.Voters, row.Voters) {
				t.Errorf("in epoch %d %s has %+v", done.Epoch, p.Name(), got)
			}
		}
		at, err := a.Positions(t.Context())
		must(t, err)
		if counter := at.Origins["a"].Revision; counter != partition.Floor(done.Epoch) || at.Epoch != done.Epoch {
			t.Errorf("the counter is at %d in epoch %d", counter, at.Epoch)
		}
	})
}
