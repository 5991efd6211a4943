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

// cache keeps entries that replicas have answered with, so that reading them
// again takes no statement. One state, of the whole process, says which changes
// every cached entry includes (see cacheState). Sessions and bounded reads are
// answered from the cache by the rules for a replica, with that state in place
// of the replica's positions.
//
// Reads of a key's master, quorums and reads of a named partition never use the
// cache. Absent keys, tombstones and damaged entries are not kept, and neither
// is an answer of a key's own master.
type cache struct {
	entries *otter.Cache[Key, *cachedEntry]
	largest int // a larger entry would evict too many others

	hits, misses atomic.Int64

	state    atomic.Pointer[cacheState] // nil: no cached entry is valid
	wanted   atomic.Bool                // an entry could have been kept, but for the lack of a state
	used     atomic.Bool                // since the tail last looked for changes by others
	wakeTail func()                     // wakes the tail

	mu         sync.Mutex // guards the fields below, and replacing state
	generation uint64
	changes    recentChanges
}

// cached is an entry of a generation of the cache's state.
type cachedEntry struct {
	generation uint64
	partition  string // the source of the entry
	entry      Entry
}

// cachedOverhead is about what an entry takes in the cache besides its bytes.
const cachedOverhead = 320

func weight(e *Entry) int { return cachedOverhead + len(e.Key) + len(e.Value) + len(e.Metadata) }

// newCache makes a cache of about so many bytes; nil without any.
func newCache(bytes int64, stir func()) (*cache, error) {
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
	return &cache{entries: entries, largest: int(bytes / 64), wakeTail: stir}, nil
}

// CacheStats is what has become of the reads that the cache might have
// answered, and what it holds.
type CacheStats struct {
	Hits, Misses   int64
	Entries, Bytes int64 // about; some may count no more
	MaxBytes       int64 // 0: there is no cache
}

// CacheStats looks at the cache.
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

// mayRecall reports whether a cached entry may answer the quest at all.
func (q *readRequest) mayUseCache() bool {
	return q.s.cache != nil && q.o.Partition == "" && q.o.Consistency != FromMaster && !q.newerEpoch
}

// recall answers a read from the cache, if what is there may answer it.
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
	// The state first and then the entry: an entry only ever gets newer.
	st := c.state.Load()
	if st == nil || !q.isReachedBy(st.upTo) {
		return Read{}, false
	}
	kept, ok := c.entries.GetIfPresent(k)
	if !ok || kept.generation != st.generation {
		return Read{}, false
	}
	e := &kept.entry
	r = Read{Partition: kept.partition, Staleness: q.ageOf(st), Seen: Mark{e.Origin, e.Revision}}
	if q.tooStale(r.Staleness) || e.ExpiresAt != 0 && !e.Live(q.s.now(q.origin)) {
		return Read{}, false // an expired entry may have been renewed
	}
	c.noteUse()
	r.Entry = *e
	return r, true
}

// reachedBy reports whether a state with every change up to v includes all that
// the session has seen of these keys.
func (q *readRequest) isReachedBy(v Vector) bool {
	if q.c.Epoch == firstEpoch { // an entry of these keys has no other origin
		return v.At(q.origin) >= q.o.Session.At(q.origin)
	}
	return v.Covers(q.o.Session)
}

// ageOf bounds how stale the cache's state is. Once mastership has moved, the
// newest entry of a key may be of any origin, so that the stalest counts.
func (q *readRequest) ageOf(st *cacheState) (d time.Duration) {
	if q.c.Epoch == firstEpoch {
		return q.s.since(q.origin, st.proven[q.origin])
	}
	for o := range st.upTo.All() {
		age := q.s.since(o, st.proven[o])
		if age < 0 {
			return age
		}
		d = max(d, age)
	}
	return d
}

func (c *cache) fits(e *Entry) bool { return weight(e) <= c.largest }

// fill is what was known of a member before it was read. The zero value is of
// a read whose answer is not to be kept.
type fillToken struct {
	m     *backend
	known *observedPositions
	head  Revision
}

// fill begins a read of a member of which the answer may be kept.
func (q *readRequest) newFillToken(m *backend) (f fillToken) {
	if q.mayUseCache() && m.Name() != string(q.origin) {
		f = fillToken{m, m.observed.Load(), Revision(m.newestCommitted.Load())}
	}
	return f
}

// includes reports whether the answer includes every change up to v.
func (f *fillToken) includes(v Vector) bool {
	for o, r := range v.All() {
		held := f.known.completeUpTo[o]
		if f.m.Name() == string(o) {
			held = max(f.known.Origins[o].Revision, f.head)
		}
		if held < r {
			return false
		}
	}
	return true
}

// keep takes an entry that a member has answered with, if that includes every
// change that the state includes.
func (c *cache) fill(f fillToken, e *Entry) {
	if f.known == nil || e.Deleted || !c.fits(e) {
		return
	}
	if c.state.Load() == nil {
		c.requestState()
		return
	}
	kept := &cachedEntry{partition: f.m.Name(), entry: detached(e)}
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.state.Load()
	if st == nil || !f.includes(c.changes.since) || c.changes.newestOf(e.Key) > e.Revision {
		return
	}
	kept.generation = st.generation
	if old, ok := c.entries.GetEntryQuietly(e.Key); !ok || old.Value.generation != st.generation || old.Value.entry.Revision <= e.Revision {
		c.entries.Set(kept.entry.Key, kept)
	}
}

// detached is an entry that shares no memory with what it was read in.
func detached(e *Entry) Entry {
	d := *e
	d.Key, d.Origin = Key(strings.Clone(string(e.Key))), Origin(strings.Clone(string(e.Origin)))
	d.ContentType = strings.Clone(e.ContentType)
	d.Metadata, d.Value = bytes.Clone(e.Metadata), bytes.Clone(e.Value)
	return d
}
