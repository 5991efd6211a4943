package cache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// TestCacheFollowsOthers: while the cache answers reads, writes that another process makes
// and replicates become visible within 0.1 s, and the cached entries stay valid.
func TestCacheFollowsOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := storetest.Options()
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
			r.MustPut(r.t, "a", "2")
			r.sync(true)
		},
		"by this process, and many other keys": func(r *cacheRig) {
			r.MustPut(r.t, "a", "2")
			r.writeMany()
			r.sync(true)
		},
		"by another": func(r *cacheRig) {
			at := r.putElsewhere("a", "2")
			r.sync(false)
			r.observe(1)
			storetest.Eventually(r.t, "state", func() bool { return r.fromCache(func() { r.getWith("b", in(at)) }) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			slow := &slowGet{read: make(chan struct{}), goOn: make(chan struct{})}
			master := memory.New("p0")
			slow.Partition = memory.New("p1")
			another := &storetest.Rig{Parts: []*memory.Partition{master.Reopen(), slow.Reopen()}}
			o := storetest.Options()
			another.Start(t, o)
			o.Poll, o.CacheBytes, o.Read, o.Local, o.Partitions = time.Hour, cacheBytes, store.ReadLocal, "p1", []partition.Partition{master, slow}
			r := &cacheRig{&storetest.Rig{Parts: []*memory.Partition{master, slow.Partition}}, t, another.Store}
			s, err := store.Open(o)
			r.must(err)
			r.Store = s
			ctx, cancel := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Go(func() { _ = s.Run(ctx) })
			defer running.Wait()
			defer cancel()
			storetest.Eventually(t, "a writable master", func() bool { return s.Status().Partitions[0].Writable })
			r.MustPut(t, "a", "1")
			r.MustPut(t, "b", "1")
			r.Level(t)
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
	o := storetest.Options()
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
			at = r.MustPut(t, name, value).Revision
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

// TestGetManyInSessionMixesNoMoments: a cached entry is not returned after an answer of a
// later read.
func TestGetManyInSessionMixesNoMoments(t *testing.T) { synctest.Test(t, testMomentsOfASession) }

func testMomentsOfASession(t *testing.T) {
	o := storetest.Options()
	o.Poll = time.Hour
	r := newCacheRig(t, o)
	for range 2 { // no time passes from here on, so the cache does not poll
		r.get("a")
		synctest.Wait()
	}
	for _, name := range []string{"a", "b", "c"} {
		r.putElsewhere(name, "2")
	}
	r.sync(false)
	read := func(names string, o store.ReadOptions) (values string) {
		var keys []store.Key
		for _, name := range names {
			keys = append(keys, store.User.Key(string(name)))
		}
		r.GetMany(t.Context(), keys, o, func(_ int, got store.Read, err error) {
			r.must(err)
			values += string(got.Entry.Value)
		})
		return values
	}
	if got := read("aca", store.ReadOptions{}); got != "121" {
		t.Fatalf("without a session a, c, a are %s", got)
	}
	for _, names := range []string{"aca", "aba"} { // c is cached, b is not
		if got := read(names, store.ReadOptions{Consistency: store.InSession}); got != "122" && got != "222" {
			t.Errorf("in a session, %s are %s", names, got)
		}
	}
}
