package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/partition"
)

// With leases a process commits and answers for masters only while a majority of the voters has shown it, within the length of a
// lease, no later map than it knows. A promotion that waits for longer than a lease, after a majority has accepted that the
// slots have no master, so excludes every process that has not heard of it: each such process had read some voter of this
// majority before that voter accepted.

// ErrLeasesRefused: the leases cannot be changed; nothing was changed.
var ErrLeasesRefused = errors.New("the leases cannot be changed")

// MaxLease is the longest lease.
const MaxLease = 5 * time.Minute

// minLeasePolls is the shortest lease, in polls: a lease outlasts polls that are late or lost.
const minLeasePolls = 4

// HasLease reports whether this process may commit and answer for masters now. A voter counts as of when its positions were
// asked for, if it showed no later ballot than that of the known map.
func (r *Register) HasLease() bool {
	c := r.Map()
	if c == nil || c.Leases.Length == 0 {
		return true
	}
	var few [8]backend.Moment
	asked := few[:0]
	for _, name := range c.Voters {
		at := backend.Moment{}
		if b := r.backends.Named(name); b != nil {
			if k := b.Observed(); k != nil {
				at = k.ShownAt(c.Accepted)
			}
		}
		asked = append(asked, at)
	}
	slices.SortFunc(asked, func(a, b backend.Moment) int { return cmp.Compare(a.Boot, b.Boot) })
	majority := asked[len(asked)-(len(asked)/2+1)] // the earliest of the latest majority
	return majority.Boot > 0 && r.backends.IsWithin(majority, c.Leases.Length)
}

// SetLeases gives all processes leases of a length, or takes the leases away (0). Without leases a promotion needs the word of an
// operator that the old master is stopped; with leases a process that reaches no majority of the voters takes no writes. All
// masters must be reachable. The error ErrLeasesRefused, and those of a change of the map.
func (r *Register) SetLeases(ctx context.Context, length time.Duration) error {
	if shortest := minLeasePolls * r.options.Poll; length != 0 && (length < shortest || length > MaxLease) {
		return fmt.Errorf("%w: a lease of %s is not between %s and %s", ErrLeasesRefused, length, shortest, MaxLease)
	}
	if err := r.checkSchemas(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrLeasesRefused, err)
	}
	if c := r.Map(); c != nil {
		if err := r.checkMasters(c.Cluster); err != nil {
			return fmt.Errorf("%w: %w", ErrLeasesRefused, err)
		}
	}
	if err := r.beginBallots(ctx); err != nil {
		return err
	}
	c, err := r.change(ctx, func(c partition.Cluster) (partition.Cluster, error) { return r.withLeases(c, length) })
	if err != nil {
		return err
	}
	return r.holdLeases(ctx, c)
}

// beginBallots makes the first change of the map, if there was none, and waits until the polls of all processes have seen its
// ballot: a voter without a ballot counts for no lease.
func (r *Register) beginBallots(ctx context.Context) error {
	isFirst := false
	_, err := r.change(ctx, func(c partition.Cluster) (partition.Cluster, error) {
		if isFirst = c.Accepted == 0; !isFirst {
			return c, nil
		}
		err := nextEpoch(&c)
		return c, err
	})
	if err == nil && isFirst {
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-time.After(2 * r.options.Poll):
		}
	}
	return err
}

// checkMasters fails unless this process can use every master of a map.
func (r *Register) checkMasters(c partition.Cluster) error {
	for _, name := range c.Masters {
		b := r.backends.Named(name)
		if b == nil {
			return notConfigured(name)
		}
		if err := unusable(b); err != nil {
			return err
		}
	}
	return nil
}

// withLeases returns the map that follows c, with new epochs of all masters: no process with an earlier map can commit after
// its master has accepted this map.
func (r *Register) withLeases(c partition.Cluster, length time.Duration) (partition.Cluster, error) {
	if m := underWay(&c); m != nil {
		return c, fmt.Errorf("%w: a move from %s to %s is under way", ErrLeasesRefused, m.From, m.To)
	}
	n := len(c.Voters)
	if c.Voters == nil {
		n = len(r.backends.All())
	}
	switch {
	case c.Leases.Length == length:
		return c, nil
	case length == 0 && c.Failover.After > 0:
		return c, fmt.Errorf("%w: processes replace lost masters by themselves, which needs master leases: end that first (runnel failover off)", ErrLeasesRefused)
	case length > 0 && n < 3:
		return c, fmt.Errorf("%w: leases need three voters or more, and there are %d: the loss of one would end all writes", ErrLeasesRefused, n)
	}
	err := nextEpochOfAll(&c)
	c.Leases = partition.Leases{Length: length}
	return c, err
}

// holdLeases lets all masters accept the map c, and records that they did.
func (r *Register) holdLeases(ctx context.Context, c partition.Cluster) error {
	if c.Leases.Length == 0 || c.Leases.Held {
		return nil
	}
	for _, name := range c.Masters {
		b, err := r.backends.Named(name), error(nil)
		stands := partition.Cluster{}
		if b == nil {
			err = notConfigured(name)
		} else {
			stands, err = b.Accept(ctx, c)
		}
		if err == nil && stands.Epoch < c.Epoch {
			err = partition.ErrOutvoted
		}
		if err != nil {
			return fmt.Errorf("the leases are not held by all masters yet, which a running server or a repetition completes: %w", err)
		}
	}
	_, err := r.change(ctx, func(now partition.Cluster) (partition.Cluster, error) {
		if now.Leases != c.Leases || now.EpochOf(now.Masters[0]) != c.EpochOf(c.Masters[0]) {
			return now, nil // another process has changed the leases
		}
		err := nextEpoch(&now)
		now.Leases.Held = true
		return now, err
	})
	return err
}

// errReturned: the lost master has accepted the map, and takes no writes.
var errReturned = errors.New("the lost master has returned")

// exclude returns nil once no process can write to the lost master of a move in the map c, which a majority has accepted
// before the call: every lease has ended that began before. errReturned: the lost master has accepted the map itself.
func (r *Register) exclude(ctx context.Context, c *partition.Cluster, m *partition.Move) error {
	wait := c.Leases.Length + c.Leases.Length/50 // the clocks of two machines differ by less than a fiftieth
	if m.Stopped {
		wait = 0
	}
	until := time.Now().Add(wait)
	for {
		bound := min(r.options.Timeout, answerTimeout, max(time.Until(until), 100*time.Millisecond))
		if lost := r.backends.Named(m.From); lost != nil && r.hasAccepted(ctx, lost, c, bound) {
			return errReturned
		}
		left := time.Until(until)
		if left <= 0 {
			return ctx.Err()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(left, 100*time.Millisecond)):
		}
	}
}

// hasAccepted lets a partition accept a map, and reports whether it has accepted this map or a later one within a time.
func (r *Register) hasAccepted(ctx context.Context, b *backend.Backend, c *partition.Cluster, bound time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	stands, err := b.Accept(ctx, *c)
	return err == nil && stands.Epoch >= c.Epoch && stands.Accepted >= c.Accepted
}
