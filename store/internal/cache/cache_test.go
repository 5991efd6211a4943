package cache_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// TestCacheKnowsWhatThisProcessDoes: a write through the store is visible to the next read;
// changes that the sync process brings to a replica are visible soon after.
func TestCacheKnowsWhatThisProcessDoes(t *testing.T) {
	o := storetest.Options()
	o.Poll = time.Hour // no polls
	t.Run("written", func(t *testing.T) {
		r := newCacheRig(t, o)
		for i := range 3 {
			e := r.MustPut(t, "a", fmt.Sprint("w", i))
			if !r.fromCache(func() {
				if got := r.getWith("a", in(store.Mark{Origin: e.Origin, Revision: e.Revision})); got != fmt.Sprint("w", i) {
					t.Errorf("a is %q", got)
				}
			}) {
				t.Error("it was read anew")
			}
		}
		got, err := r.Get(t.Context(), store.User.Key("a"), store.ReadOptions{Consistency: store.Bounded, MaxStaleness: time.Minute})
		if r.must(err); got.Entry.Size != 2 || got.Staleness < 0 {
			t.Errorf("%+v", got)
		}
	})
	t.Run("deleted", func(t *testing.T) {
		r := newCacheRig(t, o)
		r.delete(r.Store, "a")
		r.sync(true)
		if got := r.get("a"); got != "" {
			t.Errorf("a is %q", got)
		}
	})
	t.Run("many at once", func(t *testing.T) {
		r := newCacheRig(t, o)
		r.writeMany()
		r.MustPut(t, "a", "2")
		r.sync(true)
		r.cached("many/3/7", "1")
		r.cached("a", "2")
	})
	t.Run("applied", func(t *testing.T) {
		r := newCacheRig(t, o)
		r.putElsewhere("a", "2")
		r.sync(true)
		r.cached("a", "2")
		r.delete(r.other, "a")
		r.sync(true)
		storetest.Eventually(t, "deletion", func() bool { return r.get("a") == "" })
		r.MustPut(t, "a", "3") // caught up again: this process's writes are visible at once
		if got := r.get("a"); got != "3" {
			r.sync(true)
			r.cached("a", "3")
		}
	})
	t.Run("copied", func(t *testing.T) {
		r := newCacheRig(t, o)
		if held, err := r.Copy(t.Context(), r.MustPut(t, "a", "2"), 3); held != 3 || err != nil {
			t.Fatalf("Copy: %d, %v", held, err)
		}
		if got := r.get("a"); got != "2" {
			t.Errorf("a is %q", got)
		}
	})
	t.Run("emptied", func(t *testing.T) {
		r := newCacheRig(t, o)
		r.must(r.peer().Reset(t.Context(), "p0"))
		if got := r.get("a"); got != "1" {
			t.Errorf("a is %q", got)
		}
	})
	t.Run("a commit whose outcome is unknown", func(t *testing.T) {
		r := newCacheRig(t, o)
		r.Parts[0].Fail(func(op string) error {
			if op == memory.OpCommitted {
				return partition.ErrUnavailable
			}
			return nil
		})
		if _, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("a"), Value: []byte("2")}); !errors.Is(err, partition.ErrOutcomeUnknown) {
			t.Fatal(err)
		}
		r.Parts[0].Fail(nil)
		e := r.MustPut(t, "b", "2")
		if got := r.getWith("a", in(store.Mark{Origin: e.Origin, Revision: e.Revision})); got != "2" {
			t.Errorf("a is %q", got)
		}
		r.sync(true)
		r.cached("a", "2")
	})
}

// TestCacheIsNotBelievedBeyondWhatItHolds: writes of another process become visible once
// they are known to be replicated, and sessions are never answered with older entries.
func TestCacheIsNotBelievedBeyondWhatItHolds(t *testing.T) {
	o := storetest.Options()
	o.Poll = time.Hour // no polls
	t.Run("a session", func(t *testing.T) {
		r := newCacheRig(t, o)
		at := r.putElsewhere("a", "2")
		r.sync(false)
		r.observe(1)
		if got := r.getWith("a", in(at)); got != "2" {
			t.Errorf("a is %q", got)
		}
	})
	t.Run("positions", func(t *testing.T) {
		r := newCacheRig(t, o)
		r.putElsewhere("a", "2")
		r.sync(false)
		r.observe(1)
		r.cached("a", "2")
	})
	t.Run("amid a catch-up", func(t *testing.T) {
		r := newCacheRig(t, o)
		r.putElsewhere("b", "2")
		at := r.putElsewhere("a", "2")
		c := r.next()
		last := c.Entries[1]
		c.Entries, c.To, c.SyncedAt = c.Entries[:1], c.Entries[0].Revision, 0
		r.must(r.Parts[1].Apply(t.Context(), c))
		r.observe(1)
		for _, r1 := range []store.Revision{c.To, at.Revision} {
			if got := r.getWith("b", in(store.Mark{Origin: "p0", Revision: r1})); got != "2" {
				t.Errorf("b is %q", got)
			}
		}
		r.must(r.Parts[1].Apply(t.Context(), partition.Copy{Origin: "p0", From: c.To, To: last.Revision, Goal: last.Revision, SyncedAt: 1, Entries: []store.Entry{last}}))
		r.observe(1)
		r.cached("a", "2")
	})
	t.Run("a deletion that is collected", func(t *testing.T) {
		r := newCacheRig(t, o)
		r.delete(r.other, "a")
		at := r.putElsewhere("b", "2")
		r.sync(false)
		for _, p := range r.Parts[:2] {
			if n, err := p.Collect(t.Context(), "p0", at.Revision); n != 1 || err != nil {
				t.Fatalf("collected %d, %v", n, err)
			}
		}
		r.observe(1)
		storetest.Eventually(t, "deletion", func() bool { return r.get("a") == "" })
		if got := r.getWith("a", in(at)); got != "" {
			t.Errorf("a is %q", got)
		}
	})
	t.Run("a replica that is set back", func(t *testing.T) {
		r := newCacheRig(t, o)
		old := r.MustPut(t, "b", "1")
		at := r.MustPut(t, "b", "2")
		r.writeMany()
		c := r.next()
		r.sync(true)
		r.must(r.Parts[1].Reset(t.Context(), "p0"))
		back := partition.Copy{Origin: "p0", To: old.Revision, Goal: old.Revision, SyncedAt: c.SyncedAt, Entries: []store.Entry{old}}
		r.must(r.Parts[1].Apply(t.Context(), back))
		r.get("b") // of a replica whose known positions are outdated
		storetest.Eventually(t, "other positions", func() bool {
			return r.getWith("none", in(store.Mark{Origin: at.Origin, Revision: at.Revision})) == "" && r.Status().Partitions[1].Origins[0].Revision == old.Revision
		})
		r.sync(false)
		r.observe(1)
		r.cached("b", "2")
	})
	t.Run("everybody is away", func(t *testing.T) {
		o.Poll = time.Millisecond
		r := newCacheRig(t, o)
		r.Parts[1].Fail(func(string) error { return partition.ErrUnavailable })
		storetest.Eventually(t, "outage", func() bool { return r.peer().Err != nil })
		if got := r.get("a"); got != "1" {
			t.Errorf("a is %q", got)
		}
		for _, p := range r.Parts {
			p.Fail(func(string) error { return partition.ErrUnavailable })
		}
		storetest.Eventually(t, "an end", func() bool {
			_, err := r.Get(t.Context(), store.User.Key("a"), store.ReadOptions{})
			return errors.Is(err, store.ErrNoPartition)
		})
	})
}

// TestCacheKnowsFormerMasters: after slots have moved, the cached entry of a key must include what the session has seen of
// every master that the key had.
func TestCacheKnowsFormerMasters(t *testing.T) {
	o := storetest.Options()
	o.Poll = time.Hour
	c := partition.Cluster{ID: "c", Epoch: 3, Masters: []string{"p0"}, Slots: make([]uint16, store.Slots), Epochs: map[string]int64{"p0": 3}, Moves: []partition.Move{
		{Slots: partition.NewSlotSet(store.Slots, uint16(store.SlotOf(store.User.Key("a")))), From: "p2", To: "p0", Began: 2, Done: 3},
	}}
	var parts []*memory.Partition
	for i := range 3 {
		p := memory.New(fmt.Sprint("p", i))
		if _, err := p.Join(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		gone := partition.Copy{Origin: "p2", To: partition.Floor(2), Goal: partition.Floor(2), SyncedAt: 1}
		if err := p.Apply(t.Context(), gone); err != nil {
			t.Fatal(err)
		}
		parts = append(parts, p)
	}
	r := newCacheRigOver(t, o, parts...)
	for _, o := range []store.ReadOptions{{}, in(store.Mark{Origin: "p2", Revision: 7}), {Consistency: store.Bounded, MaxStaleness: time.Hour}} {
		if !r.fromCache(func() {
			if got := r.getWith("a", o); got != "1" {
				t.Errorf("%+v: a is %q", o, got)
			}
		}) {
			t.Errorf("%+v: not from the cache", o)
		}
	}
	beyond := in(store.Mark{Origin: "p2", Revision: partition.Floor(2) + 1})
	if r.fromCache(func() { _, _ = r.Get(t.Context(), store.User.Key("a"), beyond) }) {
		t.Error("what the session has seen of the former master is not known, and it was answered from the cache")
	}
	r.putElsewhere("b", "1")
	r.sync(true)
	r.fillWith("b") // of a slot that has never moved
	if !r.fromCache(func() { r.getWith("b", beyond) }) {
		t.Error("a key that the former master never had was not answered from the cache")
	}
}

// TestCacheWorksInEveryEpoch: the cache also works in a later epoch. What the session has seen of a partition that was
// never a master of the key does not matter.
func TestCacheWorksInEveryEpoch(t *testing.T) {
	o := storetest.Options()
	o.Poll = time.Hour
	var parts []*memory.Partition
	slots := make([]uint16, store.Slots)
	for i := range 3 {
		p := memory.New(fmt.Sprint("p", i))
		if _, err := p.Join(t.Context(), partition.Cluster{ID: "c", Name: p.Name(), Epoch: 3, Masters: []string{"p0"}, Slots: slots}); err != nil {
			t.Fatal(err)
		}
		parts = append(parts, p)
	}
	r := newCacheRigOver(t, o, parts...)
	e := r.MustPut(t, "a", "2")
	if e.Revision.Epoch() != 3 {
		t.Fatalf("epoch %d", e.Revision.Epoch())
	}
	own := store.Mark{Origin: e.Origin, Revision: e.Revision}
	for _, o := range []store.ReadOptions{{}, in(own), {Consistency: store.Bounded, MaxStaleness: time.Hour}} {
		if !r.fromCache(func() {
			if got := r.getWith("a", o); got != "2" {
				t.Errorf("%+v: a is %q", o, got)
			}
		}) {
			t.Errorf("%+v: not from the cache", o)
		}
	}
	if !r.fromCache(func() { r.getWith("a", in(own, store.Mark{Origin: "p2", Revision: 7})) }) {
		t.Error("not answered from the cache")
	}
	r.sync(true)
	r.putElsewhere("a", "3")
	r.sync(true)
	r.cached("a", "3")
}

// TestCacheAnswersNothingElse: reads from the master, of a quorum or of a named partition
// bypass the cache.
func TestCacheAnswersNothingElse(t *testing.T) {
	o := storetest.Options()
	o.Poll = time.Hour
	r := newCacheRig(t, o)
	for _, o := range []store.ReadOptions{
		{Consistency: store.FromMaster}, {Consistency: store.Quorum, Copies: 1}, {Partition: "p1"}, {Partition: "p2"},
		{Consistency: store.Bounded, MaxStaleness: time.Nanosecond},
	} {
		before := r.CacheStats().Hits
		if got := r.getWith("a", o); got != "1" || r.CacheStats().Hits != before {
			t.Errorf("%+v: %q, %d hits", o, got, r.CacheStats().Hits-before)
		}
	}
	for _, o := range []store.ReadOptions{
		{}, {Consistency: store.InSession}, {Consistency: store.Bounded, MaxStaleness: time.Hour},
	} {
		if !r.fromCache(func() {
			if got := r.getWith("a", o); got != "1" {
				t.Errorf("%+v: %q", o, got)
			}
		}) {
			t.Errorf("%+v: not from the cache", o)
		}
	}
	r.getWith("m", in(r.putElsewhere("m", "1"))) // from the master, the only partition that holds the write
	if got := r.get("m"); got != "" {
		t.Errorf("what the master answered was kept: %q", got)
	}
	got, err := r.Get(t.Context(), store.User.Key("a"), store.ReadOptions{})
	if r.must(err); got.Partition != "p1" || got.Seen.Revision != got.Entry.Revision || got.Staleness <= 0 {
		t.Errorf("from the cache: %+v", got)
	}
}

// TestCacheKeepsItsBounds: expired entries are not answered, large entries are not cached,
// and the cache stays within its size.
func TestCacheKeepsItsBounds(t *testing.T) {
	o := storetest.Options()
	o.Poll = time.Hour
	r := newCacheRig(t, o)
	r.MustPut(t, "large", strings.Repeat("x", 100<<10))
	for i := range 200 {
		r.MustPut(t, fmt.Sprint("many", i), strings.Repeat("x", 4<<10))
	}
	soon := partition.InstantOf(time.Now().Add(300 * time.Millisecond))
	_, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("short"), Value: []byte("1"), ExpiresAt: soon})
	r.must(err)
	r.sync(true)
	r.fillWith("short")
	if !r.fromCache(func() { r.get("short") }) {
		t.Error("an entry that is to expire was not kept")
	}
	storetest.Eventually(t, "expiry", func() bool { return r.get("short") == "" })
	for range 2 {
		r.get("large")
	}
	if r.fromCache(func() { r.get("large") }) {
		t.Error("a large entry was kept")
	}
	for i := range 200 {
		r.get(fmt.Sprint("many", i))
	}
	storetest.Eventually(t, "bounded cache", func() bool {
		at := r.CacheStats()
		return at.Entries > 10 && at.Bytes <= at.MaxBytes && at.MaxBytes == cacheBytes
	})
}

// TestCacheThatIsNotUsedCostsNothing: no changes are read for a cache that answers no
// reads. The next use starts a new generation.
func TestCacheThatIsNotUsedCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := storetest.Options()
		o.Poll = time.Second
		r := newCacheRig(t, o)
		var snapshots atomic.Int64
		for _, p := range r.Parts {
			p.Fail(func(op string) error {
				if op == memory.OpSnapshot {
					snapshots.Add(1)
				}
				return nil
			})
		}
		write := func(seconds int) int64 {
			before := snapshots.Load()
			for i := range seconds {
				r.putElsewhere("a", fmt.Sprint(i))
				r.sync(false)
				time.Sleep(time.Second)
			}
			return snapshots.Load() - before
		}
		synced := int64(40) // the copies themselves open a snapshot each
		if n := write(40); n <= synced || n > 2*synced-5 {
			t.Errorf("%d snapshots while the cache had been used lately", n-synced)
		}
		if n := write(40); n != synced {
			t.Errorf("%d snapshots while the cache was not used", n-synced)
		}
		r.putElsewhere("a", "2")
		r.sync(false)
		r.cached("a", "2")
	})
}

// TestCachedReadAllocatesNothing: a read from the cache allocates nothing.
func TestCachedReadAllocatesNothing(t *testing.T) {
	o := storetest.Options()
	o.Poll = time.Hour
	r := newCacheRig(t, o)
	key := store.User.Key("a")
	n := testing.AllocsPerRun(1000, func() {
		if _, err := r.Get(t.Context(), key, store.ReadOptions{}); err != nil {
			t.Error(err)
		}
	})
	if n > 0 {
		t.Errorf("%v allocations", n)
	}
}
