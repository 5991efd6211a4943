package backend

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/runnelkv/runnel/store/internal/version"
	"github.com/runnelkv/runnel/store/partition"
)

// Observation is the state of a backend's positions as last read. It is immutable.
type Observation struct {
	partition.Positions
	ReadAt    time.Time     // by this process's clock, before the reading began
	askedBoot time.Duration // the same by Options.BootClock; 0: the time of the reading is not known
	ballots   []shownBallot // by the reading and by those before, in the order of their ballots
	clock     clockReading
	movedAt   map[partition.Origin]time.Time // of positions that were moved after the reading

	// CompleteUpTo is, per origin, the revision up to which the backend holds every change.
	// During a multi-step catch-up that is the position from before the catch-up.
	CompleteUpTo map[partition.Origin]partition.Revision
}

// Moment is a moment of this process, by its two clocks.
type Moment struct {
	Clock time.Time
	Boot  time.Duration // by Options.BootClock; 0: no moment
}

// shownBallot is the last reading that showed a ballot.
type shownBallot struct {
	ballot  int64
	askedAt Moment // before the reading began
}

// keepBallots is how many ballots are remembered of a backend: those of changes that this process has not heard of yet.
const keepBallots = 4

// noteBallots sets k.ballots; old is the reading before k, or nil. A ballot that goes back is that of another database.
func (k *Observation) noteBallots(old *Observation) {
	isTimed := k.askedBoot > 0
	if k.ballots = nil; old != nil {
		k.ballots = slices.DeleteFunc(slices.Clone(old.ballots), func(s shownBallot) bool { return s.ballot >= k.Ballot && isTimed })
	}
	if isTimed {
		k.ballots = append(k.ballots, shownBallot{k.Ballot, Moment{k.ReadAt, k.askedBoot}})
	}
	k.ballots = k.ballots[max(0, len(k.ballots)-keepBallots):]
}

// ShownAt returns when the last reading began that showed a ballot up to the given; zero: none did.
func (k *Observation) ShownAt(ballot int64) Moment {
	for i := len(k.ballots) - 1; i >= 0; i-- {
		if s := k.ballots[i]; s.ballot > 0 && s.ballot <= ballot {
			return s.askedAt
		}
	}
	return Moment{}
}

func newObservation(p partition.Positions, asked, answered time.Time) *Observation {
	return &Observation{Positions: p, ReadAt: asked, clock: clockReading{now: p.Now, asked: asked, answered: answered}}
}

// ReadPositions reads the positions and records them. If a position went back,
// entries may be lost, or older entries may have returned, and OnLoss is called.
func (b *Backend) ReadPositions(ctx context.Context) (partition.Positions, error) {
	before, committed := b.observation.Load(), partition.Revision(b.committed.Load())
	asked, askedBoot := time.Now(), b.set.options.BootClock()
	p, err := b.Positions(ctx)
	if err != nil {
		return p, err
	}
	answered := time.Now()
	b.ObserveLatency(answered.Sub(asked))
	k := newObservation(p, asked, answered)
	k.askedBoot = askedBoot
	b.observe(k)
	wentBack := p.Origins[partition.Origin(b.Name())].Revision < committed
	if before != nil {
		for o, at := range before.Origins {
			wentBack = wentBack || p.Origins[o].Revision < at.Revision
		}
	}
	if wentBack {
		b.set.options.OnLoss()
	}
	return p, nil
}

// ObserveForeign records positions that the sync process has read. The time of the reading
// is not known exactly, so the clock that was read before stays.
func (b *Backend) ObserveForeign(p partition.Positions) {
	now := time.Now()
	k := newObservation(p, now, now)
	if old := b.observation.Load(); old != nil {
		k.clock = old.clock
	}
	b.observe(k)
}

// observe records a reading, unless a newer one is known.
func (b *Backend) observe(k *Observation) {
	b.replaceObserved(func(old *Observation) *Observation {
		if old != nil && !k.ReadAt.After(old.ReadAt) {
			return nil
		}
		k.computeComplete(old)
		k.noteBallots(old)
		if old == nil {
			return k
		}
		k.clock = k.clock.noteSetBack(old.clock)
		return k.mergeNewer(old)
	}, func() {
		b.capHead(k.Origins[partition.Origin(b.Name())].Revision)
		for _, at := range k.Origins {
			b.noteReplicaPosition(at)
		}
	})
}

// AdvancePosition records a position that has just been moved. The other positions keep the time
// of their reading.
func (b *Backend) AdvancePosition(p partition.Position) {
	now := time.Now()
	b.replaceObserved(func(old *Observation) *Observation {
		if old == nil || old.Origins == nil {
			return nil // nothing is known yet; the first reading will include the move
		}
		return old.withPosition(p, now)
	}, func() { b.noteReplicaPosition(p) })
}

// replaceObserved replaces the observed positions by the result of next. When next returns
// nil nothing changes; else replaced runs before the callbacks.
func (b *Backend) replaceObserved(next func(old *Observation) *Observation, replaced func()) {
	for {
		old := b.observation.Load()
		k := next(old)
		if k == nil {
			return
		}
		if b.observation.CompareAndSwap(old, k) {
			replaced()
			b.set.options.OnPositions(b.Name(), &k.Positions)
			b.set.changed.Send()
			return
		}
	}
}

// mergeNewer is k with the positions of old that were moved after k was read.
func (k *Observation) mergeNewer(old *Observation) *Observation {
	for o, at := range old.movedAt {
		if !at.Before(k.ReadAt) {
			k = k.withPosition(old.Origins[o], at)
		}
	}
	return k
}

// withPosition is k with a position that was moved later.
func (k *Observation) withPosition(p partition.Position, movedAt time.Time) *Observation {
	next := *k
	if next.Origins, next.movedAt = maps.Clone(k.Origins), maps.Clone(k.movedAt); next.movedAt == nil {
		next.movedAt = make(map[partition.Origin]time.Time)
	}
	p.Goal = max(p.Goal, k.Origins[p.Origin].Goal) // a copy of another origin may have raised the goal, and nothing lowers it
	next.CompleteUpTo = maps.Clone(k.CompleteUpTo)
	next.CompleteUpTo[p.Origin] = p.Held(k.CompleteUpTo[p.Origin])
	next.Origins[p.Origin], next.movedAt[p.Origin] = p, movedAt
	return &next
}

// computeComplete sets k.CompleteUpTo; old is the reading before k, or nil.
func (k *Observation) computeComplete(old *Observation) {
	k.CompleteUpTo = make(map[partition.Origin]partition.Revision, len(k.Origins))
	for o, p := range k.Origins {
		before := partition.Revision(0)
		if old != nil {
			before = old.CompleteUpTo[o]
		}
		k.CompleteUpTo[o] = p.Held(before)
	}
}

// noteReplicaPosition reports a replica's position to the origin's backend: the changes up
// to it were durable there before they were copied. A master's own row is no such proof,
// because the row is visible before its commit is durable.
func (b *Backend) noteReplicaPosition(at partition.Position) {
	if string(at.Origin) == b.Name() {
		return
	}
	if origin := b.set.Named(string(at.Origin)); origin != nil {
		raiseTo(&origin.seen, at.Seen())
	}
}

// Observed is the last reading of the positions, nil until they were read.
func (b *Backend) Observed() *Observation { return b.observation.Load() }

// AnsweredAt returns a moment, by the clock that counts suspended time, at which the database was asked and then answered. false:
// it does not answer now. A database that is refused does answer.
func (b *Backend) AnsweredAt() (at time.Duration, answers bool) {
	err, now := b.State().Err, b.set.BootNow()
	k := b.Observed()
	switch {
	case err == nil && k != nil:
		return now - time.Since(k.ReadAt), true
	case errors.Is(err, partition.ErrRefused):
		return now, true
	}
	return 0, false
}

// NewestCommitted is the newest revision that this process has committed, capped by the counter as read.
func (b *Backend) NewestCommitted() partition.Revision { return partition.Revision(b.committed.Load()) }

// NewestSeen is the newest revision of this origin that was ever committed here or held by a replica.
func (b *Backend) NewestSeen() partition.Revision { return partition.Revision(b.seen.Load()) }

// NewestAnswered is the revision of the last successful commit, 0 while unknown.
func (b *Backend) NewestAnswered() partition.Revision { return partition.Revision(b.answered.Load()) }

// DurableUpTo is the revision up to which a barrier has made this origin durable.
func (b *Backend) DurableUpTo() partition.Revision { return partition.Revision(b.durable.Load()) }

// NoteDurable records that a barrier has made this origin durable up to a revision.
func (b *Backend) NoteDurable(upTo partition.Revision) { raiseTo(&b.durable, upTo) }

// NoteCommitted records a revision that this process has committed on the backend.
func (b *Backend) NoteCommitted(to partition.Revision) {
	b.answered.Store(int64(to))
	raiseTo(&b.committed, to)
	raiseTo(&b.seen, to)
}

func raiseTo(a *atomic.Int64, to partition.Revision) {
	for old := a.Load(); old < int64(to) && !a.CompareAndSwap(old, int64(to)); {
		old = a.Load()
	}
}

// capHead forgets committed revisions beyond the counter that was read: another database
// may have replaced this one. If the counter was read before the commit, less is known
// than could be, which is safe.
func (b *Backend) capHead(to partition.Revision) {
	if old := b.answered.Load(); old > int64(to) {
		b.answered.CompareAndSwap(old, 0)
	}
	if old := b.committed.Load(); old > int64(to) {
		b.committed.CompareAndSwap(old, int64(to))
	}
}

// Position is the last observed position of an origin.
func (b *Backend) Position(o partition.Origin) (partition.Position, bool) {
	k := b.observation.Load()
	if k == nil {
		return partition.Position{}, false
	}
	at, ok := k.Origins[o]
	return at, ok
}

// CompleteUpTo is a lower bound of the revision up to which the backend holds every change
// of an origin.
func (b *Backend) CompleteUpTo(o partition.Origin) partition.Revision {
	if k := b.observation.Load(); k != nil {
		return k.complete(b.Name(), o, partition.Revision(b.committed.Load()))
	}
	return 0
}

// complete is CompleteUpTo for the partition of that name, on which this process has
// committed up to a revision.
func (k *Observation) complete(name string, o partition.Origin, committed partition.Revision) partition.Revision {
	if name == string(o) {
		return max(k.Origins[o].Revision, committed)
	}
	return k.CompleteUpTo[o]
}

// IsComplete reports whether the backend has been filled with the origin. The origin's own
// backend is complete if no replica holds more of it.
func (b *Backend) IsComplete(o partition.Origin) bool {
	if b.Name() == string(o) {
		return !b.mayLack.Load()
	}
	at, ok := b.Position(o)
	return ok && at.Filled()
}

// IsWhole reports whether the backend is complete for every origin of which it holds anything, and amid no catch-up.
func (b *Backend) IsWhole() bool {
	k := b.observation.Load()
	if k == nil {
		return false
	}
	for o, at := range k.Origins {
		if string(o) != b.Name() && !at.Whole() {
			return false
		}
	}
	return true
}

// IsLagging reports whether the backend is in a multi-step catch-up with the origin.
func (b *Backend) IsLagging(o partition.Origin) bool {
	at, _ := b.Position(o)
	return at.CatchingUp()
}

// SyncedAt is the origin's clock at the last moment as of which the backend is known to
// hold every change of the origin.
func (b *Backend) SyncedAt(o partition.Origin) partition.Instant {
	at, _ := b.Position(o)
	return at.SyncedAt
}

// KnownRevision returns the revision up to which the partition is known to hold o's changes. A master is known to hold
// what this process has committed there since its positions were read.
func (b *Backend) KnownRevision(o partition.Origin) partition.Revision {
	at, _ := b.Position(o)
	if b.Name() == string(o) {
		return max(at.Revision, partition.Revision(b.committed.Load()))
	}
	return at.Revision
}

// Knowledge is what was known of a backend at some moment. The zero value is nothing.
type Knowledge struct {
	backend   *Backend
	observed  *Observation
	committed partition.Revision // newest revision that this process has committed on the backend
}

// Known is what is known of the backend now.
func (b *Backend) Known() Knowledge {
	return Knowledge{b, b.observation.Load(), partition.Revision(b.committed.Load())}
}

// Epoch is the epoch of the backend's cluster row.
func (k *Knowledge) Epoch() int64 { return k.observed.Epoch }

// IsWhole reports whether the backend was complete for an origin, and amid no catch-up.
func (k *Knowledge) IsWhole(o partition.Origin) bool {
	return k.backend.Name() == string(o) || k.observed.Origins[o].Whole()
}

// Source is the name of the partition.
func (k *Knowledge) Source() string { return k.backend.Name() }

// IsZero reports whether nothing was known.
func (k *Knowledge) IsZero() bool { return k.observed == nil }

// Includes reports whether the backend held every change up to v.
func (k *Knowledge) Includes(v version.Vector) bool {
	for o, r := range v.All() {
		if k.observed.complete(k.backend.Name(), o, k.committed) < r {
			return false
		}
	}
	return true
}
