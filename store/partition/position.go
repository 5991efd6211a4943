package partition

// Position says how much of an origin a partition holds. In the origin's own row only Revision and
// Collected have a meaning: the origin always holds all of its entries.
type Position struct {
	Origin   Origin
	Revision Revision // the partition holds all changes up to this revision
	// Goal is the target of a catch-up in several transactions.
	Goal Revision
	// SyncedAt is the origin's clock at the last moment as of which the partition is known to have
	// held all of the origin. Zero: the first copy has not been completed.
	SyncedAt Instant
	// Collected is the revision up to which tombstones of the origin have been removed. During the
	// first copy Collected can be higher than Revision.
	Collected Revision
}

// Filled reports whether the first copy of the origin has been completed. Before, the replica
// serves no reads of the origin.
func (p Position) Filled() bool { return p.SyncedAt != 0 }

// CatchingUp reports whether the replica is within a catch-up of several transactions. A key that
// changed twice arrives only with its last change.
func (p Position) CatchingUp() bool { return p.Revision < p.Goal }

// Whole reports whether the replica holds all of the origin as of some moment.
func (p Position) Whole() bool { return p.Filled() && !p.CatchingUp() }

// Holds reports whether the replica holds every change of the origin up to r, or a newer change of
// the same key.
func (p Position) Holds(r Revision) bool { return p.Whole() && p.Revision >= r }

// Held returns the revision up to which the replica is complete, if it was complete up to before
// when the position was below p.
func (p Position) Held(before Revision) Revision {
	switch {
	case !p.Filled():
		return 0
	case p.CatchingUp():
		return min(before, p.Revision)
	}
	return p.Revision
}

// Seen is the newest revision that p proves the origin to have used.
func (p Position) Seen() Revision { return max(p.Revision, p.Goal) }

// MissesTombstonesOf reports whether a replica at p would miss deletions if it continued to copy
// from source. Such a replica must be copied from the start.
func (p Position) MissesTombstonesOf(source Position) bool {
	return source.Collected > max(p.Revision, p.Collected)
}

// Follow is the position of a replica at p after applying c.
func (p Position) Follow(c Copy) Position {
	p.Origin, p.Revision, p.Goal = c.Origin, c.To, max(p.Goal, c.Goal)
	p.SyncedAt, p.Collected = max(p.SyncedAt, c.SyncedAt), max(p.Collected, c.Collected)
	return p
}
