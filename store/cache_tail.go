package store

import (
	"context"
	"errors"
	"slices"
	"time"
)

// lookEvery is how often changes that other processes replicate are looked for
// while the cache answers reads.
const replicaPollInterval = 100 * time.Millisecond

// pause is how long the tail waits for a wake: to try again after failures, to
// stop lingering, and to look for changes by others.
func (t *tail) waitTime() time.Duration {
	if c := t.s.cache; c != nil && (c.wanted.Load() || c.used.Load()) {
		return min(replicaPollInterval, t.s.options.Poll)
	}
	return t.s.options.Poll
}

// feedCache brings the cache's state to where replicas are known to be. When that
// takes too much reading, or nothing has used the cache for a while, the state
// ends instead: a cache that is used again begins anew.
func (t *tail) advanceCache(ctx context.Context) {
	s, c := t.s, t.s.cache
	now := time.Now()
	looks := now.Sub(t.polledAt) >= replicaPollInterval && (c.wanted.Load() || c.used.Swap(false))
	if looks {
		t.usedAt, t.polledAt = now, now
	}
	switch {
	case !looks:
	case c.state.Load() == nil:
		s.startCacheGeneration(ctx)
	default:
		s.pollReplicas(ctx)
	}
	for st := c.state.Load(); st != nil && ctx.Err() == nil; st = c.state.Load() {
		m, lead, anybody := s.mostAdvancedBeyond(st.upTo)
		if !anybody || lead > tailEntries || lead > 0 && now.Sub(t.usedAt) > linger {
			c.invalidate()
			return
		}
		if lead == 0 || !s.readRoundForCache(ctx, st.upTo, m) {
			return
		}
	}
}

// beginCache starts the cache's state at what one source holds.
func (s *Store) startCacheGeneration(ctx context.Context) {
	at, err := s.ChangesNow(ctx)
	if err != nil {
		return // a read that could have been kept asks again
	}
	s.cache.startGeneration(at, *s.backends.Load())
	s.observeAllPositions()
}

// proveCache has the cache's state take what is known of all partitions.
func (s *Store) observeAllPositions() {
	for _, m := range *s.backends.Load() {
		if k := m.observed.Load(); k != nil {
			s.cache.observePositions(m.Name(), &k.Positions)
		}
	}
}

// ahead finds the replica that is known to hold the most revisions beyond v.
func (s *Store) mostAdvancedBeyond(v Vector) (furthest *backend, lead Revision, anybody bool) {
	for _, m := range *s.backends.Load() {
		k := m.observed.Load()
		if k == nil || !m.isUp() {
			continue
		}
		anybody = true
		sum := Revision(0)
		for o, held := range k.completeUpTo {
			if m.Name() != string(o) {
				sum += max(0, held-v.At(o))
			}
		}
		if sum > lead {
			furthest, lead = m, sum
		}
	}
	return furthest, lead, anybody
}

// roundForCache reads what comes after v from a source that holds as much as m,
// and reports whether there was anything. What m does not hold yet of v was committed by
// this process; the cache does not mind to be given it again.
func (s *Store) readRoundForCache(ctx context.Context, v Vector, m *backend) bool {
	at, reach := ChangeToken{cluster: s.Tag()}, ChangeToken{cluster: s.Tag()}
	for o := range m.observed.Load().Origins {
		held := m.completeUpTo(o)
		at.seen, reach.seen = at.seen.With(Mark{o, min(held, v.At(o))}), reach.seen.With(Mark{o, held})
	}
	page, err := s.readRound(ctx, at, reach)
	if errors.Is(err, ErrResync) { // tombstones may be gone that the cache has not seen
		s.cache.invalidate()
	}
	if err != nil || page.Next.equals(at) {
		return false
	}
	s.cache.applyRound(&tailRound{before: at, after: page.Next, entries: page.Entries, partition: page.Partition})
	s.observeAllPositions()
	throttle(ctx, len(page.Entries))
	return true
}

// lookAtReplicas reads the positions of the furthest replica of each origin.
func (s *Store) pollReplicas(ctx context.Context) {
	var looked []*backend
	for _, o := range s.Origins() {
		var furthest *backend
		for _, m := range *s.backends.Load() {
			if m.Name() != string(o) && m.isUp() && (furthest == nil || m.completeUpTo(o) > furthest.completeUpTo(o)) {
				furthest = m
			}
		}
		if furthest != nil && !slices.Contains(looked, furthest) {
			looked = append(looked, furthest)
			bound, cancel := context.WithTimeout(ctx, min(s.options.Timeout, 2*time.Second))
			_, _ = furthest.readPositions(bound) // its health is the poll's concern
			cancel()
		}
	}
}
