package routing

import (
	"time"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/internal/cache"
	"github.com/runnelkv/runnel/store/internal/version"
	"github.com/runnelkv/runnel/store/partition"
)

// mayUseCache reports whether a cached entry may answer the read.
func (q *Request) mayUseCache() bool {
	return q.router.cache != nil && q.demand.Partition == "" && !q.demand.FromMaster && !q.newerEpoch
}

// CacheHit is an answer of the cache.
type CacheHit struct {
	Entry     *partition.Entry // immutable
	Source    string           // the partition that the entry came from
	Staleness time.Duration    // an upper bound
}

// ReadCached answers from the cache, if a valid entry satisfies the read.
func (q *Request) ReadCached(k partition.Key) (h CacheHit, ok bool) {
	if !q.mayUseCache() {
		return CacheHit{}, false
	}
	h, ok = q.lookUpCached(k)
	q.router.cache.CountRead(ok)
	return h, ok
}

func (q *Request) lookUpCached(k partition.Key) (h CacheHit, ok bool) {
	c := q.router.cache
	st := c.Current()
	if st == nil || !q.isReachedBy(st.UpTo) {
		return CacheHit{}, false
	}
	e, source, ok := c.Get(st, k)
	if !ok {
		return CacheHit{}, false
	}
	staleness := q.cacheStaleness(st)
	if q.TooStale(staleness) || e.ExpiresAt != 0 && !e.Live(q.router.backends.Now(e.Origin)) {
		return CacheHit{}, false // an expired entry may have been renewed
	}
	c.NoteUse()
	return CacheHit{e, source, staleness}, true
}

// isReachedBy reports whether a state with every change up to v includes everything that
// the session has seen of these keys.
func (q *Request) isReachedBy(v version.Vector) bool {
	for o := range q.origins {
		if v.At(o) < q.demand.Session.At(o) {
			return false
		}
	}
	return true
}

// cacheStaleness bounds the staleness of the cache's state. The stalest origin that the keys can have counts.
func (q *Request) cacheStaleness(st *cache.State) (d time.Duration) {
	for o := range q.origins {
		if q.hasEnded(o, st.UpTo.At(o)) {
			continue
		}
		age := q.router.backends.Since(o, st.Synced[o])
		if age < 0 {
			return age
		}
		d = max(d, age)
	}
	return d
}

// KnownForCache is what is known of a backend before a read of it, so that the answer may be cached; nothing if the
// answer may not be cached. Where slots have moved, or may have, a backend that is not whole may lack an entry of a former
// master up to its position.
func (q *Request) KnownForCache(b *backend.Backend) backend.Knowledge {
	if !q.mayUseCache() || b.Name() == string(q.origin) {
		return backend.Knowledge{}
	}
	known := b.Known()
	if known.IsZero() || known.Epoch() > q.c.Epoch {
		return backend.Knowledge{}
	}
	for o := range q.origins {
		if q.c.HasMoved() && !known.IsWhole(o) {
			return backend.Knowledge{}
		}
	}
	return known
}
