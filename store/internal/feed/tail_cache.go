package feed

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/internal/version"
	"github.com/runnelkv/runnel/store/partition"
)

// replicaPollInterval is how often the replicas' positions are read while the cache answers
// reads, to find changes that other processes replicate.
const replicaPollInterval = 100 * time.Millisecond

// waitTime is how long the tail waits to be woken: it ends lingering, repeats failed
// rounds, and polls replicas for the cache.
func (t *tail) waitTime() time.Duration {
	if t.feed.cache.IsInDemand() {
		return min(replicaPollInterval, t.feed.poll)
	}
	return t.feed.poll
}

// advanceCache advances the cache's state to the known positions of the replicas. If that
// takes too much reading, or the cache has not been used for a while, the generation ends
// instead; the next use starts another.
func (t *tail) advanceCache(ctx context.Context) {
	f, c := t.feed, t.feed.cache
	now := time.Now()
	if now.Sub(t.polledAt) >= replicaPollInterval && c.TakeDemand() {
		t.usedAt, t.polledAt = now, now
		if c.Current() == nil {
			f.startCacheGeneration(ctx)
		} else {
			f.pollReplicas(ctx)
		}
	}
	for st := c.Current(); st != nil && ctx.Err() == nil; st = c.Current() {
		b, lead, anyUp := f.mostAdvancedBeyond(st.UpTo)
		if !anyUp || lead > tailEntries || lead > 0 && now.Sub(t.usedAt) > linger {
			c.Invalidate()
			return
		}
		if lead == 0 || !f.readRoundForCache(ctx, st.UpTo, b) {
			return
		}
	}
}

// startCacheGeneration starts the cache's state at the positions of a source.
func (f *Feed) startCacheGeneration(ctx context.Context) {
	at, epoch, err := f.now(ctx)
	if err != nil {
		return // the next read that could be cached asks again
	}
	f.cache.StartGeneration(at.seen, epoch, f.backends.All())
	f.observeAllPositions()
}

// observeAllPositions hands the observed positions of all backends to the cache.
func (f *Feed) observeAllPositions() {
	for _, b := range f.backends.All() {
		if k := b.Observed(); k != nil {
			f.cache.ObservePositions(b.Name(), &k.Positions)
		}
	}
}

// mostAdvancedBeyond finds the replica that is known to hold the most revisions beyond v,
// and their number.
func (f *Feed) mostAdvancedBeyond(v version.Vector) (best *backend.Backend, lead partition.Revision, anyUp bool) {
	for _, b := range f.backends.All() {
		k := b.Observed()
		if k == nil || !b.IsUp() {
			continue
		}
		anyUp = true
		sum := partition.Revision(0)
		for o, complete := range k.CompleteUpTo {
			if b.Name() != string(o) {
				sum += max(0, complete-v.At(o))
			}
		}
		if sum > lead {
			best, lead = b, sum
		}
	}
	return best, lead, anyUp
}

// readRoundForCache reads the changes after v from a source that holds as much as b, and
// reports whether there were any. Where b is behind v, the difference was committed by this
// process; to apply these changes twice is harmless.
func (f *Feed) readRoundForCache(ctx context.Context, v version.Vector, b *backend.Backend) bool {
	at, reach := Token{cluster: f.cluster.Tag()}, Token{cluster: f.cluster.Tag()}
	for o := range b.Observed().Origins {
		complete := b.CompleteUpTo(o)
		at.seen, reach.seen = at.seen.With(version.Mark{Origin: o, Revision: min(complete, v.At(o))}), reach.seen.With(version.Mark{Origin: o, Revision: complete})
	}
	page, err := f.readRound(ctx, at, reach)
	if errors.Is(err, ErrResync) { // tombstones that the cache has not seen may be collected
		f.cache.Invalidate()
	}
	if err != nil || page.Next.equals(at) {
		return false
	}
	f.cache.ApplyRound(page.since.seen, page.Next.seen, page.epoch, page.Partition, page.Entries)
	f.observeAllPositions()
	throttle(ctx, len(page.Entries))
	return true
}

// pollReplicas reads the positions of the most advanced replica of each origin.
func (f *Feed) pollReplicas(ctx context.Context) {
	var polled []*backend.Backend
	for _, o := range f.cluster.Map().Origins() {
		var best *backend.Backend
		for _, b := range f.backends.All() {
			if b.Name() != string(o) && b.IsUp() && (best == nil || b.CompleteUpTo(o) > best.CompleteUpTo(o)) {
				best = b
			}
		}
		if best != nil && !slices.Contains(polled, best) {
			polled = append(polled, best)
			bound, cancel := context.WithTimeout(ctx, min(f.timeout, 2*time.Second))
			_, _ = best.ReadPositions(bound) // PollPositions reports errors
			cancel()
		}
	}
}
