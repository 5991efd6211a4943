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
)

// cacheRig is a store of which only p1 answers reads that any partition may
// answer, so that what its cache says is known.
type cacheRig struct {
	*rig
	t *testing.T
}

const cacheBytes = 512 << 10

func newCacheRig(t *testing.T, o store.Options) *cacheRig {
	o.CacheBytes, o.Read, o.Local = cacheBytes, store.ReadLocal, "p1"
	r := &cacheRig{newRig(t, 3, o), t}
	r.put(t, "a", "1")
	r.level(t)
	r.observe()
	eventually(t, "cached entry", func() bool { r.get("a"); return r.fromCache(func() { r.get("a") }) })
	return r
}

func (r *cacheRig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// get is what a read says of a key, "" without one.
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

// peer is p1 as the sync process of this process sees it.
func (r *cacheRig) peer() store.Peer { return r.Peers()[1] }

// next is what brings p1 to where its master is.
func (r *cacheRig) next() partition.Copy {
	r.t.Helper()
	at, err := r.parts[1].Positions(r.t.Context())
	r.must(err)
	snap, err := r.parts[0].Snapshot(r.t.Context(), "p0", at.Origins["p0"].Revision)
	r.must(err)
	defer snap.Close()
	head := snap.Position()
	entries, err := snap.Next(r.t.Context(), 1000, 8<<20)
	r.must(err)
	return partition.Copy{Origin: "p0", From: at.Origins["p0"].Revision, To: head.Revision, Goal: head.Revision, SyncedAt: head.SyncedAt, Entries: entries}
}

func (r *cacheRig) delete(name string) {
	r.t.Helper()
	key := store.User.Key(name)
	r.must(r.Update(r.t.Context(), []store.Key{key}, func(v *store.View) error {
		_, _ = v.Delete(key)
		return nil
	}))
}

// observe has the store read the positions of p1.
func (r *cacheRig) observe() {
	r.t.Helper()
	_, err := r.peer().Positions(r.t.Context())
	r.must(err)
}

// TestCacheKnowsWhatThisProcessDoes: what is applied to a replica or removed
// from it through the store shows in the next read.
func TestCacheKnowsWhatThisProcessDoes(t *testing.T) {
	o := options()
	o.Poll = time.Hour // nobody looks
	t.Run("applied", func(t *testing.T) {
		r := newCacheRig(t, o)
		r.put(t, "a", "2")
		r.must(r.peer().Apply(t.Context(), r.next()))
		if !r.fromCache(func() {
			if got := r.get("a"); got != "2" {
				t.Errorf("a is %q", got)
			}
		}) {
			t.Error("it was read anew")
		}
	})
	t.Run("deleted", func(t *testing.T) {
		r := newCacheRig(t, o)
		r.delete("a")
		r.must(r.peer().Apply(t.Context(), r.next()))
		if got := r.get("a"); got != "" {
			t.Errorf("a is %q", got)
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
		if r.fromCache(func() { r.get("a") }) {
			t.Error("it was answered from the cache")
		}
	})
	t.Run("an apply that fails", func(t *testing.T) {
		r := newCacheRig(t, o)
		r.put(t, "a", "2")
		c := r.next()
		r.must(r.parts[1].Apply(t.Context(), c)) // as when it came to pass, and nobody was told
		if err := r.peer().Apply(t.Context(), c); !errors.Is(err, partition.ErrPositionMoved) {
			t.Fatalf("Apply: %v", err)
		}
		if got := r.get("a"); got != "2" {
			t.Errorf("a is %q", got)
		}
	})
}

// TestCacheIsNotBelievedBeyondWhatItHolds: what another process does to a
// replica shows once its positions were read, and never misleads a session.
func TestCacheIsNotBelievedBeyondWhatItHolds(t *testing.T) {
	o := options()
	o.Poll = time.Hour // nobody looks
	t.Run("a session", func(t *testing.T) {
		r := newCacheRig(t, o)
		e := r.put(t, "a", "2")
		r.must(r.parts[1].Apply(t.Context(), r.next()))
		at, err := r.parts[1].Positions(t.Context())
		r.must(err)
		r.Observe("p1", at) // somebody has read them, who has nothing to do with the cache
		in := store.ReadOptions{Session: store.VectorOf(store.Mark{Origin: e.Origin, Revision: e.Revision})}
		if got := r.getWith("a", in); got != "2" {
			t.Errorf("a is %q", got)
		}
	})
	t.Run("positions", func(t *testing.T) {
		r := newCacheRig(t, o)
		r.put(t, "a", "2")
		r.must(r.parts[1].Apply(t.Context(), r.next()))
		r.observe()
		eventually(t, "newer entry", func() bool { return r.get("a") == "2" })
	})
	t.Run("emptied", func(t *testing.T) {
		r := newCacheRig(t, o)
		r.must(r.parts[1].Reset(t.Context(), "p0"))
		r.observe()
		if r.fromCache(func() { r.get("a") }) {
			t.Error("it was answered from the cache")
		}
	})
	t.Run("amid a catch-up", func(t *testing.T) {
		r := newCacheRig(t, o)
		r.put(t, "a", "2")
		r.put(t, "b", "2")
		c := r.next()
		e := c.Entries[1]
		c.Entries, c.To, c.SyncedAt = c.Entries[:1], c.Entries[0].Revision, 0
		r.must(r.peer().Apply(t.Context(), c))
		if r.fromCache(func() { r.get("a") }) {
			t.Error("it was answered from the cache")
		}
		r.must(r.peer().Apply(t.Context(), partition.Copy{Origin: "p0", From: c.To, To: e.Revision, Goal: e.Revision, Entries: []store.Entry{e}}))
		if got := r.get("a"); got != "2" {
			t.Errorf("a is %q", got)
		}
	})
	t.Run("a replica that is away", func(t *testing.T) {
		o.Poll = time.Millisecond
		r := newCacheRig(t, o)
		r.parts[1].Fail(func(string) error { return partition.ErrUnavailable })
		eventually(t, "outage", func() bool { return r.peer().Err != nil })
		if r.fromCache(func() { r.get("a") }) {
			t.Error("it was answered from the cache")
		}
	})
}

// TestCacheAnswersNothingElse: who asks the master, a quorum or a partition by
// name is answered by these.
func TestCacheAnswersNothingElse(t *testing.T) {
	o := options()
	o.Poll = time.Hour
	r := newCacheRig(t, o)
	for _, o := range []store.ReadOptions{
		{Consistency: store.FromMaster}, {Consistency: store.Quorum, Copies: 1}, {Partition: "p1"}, {Partition: "p2"},
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
	got, err := r.Get(t.Context(), store.User.Key("a"), store.ReadOptions{})
	if r.must(err); got.Partition != "p1" || got.Seen.Revision != got.Entry.Revision || got.Staleness <= 0 {
		t.Errorf("from the cache: %+v", got)
	}
}

// TestCacheKeepsItsBounds: an expired entry is gone, large ones are not kept,
// and the cache stays as large as it may be.
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
	r.must(r.peer().Apply(t.Context(), r.next()))
	r.get("short")
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

// TestCacheFollowsOthers: while reads are answered from the cache, what another
// process does to the replica shows within a tenth of a second, and does not
// cost what had been cached.
func TestCacheFollowsOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options()
		o.Poll = time.Second
		r := newCacheRig(t, o)
		r.put(t, "b", "1")
		r.must(r.peer().Apply(t.Context(), r.next()))
		r.get("b")
		time.Sleep(5 * time.Second) // nobody reads, nobody syncs
		r.get("a")
		for i := range 20 {
			want := fmt.Sprint(i)
			r.put(t, "a", want)
			r.must(r.parts[1].Apply(t.Context(), r.next()))
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

// slowGet holds back what a replica has read until it is told to go on.
type slowGet struct {
	*partition.Memory
	hold atomic.Bool
	read chan struct{} // something has been read
	goOn chan struct{}
}

func (p *slowGet) Get(ctx context.Context, keys []store.Key) ([]store.Entry, error) {
	entries, err := p.Memory.Get(ctx, keys)
	if p.hold.CompareAndSwap(true, false) {
		p.read <- struct{}{}
		<-p.goOn
	}
	return entries, err
}

// TestCacheKeepsNothingThatWasOvertaken: a read that was under way while the
// replica moved, by this process or another, does not leave what it saw in the cache.
func TestCacheKeepsNothingThatWasOvertaken(t *testing.T) {
	for name, move := range map[string]func(*cacheRig, partition.Target, partition.Copy){
		"by this process": func(r *cacheRig, _ partition.Target, c partition.Copy) {
			r.must(r.peer().Apply(t.Context(), c))
		},
		"by another": func(r *cacheRig, p partition.Target, c partition.Copy) {
			r.must(p.Apply(t.Context(), c))
			r.observe()
		},
		"by another that is followed": func(r *cacheRig, p partition.Target, c partition.Copy) {
			in := store.ReadOptions{Session: store.VectorOf(store.Mark{Origin: "p0", Revision: c.To})}
			r.must(p.Apply(t.Context(), c))
			r.observe()
			eventually(t, "track", func() bool { return r.fromCache(func() { r.getWith("b", in) }) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			slow := &slowGet{read: make(chan struct{}), goOn: make(chan struct{})}
			master := partition.NewMemory("p0")
			slow.Memory = partition.NewMemory("p1")
			o := options()
			o.Poll, o.CacheBytes, o.Read, o.Local, o.Partitions = time.Hour, cacheBytes, store.ReadLocal, "p1", []partition.Partition{master, slow}
			r := &cacheRig{&rig{parts: []*partition.Memory{master, slow.Memory}}, t}
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
			r.observe()
			if strings.Contains(name, "followed") { // that is done only while it is of use
				eventually(t, "cached entry", func() bool { return r.fromCache(func() { r.get("b") }) })
			}
			r.put(t, "a", "2")
			slow.hold.Store(true)
			done := make(chan struct{})
			go func() { r.get("a"); close(done) }()
			<-slow.read
			move(r, slow, r.next())
			slow.goOn <- struct{}{}
			<-done
			if got := r.get("a"); got != "2" {
				t.Errorf("a is %q", got)
			}
		})
	}
}

// TestCacheNeverGoesBackForASession: many readers, and a process that syncs,
// at once.
func TestCacheNeverGoesBackForASession(t *testing.T) {
	o := options()
	o.Poll = 2 * time.Millisecond
	r := newCacheRig(t, o)
	var written [4]atomic.Int64 // revisions of what every reader may rely on
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
		e := r.put(t, fmt.Sprint("key", i), fmt.Sprint(n))
		c := r.next()
		if n%3 == 0 {
			r.must(r.parts[1].Apply(t.Context(), c)) // another process
		} else {
			r.must(r.peer().Apply(t.Context(), c))
			r.Advance("p1", partition.Position{Origin: "p0", Revision: c.To, Goal: c.Goal, SyncedAt: c.SyncedAt})
		}
		written[i].Store(int64(e.Revision))
	}
	cancel()
	readers.Wait()
	if at := r.CacheStats(); at.Hits == 0 {
		t.Errorf("the cache was not used: %+v", at)
	}
}

// TestRecallAllocatesNothing: what is in the cache costs no garbage.
func TestRecallAllocatesNothing(t *testing.T) {
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
