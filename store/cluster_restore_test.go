package store_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// backup is a copy of a partition's current database.
func backup(t *testing.T, p *memory.Partition) *memory.Partition {
	t.Helper()
	b := memory.New(p.Name())
	row, err := p.Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	at, err := p.Positions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Join(t.Context(), row); err != nil {
		t.Fatal(err)
	}
	for o, position := range at.Origins {
		snap, err := p.Snapshot(t.Context(), o, 0)
		if err != nil {
			t.Fatal(err)
		}
		c := partition.Copy{Origin: o, To: position.Revision, Goal: position.Revision, SyncedAt: position.SyncedAt, Collected: position.Collected}
		if p.Name() == string(o) {
			c.From = partition.Floor(row.Epoch)
		}
		if c.Entries, err = snap.Next(t.Context(), 1000, 1<<20); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if err := errors.Join(snap.Close(), b.Apply(t.Context(), c)); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func backupAll(t *testing.T, parts []*memory.Partition) (all []*memory.Partition) {
	t.Helper()
	for _, p := range parts {
		all = append(all, backup(t, p))
	}
	return all
}

// restore runs a Restore over new handles of the partitions.
func restore(t *testing.T, parts []*memory.Partition) (store.Restored, error) {
	t.Helper()
	var handles []*memory.Partition
	for _, p := range parts {
		handles = append(handles, p.Reopen())
	}
	s := storeOver(t, handles, func(*store.Options) {})
	defer s.Close()
	return s.Restore(t.Context(), time.Minute)
}

func mustRestore(t *testing.T, parts []*memory.Partition) store.Restored {
	t.Helper()
	done, err := restore(t, parts)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func running(t *testing.T, parts []*memory.Partition) *rig {
	t.Helper()
	r := &rig{}
	for _, p := range parts {
		r.parts = append(r.parts, p.Reopen())
	}
	r.start(t, options())
	return r
}

// TestRestoreRecognisesWhatWasLost: all partitions come from a backup. Marks of later
// writes are recognised as lost, earlier marks stay valid.
func TestRestoreRecognisesWhatWasLost(t *testing.T) {
	r := newRig(t, 2, options())
	r.put(t, "a", "1")
	kept := r.put(t, "b", "1")
	r.level(t)
	keptToken, err := r.ChangesNow(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	parts := backupAll(t, r.parts)
	r.put(t, "a", "lost")
	lost := r.put(t, "c", "lost")
	r.level(t)
	lostToken, err := r.ChangesNow(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	done := mustRestore(t, parts)
	if len(done.Ends) != 1 || done.Ends[0].Cut != kept.Revision || done.Epoch < 2 || len(done.Back) != 0 {
		t.Errorf("restored %+v", done)
	}
	again := running(t, parts)
	session := func(e store.Entry) store.Vector {
		return store.VectorOf(store.Mark{Origin: e.Origin, Revision: e.Revision})
	}
	if !again.Lost(session(lost)) || again.Lost(session(kept)) || again.Lost(store.Vector{}) {
		t.Errorf("lost: %v, %v", again.Lost(session(lost)), again.Lost(session(kept)))
	}
	written := again.put(t, "c", "new")
	if written.Revision <= lost.Revision || again.Lost(session(written)) {
		t.Errorf("%d is given out after %d was lost", written.Revision, lost.Revision)
	}
	again.level(t)
	if _, err := again.Changes(t.Context(), lostToken, store.ChangeOptions{Space: store.User}); !errors.Is(err, store.ErrResync) {
		t.Errorf("the lost token: %v", err)
	}
	page, err := again.Changes(t.Context(), keptToken, store.ChangeOptions{Space: store.User})
	if err != nil || len(page.Entries) != 1 || page.Entries[0].Revision != written.Revision {
		t.Errorf("the kept token: %+v, %v", page, err)
	}
	for _, e := range []store.Entry{kept, written} {
		if got, err := again.Get(t.Context(), e.Key, store.ReadOptions{Session: session(e)}); err != nil || got.Entry.Revision != e.Revision {
			t.Errorf("%s: %+v, %v", e.Key, got, err)
		}
	}
}

// TestRestoreTakesBackWhatOthersHold: only the master comes from a backup.
func TestRestoreTakesBackWhatOthersHold(t *testing.T) {
	r := newRig(t, 3, options())
	r.put(t, "a", "1")
	r.put(t, "b", "1")
	r.level(t)
	old := backup(t, r.parts[0])
	r.put(t, "a", "2")
	r.put(t, "c", "1")
	err := r.Update(t.Context(), []store.Key{store.User.Key("b")}, store.UpdateOptions{}, func(v *store.Tx) error { v.Delete(store.User.Key("b")); return nil })
	if err != nil {
		t.Fatal(err)
	}
	copyAll(t, t.Context(), r.parts[0], r.parts[2], "p0") // p1 has no entries
	for name, c := range map[string]struct {
		master *memory.Partition
		back   int
	}{
		"an older master": {old, 3},
		"an empty master": {memory.New("p0"), 3}, // a, c and the tombstone of b
	} {
		t.Run(name, func(t *testing.T) {
			parts := []*memory.Partition{c.master, backup(t, r.parts[1]), backup(t, r.parts[2])}
			if done := mustRestore(t, parts); done.Back["p0"] != c.back {
				t.Errorf("restored %+v", done)
			}
			again := running(t, parts)
			page, err := again.List(t.Context(), store.ListOptions{Space: store.User, Values: true, ReadOptions: store.ReadOptions{Consistency: store.FromMaster}})
			if err != nil || len(page.Entries) != 2 || string(page.Entries[0].Value) != "2" || string(page.Entries[1].Value) != "1" {
				t.Errorf("%+v, %v", page, err)
			}
			again.put(t, "d", "1")
			again.level(t)
			for _, p := range again.parts {
				if page, err := again.List(t.Context(), store.ListOptions{Space: store.User, ReadOptions: store.ReadOptions{Partition: p.Name()}}); err != nil || len(page.Entries) != 3 {
					t.Errorf("%s: %+v, %v", p.Name(), page, err)
				}
			}
		})
	}
}

// TestRestoreRefusesWhatItCannotJoin: a Restore that must be refused changes nothing.
func TestRestoreRefusesWhatItCannotJoin(t *testing.T) {
	r := newRig(t, 2, options())
	r.put(t, "a", "1")
	r.level(t)
	old := backup(t, r.parts[0])
	diverged := running(t, []*memory.Partition{backup(t, r.parts[0]), memory.New("p1")})
	diverged.put(t, "x", "1")
	last := r.put(t, "b", "1")
	r.put(t, "c", "1")
	r.level(t)
	collected := backup(t, r.parts[1])
	if _, err := collected.Collect(t.Context(), "p0", last.Revision); err != nil {
		t.Fatal(err)
	}
	foreign := memory.New("p1")
	other := partition.Cluster{ID: "other", Epoch: 1, Masters: []string{"p0"}, Slots: make([]uint16, store.Slots)}
	if _, err := foreign.Join(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	away := backup(t, r.parts[1])
	away.Fail(func(string) error { return partition.ErrUnavailable })
	busy := backup(t, r.parts[1])
	if _, err := busy.Acquire(t.Context(), "a sync process", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	for want, parts := range map[string][]*memory.Partition{
		"empty its database":                     {backup(t, old), collected},
		"different writes under the same":        {diverged.parts[0], backup(t, r.parts[1])},
		"another cluster":                        {backup(t, old), foreign},
		"p1: ":                                   {backup(t, old), away},
		"end every other runnel process":         {backup(t, old), busy},
		"no configured partition that is reacha": {memory.New("p0"), memory.New("p1")},
	} {
		s := storeOver(t, parts, func(*store.Options) {})
		if _, err := s.Restore(t.Context(), time.Minute); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
		if row, err := parts[0].Cluster(t.Context()); err == nil && row.Epoch != 1 {
			t.Errorf("%q: %+v", want, row)
		}
	}
}

// TestPartitionThatMissedARestoreIsRefused: a partition that was away during a Restore is
// refused if it holds lost writes, and serves otherwise.
func TestPartitionThatMissedARestoreIsRefused(t *testing.T) {
	r := newRig(t, 2, options())
	r.put(t, "a", "1")
	r.level(t)
	parts := backupAll(t, r.parts)
	older := backup(t, r.parts[1])
	r.put(t, "a", "lost")
	r.level(t)
	mustRestore(t, parts[:1])
	again := running(t, []*memory.Partition{parts[0], r.parts[1]})
	eventually(t, "refusal", func() bool {
		st := again.Status().Partitions[1]
		return st.State == store.Refused && strings.Contains(st.Err.Error(), "did not count")
	})
	if _, err := restore(t, []*memory.Partition{parts[0], r.parts[1]}); err == nil || !strings.Contains(err.Error(), "did not count") {
		t.Errorf("a restore over it: %v", err)
	}
	level := running(t, []*memory.Partition{parts[0], older})
	eventually(t, "readiness", func() bool { return level.Status().Partitions[1].State == store.Ready })
	if row, err := older.Cluster(t.Context()); err != nil || row.Epoch < 2 || len(row.Ends) != 1 {
		t.Errorf("it was taught %+v, %v", row, err)
	}
}

// TestLaterEpochIsHonoured: a running process takes a later epoch.
func TestLaterEpochIsHonoured(t *testing.T) {
	r := newRig(t, 2, options())
	r.put(t, "a", "1")
	r.level(t)
	before := r.put(t, "b", "1")
	mustRestore(t, r.parts)
	eventually(t, "a write in the new epoch", func() bool {
		w, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("c")})
		return err == nil && w.Entry.Revision.Epoch() > 1
	})
	if r.Status().Epoch < 2 || r.Lost(store.VectorOf(store.Mark{Origin: "p0", Revision: before.Revision})) {
		t.Errorf("%+v", r.Status())
	}
}

// TestLaterEpochWithOtherMastersStopsWrites: a process that is configured for the masters
// of the earlier epoch stops writing.
func TestLaterEpochWithOtherMastersStopsWrites(t *testing.T) {
	r := newRig(t, 2, options())
	parts := backupAll(t, r.parts)
	row, err := parts[1].Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	row.Epoch, row.Masters = 2, []string{"p1"}
	if _, err := parts[1].Accept(t.Context(), row); err != nil {
		t.Fatal(err)
	}
	s := storeOver(t, parts, func(o *store.Options) { o.Masters = []string{"p0"} })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.Run(ctx); err == nil || !strings.Contains(err.Error(), "the cluster has p1, the configuration p0") {
		t.Errorf("Run: %v", err)
	}
	if row, err := parts[0].Cluster(t.Context()); err != nil || row.Epoch != 2 {
		t.Errorf("p0 was taught %+v, %v", row, err)
	}
}

// TestRestoreIsRepeatedWhereItWasCutShort: a Restore is repeated after an interruption and
// further writes.
func TestRestoreIsRepeatedWhereItWasCutShort(t *testing.T) {
	r := newRig(t, 3, options(), "p0", "p1")
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		r.put(t, name, "1")
	}
	r.level(t)
	parts := backupAll(t, r.parts)
	for _, cut := range []int{0, 1, 2} {
		handles := []*memory.Partition{parts[0].Reopen(), parts[1].Reopen(), parts[2].Reopen()}
		handles[cut].Fail(func(op string) error {
			if op == memory.OpAccept {
				return partition.ErrUnavailable
			}
			return nil
		})
		s := storeOver(t, handles, func(o *store.Options) { o.Masters = []string{"p0", "p1"} })
		if _, err := s.Restore(t.Context(), time.Minute); !errors.Is(err, partition.ErrUnavailable) {
			t.Fatalf("cut at p%d: %v", cut, err)
		}
		if cut == 1 { // p0 is in the new epoch, and a process writes to p1 in the old epoch
			b := partition.Batch{Epoch: 1, Revisions: 1, Write: []partition.Entry{{Key: "k/between"}}}
			if _, err := parts[1].Commit(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		}
	}
	s := storeOver(t, parts, func(o *store.Options) { o.Masters = []string{"p0", "p1"} })
	if _, err := s.Restore(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	again := &rig{parts: parts}
	again.start(t, options(), "p0", "p1")
	eventually(t, "both masters", func() bool {
		st := again.Status().Partitions
		return st[0].Writable && st[1].Writable
	})
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		again.put(t, name, "2")
	}
}

// TestEpochThatIsUsedUpHasAWayOut: an epoch has 2^40 revisions.
func TestEpochThatIsUsedUpHasAWayOut(t *testing.T) {
	r := newRig(t, 1, options())
	last := r.put(t, "a", "1").Revision
	end := partition.Floor(2) - 3
	if err := r.parts[0].Apply(t.Context(), partition.Copy{Origin: "p0", From: last, To: end, Goal: end}); err != nil {
		t.Fatal(err)
	}
	var err error
	for n := 0; err == nil; n++ {
		if n > 3 {
			t.Fatal("writes go on")
		}
		_, err = r.Put(t.Context(), store.Entry{Key: store.User.Key("b")})
	}
	eventually(t, "the reason", func() bool {
		_, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("b")})
		return errors.Is(err, store.ErrMasterUnavailable) && strings.Contains(err.Error(), "epoch 1 are used up, and 'runnel restore'")
	})
	mustRestore(t, r.parts)
	eventually(t, "a write in the new epoch", func() bool {
		w, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("b")})
		return err == nil && w.Entry.Revision.Epoch() > 1
	})
}
