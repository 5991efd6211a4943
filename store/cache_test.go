package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// cacheRig is a store in which only p1 answers reads with Any, so that the contents of the
// cache are known.
type cacheRig struct {
	*rig
	t     *testing.T
	other *store.Store // another process
}

const cacheBytes = 512 << 10

func newCacheRig(t *testing.T, o store.Options) *cacheRig {
	t.Helper()
	var parts []*memory.Partition
	for i := range 3 {
		parts = append(parts, memory.New(fmt.Sprint("p", i)))
	}
	return newCacheRigOver(t, o, parts...)
}

func newCacheRigOver(t *testing.T, o store.Options, parts ...*memory.Partition) *cacheRig {
	t.Helper()
	another := &rig{}
	for _, p := range parts {
		another.parts = append(another.parts, p.Reopen())
	}
	another.start(t, o)
	// The entry is on every partition before r first reads their positions. A replica that
	// r once saw without the entry answers none of r's reads until the next poll, which
	// some tests postpone.
	another.put(t, "a", "1")
	another.level(t)
	o.CacheBytes, o.Read, o.Local = cacheBytes, store.ReadLocal, "p1"
	r := &cacheRig{&rig{parts: parts}, t, another.Store}
	r.start(t, o)
	r.fillWith("a")
	return r
}

// fillWith makes the cache answer reads of a key.
func (r *cacheRig) fillWith(name string) {
	r.t.Helper()
	eventually(r.t, "cached entry", func() bool { r.get(name); return r.fromCache(func() { r.get(name) }) })
}

// putElsewhere writes through another process.
func (r *cacheRig) putElsewhere(name, value string) store.Mark {
	r.t.Helper()
	w, err := r.other.Put(r.t.Context(), store.Entry{Key: store.User.Key(name), Value: []byte(value)})
	r.must(err)
	return store.Mark{Origin: w.Entry.Origin, Revision: w.Entry.Revision}
}

// in is the option for reads of a session.
func in(marks ...store.Mark) store.ReadOptions {
	return store.ReadOptions{Session: store.VectorOf(marks...)}
}

func (r *cacheRig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// get returns the value of a key, "" if there is none.
func (r *cacheRig) get(name string) string { return r.getWith(name, store.ReadOptions{}) }

func (r *cacheRig) getWith(name string, o store.ReadOptions) string {
	r.t.Helper()
	got, err := r.Get(r.t.Context(), store.User.Key(name), o)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		r.t.Fatal(err)
	}
	return string(got.Entry.Value)
}

// fromCache reports whether all reads of f were answered from the cache.
func (r *cacheRig) fromCache(f func()) bool {
	before := r.CacheStats()
	f()
	after := r.CacheStats()
	return after.Hits > before.Hits && after.Misses == before.Misses
}

// peer is p1 as the sync process of this process sees the partition.
func (r *cacheRig) peer() store.Replica { return r.Replicas()[1] }

// next is the copy that brings p1 to its master's position.
func (r *cacheRig) next() partition.Copy {
	r.t.Helper()
	at, err := r.parts[1].Positions(r.t.Context())
	r.must(err)
	snap, err := r.parts[0].Snapshot(r.t.Context(), "p0", at.Origins["p0"].Revision)
	r.must(err)
	defer snap.Close()
	head := snap.Position()
	entries, err := snap.Next(r.t.Context(), 20_000, 8<<20)
	r.must(err)
	return partition.Copy{Origin: "p0", From: at.Origins["p0"].Revision, To: head.Revision, Goal: head.Revision, SyncedAt: head.SyncedAt, Entries: entries}
}

func (r *cacheRig) delete(by *store.Store, name string) {
	r.t.Helper()
	key := store.User.Key(name)
	r.must(by.Update(r.t.Context(), []store.Key{key}, store.UpdateOptions{}, func(v *store.Tx) error {
		_, _ = v.Delete(key)
		return nil
	}))
}

// sync brings p1 to its master's position, as the sync process of this process or of
// another.
func (r *cacheRig) sync(here bool) {
	r.t.Helper()
	c := r.next()
	if here {
		r.must(r.peer().Apply(r.t.Context(), c))
		r.Advance("p1", partition.Position{Origin: c.Origin, Revision: c.To, Goal: c.Goal, SyncedAt: c.SyncedAt})
	} else {
		r.must(r.parts[1].Apply(r.t.Context(), c))
	}
}

// observe makes the store take the positions of a partition.
func (r *cacheRig) observe(i int) {
	r.t.Helper()
	at, err := r.parts[i].Positions(r.t.Context())
	r.must(err)
	r.Observe(r.parts[i].Name(), at)
}

// cached waits until a key has the value and is answered from the cache.
func (r *cacheRig) cached(name, want string) {
	r.t.Helper()
	eventually(r.t, "cached "+want, func() (ok bool) {
		return r.fromCache(func() { ok = r.get(name) == want }) && ok
	})
}

// TestCacheKnowsWhatThisProcessDoes: a write through the store is visible to the next read;
// changes that the sync process brings to a replica are visible soon after.
func TestCacheKnowsWhatThisProcessDoes(t *testing.T) {
	o := options()
	o.Poll = time.Hour // no polls
	t.Run("written", func(t *testing.T) {
		r := newCacheRig(t, o)
		for i := range 3 {
			e := r.put(t, "a", fmt.Sprint("w", i))
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
		r.put(t, "a", "2")
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
		eventually(t, "deletion", func() bool { return r.get("a") == "" })
		r.put(t, "a", "3") // caught up again: this process's writes are visible at once
		if got := r.get("a"); got != "3" {
			r.sync(true)
			r.cached("a", "3")
		}
	})
	t.Run("copied", func(t *testing.T) {
		r := newCacheRig(t, o)
		if held, err := r.Copy(t.Context(), r.put(t, "a", "2"), 3); held != 3 || err != nil {
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
		r.parts[0].Fail(func(op string) error {
			if op == memory.OpCommitted {
				return partition.ErrUnavailable
			}
			return nil
		})
		if _, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("a"), Value: []byte("2")}); !errors.Is(err, partition.ErrOutcomeUnknown) {
			t.Fatal(err)
		}
		r.parts[0].Fail(nil)
		e := r.put(t, "b", "2")
		if got := r.getWith("a", in(store.Mark{Origin: e.Origin, Revision: e.Revision})); got != "2" {
			t.Errorf("a is %q", got)
		}
		r.sync(true)
		r.cached("a", "2")
	})
}

// writeMany writes more keys than recentChanges holds.
func (r *cacheRig) writeMany() {
	r.t.Helper()
	for n := range 4 {
		var changes []store.Write
		for i := range 3000 {
			changes = append(changes, store.Write{Entry: store.Entry{Key: store.User.Key(fmt.Sprint("many/", n, "/", i)), Value: []byte("1")}})
		}
		r.UpdateEach(r.t.Context(), changes)
	}
}

// TestCacheIsNotBelievedBeyondWhatItHolds: writes of another process become visible once
// they are known to be replicated, and sessions are never answered with older entries.
func TestCacheIsNotBelievedBeyondWhatItHolds(t *testing.T) {
	o := options()
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
		r.must(r.parts[1].Apply(t.Context(), c))
		r.observe(1)
		for _, r1 := range []store.Revision{c.To, at.Revision} {
			if got := r.getWith("b", in(store.Mark{Origin: "p0", Revision: r1})); got != "2" {
				t.Errorf("b is %q", got)
			}
		}
		r.must(r.parts[1].Apply(t.Context(), partition.Copy{Origin: "p0", From: c.To, To: last.Revision, Goal: last.Revision, SyncedAt: 1, Entries: []store.Entry{last}}))
		r.observe(1)
		r.cached("a", "2")
	})
	t.Run("a deletion that is collected", func(t *testing.T) {
		r := newCacheRig(t, o)
		r.delete(r.other, "a")
		at := r.putElsewhere("b", "2")
		r.sync(false)
		for _, p := range r.parts[:2] {
			if n, err := p.Collect(t.Context(), "p0", at.Revision); n != 1 || err != nil {
				t.Fatalf("collected %d, %v", n, err)
			}
		}
		r.observe(1)
		eventually(t, "deletion", func() bool { return r.get("a") == "" })
		if got := r.getWith("a", in(at)); got != "" {
			t.Errorf("a is %q", got)
		}
	})
	t.Run("a replica that is set back", func(t *testing.T) {
		r := newCacheRig(t, o)
		old := r.put(t, "b", "1")
		at := r.put(t, "b", "2")
		r.writeMany()
		c := r.next()
		r.sync(true)
		r.must(r.parts[1].Reset(t.Context(), "p0"))
		back := partition.Copy{Origin: "p0", To: old.Revision, Goal: old.Revision, SyncedAt: c.SyncedAt, Entries: []store.Entry{old}}
		r.must(r.parts[1].Apply(t.Context(), back))
		r.get("b") // of a replica whose known positions are outdated
		eventually(t, "other positions", func() bool {
			return r.getWith("none", in(store.Mark{Origin: at.Origin, Revision: at.Revision})) == "" && r.Status().Partitions[1].Origins[0].Revision == old.Revision
		})
		r.sync(false)
		r.observe(1)
		r.cached("b", "2")
	})
	t.Run("everybody is away", func(t *testing.T) {
		o.Poll = time.Millisecond
		r := newCacheRig(t, o)
		r.parts[1].Fail(func(string) error { return partition.ErrUnavailable })
		eventually(t, "outage", func() bool { return r.peer().Err != nil })
		if got := r.get("a"); got != "1" {
			t.Errorf("a is %q", got)
		}
		for _, p := range r.parts {
			p.Fail(func(string) error { return partition.ErrUnavailable })
		}
		eventually(t, "an end", func() bool {
			_, err := r.Get(t.Context(), store.User.Key("a"), store.ReadOptions{})
			return errors.Is(err, store.ErrNoPartition)
		})
	})
}

// TestCacheWorksInEveryEpoch: the cache also works with several masters in a later epoch.
// There the newest entry of a key may be of any origin, so all marks of a session count.
func TestCacheWorksInEveryEpoch(t *testing.T) {
	o := options()
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
	e := r.put(t, "a", "2")
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
	if r.fromCache(func() { r.getWith("a", in(own, store.Mark{Origin: "p2", Revision: 7})) }) {
		t.Error("what the session has seen of a former master is not known, and it was answered from the cache")
	}
	r.sync(true)
	r.putElsewhere("a", "3")
	r.sync(true)
	r.cached("a", "3")
}

// TestCacheAnswersNothingElse: reads from the master, of a quorum or of a named partition
// bypass the cache.
func TestCacheAnswersNothingElse(t *testing.T) {
	o := options()
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
	o := options()
	o.Poll = time.Hour
	r := newCacheRig(t, o)
	r.put(t, "large", strings.Repeat("x", 100<<10))
	for i := range 200 {
		r.put(t, fmt.Sprint("many", i), strings.Repeat("x", 4<<10))
	}
	soon := partition.InstantOf(time.Now().Add(300 * time.Millisecond))
	_, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("short"), Value: []byte("1"), ExpiresAt: soon})
	r.must(err)
	r.sync(true)
	r.fillWith("short")
	if !r.fromCache(func() { r.get("short") }) {
		t.Error("an entry that is to expire was not kept")
	}
	eventually(t, "expiry", func() bool { return r.get("short") == "" })
	for range 2 {
		r.get("large")
	}
	if r.fromCache(func() { r.get("large") }) {
		t.Error("a large entry was kept")
	}
	for i := range 200 {
		r.get(fmt.Sprint("many", i))
	}
	eventually(t, "bounded cache", func() bool {
		at := r.CacheStats()
		return at.Entries > 10 && at.Bytes <= at.MaxBytes && at.MaxBytes == cacheBytes
	})
}

// TestCacheFollowsOthers: while the cache answers reads, writes that another process makes
// and replicates become visible within 0.1 s, and the cached entries stay valid.
func TestCacheFollowsOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options()
		o.Poll = time.Second
		r := newCacheRig(t, o)
		r.putElsewhere("b", "1")
		r.sync(false)
		r.fillWith("b")
		time.Sleep(5 * time.Second) // no reads, no passes
		r.get("a")
		for i := range 20 {
			want := fmt.Sprint(i)
			r.putElsewhere("a", want)
			r.sync(false)
			began := time.Now()
			for r.get("a") != want {
				time.Sleep(time.Millisecond)
			}
			if took := time.Since(began); took > 110*time.Millisecond {
				t.Errorf("followed after %v", took)
			}
			if !r.fromCache(func() { r.get("a"); r.get("b") }) {
				t.Error("nothing was kept")
			}
		}
	})
}

// TestCacheThatIsNotUsedCostsNothing: no changes are read for a cache that answers no
// reads. The next use starts a new generation.
func TestCacheThatIsNotUsedCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options()
		o.Poll = time.Second
		r := newCacheRig(t, o)
		var snapshots atomic.Int64
		for _, p := range r.parts {
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

// slowGet holds back the result of a replica's read until the test releases the result.
type slowGet struct {
	*memory.Partition
	hold atomic.Bool
	read chan struct{} // a read has its result
	goOn chan struct{}
}

func (p *slowGet) GetSmall(ctx context.Context, keys []store.Key, most int64) ([]store.Entry, error) {
	entries, err := p.Partition.GetSmall(ctx, keys, most)
	if p.hold.CompareAndSwap(true, false) {
		p.read <- struct{}{}
		<-p.goOn
	}
	return entries, err
}

// TestCacheKeepsNothingThatWasOvertaken: a read during which the key is changed, by this
// process or another, does not leave the older entry in the cache.
func TestCacheKeepsNothingThatWasOvertaken(t *testing.T) {
	for name, move := range map[string]func(r *cacheRig){
		"by this process": func(r *cacheRig) {
			r.put(r.t, "a", "2")
			r.sync(true)
		},
		"by this process, and many other keys": func(r *cacheRig) {
			r.put(r.t, "a", "2")
			r.writeMany()
			r.sync(true)
		},
		"by another": func(r *cacheRig) {
			at := r.putElsewhere("a", "2")
			r.sync(false)
			r.observe(1)
			eventually(r.t, "state", func() bool { return r.fromCache(func() { r.getWith("b", in(at)) }) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			slow := &slowGet{read: make(chan struct{}), goOn: make(chan struct{})}
			master := memory.New("p0")
			slow.Partition = memory.New("p1")
			another := &rig{parts: []*memory.Partition{master.Reopen(), slow.Reopen()}}
			o := options()
			another.start(t, o)
			o.Poll, o.CacheBytes, o.Read, o.Local, o.Partitions = time.Hour, cacheBytes, store.ReadLocal, "p1", []partition.Partition{master, slow}
			r := &cacheRig{&rig{parts: []*memory.Partition{master, slow.Partition}}, t, another.Store}
			s, err := store.Open(o)
			r.must(err)
			r.Store = s
			ctx, cancel := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Go(func() { _ = s.Run(ctx) })
			defer running.Wait()
			defer cancel()
			eventually(t, "a writable master", func() bool { return s.Status().Partitions[0].Writable })
			r.put(t, "a", "1")
			r.put(t, "b", "1")
			r.level(t)
			r.fillWith("b")
			slow.hold.Store(true)
			done := make(chan struct{})
			go func() { r.get("a"); close(done) }()
			<-slow.read
			move(r)
			slow.goOn <- struct{}{}
			<-done
			if got := r.get("a"); got != "2" {
				t.Errorf("a is %q", got)
			}
		})
	}
}

// TestCacheNeverGoesBackForASession runs many readers beside a process that syncs.
func TestCacheNeverGoesBackForASession(t *testing.T) {
	o := options()
	o.Poll = 2 * time.Millisecond
	r := newCacheRig(t, o)
	var written [4]atomic.Int64 // revisions that every reader may expect
	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for ctx.Err() == nil {
				i := rand.IntN(len(written))
				least := store.Revision(written[i].Load())
				in := store.ReadOptions{Session: store.VectorOf(store.Mark{Origin: "p0", Revision: least})}
				got, err := r.Get(ctx, store.User.Key(fmt.Sprint("key", i)), in)
				if err != nil && !errors.Is(err, store.ErrNotFound) && ctx.Err() == nil {
					t.Error(err)
				}
				if err == nil && got.Entry.Revision < least {
					t.Errorf("key%d of %s is at %d, the session knows %d", i, got.Partition, got.Entry.Revision, least)
				}
			}
		})
	}
	for n := range 1500 {
		i := n % len(written)
		name, value := fmt.Sprint("key", i), fmt.Sprint(n)
		var at store.Revision
		if n/100%3 == 1 {
			at = r.putElsewhere(name, value).Revision
		} else {
			at = r.put(t, name, value).Revision
		}
		if n%2 == 0 {
			written[i].Store(int64(at)) // before the replication
		}
		r.sync(n%3 != 0)
		written[i].Store(int64(at))
	}
	cancel()
	readers.Wait()
	if at := r.CacheStats(); at.Hits == 0 {
		t.Errorf("the cache was not used: %+v", at)
	}
}

// TestCachedReadAllocatesNothing: a read from the cache allocates nothing.
func TestCachedReadAllocatesNothing(t *testing.T) {
	o := options()
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
