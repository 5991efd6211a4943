package routing_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// movedRig is a store whose key "a" moved from p0, which has written it twice, to p1, which has written it
// since. p1 is the master of "a" alone, and p0 of the rest, for example of "b".
type movedRig struct {
	*storetest.Rig
	t      *testing.T
	former []store.Mark // of the entries of "a" on p0
	latest store.Mark
}

// newMovedRig makes a rig in which p0 and p1 are level. prepare brings p2 to a state, before the store starts.
func newMovedRig(t *testing.T, prepare func(*movedRig)) *movedRig {
	t.Helper()
	r := &movedRig{Rig: &storetest.Rig{}, t: t}
	a := uint16(store.SlotOf(store.User.Key("a")))
	c := partition.Cluster{ID: "c", Epoch: 1, Masters: []string{"p0", "p1"}, Slots: make([]uint16, store.Slots)}
	for _, name := range []string{"p0", "p1", "p2"} {
		p := memory.New(name)
		_, err := p.Join(t.Context(), c)
		r.must(err)
		r.must(p.Finish(t.Context()))
		r.Parts = append(r.Parts, p)
	}
	r.commit(0, "b", "1")
	r.commit(1, "other", "1")
	r.former = append(r.former, r.commit(0, "a", "1"))
	r.level(2, "p0")
	r.level(2, "p1")
	r.former = append(r.former, r.commit(0, "a", "2"))
	c.Epoch, c.Slots, c.Epochs = 3, slices.Clone(c.Slots), map[string]int64{"p0": 2, "p1": 3}
	c.Slots[a] = 1
	c.Moves = []partition.Move{{Slots: partition.NewSlotSet(store.Slots, a), From: "p0", To: "p1", Began: 2, Done: 3}}
	r.accept(c)
	r.level(1, "p0")
	r.latest = r.commit(1, "a", "3")
	r.level(0, "p1")
	prepare(r)
	o := storetest.Options()
	o.Read, o.Local, o.SessionWait = store.ReadLocal, "p2", -1
	row, err := r.Parts[0].Cluster(t.Context())
	r.must(err)
	r.Start(t, o, row.Masters...)
	storetest.Eventually(t, "known positions", func() bool {
		return !slices.ContainsFunc(r.Status().Partitions, func(p store.PartitionStatus) bool { return p.ReadAt.IsZero() })
	})
	return r
}

func (r *movedRig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *movedRig) accept(c partition.Cluster) {
	r.t.Helper()
	for _, p := range r.Parts {
		_, err := p.Accept(r.t.Context(), c)
		r.must(err)
	}
}

// commit writes on a partition, by its counter's epoch.
func (r *movedRig) commit(i int, name, value string) store.Mark {
	r.t.Helper()
	p := r.Parts[i]
	at, err := p.Positions(r.t.Context())
	r.must(err)
	e := partition.Entry{Key: store.User.Key(name), Value: []byte(value), Size: int64(len(value)), Checksum: partition.Checksum([]byte(value))}
	claim, err := p.Commit(r.t.Context(), partition.Batch{Epoch: at.Origins[partition.Origin(p.Name())].Revision.Epoch(), Revisions: 1, Write: []partition.Entry{e}})
	r.must(err)
	return store.Mark{Origin: store.Origin(p.Name()), Revision: claim.First}
}

// level copies an origin to a partition.
func (r *movedRig) level(target int, o store.Origin) {
	r.t.Helper()
	source := slices.IndexFunc(r.Parts, func(p *memory.Partition) bool { return p.Name() == string(o) })
	storetest.CopyAll(r.t, r.t.Context(), r.Parts[source], r.Parts[target], o)
}

// amidJointCopy brings p2 to p0's position, with the goal for p1 that the sync process sets.
func amidJointCopy(r *movedRig) {
	at, err := r.Parts[2].Positions(r.t.Context())
	r.must(err)
	r.level(2, "p0")
	p1 := at.Origins["p1"].Revision
	r.must(r.Parts[2].Apply(r.t.Context(), partition.Copy{Origin: "p1", From: p1, To: p1, Goal: r.latest.Revision}))
}

// TestSessionAfterAMoveIsNotAnsweredAmidACopy: p2 has the former master's position, and still an older entry.
func TestSessionAfterAMoveIsNotAnsweredAmidACopy(t *testing.T) {
	r := newMovedRig(t, amidJointCopy)
	for _, o := range []store.ReadOptions{
		{Session: store.VectorOf(r.former[1])},
		{Session: store.VectorOf(r.former[1], r.latest)},
		{Consistency: store.Bounded, MaxStaleness: time.Hour, Session: store.VectorOf(r.former[1])},
	} {
		got, err := r.Get(t.Context(), store.User.Key("a"), o)
		if err != nil || string(got.Entry.Value) != "3" {
			t.Errorf("%+v: %q of %s, %v", o, got.Entry.Value, got.Partition, err)
		}
		var many []string
		r.GetMany(t.Context(), []store.Key{store.User.Key("a")}, o, func(_ int, got store.Read, _ error) {
			many = append(many, string(got.Entry.Value))
		})
		if !slices.Equal(many, []string{"3"}) {
			t.Errorf("%+v: many are %q", o, many)
		}
	}
	o := store.ListOptions{Space: store.User, Values: true}
	o.Session = store.VectorOf(r.former[1])
	page, err := r.List(t.Context(), o)
	if err != nil || len(page.Entries) != 3 || string(page.Entries[0].Value) != "3" {
		t.Errorf("the list is %+v, %v", page.Entries, err)
	}
	got, err := r.Get(t.Context(), store.User.Key("b"), store.ReadOptions{Session: store.VectorOf(r.former[1])})
	if err != nil || got.Partition != "p2" {
		t.Errorf("a key that has not moved is read from %s, %v", got.Partition, err)
	}
	r.onlyP2()
	for _, session := range []store.Vector{store.VectorOf(r.former[1]), store.VectorOf(r.former[1], r.latest)} {
		o := store.ReadOptions{Session: session}
		if got, err := r.Get(t.Context(), store.User.Key("a"), o); !errors.As(err, new(*store.SessionError)) {
			t.Errorf("%+v: %q of %s, %v", o, got.Entry.Value, got.Partition, err)
		}
		if page, err := r.List(t.Context(), store.ListOptions{Space: store.User, ReadOptions: o}); err == nil {
			t.Errorf("%+v: listed %d entries from %s", o, len(page.Entries), page.Partition)
		}
	}
	o = store.ListOptions{Space: store.User}
	if page, err := r.List(t.Context(), o); err != nil || page.Partition != "p2" {
		t.Errorf("without a session: %s, %v", page.Partition, err)
	}
}

// onlyP2 makes p0 and p1 fail.
func (r *movedRig) onlyP2() {
	for _, p := range r.Parts[:2] {
		p.Fail(func(string) error { return partition.ErrUnavailable })
	}
}

// TestSessionAfterAMoveIsAnsweredByAWholeReplica.
func TestSessionAfterAMoveIsAnsweredByAWholeReplica(t *testing.T) {
	r := newMovedRig(t, func(r *movedRig) { r.level(2, "p0"); r.level(2, "p1") })
	for _, o := range []store.ReadOptions{{Session: store.VectorOf(r.former[1], r.latest)}, {Consistency: store.Bounded, MaxStaleness: time.Hour}} {
		got, err := r.Get(t.Context(), store.User.Key("a"), o)
		if err != nil || string(got.Entry.Value) != "3" || got.Partition != "p2" {
			t.Errorf("%+v: %q of %s, %v", o, got.Entry.Value, got.Partition, err)
		}
	}
}

// TestReplicaWithoutAFormerMasterServesNoReads: p0 is no master any more, and p2 holds nothing of it.
func TestReplicaWithoutAFormerMasterServesNoReads(t *testing.T) {
	r := newMovedRig(t, func(r *movedRig) {
		row, err := r.Parts[0].Cluster(t.Context())
		r.must(err)
		all := make([]uint16, store.Slots)
		for i := range all {
			all[i] = uint16(i)
		}
		row.Moves = append(slices.Clone(row.Moves), partition.Move{Slots: partition.NewSlotSet(store.Slots, all...), From: "p0", To: "p1", Began: 4})
		row.Epoch, row.Epochs = 4, map[string]int64{"p0": 4, "p1": 3}
		r.accept(row)
		r.level(1, "p0")
		r.level(2, "p0")
		row.Moves = slices.Clone(row.Moves)
		row.Moves[1].Done = 5
		row.Epoch, row.Masters, row.Slots, row.Epochs = 5, []string{"p1"}, make([]uint16, store.Slots), map[string]int64{"p1": 5}
		r.accept(row)
		r.Parts[2] = memory.New("p2") // a new partition, of which the copy of p0 has not begun
		_, err = r.Parts[2].Join(t.Context(), row)
		r.must(err)
		for _, i := range []int{0, 2} {
			r.level(i, "p1")
		}
	})
	for range 20 {
		got, err := r.Get(t.Context(), store.User.Key("b"), store.ReadOptions{})
		if err != nil || got.Partition == "p2" {
			t.Fatalf("read from %s: %v", got.Partition, err)
		}
		page, err := r.List(t.Context(), store.ListOptions{Space: store.User})
		if err != nil || page.Partition == "p2" || len(page.Entries) != 3 {
			t.Fatalf("listed from %s: %d entries, %v", page.Partition, len(page.Entries), err)
		}
		all, _ := r.ReadAll(t, store.ChangeToken{}, store.ChangeOptions{Space: store.User, Limit: store.MaxLimit})
		if len(all) != 3 {
			t.Fatalf("%d changes", len(all))
		}
	}
	st := r.Status()
	if p := st.Partitions[2]; p.Readable || p.State != store.Filling || !st.Readable() || len(p.Origins) != 2 {
		t.Errorf("p2 is %+v", p)
	}
	if p := st.Partitions[1]; !p.Readable || p.Origins[1].Origin != "p0" || p.Origins[1].Lag != 0 || p.Origins[1].Age != 0 {
		t.Errorf("p1 is %+v", p)
	}
	r.onlyP2()
	if got, err := r.Get(t.Context(), store.User.Key("b"), store.ReadOptions{}); !errors.Is(err, store.ErrNoPartition) {
		t.Errorf("read from %q: %v", got.Partition, err)
	}
	if page, err := r.List(t.Context(), store.ListOptions{Space: store.User}); !errors.Is(err, store.ErrNoPartition) {
		t.Errorf("listed from %q: %v", page.Partition, err)
	}
	if page, err := r.Changes(t.Context(), store.ChangeToken{}, store.ChangeOptions{Space: store.User, Limit: 10}); !errors.Is(err, store.ErrNoPartition) {
		t.Errorf("changes of %q: %v", page.Partition, err)
	}
}
