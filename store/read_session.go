package store

import (
	"context"
	"slices"
	"time"
)

// A session token is a vector: per origin, the newest revision that its client has read or
// written. A backend may answer the session if it is known to hold, for each origin, every
// change up to that revision, or a newer change of the same key. During a multi-step
// catch-up (Revision < Goal) the position from before the catch-up counts, because a key
// that changed twice arrives only with its last change. A backend that is being refilled
// counts as empty.
//
// A read that finds an entry or a tombstone adds the revision to the session. A read that
// finds no row adds nothing: a tombstone is collected only after every configured partition
// has passed it, so no partition can still show the entry before it. This argument holds
// only for a backend that is complete at the moment of the read, while positions are known
// from earlier. A replica's "not found" is therefore final only after its position was read
// again.

// qualifies reports whether the backend is known to satisfy a strict read.
func (q *readRequest) qualifies(b *backend) bool {
	return q.hasReached(b) && (q.o.Consistency != Bounded || !q.tooStale(q.staleness(b)))
}

// hasReached reports whether the backend holds everything that the session has seen.
func (q *readRequest) hasReached(b *backend) bool {
	v := q.o.Session
	if !q.allOrigins && !q.newerEpoch && (q.c.Epoch == firstEpoch || b.Name() == string(q.origin)) {
		// In the first epoch the keys have no other origin. In a later epoch their master
		// received all older entries when it became their master.
		return q.isCompleteUpTo(b, Mark{q.origin, v.At(q.origin)})
	}
	for o, r := range v.All() {
		if !q.isCompleteUpTo(b, Mark{o, r}) {
			return false
		}
	}
	return true
}

// avoidsMaster reports whether b is the master, and is asked only if no replica answers.
func (q *readRequest) avoidsMaster(b *backend) bool {
	return b.Name() == string(q.origin) && q.o.Consistency != Bounded
}

func (q *readRequest) isCompleteUpTo(b *backend, mark Mark) bool {
	if mark.Revision <= 0 {
		return true
	}
	complete := b.completeUpTo(mark.Origin)
	return complete >= mark.Revision && (b.Name() == string(mark.Origin) || complete >= q.collectedUpTo(mark.Origin))
}

// collectedUpTo is the revision up to which tombstones of an origin are known to be
// collected. A backend with a lower position is about to be refilled.
func (q *readRequest) collectedUpTo(o Origin) (upTo Revision) {
	for _, b := range q.backends {
		at, _ := b.position(o)
		upTo = max(upTo, at.Collected)
	}
	return upTo
}

// mustReadAgain checks, after a strict read found no row on b, whether that result is final:
// it is if the position of b, read again, has not moved. errTooFarBehind: b does not qualify
// any more.
func (s *Store) mustReadAgain(ctx context.Context, b *backend, q *readRequest) (bool, error) {
	if b.Name() == string(q.origin) {
		return false, nil
	}
	before, _ := b.position(q.origin)
	if err := s.recheck(ctx, b, q); err != nil {
		return false, err
	}
	after, _ := b.position(q.origin)
	return after.Revision != before.Revision, nil
}

// ensureQualifies rechecks a backend that is not known to satisfy a strict read.
func (s *Store) ensureQualifies(ctx context.Context, b *backend, q *readRequest) error {
	if !q.strict || q.qualifies(b) {
		return nil
	}
	return s.recheck(ctx, b, q)
}

// recheck reads the backend's positions. errTooFarBehind: the backend does not qualify, or
// is incomplete.
func (s *Store) recheck(ctx context.Context, b *backend, q *readRequest) error {
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	p, err := b.readPositions(ctx)
	if err != nil {
		return err
	}
	own := b.Name() == string(q.origin)
	if !own && !p.Origins[q.origin].Filled() || !q.isComplete(b) || !q.qualifies(b) {
		return errTooFarBehind
	}
	return nil
}

// staleness bounds the staleness of the backend's answers.
func (q *readRequest) staleness(b *backend) time.Duration {
	if q.allOrigins {
		return q.s.stalenessLater(b, q.c)()
	}
	return q.s.staleness(b, q.origin)
}

// tooStale reports whether an answer is staler than a bounded read allows.
func (q *readRequest) tooStale(d time.Duration) bool {
	return q.o.Consistency == Bounded && q.o.Partition == "" && (d < 0 || d > q.o.MaxStaleness)
}

// Interval between two readings of the replicas' positions while a session waits: it
// doubles from firstPause to longestPause.
const (
	firstPause   = 2 * time.Millisecond
	longestPause = 50 * time.Millisecond
)

// waitForReplica waits until some replica is known to qualify, at most Options.SessionWait.
// Positions that any part of this process reads count; the replicas' positions are also
// read in the meantime.
func (s *Store) waitForReplica(outer context.Context, q *readRequest) (ok bool) {
	if s.options.SessionWait < 0 || !slices.ContainsFunc(q.backends, q.mayCatchUp) {
		return false
	}
	before := q.mostAdvanced()
	if master := s.backend(string(q.origin)); master != nil && master.isUp() {
		if f := master.failedWait.Load(); f != nil && f.mostAdvanced == before && time.Since(f.at) < s.options.Poll {
			s.readReplicaPositions(q)
			return false
		}
		defer func() {
			if !ok && outer.Err() == nil && q.mostAdvanced() == before {
				master.failedWait.Store(&failedWait{mostAdvanced: before, at: time.Now()})
			}
		}()
	}
	ctx, cancel := context.WithTimeout(outer, s.options.SessionWait)
	defer cancel()
	pause := firstPause
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		changed := s.positionsChanged.nextBroadcast()
		if slices.ContainsFunc(q.backends, func(b *backend) bool { return q.mayCatchUp(b) && q.qualifies(b) }) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-changed:
		case <-tick.C:
			s.readReplicaPositions(q)
			tick.Reset(pause)
			pause = min(2*pause, longestPause)
		}
	}
}

// mayCatchUp reports whether the backend is a replica worth waiting for.
func (q *readRequest) mayCatchUp(b *backend) bool {
	return b.Name() != string(q.origin) && q.isComplete(b) && b.isUp()
}

// failedWait is a wait during which no replica advanced. Until one does, or for
// Options.Poll, sessions ask the master without waiting.
type failedWait struct {
	mostAdvanced Revision // of the origin, among the replicas
	at           time.Time
}

// mostAdvanced is the highest revision up to which some replica is complete.
func (q *readRequest) mostAdvanced() (r Revision) {
	for _, b := range q.backends {
		if q.mayCatchUp(b) {
			r = max(r, b.completeUpTo(q.origin))
		}
	}
	return r
}

// readReplicaPositions starts readings of the replicas' positions, at most one each at a
// time, and does not wait for them.
func (s *Store) readReplicaPositions(q *readRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range q.backends {
		if !q.mayCatchUp(b) || s.start == nil || !b.isReadingPositions.CompareAndSwap(false, true) {
			continue
		}
		s.work.Go(func() {
			defer b.isReadingPositions.Store(false)
			ctx, cancel := context.WithTimeout(context.Background(), min(s.options.Timeout, 2*time.Second))
			defer cancel()
			_, _ = b.readPositions(ctx) // pollPositions reports errors
		})
	}
}
