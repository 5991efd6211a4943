package store

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// observedPositions is the state of a backend's positions as last read. It is immutable.
type observedPositions struct {
	partition.Positions
	readAt  time.Time // by this process's clock, before the reading began
	clock   clockReading
	movedAt map[Origin]time.Time // of positions that were moved after the reading

	// completeUpTo is, per origin, the revision up to which the backend holds every change.
	// During a multi-step catch-up that is the position from before the catch-up.
	completeUpTo map[Origin]Revision
}

func newObservation(p partition.Positions, asked, answered time.Time) *observedPositions {
	return &observedPositions{Positions: p, readAt: asked, clock: clockReading{now: p.Now, asked: asked, answered: answered}}
}

// readPositions reads the positions and records them. The cache is invalidated if a
// position went back: cached entries may be lost, or older entries may have returned.
func (b *backend) readPositions(ctx context.Context) (partition.Positions, error) {
	before, committed := b.observed.Load(), Revision(b.newestCommitted.Load())
	asked := time.Now()
	p, err := b.Positions(ctx)
	if err != nil {
		return p, err
	}
	answered := time.Now()
	b.observeLatency(answered.Sub(asked))
	b.observe(newObservation(p, asked, answered))
	wentBack := p.Origins[Origin(b.Name())].Revision < committed
	if before != nil {
		for o, at := range before.Origins {
			wentBack = wentBack || p.Origins[o].Revision < at.Revision
		}
	}
	if wentBack {
		b.hooks.cache.invalidate()
	}
	return p, nil
}

// observeForeign records positions that the sync process has read. The time of the reading
// is not known exactly, so the clock that was read before stays.
func (b *backend) observeForeign(p partition.Positions) {
	now := time.Now()
	k := newObservation(p, now, now)
	if old := b.observed.Load(); old != nil {
		k.clock = old.clock
	}
	b.observe(k)
}

// observe records a reading, unless a newer one is known.
func (b *backend) observe(k *observedPositions) {
	b.replaceObserved(func(old *observedPositions) *observedPositions {
		if old != nil && !k.readAt.After(old.readAt) {
			return nil
		}
		k.computeComplete(old)
		if old == nil {
			return k
		}
		k.clock = k.clock.noteSetBack(old.clock)
		return k.mergeNewer(old)
	}, func() {
		b.capHead(k.Origins[Origin(b.Name())].Revision)
		for _, at := range k.Origins {
			b.noteReplicaPosition(at)
		}
	})
}

// advancePosition records a position that has just been moved. The other positions keep the time
// of their reading.
func (b *backend) advancePosition(p partition.Position) {
	now := time.Now()
	b.replaceObserved(func(old *observedPositions) *observedPositions {
		if old == nil || old.Origins == nil {
			return nil // nothing is known yet; the first reading will include the move
		}
		return old.withPosition(p, now)
	}, func() { b.noteReplicaPosition(p) })
}

// replaceObserved replaces the observed positions by the result of next. When next returns
// nil nothing changes; else replaced runs before the hooks.
func (b *backend) replaceObserved(next func(old *observedPositions) *observedPositions, replaced func()) {
	for {
		old := b.observed.Load()
		k := next(old)
		if k == nil {
			return
		}
		if b.observed.CompareAndSwap(old, k) {
			b.hooks.cache.observePositions(b.Name(), &k.Positions)
			replaced()
			b.hooks.onPositions()
			return
		}
	}
}

// mergeNewer is k with the positions of old that were moved after k was read.
func (k *observedPositions) mergeNewer(old *observedPositions) *observedPositions {
	for o, at := range old.movedAt {
		if !at.Before(k.readAt) {
			k = k.withPosition(old.Origins[o], at)
		}
	}
	return k
}

// withPosition is k with a position that was moved later.
func (k *observedPositions) withPosition(p partition.Position, movedAt time.Time) *observedPositions {
	next := *k
	if next.Origins, next.movedAt = maps.Clone(k.Origins), maps.Clone(k.movedAt); next.movedAt == nil {
		next.movedAt = make(map[Origin]time.Time)
	}
	next.completeUpTo = maps.Clone(k.completeUpTo)
	next.completeUpTo[p.Origin] = p.Held(k.completeUpTo[p.Origin])
	next.Origins[p.Origin], next.movedAt[p.Origin] = p, movedAt
	return &next
}

// computeComplete sets k.completeUpTo; old is the reading before k, or nil.
func (k *observedPositions) computeComplete(old *observedPositions) {
	k.completeUpTo = make(map[Origin]Revision, len(k.Origins))
	for o, p := range k.Origins {
		before := Revision(0)
		if old != nil {
			before = old.completeUpTo[o]
		}
		k.completeUpTo[o] = p.Held(before)
	}
}

// noteReplicaPosition reports a replica's position to the origin's backend: the changes up
// to it were durable there before they were copied. A master's own row is no such proof,
// because the row is visible before its commit is durable.
func (b *backend) noteReplicaPosition(at partition.Position) {
	if string(at.Origin) != b.Name() {
		b.hooks.onReplicaPosition(at.Origin, at.Seen())
	}
}

// noteCommitted records a revision that this process has committed on the backend.
func (b *backend) noteCommitted(to Revision) {
	b.newestAnswered.Store(int64(to))
	raiseTo(&b.newestCommitted, to)
	raiseTo(&b.newestSeen, to)
}

func raiseTo(a *atomic.Int64, to Revision) {
	for old := a.Load(); old < int64(to) && !a.CompareAndSwap(old, int64(to)); {
		old = a.Load()
	}
}

// capHead forgets committed revisions beyond the counter that was read: another database
// may have replaced this one. If the counter was read before the commit, less is known
// than could be, which is safe.
func (b *backend) capHead(to Revision) {
	if old := b.newestAnswered.Load(); old > int64(to) {
		b.newestAnswered.CompareAndSwap(old, 0)
	}
	if old := b.newestCommitted.Load(); old > int64(to) {
		b.newestCommitted.CompareAndSwap(old, int64(to))
	}
}

// position is the last observed position of an origin.
func (b *backend) position(o Origin) (partition.Position, bool) {
	k := b.observed.Load()
	if k == nil {
		return partition.Position{}, false
	}
	at, ok := k.Origins[o]
	return at, ok
}

// completeUpTo is a lower bound of the revision up to which the backend holds every change
// of an origin.
func (b *backend) completeUpTo(o Origin) Revision {
	if k := b.observed.Load(); k != nil {
		return k.complete(b.Name(), o, Revision(b.newestCommitted.Load()))
	}
	return 0
}

// complete is completeUpTo for the partition of that name, on which this process has
// committed up to a revision.
func (k *observedPositions) complete(name string, o Origin, committed Revision) Revision {
	if name == string(o) {
		return max(k.Origins[o].Revision, committed)
	}
	return k.completeUpTo[o]
}

// isComplete reports whether the backend has been filled with the origin. The origin's own
// backend is complete if no replica holds more of it.
func (b *backend) isComplete(o Origin) bool {
	if b.Name() == string(o) {
		return !b.mayLackWrites.Load()
	}
	at, ok := b.position(o)
	return ok && at.Filled()
}

// isCompleteFor reports whether the backend is complete for every master.
func (b *backend) isCompleteFor(c *clusterMap) bool {
	for _, name := range c.Masters {
		if !b.isComplete(Origin(name)) {
			return false
		}
	}
	return true
}

// isLagging reports whether the backend is in a multi-step catch-up with the origin.
func (b *backend) isLagging(o Origin) bool {
	at, _ := b.position(o)
	return at.CatchingUp()
}

// syncedAt is the origin's clock at the last moment as of which the backend is known to
// hold every change of the origin.
func (b *backend) syncedAt(o Origin) Instant {
	at, _ := b.position(o)
	return at.SyncedAt
}

// notifier wakes goroutines that wait for a change.
type notifier struct {
	waiting atomic.Bool
	mu      sync.Mutex // guards ch
	ch      chan struct{}
}

// nextBroadcast returns a channel that the next broadcast closes.
func (n *notifier) nextBroadcast() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch == nil {
		n.ch = make(chan struct{})
		n.waiting.Store(true)
	}
	return n.ch
}

// broadcast costs one atomic load while nothing waits.
func (n *notifier) broadcast() {
	if !n.waiting.Load() {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch != nil {
		close(n.ch)
		n.ch = nil
		n.waiting.Store(false)
	}
}
