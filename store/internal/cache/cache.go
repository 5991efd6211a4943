package cache

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/maypok86/otter/v2"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/partition"
)

// Cache keeps entries that replicas have answered, so that repeated reads need no
// statement. A single state, for the whole process, says which changes every cached entry
// includes (see State). Sessions and bounded reads may use the cache by the rules for a
// replica, with the cache's state in place of the replica's positions.
//
// The cache does not intercept any method of a partition. The cache is filled by reads, follows
// this process's commits (ApplyCommit) and the rounds of the feed's tail (ApplyRound), and
// learns the time as of which it is current from observed positions (ObservePositions).
//
// Reads from the master, quorums and reads of a named partition never use the cache. The
// cache holds no tombstones, no record of absent keys, no damaged entries, and no answer of
// a key's own master. All methods accept a nil cache.
type Cache struct {
	entries *otter.Cache[partition.Key, *cachedEntry]
	largest int // weight of the largest entry that is cached: a larger one would evict too many entries

	hits, misses atomic.Int64

	state    atomic.Pointer[State] // nil: no cached entry is valid
	wanted   atomic.Bool           // an entry could have been cached, had there been a state
	used     atomic.Bool           // since the tail last polled replicas for the cache
	wakeTail func()

	mu         sync.Mutex // guards the fields below, and replacing state
	generation uint64
	changes    recentChanges
}

// cachedEntry is an entry of a generation of the cache's state.
type cachedEntry struct {
	generation uint64
	partition  string // the source of the entry
	entry      partition.Entry
}

// cachedOverhead is about the memory of a cached entry besides its bytes.
const cachedOverhead = 320

func weight(e *partition.Entry) int {
	return cachedOverhead + len(e.Key) + len(e.Value) + len(e.Metadata)
}

// New makes a cache of about so many bytes; nil for none.
func New(bytes int64, wakeTail func()) (*Cache, error) {
	if bytes <= 0 {
		return nil, nil
	}
	entries, err := otter.New(&otter.Options[partition.Key, *cachedEntry]{
		MaximumWeight: uint64(bytes),
		Weigher:       func(_ partition.Key, e *cachedEntry) uint32 { return uint32(weight(&e.entry)) },
	})
	if err != nil {
		return nil, fmt.Errorf("a cache of %d bytes: %w", bytes, err)
	}
	return &Cache{entries: entries, largest: int(bytes / 64), wakeTail: wakeTail}, nil
}

// Stats counts the reads that could use the cache, and the cache's contents.
type Stats struct {
	Hits, Misses   int64
	Entries, Bytes int64 // estimates; some entries may be invalid
	MaxBytes       int64 // 0: there is no cache
}

// Stats returns the current statistics.
func (c *Cache) Stats() Stats {
	if c == nil {
		return Stats{}
	}
	return Stats{
		Hits: c.hits.Load(), Misses: c.misses.Load(),
		Entries: int64(c.entries.EstimatedSize()), Bytes: int64(c.entries.WeightedSize()), MaxBytes: int64(c.entries.GetMaximum()),
	}
}

// Current returns the state, nil while no cached entry is valid.
func (c *Cache) Current() *State { return c.state.Load() }

// Get returns the cached entry of a key in the state's generation, and the partition that the entry came from. The state
// was loaded before, because entries only ever become newer.
func (c *Cache) Get(st *State, k partition.Key) (e *partition.Entry, source string, ok bool) {
	cached, ok := c.entries.GetIfPresent(k)
	if !ok || cached.generation != st.generation {
		return nil, "", false
	}
	return &cached.entry, cached.partition, true
}

// CountRead counts a read that could use the cache.
func (c *Cache) CountRead(hit bool) {
	if hit {
		c.hits.Add(1)
	} else {
		c.misses.Add(1)
	}
}

// FillEntry caches an entry that a backend has answered, unless the entry may lack changes that
// the cache's state includes. known is the state of the backend before the read; the zero knowledge proves nothing.
func (c *Cache) FillEntry(known backend.Knowledge, e *partition.Entry) {
	if known.IsZero() || e.Deleted || weight(e) > c.largest {
		return
	}
	if c.state.Load() == nil {
		c.requestState()
		return
	}
	cached := &cachedEntry{partition: known.Source(), entry: detached(e)}
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.state.Load()
	if st == nil || !known.Includes(c.changes.since) || c.changes.newestOf(e.Key) > e.Revision {
		return
	}
	cached.generation = st.generation
	if old, ok := c.entries.GetEntryQuietly(e.Key); !ok || old.Value.generation != st.generation || old.Value.entry.Revision <= e.Revision {
		c.entries.Set(cached.entry.Key, cached)
	}
}

// detached is a copy of an entry that shares no memory with the read buffer.
func detached(e *partition.Entry) partition.Entry {
	d := *e
	d.Key, d.Origin = partition.Key(strings.Clone(string(e.Key))), partition.Origin(strings.Clone(string(e.Origin)))
	d.ContentType = strings.Clone(e.ContentType)
	d.Metadata, d.Value = bytes.Clone(e.Metadata), bytes.Clone(e.Value)
	return d
}
