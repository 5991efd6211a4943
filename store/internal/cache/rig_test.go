package cache_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// cacheRig is a store in which only p1 answers reads with Any, so that the contents of the
// cache are known.
type cacheRig struct {
	*storetest.Rig
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
	another := &storetest.Rig{}
	for _, p := range parts {
		another.Parts = append(another.Parts, p.Reopen())
	}
	another.Start(t, o)
	// The entry is on every partition before r first reads their positions. A replica that
	// r once saw without the entry answers none of r's reads until the next poll, which
	// some tests postpone.
	another.MustPut(t, "a", "1")
	another.Level(t)
	o.CacheBytes, o.Read, o.Local = cacheBytes, store.ReadLocal, "p1"
	r := &cacheRig{&storetest.Rig{Parts: parts}, t, another.Store}
	r.Start(t, o)
	r.fillWith("a")
	return r
}

// fillWith makes the cache answer reads of a key.
func (r *cacheRig) fillWith(name string) {
	r.t.Helper()
	storetest.Eventually(r.t, "cached entry", func() bool { r.get(name); return r.fromCache(func() { r.get(name) }) })
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
	at, err := r.Parts[1].Positions(r.t.Context())
	r.must(err)
	snap, err := r.Parts[0].Snapshot(r.t.Context(), "p0", at.Origins["p0"].Revision)
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
		r.must(r.Parts[1].Apply(r.t.Context(), c))
	}
}

// observe makes the store take the positions of a partition.
func (r *cacheRig) observe(i int) {
	r.t.Helper()
	at, err := r.Parts[i].Positions(r.t.Context())
	r.must(err)
	r.Observe(r.Parts[i].Name(), at)
}

// cached waits until a key has the value and is answered from the cache.
func (r *cacheRig) cached(name, want string) {
	r.t.Helper()
	storetest.Eventually(r.t, "cached "+want, func() (ok bool) {
		return r.fromCache(func() { ok = r.get(name) == want }) && ok
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
