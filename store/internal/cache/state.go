package cache

import (
	"iter"
	"maps"

	"github.com/zeebo/xxh3"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/internal/version"
	"github.com/runnelkv/runnel/store/partition"
)

// State says, for every cached entry of its generation, that the entry includes every
// change of its key up to UpTo. A State is immutable. Changes reach the cache in the order of
// each origin, from this process's commits and from the feed's tail: first the cached
// entries are replaced, then the state.
type State struct {
	generation uint64
	epoch      int64 // of the cluster map that the sources knew
	UpTo       version.Vector
	Synced     map[partition.Origin]partition.Instant // an origin's clock at a moment up to which UpTo includes every change
}

// recentChanges records, by the hash of the key, the newest revision of each key that has
// changed after since. An entry read from a backend that held every change up to since
// includes every change of its key, unless the record has a newer revision.
type recentChanges struct {
	since, newGenSince version.Vector
	newGen, oldGen     map[uint64]partition.Revision
}

// mostRecent is about how many keys each generation of recentChanges holds.
const mostRecent = 4096

// rotate drops the old generation if the new generation is full. All changes up to v are recorded.
func (r *recentChanges) rotate(v version.Vector) {
	if len(r.newGen) >= mostRecent {
		r.since, r.oldGen = r.newGenSince, r.newGen
		r.newGenSince, r.newGen = v, make(map[uint64]partition.Revision, mostRecent)
	}
}

func (r *recentChanges) recordChange(k partition.Key, at partition.Revision) {
	h := xxh3.HashString(string(k))
	r.newGen[h] = max(r.newGen[h], at)
}

// newestOf is at least the revision of the key's last recorded change, 0 if there is none.
func (r *recentChanges) newestOf(k partition.Key) partition.Revision {
	h := xxh3.HashString(string(k))
	return max(r.newGen[h], r.oldGen[h])
}

// requestState makes the tail start a generation.
func (c *Cache) requestState() {
	if !c.wanted.Load() && c.wanted.CompareAndSwap(false, true) {
		c.wakeTail()
	}
}

// NoteUse records that the cache has answered a read.
func (c *Cache) NoteUse() {
	if !c.used.Load() && c.used.CompareAndSwap(false, true) {
		c.wakeTail()
	}
}

// IsInDemand reports whether reads use the cache, or would use a state.
func (c *Cache) IsInDemand() bool { return c != nil && (c.wanted.Load() || c.used.Load()) }

// TakeDemand is IsInDemand since the last call.
func (c *Cache) TakeDemand() bool { return c.wanted.Load() || c.used.Swap(false) }

// Active reports whether there is a state to advance, or a state is wanted.
func (c *Cache) Active() bool { return c != nil && (c.state.Load() != nil || c.wanted.Load()) }

// StartGeneration makes a state that includes every change up to v, and every commit of
// this process on the backends, so that the next commit follows without a gap. epoch is that of
// the cluster row of the partition that holds every change up to v.
func (c *Cache) StartGeneration(v version.Vector, epoch int64, backends []*backend.Backend) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range backends {
		v = v.With(version.Mark{Origin: partition.Origin(b.Name()), Revision: b.NewestCommitted()})
	}
	c.generation++
	c.wanted.Store(false)
	c.changes = recentChanges{since: v, newGenSince: v, newGen: make(map[uint64]partition.Revision)}
	c.state.Store(&State{generation: c.generation, epoch: epoch, UpTo: v})
}

// replaceState replaces the state, if there is one, by the result of next, which runs with
// c.mu held. A nil result ends the generation: every cached entry becomes invalid.
func (c *Cache) replaceState(next func(*State) *State) {
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

// Invalidate ends the generation.
func (c *Cache) Invalidate() {
	c.replaceState(func(*State) *State { return nil })
}

// ApplyRound takes the changes after since and up to UpTo, which source has answered, unless
// changes between the state and the round are missing. A source of a later epoch ends the generation: an entry
// of a former master may be missing from the round, because a later master has replaced the entry.
func (c *Cache) ApplyRound(since, upTo version.Vector, epoch int64, source string, entries []partition.Entry) {
	c.replaceState(func(st *State) *State {
		if epoch > st.epoch {
			return nil
		}
		if !st.UpTo.Covers(since) || st.UpTo.Covers(upTo) {
			return st
		}
		return c.applyChanges(st, st.UpTo.Merge(upTo), source, func(yield func(*partition.Entry) bool) {
			for i := range entries {
				if !yield(&entries[i]) {
					return
				}
			}
		})
	})
}

// ApplyCommit takes a commit of this process that begins at revision first and ends at the
// mark, if the state includes every change before the commit. Otherwise the tail delivers
// the commit later.
func (c *Cache) ApplyCommit(first partition.Revision, last version.Mark, changed iter.Seq[*partition.Entry]) {
	c.replaceState(func(st *State) *State {
		switch at := st.UpTo.At(last.Origin); {
		case at >= first && !c.includesAll(changed): // the master has lost revisions and issued them again
			return nil
		case at == first-1:
			return c.applyChanges(st, st.UpTo.With(last), string(last.Origin), changed)
		}
		return st
	})
}

// includesAll reports whether every change is recorded. c.mu is held.
func (c *Cache) includesAll(changed iter.Seq[*partition.Entry]) bool {
	for e := range changed {
		if c.changes.newestOf(e.Key) < e.Revision {
			return false
		}
	}
	return true
}

// applyChanges replaces the cached entries of changed keys and returns the state that includes
// the changes. source is the partition that the changes come from. c.mu is held.
func (c *Cache) applyChanges(st *State, upTo version.Vector, source string, changed iter.Seq[*partition.Entry]) *State {
	c.changes.rotate(st.UpTo)
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
	return &State{st.generation, st.epoch, upTo, st.Synced}
}

// ObservePositions takes the positions of a partition: the state is as current as a
// replica up to the position of which it includes every change.
func (c *Cache) ObservePositions(name string, p *partition.Positions) {
	c.replaceState(func(st *State) *State {
		synced := make(map[partition.Origin]partition.Instant, len(p.Origins))
		maps.Copy(synced, st.Synced)
		for o, at := range p.Origins {
			if name != string(o) && at.Revision <= st.UpTo.At(o) {
				synced[o] = max(synced[o], at.SyncedAt)
			}
		}
		return &State{st.generation, st.epoch, st.UpTo, synced}
	})
}
