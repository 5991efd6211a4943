package partition

// Position says how far a partition has come with one origin. In the origin's
// own row only Revision and Collected count: the origin always holds everything.
type Position struct {
	Origin   Origin
	Revision Revision // everything of the origin up to here is held
	// Goal is what a catch-up in several transactions is heading for.
	Goal Revision
	// SyncedAt is the origin's clock at the last moment of which this partition
	// is known to have held everything of the origin. Zero: it never did.
	SyncedAt Instant
	// Collected: tombstones of the origin up to here are gone. While a partition is
	// being filled Collected can be beyond Revision.
	Collected Revision
}

// Filled reports whether the replica has once held everything of the origin.
// Until then it serves no reads of the origin.
func (p Position) Filled() bool { return p.SyncedAt != 0 }

// CatchingUp reports whether the replica is amid a catch-up in several
// transactions: keys that changed twice arrive at its end.
func (p Position) CatchingUp() bool { return p.Revision < p.Goal }

// Whole reports whether the replica holds everything of some moment.
func (p Position) Whole() bool { return p.Filled() && !p.CatchingUp() }

// Holds reports whether the replica holds every change of the origin up to r, or
// a newer one of the same key.
func (p Position) Holds(r Revision) bool { return p.Whole() && p.Revision >= r }

// Held is up to which revision the replica holds everything, given that it did
// so up to before when p was not reached yet.
func (p Position) Held(before Revision) Revision {
	switch {
	case !p.Filled():
		return 0
	case p.CatchingUp():
		return min(before, p.Revision)
	}
	return p.Revision
}

// Seen is the newest revision that the origin is known by p to have reached.
func (p Position) Seen() Revision { return max(p.Revision, p.Goal) }

// MissesTombstonesOf reports whether a replica at p would never learn of
// deletions if it were continued from source: it must be filled afresh.
func (p Position) MissesTombstonesOf(source Position) bool {
	return source.Collected > max(p.Revision, p.Collected)
}

// Follow is the position of a replica after it has applied c at p.
func (p Position) Follow(c Copy) Position {
	p.Origin, p.Revision, p.Goal = c.Origin, c.To, c.Goal
	p.SyncedAt, p.Collected = max(p.SyncedAt, c.SyncedAt), max(p.Collected, c.Collected)
	return p
}
