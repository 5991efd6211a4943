package store

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/maypok86/otter/v2"
)

// cache keeps entries that replicas have answered with, so that reading them
// again takes no statement. What it gives is what a replica held when its
// positions were those of the member's track: never older, so that sessions
// and bounded reads are answered from it by the same rules as from the replica
// itself. Nothing is kept of a key's master: that is always asked, and so are
// all who a quorum names. Absent keys, tombstones and damaged entries are not kept either.
//
// A key is kept once, of whichever replica was read last.
type cache struct {
	entries *otter.Cache[Key, *cached]
	largest int // what a larger entry would cost the others

	hits, misses atomic.Int64
}

// cached is an entry of a member, as of an era of its track or later.
type cached struct {
	m     *member
	era   uint64
	entry Entry
}

// cachedOverhead is about what an entry takes in the cache besides its bytes.
const cachedOverhead = 320

func weight(e *Entry) int { return cachedOverhead + len(e.Key) + len(e.Value) + len(e.Metadata) }

// newCache makes a cache of about so many bytes; nil without any.
func newCache(bytes int64) (*cache, error) {
	if bytes <= 0 {
		return nil, nil
	}
	entries, err := otter.New(&otter.Options[Key, *cached]{
		MaximumWeight: uint64(bytes),
		Weigher:       func(_ Key, e *cached) uint32 { return uint32(weight(&e.entry)) },
	})
	if err != nil {
		return nil, fmt.Errorf("a cache of %d bytes: %w", bytes, err)
	}
	return &cache{entries: entries, largest: int(bytes / 64)}, nil
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

// mayRecall reports whether a cached entry may answer the quest at all. Once
// mastership has moved, whose positions tell how old an entry is takes more
// than looking at one origin's.
func (q *quest) mayRecall() bool {
	return q.s.cache != nil && q.o.Partition == "" && q.o.Consistency != FromMaster && q.o.Consistency != Quorum &&
		!q.outran && q.c.Epoch == firstEpoch
}

// ticket is for what is about to be read of a member, if it may be kept.
func (q *quest) ticket(m *member) ticket {
	if m.Name() == string(q.origin) || !q.mayRecall() {
		return noTicket
	}
	return m.track.take()
}

// recall answers a read from the cache, if what is there may answer it.
func (q *quest) recall(k Key) (r Read, ok bool) {
	if !q.mayRecall() {
		return Read{}, false
	}
	if r, ok = q.recalled(k); ok {
		q.s.cache.hits.Add(1)
	} else {
		q.s.cache.misses.Add(1)
	}
	return r, ok
}

func (q *quest) recalled(k Key) (r Read, ok bool) {
	kept, ok := q.s.cache.entries.GetIfPresent(k)
	if !ok {
		return Read{}, false
	}
	// The track first and then the entry again: an entry only ever gets newer.
	m := kept.m
	t := m.track.now.Load()
	if t == nil || !q.trusts(m, t) {
		return Read{}, false
	}
	again, ok := q.s.cache.entries.GetEntryQuietly(k)
	if kept = again.Value; !ok || kept.m != m || kept.era != t.era {
		return Read{}, false
	}
	e := &kept.entry
	r = Read{Partition: m.Name(), Staleness: q.s.age(m, q.origin, t.Origins[q.origin].SyncedAt), Seen: Mark{e.Origin, e.Revision}}
	if q.tooStale(r.Staleness) || e.ExpiresAt != 0 && !e.Live(q.s.now(q.origin)) {
		return Read{}, false // what has expired may have been renewed
	}
	m.track.used()
	r.Entry = *e
	return r, true
}

// trusts reports whether what is cached of a member may answer: by the rules
// for the member itself (see turn.admits and quest.reached), but by the positions of its track.
func (q *quest) trusts(m *member, t *tracked) bool {
	at := t.Origins[q.origin]
	return m.Name() != string(q.origin) && at.Whole() && m.answers() &&
		t.held[q.origin] >= q.o.Session.At(q.origin) &&
		(q.s.options.Read != ReadLocal || m.Name() == q.s.options.Local)
}

func (c *cache) fits(e *Entry) bool { return weight(e) <= c.largest }

// keep takes an entry that a member has answered with, unless anything of the
// member has moved since the ticket was given out.
func (c *cache) keep(m *member, from ticket, e *Entry) {
	if from == noTicket || e.Deleted || !c.fits(e) {
		return
	}
	kept := &cached{m: m, entry: detached(e)}
	t := &m.track
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := t.now.Load(); now != nil && from == t.ticket() {
		kept.era = now.era
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

// renew has what is cached of a member replaced by entries that were applied to it.
func (c *cache) renew(m *member, era uint64, entries []Entry) {
	for i := range entries {
		e := &entries[i]
		old, ok := c.entries.GetEntryQuietly(e.Key)
		switch {
		case !ok || old.Value.m != m || old.Value.era != era || old.Value.entry.Revision >= e.Revision:
		case e.Deleted || !c.fits(e) || !e.Intact():
			c.entries.Invalidate(e.Key)
		default:
			c.entries.Set(old.Key, &cached{m: m, era: era, entry: detached(e)})
		}
	}
}
