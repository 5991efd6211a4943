package backend

import (
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// clockReading is a reading of a database's clock, taken at some moment between asked and
// answered. These two are monotonic times: setting this host's clock makes nothing expire
// too early or too late.
type clockReading struct {
	now             partition.Instant
	asked, answered time.Time

	// If the database's clock was seen to be set back: the latest instant it could have
	// reached without the change, and when the change was seen. Instants up to there may
	// come from the clock as it was before.
	before    partition.Instant
	setBackAt time.Time
}

// clockSlack is the difference between two clocks, per interval between two readings, that
// is not taken for a setting of one of them. A thousandth of the interval comes on top.
const clockSlack = 100 * time.Millisecond

// noteSetBack is c with the changes of the clock that were seen up to c; old is the
// reading before c.
func (c clockReading) noteSetBack(old clockReading) clockReading {
	c.before, c.setBackAt = old.before, old.setBackAt
	passed := c.asked.Sub(old.answered) // at least
	if c.now < old.now.Add(passed-passed.Abs()/1000-clockSlack) {
		c.before, c.setBackAt = old.now.Add(c.answered.Sub(old.asked)), c.answered
		if !old.setBackAt.IsZero() {
			c.before = max(c.before, old.before.Add(c.answered.Sub(old.setBackAt)))
		}
	}
	return c
}

// age is an upper bound of the real time since the clock showed an instant. It is negative
// if the clock cannot have shown the instant yet.
func (c clockReading) age(then partition.Instant) time.Duration {
	age := c.now.Add(time.Since(c.asked)).Sub(then)
	if age < -clockSlack {
		return -1
	}
	if then <= c.before {
		age = max(age, c.before.Add(time.Since(c.setBackAt)).Sub(then))
	}
	return max(0, age)
}

// clock is a lower bound of the backend's clock. Before the first reading it is this
// host's clock.
func (b *Backend) clock() partition.Instant {
	if k := b.observation.Load(); k != nil {
		return k.clock.now.Add(time.Since(k.clock.answered))
	}
	return partition.InstantOf(time.Now())
}

// Now is a lower bound of the origin's clock, which alone decides the expiry of its
// entries: nothing expires too early.
func (s *Set) Now(o partition.Origin) partition.Instant {
	if b := s.Named(string(o)); b != nil {
		return b.clock()
	}
	return partition.InstantOf(time.Now())
}

// NowAt is now at an earlier moment of this process. Expiry is decided as of the moment at
// which a read began: an entry may have been renewed in time while its answer was in
// transit.
func (s *Set) NowAt(o partition.Origin, at time.Time) partition.Instant {
	return s.Now(o).Add(-time.Since(at))
}

// Staleness bounds the staleness of a backend's answers about an origin. It is zero for the
// origin's own backend unless that has lost writes, and negative while unknown.
func (s *Set) Staleness(b *Backend, o partition.Origin) time.Duration {
	return s.Age(b, o, b.SyncedAt(o))
}

// Age is staleness by a SyncedAt that was loaded before the backend was read. Without a lease every staleness is unknown:
// the origin may have been replaced.
func (s *Set) Age(b *Backend, o partition.Origin, synced partition.Instant) time.Duration {
	switch {
	case !s.options.HasLease():
		return -1
	case b.Name() != string(o):
		return s.Since(o, synced)
	case b.IsComplete(o):
		return 0
	}
	return -1
}

// Since bounds the time since the origin's clock showed an instant. It is negative for the
// zero instant, for an instant that the clock cannot have reached because it was set back,
// and while the clock was never read; the clock of this host is no substitute.
func (s *Set) Since(o partition.Origin, then partition.Instant) time.Duration {
	b := s.Named(string(o))
	if then == 0 || b == nil {
		return -1
	}
	k := b.observation.Load()
	if k == nil {
		return -1
	}
	return k.clock.age(then)
}

// StalenessLater returns a function that bounds the staleness, at the time of its call, of
// a reading that begins now. It is the staleness of the stalest origin, negative while any
// is unknown.
func (s *Set) StalenessLater(b *Backend, origins []partition.Origin) func() time.Duration {
	synced := make([]partition.Instant, len(origins))
	for i, o := range origins {
		synced[i] = b.SyncedAt(o)
	}
	return func() (d time.Duration) {
		for i, o := range origins {
			age := s.Age(b, o, synced[i])
			if age < 0 {
				return age
			}
			d = max(d, age)
		}
		return d
	}
}
