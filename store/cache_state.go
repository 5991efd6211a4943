package store

import (
	"iter"
	"maps"

	"github.com/zeebo/xxh3"

	"github.com/runnelkv/runnel/store/partition"
)

// cacheState says, for every cached entry of its generation, that the entry includes every
// change of its key up to upTo. It is immutable. Changes reach the cache in the order of
// each origin, from this process's commits and from the feed's tail: first the cached
// entries are replaced, then the state.
type cacheState struct {
	generation uint64
	upTo       Vector
	synced     map[Origin]Instant // an origin's clock at a moment up to which upTo includes every change
}

// recentChanges records, by the hash of the key, the newest revision of each key that has
// changed after since. An entry read from a backend that held every change up to since
// includes every change of its key, unless the record has a newer revision.
type recentChanges struct {
	since, newGenSince Vector
	newGen, oldGen     map[uint64]Revision
}

// mostRecent is about how many keys each generation of recentChanges holds.
const mostRecent = 4096

// rotate drops the old generation if the new one is full. All changes up to v are recorded.
func (r *recentChanges) rotate(v Vector) {
	if len(r.newGen) >= mostRecent {
		r.since, r.oldGen = r.newGenSince, r.newGen
		r.newGenSince, r.newGen = v, make(map[uint64]Revision, mostRecent)
	}
}

func (r *recentChanges) recordChange(k Key, at Revision) {
	h := xxh3.HashString(string(k))
	r.newGen[h] = max(r.newGen[h], at)
}

// newestOf is at least the revision of the key's last recorded change, 0 if there is none.
func (r *recentChanges) newestOf(k Key) Revision {
	h := xxh3.HashString(string(k))
	return max(r.newGen[h], r.oldGen[h])
}

// requestState makes the tail start a generation.
func (c *cache) requestState() {
	if !c.wanted.Load() && c.wanted.CompareAndSwap(false, true) {
		c.wakeTail()
	}
}

// noteUse records that the cache has answered a read.
func (c *cache) noteUse() {
	if !c.used.Load() && c.used.CompareAndSwap(false, true) {
		c.wakeTail()
	}
}

// active reports whether there is a state to advance, or one is wanted.
func (c *cache) active() bool { return c != nil && (c.state.Load() != nil || c.wanted.Load()) }

// startGeneration makes a state that includes every change that the token has seen, and
// every commit of this process on the backends, so that the next commit follows without a
// gap.
func (c *cache) startGeneration(at ChangeToken, backends []*backend) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := at.seen
	for _, b := range backends {
		v = v.With(Mark{Origin(b.Name()), Revision(b.newestCommitted.Load())})
	}
	c.generation++
	c.wanted.Store(false)
	c.changes = recentChanges{since: v, newGenSince: v, newGen: make(map[uint64]Revision)}
	c.state.Store(&cacheState{generation: c.generation, upTo: v})
}

// replaceState replaces the state, if there is one, by the result of next, which runs with
// c.mu held. A nil result ends the generation: every cached entry becomes invalid.
func (c *cache) replaceState(next func(*cacheState) *cacheState) {
	if c == nil || c.state.Load() == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.state.Load()
	if st == nil {
		return
	}
	if st = next(st); st == nil {
		c.changes = recentChanges{}
	}
	c.state.Store(st)
}

// invalidate ends the generation.
func (c *cache) invalidate() {
	c.replaceState(func(*cacheState) *cacheState { return nil })
}

// applyRound takes a round of changes, unless changes between the state and the round are
// missing.
func (c *cache) applyRound(r *ChangePage) {
	c.replaceState(func(st *cacheState) *cacheState {
		if !st.upTo.Covers(r.since.seen) || st.upTo.Covers(r.Next.seen) {
			return st
		}
		return c.applyChanges(st, st.upTo.Merge(r.Next.seen), r.Partition, func(yield func(*Entry) bool) {
			for i := range r.Entries {
				if !yield(&r.Entries[i]) {
					return
				}
			}
		})
	})
}

// applyCommit takes a commit of this process that begins at revision first, if the state
// includes every change before the commit. Otherwise the tail delivers the commit later.
func (c *cache) applyCommit(b *batch, first Revision) {
	c.replaceState(func(st *cacheState) *cacheState {
		switch at := st.upTo.At(b.origin); {
		case at >= first && !c.includesBatch(b): // the master has lost revisions and issued them again
			return nil
		case at == first-1:
			last := Mark{b.origin, first + Revision(b.revs) - 1}
			return c.applyChanges(st, st.upTo.With(last), string(b.origin), b.changedEntries())
		}
		return st
	})
}

// changedEntries yields the entries that the batch writes.
func (b *batch) changedEntries() iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		for i := range b.rows {
			if row := &b.rows[i]; row.changed && !yield(&row.entry) {
				return
			}
		}
	}
}

// includesBatch reports whether every change of the batch is recorded. c.mu is held.
func (c *cache) includesBatch(b *batch) bool {
	for e := range b.changedEntries() {
		if c.changes.newestOf(e.Key) < e.Revision {
			return false
		}
	}
	return true
}

// applyChanges replaces the cached entries of changed keys and returns the state that includes
// the changes. source is the partition that the changes come from. c.mu is held.
func (c *cache) applyChanges(st *cacheState, upTo Vector, source string, changed iter.Seq[*Entry]) *cacheState {
	c.changes.rotate(st.upTo)
	for e := range changed {
		c.changes.recordChange(e.Key, e.Revision)
		old, ok := c.entries.GetEntryQuietly(e.Key)
		switch {
		case !ok || old.Value.generation != st.generation || old.Value.entry.Revision >= e.Revision:
		case e.Deleted || weight(e) > c.largest || !e.Intact():
			c.entries.Invalidate(e.Key)
		default:
			c.entries.Set(old.Key, &cachedEntry{st.generation, source, detached(e)})
		}
	}
	return &cacheState{st.generation, upTo, st.synced}
}

// observePositions takes the positions of a partition: the state is as current as a
// replica up to the position of which it includes every change.
func (c *cache) observePositions(name string, p *partition.Positions) {
	c.replaceState(func(st *cacheState) *cacheState {
		synced := make(map[Origin]Instant, len(p.Origins))
		maps.Copy(synced, st.synced)
		for o, at := range p.Origins {
			if name != string(o) && at.Revision <= st.upTo.At(o) {
				synced[o] = max(synced[o], at.SyncedAt)
			}
		}
		return &cacheState{st.generation, st.upTo, synced}
	})
}
