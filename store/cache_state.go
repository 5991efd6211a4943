package store

import (
	"maps"

	"github.com/zeebo/xxh3"

	"github.com/runnelkv/runnel/store/partition"
)

// cacheState says what is true of every cached entry of its generation: the
// entry includes every change of its key up to upTo, or newer ones. It is
// immutable. Changes reach the cache, in the order of each origin, from the
// commits of this process and from the feed's tail: first the cached entries
// are replaced, and then the state.
type cacheState struct {
	generation uint64
	upTo       Vector
	proven     map[Origin]Instant // an origin's clock at a moment of which upTo includes every change
}

// recentChanges are the keys that changed after since, by the hash of the key,
// each with its newest revision at least. An entry that was read where every
// change up to since was held includes every change of its key since then,
// unless one of them is newer than the entry.
type recentChanges struct {
	since, newGenSince Vector
	newGen, oldGen     map[uint64]Revision
}

// mostRecent is about how many keys each half of recentChanges holds.
const mostRecent = 4096

// turn makes room before further changes, when all up to v were taken.
func (r *recentChanges) rotate(v Vector) {
	if len(r.newGen) >= mostRecent {
		r.since, r.oldGen = r.newGenSince, r.newGen
		r.newGenSince, r.newGen = v, make(map[uint64]Revision, mostRecent)
	}
}

func (r *recentChanges) record(k Key, at Revision) {
	h := xxh3.HashString(string(k))
	r.newGen[h] = max(r.newGen[h], at)
}

func (r *recentChanges) newestOf(k Key) Revision {
	h := xxh3.HashString(string(k))
	return max(r.newGen[h], r.oldGen[h])
}

// want asks the tail for a state.
func (c *cache) requestState() {
	if !c.wanted.Load() && c.wanted.CompareAndSwap(false, true) {
		c.wakeTail()
	}
}

// use notes that the cache has answered.
func (c *cache) noteUse() {
	if !c.used.Load() && c.used.CompareAndSwap(false, true) {
		c.wakeTail()
	}
}

// active reports whether there is a state to follow, or one is wanted.
func (c *cache) active() bool { return c != nil && (c.state.Load() != nil || c.wanted.Load()) }

// begin starts a generation. Its entries include every change that the token has
// seen, and every one that this process has committed on the members: so the next
// commit follows without a gap.
func (c *cache) startGeneration(at ChangeToken, members []*backend) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := at.seen
	for _, m := range members {
		v = v.With(Mark{Origin(m.Name()), Revision(m.newestCommitted.Load())})
	}
	c.generation++
	c.wanted.Store(false)
	c.changes = recentChanges{since: v, newGenSince: v, newGen: make(map[uint64]Revision)}
	c.state.Store(&cacheState{generation: c.generation, upTo: v})
}

// end makes every cached entry invalid.
func (c *cache) invalidate() {
	if c == nil || c.state.Load() == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.Store(nil)
	c.changes = recentChanges{}
}

// follow takes a round of changes, unless it begins beyond the state.
func (c *cache) applyRound(r *tailRound) {
	if c == nil || c.state.Load() == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.state.Load()
	if st == nil || !st.upTo.Covers(r.before.seen) || st.upTo.Covers(r.after.seen) {
		return
	}
	c.changes.rotate(st.upTo)
	for i := range r.entries {
		c.update(st, r.partition, &r.entries[i])
	}
	c.state.Store(&cacheState{st.generation, st.upTo.Merge(r.after.seen), st.proven})
}

// committed takes a commit of this process, if the state includes every change
// before the commit. Otherwise the tail will bring it.
func (c *cache) applyCommit(b *batch, first Revision) {
	if c == nil || c.state.Load() == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.state.Load()
	if st == nil {
		return
	}
	last := first + Revision(b.revs) - 1
	switch at := st.upTo.At(b.origin); {
	case at >= first && !c.includesBatch(b): // the master has lost revisions, and given them out again
		c.state.Store(nil)
	case at == first-1:
		c.changes.rotate(st.upTo)
		for i := range b.rows {
			if s := &b.rows[i]; s.changed {
				c.update(st, string(b.origin), &s.entry)
			}
		}
		c.state.Store(&cacheState{st.generation, st.upTo.With(Mark{b.origin, last}), st.proven})
	}
}

// knows reports whether every change of the batch was taken already. c.mu is held.
func (c *cache) includesBatch(b *batch) bool {
	for i := range b.rows {
		if s := &b.rows[i]; s.changed && c.changes.newestOf(s.key) < s.entry.Revision {
			return false
		}
	}
	return true
}

// change replaces what is cached of the entry's key. c.mu is held.
func (c *cache) update(st *cacheState, source string, e *Entry) {
	c.changes.record(e.Key, e.Revision)
	old, ok := c.entries.GetEntryQuietly(e.Key)
	switch {
	case !ok || old.Value.generation != st.generation || old.Value.entry.Revision >= e.Revision:
	case e.Deleted || !c.fits(e) || !e.Intact():
		c.entries.Invalidate(e.Key)
	default:
		c.entries.Set(old.Key, &cachedEntry{st.generation, source, detached(e)})
	}
}

// prove takes positions of a partition: what the partition was proven to hold at
// a moment is included in a state that is as far.
func (c *cache) observePositions(name string, p *partition.Positions) {
	if c == nil || c.state.Load() == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.state.Load()
	if st == nil {
		return
	}
	proven := make(map[Origin]Instant, len(p.Origins))
	maps.Copy(proven, st.proven)
	for o, at := range p.Origins {
		if name != string(o) && at.Revision <= st.upTo.At(o) {
			proven[o] = max(proven[o], at.SyncedAt)
		}
	}
	c.state.Store(&cacheState{st.generation, st.upTo, proven})
}
