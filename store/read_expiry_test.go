package store_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// TestNoReadGoesByTheClockOfThisHost: the clocks of this host and of a replica are an hour
// off the master's, in opposite directions. By every kind of read an entry exists until it
// expires by the master's clock, and never afterwards.
func TestNoReadGoesByTheClockOfThisHost(t *testing.T) {
	for _, off := range []time.Duration{-time.Hour, time.Hour} {
		t.Run(off.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &storetest.Rig{Parts: []*memory.Partition{memoryOff("p0", off), memoryOff("p1", -off)}}
				o := storetest.Options()
				o.Poll = time.Second
				r.Start(t, o)
				key, began := store.User.Key("a"), time.Now()
				if err := r.Update(t.Context(), []store.Key{key}, store.UpdateOptions{}, func(v *store.Tx) error {
					v.Put(store.Entry{Key: key, Value: []byte("1"), ExpiresAt: v.Now().Add(10 * time.Second)})
					return nil
				}); err != nil {
					t.Fatal(err)
				}
				done := time.Now()
				r.Level(t)
				time.Sleep(time.Until(began.Add(10*time.Second - time.Millisecond)))
				wantShown(t, r, key, true)
				time.Sleep(time.Until(done.Add(10*time.Second + time.Millisecond)))
				wantShown(t, r, key, false)
				time.Sleep(2 * time.Hour)
				wantShown(t, r, key, false)
			})
		})
	}
}

// TestEntryRenewedWhileItIsReadIsNotGone: a delayed answer to a read holds the entry
// from before a renewal. That entry has expired by now, but the key was never absent.
func TestEntryRenewedWhileItIsReadIsNotGone(t *testing.T) {
	key := store.User.Key("a")
	for way, shows := range map[string]func(*testing.T, *storetest.Rig) bool{
		"Get": func(t *testing.T, r *storetest.Rig) bool {
			_, err := r.Get(t.Context(), key, store.ReadOptions{Consistency: store.FromMaster})
			return err == nil
		},
		"GetMany": func(t *testing.T, r *storetest.Rig) bool {
			return getMany(t, r, []store.Key{key}, store.ReadOptions{Consistency: store.FromMaster})[0].err == nil
		},
		"List": func(t *testing.T, r *storetest.Rig) bool {
			page, err := r.List(t.Context(), store.ListOptions{Space: store.User})
			return err == nil && len(page.Entries) == 1
		},
	} {
		t.Run(way, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &late{Partition: memory.New("p0")}
				r, o := &storetest.Rig{}, storetest.Options()
				o.Poll, o.Timeout, o.Partitions = time.Second, time.Minute, []partition.Partition{p}
				r.Start(t, o)
				renew := func() {
					if err := r.Update(t.Context(), []store.Key{key}, store.UpdateOptions{}, func(v *store.Tx) error {
						v.Put(store.Entry{Key: key, Value: []byte("1"), ExpiresAt: v.Now().Add(10 * time.Second)})
						return nil
					}); err != nil {
						t.Error(err)
					}
				}
				renew()
				time.Sleep(8 * time.Second)
				onTheWay := func() { renew(); time.Sleep(5 * time.Second) }
				p.meanwhile.Store(&onTheWay)
				if !shows(t, r) {
					t.Error("it is gone")
				}
				time.Sleep(5*time.Second + time.Millisecond)
				if shows(t, r) {
					t.Error("it is there after its time")
				}
			})
		})
	}
}

// late is a partition that delays its next answer.
type late struct {
	*memory.Partition
	meanwhile atomic.Pointer[func()]
}

func (p *late) wait() {
	if meanwhile := p.meanwhile.Swap(nil); meanwhile != nil {
		(*meanwhile)()
	}
}

func (p *late) Get(ctx context.Context, keys []store.Key) ([]store.Entry, error) {
	entries, err := p.Partition.Get(ctx, keys)
	p.wait()
	return entries, err
}

func (p *late) List(ctx context.Context, s partition.Span) ([]store.Entry, bool, error) {
	entries, more, err := p.Partition.List(ctx, s)
	p.wait()
	return entries, more, err
}

// memoryOff is a partition with a clock that differs from this host's by off.
func memoryOff(name string, off time.Duration) *memory.Partition {
	return memory.New(name, memory.Clock(func() time.Time { return time.Now().Add(off) }))
}

// wantShown checks every kind of read of an entry.
func wantShown(t *testing.T, r *storetest.Rig, key store.Key, want bool) {
	t.Helper()
	check := func(way string, shown bool) {
		t.Helper()
		if shown != want {
			t.Errorf("%s shows it: %v", way, shown)
		}
	}
	options := []store.ReadOptions{{Consistency: store.FromMaster}, {Consistency: store.Quorum, Copies: store.AllCopies}}
	for _, p := range r.Parts {
		options = append(options, store.ReadOptions{Partition: p.Name()})
	}
	for _, o := range options {
		way := string(o.Consistency) + o.Partition
		_, err := r.Get(t.Context(), key, o)
		check("Get of "+way, !errors.Is(err, store.ErrNotFound))
		check("GetMany of "+way, !errors.Is(getMany(t, r, []store.Key{key}, o)[0].err, store.ErrNotFound))
		page, err := r.List(t.Context(), store.ListOptions{Space: store.User, ReadOptions: o})
		check("List of "+way, err == nil && len(page.Entries) > 0)
	}
	all, _ := r.ReadAll(t, store.ChangeToken{}, store.ChangeOptions{Space: store.User, Values: true, Limit: store.MaxLimit})
	check("Changes", len(all) == 1 && !all[0].Deleted)
	if err := r.Update(t.Context(), []store.Key{key}, store.UpdateOptions{}, func(v *store.Tx) error {
		_, found := v.Get(key)
		check("a condition", found)
		return nil
	}); err != nil {
		t.Error(err)
	}
	keys, err := r.Parts[0].Expired(t.Context(), partition.ExpirySpan{Origin: "p0", Limit: 10})
	check("what is to be swept", err == nil && len(keys) == 0)
}

// TestPartitionThatIsFilledAfreshServesNoReads: a complete partition that missed collected
// tombstones was emptied. Its state is Filling, and it serves no reads of that origin until
// it is complete again.
func TestPartitionThatIsFilledAfreshServesNoReads(t *testing.T) {
	o := storetest.Options()
	o.Read, o.Local = store.ReadLocal, "p1"
	r := storetest.New(t, 2, o, "p0", "p1")
	storetest.Eventually(t, "both masters", func() bool {
		st := r.Status().Partitions
		return st[0].Writable && st[1].Writable
	})
	var a store.Entry
	for name := 'a'; a.Origin != "p0"; name++ {
		a = r.MustPut(t, string(name), "1")
	}
	r.Level(t)
	p1 := r.Parts[1]
	want := func(when, from string, state store.State) {
		t.Helper()
		at, err := p1.Positions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r.Observe("p1", at)
		got, err := r.Get(t.Context(), a.Key, store.ReadOptions{})
		if err != nil || got.Partition != from {
			t.Errorf("%s: read from %q, %v", when, got.Partition, err)
		}
		st := r.Status().Partitions[1]
		whole := from == "p1"
		if st.State != state || st.Origins[0].Readable != whole || !st.Origins[1].Readable {
			t.Errorf("%s: status %+v", when, st)
		}
	}
	want("whole", "p1", store.Ready)
	if err := p1.Reset(t.Context(), "p0"); err != nil {
		t.Fatal(err)
	}
	want("emptied", "p0", store.Filling)
	if err := p1.Apply(t.Context(), partition.Copy{Origin: "p0", To: a.Revision - 1, Goal: a.Revision}); err != nil {
		t.Fatal(err)
	}
	want("amid the filling", "p0", store.Filling)
	r.Level(t)
	want("whole again", "p1", store.Ready)
}
