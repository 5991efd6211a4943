package cluster_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
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

func running(t *testing.T, parts []*memory.Partition) *storetest.Rig {
	t.Helper()
	r := &storetest.Rig{}
	for _, p := range parts {
		r.Parts = append(r.Parts, p.Reopen())
	}
	r.Start(t, storetest.Options())
	return r
}

// TestRestoreRecognisesWhatWasLost: all partitions come from a backup. Marks of later
// writes are recognised as lost, earlier marks stay valid.
func TestRestoreRecognisesWhatWasLost(t *testing.T) {
	r := storetest.New(t, 2, storetest.Options())
	r.MustPut(t, "a", "1")
	kept := r.MustPut(t, "b", "1")
	r.Level(t)
	keptToken, err := r.ChangesNow(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	parts := backupAll(t, r.Parts)
	r.MustPut(t, "a", "lost")
	lost := r.MustPut(t, "c", "lost")
	r.Level(t)
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
	written := again.MustPut(t, "c", "new")
	if written.Revision <= lost.Revision || again.Lost(session(written)) {
		t.Errorf("%d is given out after %d was lost", written.Revision, lost.Revision)
	}
	again.Level(t)
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
	r := storetest.New(t, 3, storetest.Options())
	r.MustPut(t, "a", "1")
	r.MustPut(t, "b", "1")
	r.Level(t)
	old := backup(t, r.Parts[0])
	r.MustPut(t, "a", "2")
	r.MustPut(t, "c", "1")
	err := r.Update(t.Context(), []store.Key{store.User.Key("b")}, store.UpdateOptions{}, func(v *store.Tx) error { v.Delete(store.User.Key("b")); return nil })
	if err != nil {
		t.Fatal(err)
	}
	storetest.CopyAll(t, t.Context(), r.Parts[0], r.Parts[2], "p0") // p1 has no entries
	for name, c := range map[string]struct {
		master *memory.Partition
		back   int
	}{
		"an older master": {old, 3},
		"an empty master": {memory.New("p0"), 3}, // a, c and the tombstone of b
	} {
		t.Run(name, func(t *testing.T) {
			parts := []*memory.Partition{c.master, backup(t, r.Parts[1]), backup(t, r.Parts[2])}
			if done := mustRestore(t, parts); done.Back["p0"] != c.back {
				t.Errorf("restored %+v", done)
			}
			again := running(t, parts)
			page, err := again.List(t.Context(), store.ListOptions{Space: store.User, Values: true, ReadOptions: store.ReadOptions{Consistency: store.FromMaster}})
			if err != nil || len(page.Entries) != 2 || string(page.Entries[0].Value) != "2" || string(page.Entries[1].Value) != "1" {
				t.Errorf("%+v, %v", page, err)
			}
			again.MustPut(t, "d", "1")
			again.Level(t)
			for _, p := range again.Parts {
				if page, err := again.List(t.Context(), store.ListOptions{Space: store.User, ReadOptions: store.ReadOptions{Partition: p.Name()}}); err != nil || len(page.Entries) != 3 {
					t.Errorf("%s: %+v, %v", p.Name(), page, err)
				}
			}
		})
	}
}

// TestRestoreRefusesWhatItCannotJoin: a Restore that must be refused changes nothing.
func TestRestoreRefusesWhatItCannotJoin(t *testing.T) {
	r := storetest.New(t, 2, storetest.Options())
	r.MustPut(t, "a", "1")
	r.Level(t)
	old := backup(t, r.Parts[0])
	diverged := running(t, []*memory.Partition{backup(t, r.Parts[0]), memory.New("p1")})
	diverged.MustPut(t, "x", "1")
	last := r.MustPut(t, "b", "1")
	r.MustPut(t, "c", "1")
	r.Level(t)
	collected := backup(t, r.Parts[1])
	if _, err := collected.Collect(t.Context(), "p0", last.Revision); err != nil {
		t.Fatal(err)
	}
	foreign := memory.New("p1")
	other := partition.Cluster{ID: "other", Epoch: 1, Masters: []string{"p0"}, Slots: make([]uint16, store.Slots)}
	if _, err := foreign.Join(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	away := backup(t, r.Parts[1])
	away.Fail(func(string) error { return partition.ErrUnavailable })
	busy := backup(t, r.Parts[1])
	if _, err := busy.Acquire(t.Context(), "a sync process", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	for want, parts := range map[string][]*memory.Partition{
		"empty its database":                     {backup(t, old), collected},
		"different writes under the same":        {diverged.Parts[0], backup(t, r.Parts[1])},
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
	r := storetest.New(t, 2, storetest.Options())
	r.MustPut(t, "a", "1")
	r.Level(t)
	parts := backupAll(t, r.Parts)
	older := backup(t, r.Parts[1])
	r.MustPut(t, "a", "lost")
	r.Level(t)
	mustRestore(t, parts[:1])
	again := running(t, []*memory.Partition{parts[0], r.Parts[1]})
	storetest.Eventually(t, "refusal", func() bool {
		st := again.Status().Partitions[1]
		return st.State == store.Refused && strings.Contains(st.Err.Error(), "did not count")
	})
	if _, err := restore(t, []*memory.Partition{parts[0], r.Parts[1]}); err == nil || !strings.Contains(err.Error(), "did not count") {
		t.Errorf("a restore over it: %v", err)
	}
	level := running(t, []*memory.Partition{parts[0], older})
	storetest.Eventually(t, "readiness", func() bool { return level.Status().Partitions[1].State == store.Ready })
	if row, err := older.Cluster(t.Context()); err != nil || row.Epoch < 2 || len(row.Ends) != 1 {
		t.Errorf("it was taught %+v, %v", row, err)
	}
}

// TestLaterEpochIsHonoured: a running process takes a later epoch.
func TestLaterEpochIsHonoured(t *testing.T) {
	r := storetest.New(t, 2, storetest.Options())
	r.MustPut(t, "a", "1")
	r.Level(t)
	before := r.MustPut(t, "b", "1")
	mustRestore(t, r.Parts)
	storetest.Eventually(t, "a write in the new epoch", func() bool {
		w, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("c")})
		return err == nil && w.Entry.Revision.Epoch() > 1
	})
	if r.Status().Epoch < 2 || r.Lost(store.VectorOf(store.Mark{Origin: "p0", Revision: before.Revision})) {
		t.Errorf("%+v", r.Status())
	}
}

// TestMastersOfTheMapCount: the masters of the configuration count only when the cluster is founded.
func TestMastersOfTheMapCount(t *testing.T) {
	r := storetest.New(t, 2, storetest.Options())
	parts := backupAll(t, r.Parts)
	row, err := parts[1].Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	row.Epoch, row.Masters = 2, []string{"p1"}
	if _, err := parts[1].Accept(t.Context(), row); err != nil {
		t.Fatal(err)
	}
	s := running(t, parts)
	storetest.Eventually(t, "a write to the master of the map", func() bool {
		w, err := s.Put(t.Context(), store.Entry{Key: store.User.Key("a")})
		return err == nil && w.Entry.Origin == "p1"
	})
	if row, err := parts[0].Cluster(t.Context()); err != nil || row.Epoch != 2 {
		t.Errorf("p0 was taught %+v, %v", row, err)
	}
}

// TestRestoreIsRepeatedWhereItWasCutShort: a Restore is repeated after an interruption and
// further writes.
func TestRestoreIsRepeatedWhereItWasCutShort(t *testing.T) {
	r := storetest.New(t, 3, storetest.Options(), "p0", "p1")
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		r.MustPut(t, name, "1")
	}
	r.Level(t)
	parts := backupAll(t, r.Parts)
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
	again := &storetest.Rig{Parts: parts}
	again.Start(t, storetest.Options(), "p0", "p1")
	storetest.Eventually(t, "both masters", func() bool {
		st := again.Status().Partitions
		return st[0].Writable && st[1].Writable
	})
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		again.MustPut(t, name, "2")
	}
}

// TestEpochThatIsUsedUpHasAWayOut: an epoch has 2^40 revisions.
func TestEpochThatIsUsedUpHasAWayOut(t *testing.T) {
	r := storetest.New(t, 1, storetest.Options())
	last := r.MustPut(t, "a", "1").Revision
	end := partition.Floor(2) - 3
	if err := r.Parts[0].Apply(t.Context(), partition.Copy{Origin: "p0", From: last, To: end, Goal: end}); err != nil {
		t.Fatal(err)
	}
	var err error
	for n := 0; err == nil; n++ {
		if n > 3 {
			t.Fatal("writes go on")
		}
		_, err = r.Put(t.Context(), store.Entry{Key: store.User.Key("b")})
	}
	storetest.Eventually(t, "the reason", func() bool {
		_, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("b")})
		return errors.Is(err, store.ErrMasterUnavailable) && strings.Contains(err.Error(), "epoch 1 are used up, and 'runnel restore'")
	})
	mustRestore(t, r.Parts)
	storetest.Eventually(t, "a write in the new epoch", func() bool {
		w, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("b")})
		return err == nil && w.Entry.Revision.Epoch() > 1
	})
}

// TestRestoreOutvotesEveryBallot: the new epoch counts although a mover has promised a later ballot, and a database that
// was emptied learns the map with the ballot.
func TestRestoreOutvotesEveryBallot(t *testing.T) {
	r := storetest.New(t, 2, storetest.Options())
	r.MustPut(t, "a", "1")
	r.Level(t)
	parts := r.Parts
	row, err := parts[0].Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	row.Epoch, row.Accepted, row.Chosen = 2, 4, 4
	row.Epochs, row.Voters = map[string]int64{"p0": 2}, []string{"p0", "p1"}
	row.Moves = []partition.Move{{Slots: partition.NewSlotSet(store.Slots, 3), From: "p1", To: "p0", Began: 1, Done: 2}}
	for _, p := range parts {
		if err := p.Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Accept(t.Context(), row); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := parts[1].Promise(t.Context(), 9); err != nil {
		t.Fatal(err)
	}
	done := mustRestore(t, parts)
	wantMap := func(p *memory.Partition) {
		t.Helper()
		got, err := p.Cluster(t.Context())
		if err != nil || got.Epoch != done.Epoch || got.Promised != 10 || got.Accepted != 10 || got.Chosen != 10 ||
			len(got.Epochs) > 0 || len(got.Voters) != 2 || len(got.Moves) != 1 {
			t.Errorf("after epoch %d began, %s has ballots %d, %d, %d in epoch %d, epochs %v, voters %v, %d moves, %v",
				done.Epoch, p.Name(), got.Promised, got.Accepted, got.Chosen, got.Epoch, got.Epochs, got.Voters, len(got.Moves), err)
		}
	}
	wantMap(parts[0])
	wantMap(parts[1])
	emptied := memory.New("p1")
	running(t, []*memory.Partition{parts[0], emptied})
	storetest.Eventually(t, "the map", func() bool {
		row, err := emptied.Cluster(t.Context())
		return err == nil && row.Epoch == done.Epoch
	})
	wantMap(emptied)
	if s := emptied.KnownSchema(); s.CheckBallots() != nil {
		t.Errorf("binaries that know no ballots may use the emptied partition: %+v", s)
	}
}

// TestRestoreFailsIfItIsOutvoted: another map was proposed while the Restore was running.
func TestRestoreFailsIfItIsOutvoted(t *testing.T) {
	r := storetest.New(t, 2, storetest.Options())
	r.MustPut(t, "a", "1")
	r.Level(t)
	if err := r.Parts[1].Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	mover := r.Parts[1].Reopen()
	handles := []*memory.Partition{r.Parts[0].Reopen(), r.Parts[1].Reopen()}
	handles[1].Fail(func(op string) error {
		if op == memory.OpAccept {
			if _, err := mover.Promise(t.Context(), 7); err != nil {
				t.Error(err)
			}
		}
		return nil
	})
	s := storeOver(t, handles, func(*store.Options) {})
	if _, err := s.Restore(t.Context(), time.Minute); !errors.Is(err, partition.ErrOutvoted) || !strings.Contains(err.Error(), "p1: ") {
		t.Errorf("Restore: %v", err)
	}
}
