package routing

import (
	"context"
	"slices"
	"time"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/internal/version"
	"github.com/runnelkv/runnel/store/partition"
)

// A session token is a vector: per origin, the newest revision that its client has read or
// written. A backend may answer the session if known to hold, for each origin, every
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
func (q *Request) qualifies(b *backend.Backend) bool {
	return q.HasReached(b) && (!q.demand.Bounded || !q.isTooStale(b))
}

// HasReached reports whether the backend holds everything that the session has seen.
func (q *Request) HasReached(b *backend.Backend) bool {
	all := q.allOrigins || q.newerEpoch
	switch isMaster := b.Name() == string(q.origin); {
	case !all && isMaster:
		// The master received all older entries when it became the master.
		if !q.isCompleteUpTo(b, version.Mark{Origin: q.origin, Revision: q.demand.Session.At(q.origin)}) {
			return false
		}
	case !q.reaches(b, all):
		return false
	}
	// The positions that were looked at are of this moment or earlier.
	switch {
	case q.newerEpoch || q.isOlderThan(b):
		return q.reaches(b, true) && b.IsWhole()
	case !q.c.HasMoved() || !q.allOrigins && b.Name() == string(q.origin):
		return true
	}
	return q.isWhole(b)
}

// reaches reports whether the backend holds everything that the session has seen of all origins, or of the origins that are read.
func (q *Request) reaches(b *backend.Backend, all bool) bool {
	for o, r := range q.demand.Session.All() {
		if (all || o == q.origin || slices.Contains(q.former, o)) && !q.isCompleteUpTo(b, version.Mark{Origin: o, Revision: r}) {
			return false
		}
	}
	return true
}

// isWhole reports whether the backend is amid no catch-up with an origin that is read. An entry of one origin may be
// missing because an entry of another has replaced the entry at the source; the backend then has a goal of the other
// (partition.Copy.Goals).
func (q *Request) isWhole(b *backend.Backend) bool {
	for o := range q.origins {
		if at, _ := b.Position(o); string(o) != b.Name() && !at.Whole() {
			return false
		}
	}
	return true
}

// isOlderThan reports whether the backend knows a later cluster map than the request goes by: further masters may have
// written the keys.
func (q *Request) isOlderThan(b *backend.Backend) bool {
	k := b.Observed()
	return k != nil && k.Epoch > q.c.Epoch
}

// avoidsMaster reports whether b is the master, and is asked only if no replica answers.
func (q *Request) avoidsMaster(b *backend.Backend) bool {
	return b.Name() == string(q.origin) && !q.demand.Bounded
}

func (q *Request) isCompleteUpTo(b *backend.Backend, mark version.Mark) bool {
	if mark.Revision <= 0 {
		return true
	}
	complete := b.CompleteUpTo(mark.Origin)
	return complete >= mark.Revision && (b.Name() == string(mark.Origin) || complete >= q.collectedUpTo(mark.Origin))
}

// collectedUpTo is the revision up to which tombstones of an origin are known to be
// collected. A backend with a lower position is about to be refilled.
func (q *Request) collectedUpTo(o partition.Origin) (upTo partition.Revision) {
	for _, b := range q.backends {
		at, _ := b.Position(o)
		upTo = max(upTo, at.Collected)
	}
	return upTo
}

// MustReadAgain checks, after a strict read found no row on b, whether that result is final:
// it is if the position of b, read again, has not moved. ErrTooFarBehind: b does not qualify
// any more.
func (q *Request) MustReadAgain(ctx context.Context, b *backend.Backend) (bool, error) {
	if b.Name() == string(q.origin) {
		return false, nil
	}
	before := q.sumOfPositions(b)
	if err := q.recheck(ctx, b); err != nil {
		return false, err
	}
	return q.sumOfPositions(b) != before, nil
}

// sumOfPositions is the sum of the backend's positions for the origins that are read.
func (q *Request) sumOfPositions(b *backend.Backend) (sum partition.Revision) {
	for o := range q.origins {
		at, _ := b.Position(o)
		sum += at.Revision
	}
	return sum
}

// EnsureQualifies rechecks a backend that is not known to satisfy a strict read.
func (q *Request) EnsureQualifies(ctx context.Context, b *backend.Backend) error {
	if !q.strict || q.qualifies(b) {
		return nil
	}
	return q.recheck(ctx, b)
}

// recheck reads the backend's positions. ErrTooFarBehind: the backend does not qualify, or
// is incomplete.
func (q *Request) recheck(ctx context.Context, b *backend.Backend) error {
	ctx, cancel := context.WithTimeout(ctx, q.router.options.Timeout)
	defer cancel()
	p, err := b.ReadPositions(ctx)
	if err != nil {
		return err
	}
	for o := range q.origins {
		if b.Name() != string(o) && !p.Origins[o].Filled() {
			return ErrTooFarBehind
		}
	}
	if !q.IsComplete(b) || !q.qualifies(b) {
		return ErrTooFarBehind
	}
	return nil
}

// Proof is the knowledge of the age of a backend's data before a read.
type Proof struct {
	set    *backend.Set
	b      *backend.Backend
	origin partition.Origin
	synced partition.Instant
	later  func() time.Duration // of several origins; nil: of origin alone
}

// Prove returns the knowledge of the age of a backend's data, for a read that begins now. The age is unknown if the backend knows a
// later cluster map than the request goes by.
func (q *Request) Prove(b *backend.Backend) Proof {
	p := Proof{set: q.router.backends, b: b, origin: q.origin, synced: b.SyncedAt(q.origin)}
	if len(q.former) > 0 {
		aging := []partition.Origin{q.origin}
		for _, o := range q.former {
			if !q.hasEnded(o, b.KnownRevision(o)) {
				aging = append(aging, o)
			}
		}
		p.later = p.set.StalenessLater(b, aging)
	}
	if q.isOlderThan(b) {
		p.later = func() time.Duration { return -1 }
	}
	return p
}

// Staleness bounds the staleness, at the time of the call, of an answer read since; negative: unknown.
func (p *Proof) Staleness() time.Duration {
	if p.later != nil {
		return p.later()
	}
	return p.set.Age(p.b, p.origin, p.synced)
}

// isTooStale reports whether the backend's data is known to be, or may be, staler than a bounded read allows.
func (q *Request) isTooStale(b *backend.Backend) bool {
	p := q.Prove(b)
	return q.TooStale(p.Staleness())
}

// hasEnded reports whether the origin has no entries of the keys beyond a revision, as other masters own their slots
// since.
func (q *Request) hasEnded(o partition.Origin, revision partition.Revision) bool {
	isFormer := o != q.origin && (!q.allOrigins || !slices.Contains(q.c.Masters, string(o)))
	return isFormer && revision >= q.c.GaveAway(o)
}

// TooStale reports whether an answer is staler than a bounded read allows.
func (q *Request) TooStale(d time.Duration) bool {
	return q.demand.Bounded && q.demand.Partition == "" && (d < 0 || d > q.demand.MaxStaleness)
}
