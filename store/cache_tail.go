package store

import (
	"context"
	"errors"
	"slices"
	"time"
)

// replicaPollInterval is how often the replicas' positions are read while the cache answers
// reads, to find changes that other processes replicate.
const replicaPollInterval = 100 * time.Millisecond

// waitTime is how long the tail waits to be woken: it ends lingering, repeats failed
// rounds, and polls replicas for the cache.
func (t *tail) waitTime() time.Duration {
	if c := t.s.cache; c != nil && (c.wanted.Load() || c.used.Load()) {
		return min(replicaPollInterval, t.s.options.Poll)
	}
	return t.s.options.Poll
}

// advanceCache advances the cache's state to the known positions of the replicas. If that
// takes too much reading, or the cache has not been used for a while, the generation ends
// instead; the next use starts another.
func (t *tail) advanceCache(ctx context.Context) {
	s, c := t.s, t.s.cache
	now := time.Now()
	if now.Sub(t.polledAt) >= replicaPollInterval && (c.wanted.Load() || c.used.Swap(false)) {
		t.usedAt, t.polledAt = now, now
		if c.state.Load() == nil {
			s.startCacheGeneration(ctx)
		} else {
			s.pollReplicas(ctx)
		}
	}
	for st := c.state.Load(); st != nil && ctx.Err() == nil; st = c.state.Load() {
		b, lead, anyUp := s.mostAdvancedBeyond(st.upTo)
		if !anyUp || lead > tailEntries || lead > 0 && now.Sub(t.usedAt) > linger {
			c.invalidate()
			return
		}
		if lead == 0 || !s.readRoundForCache(ctx, st.upTo, b) {
			return
		}
	}
}

// startCacheGeneration starts the cache's state at the positions of a source.
func (s *Store) startCacheGeneration(ctx context.Context) {
	at, err := s.ChangesNow(ctx)
	if err != nil {
		return // the next read that could be cached asks again
	}
	s.cache.startGeneration(at, *s.backends.Load())
	s.observeAllPositions()
}

// observeAllPositions hands the observed positions of all backends to the cache.
func (s *Store) observeAllPositions() {
	for _, b := range *s.backends.Load() {
		if k := b.observed.Load(); k != nil {
			s.cache.observePositions(b.Name(), &k.Positions)
		}
	}
}

// mostAdvancedBeyond finds the replica that is known to hold the most revisions beyond v,
// and their number.
func (s *Store) mostAdvancedBeyond(v Vector) (best *backend, lead Revision, anyUp bool) {
	for _, b := range *s.backends.Load() {
		k := b.observed.Load()
		if k == nil || !b.isUp() {
			continue
		}
		anyUp = true
		sum := Revision(0)
		for o, complete := range k.completeUpTo {
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
func (s *Store) readRoundForCache(ctx context.Context, v Vector, b *backend) bool {
	at, reach := ChangeToken{cluster: s.Tag()}, ChangeToken{cluster: s.Tag()}
	for o := range b.observed.Load().Origins {
		complete := b.completeUpTo(o)
		at.seen, reach.seen = at.seen.With(Mark{o, min(complete, v.At(o))}), reach.seen.With(Mark{o, complete})
	}
	page, err := s.readRound(ctx, at, reach)
	if errors.Is(err, ErrResync) { // tombstones that the cache has not seen may be collected
		s.cache.invalidate()
	}
	if err != nil || page.Next.equals(at) {
		return false
	}
	s.cache.applyRound(&page)
	s.observeAllPositions()
	throttle(ctx, len(page.Entries))
	return true
}

// pollReplicas reads the positions of the most advanced replica of each origin.
func (s *Store) pollReplicas(ctx context.Context) {
	var polled []*backend
	for _, o := range s.Origins() {
		var best *backend
		for _, b := range *s.backends.Load() {
			if b.Name() != string(o) && b.isUp() && (best == nil || b.completeUpTo(o) > best.completeUpTo(o)) {
				best = b
			}
		}
		if best != nil && !slices.Contains(polled, best) {
			polled = append(polled, best)
			bound, cancel := context.WithTimeout(ctx, min(s.options.Timeout, 2*time.Second))
			_, _ = best.readPositions(bound) // pollPositions reports errors
			cancel()
		}
	}
}
