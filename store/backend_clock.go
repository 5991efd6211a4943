package store

import (
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// clockReading is a reading of a database's clock, taken at some moment between asked and
// answered. These two are monotonic times: setting this host's clock makes nothing expire
// too early or too late.
type clockReading struct {
	now             Instant
	asked, answered time.Time

	// If the database's clock was seen to be set back: the latest instant it could have
	// reached without the change, and when the change was seen. Instants up to there may
	// come from the clock as it was before.
	before    Instant
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
func (c clockReading) age(then Instant) time.Duration {
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
func (b *backend) clock() Instant {
	if k := b.observed.Load(); k != nil {
		return k.clock.now.Add(time.Since(k.clock.answered))
	}
	return partition.InstantOf(time.Now())
}
