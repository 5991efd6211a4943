package store

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
)

// cache keeps entries that replicas have answered, so that repeated reads need no
// statement. A single state, for the whole process, says which changes every cached entry
// includes (see cacheState). Sessions and bounded reads may use the cache by the rules for a
// replica, with the cache's state in place of the replica's positions.
//
// The cache does not intercept any method of a partition. It is filled by reads, follows
// this process's commits (applyCommit) and the rounds of the feed's tail (applyRound), and
// learns the time as of which it is current from observed positions (observePositions).
//
// Reads from the master, quorums and reads of a named partition never use the cache. The
// cache holds no tombstones, no record of absent keys, no damaged entries, and no answer of
// a key's own master. All methods accept a nil cache.
type cache struct {
	entries *otter.Cache[Key, *cachedEntry]
	largest int // weight of the largest entry that is cached: a larger one would evict too many others

	hits, misses atomic.Int64

	state    atomic.Pointer[cacheState] // nil: no cached entry is valid
	wanted   atomic.Bool                // an entry could have been cached, had there been a state
	used     atomic.Bool                // since the tail last polled replicas for the cache
	wakeTail func()

	mu         sync.Mutex // guards the fields below, and replacing state
	generation uint64
	changes    recentChanges
}

// cachedEntry is an entry of a generation of the cache's state.
type cachedEntry struct {
	generation uint64
	partition  string // the source of the entry
	entry      Entry
}

// cachedOverhead is about the memory of a cached entry besides its bytes.
const cachedOverhead = 320

func weight(e *Entry) int { return cachedOverhead + len(e.Key) + len(e.Value) + len(e.Metadata) }

// newCache makes a cache of about so many bytes; nil for none.
func newCache(bytes int64, wakeTail func()) (*cache, error) {
	if bytes <= 0 {
		return nil, nil
	}
	entries, err := otter.New(&otter.Options[Key, *cachedEntry]{
		MaximumWeight: uint64(bytes),
		Weigher:       func(_ Key, e *cachedEntry) uint32 { return uint32(weight(&e.entry)) },
	})
	if err != nil {
		return nil, fmt.Errorf("a cache of %d bytes: %w", bytes, err)
	}
	return &cache{entries: entries, largest: int(bytes / 64), wakeTail: wakeTail}, nil
}

// CacheStats counts the reads that could use the cache, and the cache's contents.
type CacheStats struct {
	Hits, Misses   int64
	Entries, Bytes int64 // estimates; some entries may be invalid
	MaxBytes       int64 // 0: there is no cache
}

// CacheStats returns the current statistics of the cache.
func (s *Store) CacheStats() CacheStats {
	c := s.cache
	if c == nil {
		return CacheStats{}
	}
	return CacheStats{
		Hits: c.hits.Load(), Misses: c.misses.Load(),
		Entries: int64(c.entries.EstimatedSize()), Bytes: int64(c.entries.WeightedSize()), MaxBytes: int64(c.entries.GetMaximum()),
	}
}

// mayUseCache reports whether a cached entry may answer the read.
func (q *readRequest) mayUseCache() bool {
	return q.s.cache != nil && q.o.Partition == "" && q.o.Consistency != FromMaster && !q.newerEpoch
}

// readCached answers from the cache, if a valid entry satisfies the read.
func (q *readRequest) readCached(k Key) (r Read, ok bool) {
	if !q.mayUseCache() {
		return Read{}, false
	}
	if r, ok = q.lookUpCached(k); ok {
		q.s.cache.hits.Add(1)
	} else {
		q.s.cache.misses.Add(1)
	}
	return r, ok
}

func (q *readRequest) lookUpCached(k Key) (r Read, ok bool) {
	c := q.s.cache
	// The state is loaded before the entry: entries only ever become newer.
	st := c.state.Load()
	if st == nil || !q.isReachedBy(st.upTo) {
		return Read{}, false
	}
	cached, ok := c.entries.GetIfPresent(k)
	if !ok || cached.generation != st.generation {
		return Read{}, false
	}
	e := &cached.entry
	r = Read{Partition: cached.partition, Staleness: q.cacheStaleness(st), Seen: Mark{e.Origin, e.Revision}}
	if q.tooStale(r.Staleness) || e.ExpiresAt != 0 && !e.Live(q.s.now(q.origin)) {
		return Read{}, false // an expired entry may have been renewed
	}
	c.noteUse()
	r.Entry = *e
	return r, true
}

// isReachedBy reports whether a state with every change up to v includes everything that
// the session has seen of these keys.
func (q *readRequest) isReachedBy(v Vector) bool {
	if q.c.Epoch == firstEpoch { // the keys have no other origin
		return v.At(q.origin) >= q.o.Session.At(q.origin)
	}
	return v.Covers(q.o.Session)
}

// cacheStaleness bounds the staleness of the cache's state. After mastership has moved, the
// newest entry of a key may be of any origin, so the stalest origin counts.
func (q *readRequest) cacheStaleness(st *cacheState) (d time.Duration) {
	if q.c.Epoch == firstEpoch {
		return q.s.since(q.origin, st.synced[q.origin])
	}
	for o := range st.upTo.All() {
		age := q.s.since(o, st.synced[o])
		if age < 0 {
			return age
		}
		d = max(d, age)
	}
	return d
}

// fillToken is the known state of a backend before a read of it. The answer to the read may
// be cached only if the token proves that the answer is recent enough. The zero token
// proves nothing.
type fillToken struct {
	backend   *backend
	observed  *observedPositions
	committed Revision // newest revision that this process has committed on the backend
}

// newFillToken is called before a read of a backend, so that the answer may be cached.
func (q *readRequest) newFillToken(b *backend) (f fillToken) {
	if q.mayUseCache() && b.Name() != string(q.origin) {
		f = fillToken{b, b.observed.Load(), Revision(b.newestCommitted.Load())}
	}
	return f
}

// includes reports whether the answer includes every change up to v.
func (f *fillToken) includes(v Vector) bool {
	for o, r := range v.All() {
		if f.observed.complete(f.backend.Name(), o, f.committed) < r {
			return false
		}
	}
	return true
}

// fillEntry caches an entry that a backend has answered, unless the entry may lack changes that
// the cache's state includes.
func (c *cache) fillEntry(f fillToken, e *Entry) {
	if f.observed == nil || e.Deleted || weight(e) > c.largest {
		return
	}
	if c.state.Load() == nil {
		c.requestState()
		return
	}
	cached := &cachedEntry{partition: f.backend.Name(), entry: detached(e)}
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.state.Load()
	if st == nil || !f.includes(c.changes.since) || c.changes.newestOf(e.Key) > e.Revision {
		return
	}
	cached.generation = st.generation
	if old, ok := c.entries.GetEntryQuietly(e.Key); !ok || old.Value.generation != st.generation || old.Value.entry.Revision <= e.Revision {
		c.entries.Set(cached.entry.Key, cached)
	}
}

// detached is a copy of an entry that shares no memory with the read buffer.
func detached(e *Entry) Entry {
	d := *e
	d.Key, d.Origin = Key(strings.Clone(string(e.Key))), Origin(strings.Clone(string(e.Origin)))
	d.ContentType = strings.Clone(e.ContentType)
	d.Metadata, d.Value = bytes.Clone(e.Metadata), bytes.Clone(e.Value)
	return d
}
