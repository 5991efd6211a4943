package memory

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// Apply implements partition.Target.
func (m *Partition) Apply(ctx context.Context, c partition.Copy) error {
	if err := m.update(ctx, OpApply, func() error { return m.db.apply(c) }); err != nil {
		return err
	}
	return m.answer(OpApplied)
}

func (db *database) apply(c partition.Copy) error {
	if err := cmp.Or(c.Check(), partition.CheckSizes(c.Entries, db.maxValueBytes)); err != nil {
		return err
	}
	if c.Fence != 0 && c.Fence != db.lease.Fence {
		return partition.ErrLeaseLost
	}
	p := db.positions[c.Origin]
	if p.Revision != c.From {
		return partition.ErrPositionMoved
	}
	if db.cluster != nil {
		if err := c.CheckMap(db.cluster.Epoch, db.cluster.Accepted); err != nil {
			return err
		}
	}
	db.positions[c.Origin] = p.Follow(c)
	for o, goal := range c.Goals {
		if other := db.positions[o]; o != db.name && goal > other.Goal {
			other.Origin, other.Goal = o, goal
			db.positions[o] = other
		}
	}
	for _, e := range c.Entries {
		if e.Revision > db.entries[e.Key].Revision {
			db.put(e)
		}
	}
	return nil
}

// Reset implements partition.Target.
func (m *Partition) Reset(ctx context.Context, origin partition.Origin) error {
	return m.update(ctx, OpReset, func() error {
		if origin == m.db.name {
			return fmt.Errorf("%w: %s is its own origin", partition.ErrRefused, origin)
		}
		if p, held := m.db.positions[origin]; held {
			m.db.positions[origin] = partition.Position{Origin: origin, Goal: p.Goal}
		}
		m.db.remove(origin, func(partition.Entry) bool { return true })
		return nil
	})
}

// Collect implements partition.Target, in one transaction.
func (m *Partition) Collect(ctx context.Context, origin partition.Origin, upTo partition.Revision) (removed int, err error) {
	err = m.update(ctx, OpCollect, func() error {
		p := m.db.positions[origin]
		if upTo > p.Revision {
			return fmt.Errorf("%w: %s up to %d is beyond the position %d", partition.ErrRefused, origin, upTo, p.Revision)
		}
		if upTo > p.Collected {
			p.Collected = upTo
			m.db.positions[origin] = p
		}
		removed = m.db.remove(origin, func(e partition.Entry) bool { return e.Deleted && e.Revision <= upTo })
		return nil
	})
	return removed, err
}

// Acquire implements partition.Target.
func (m *Partition) Acquire(ctx context.Context, holder string, ttl time.Duration) (l partition.Lease, err error) {
	err = m.update(ctx, OpAcquire, func() error {
		now := m.db.instant()
		l = m.db.lease
		if l.Holder != holder {
			if now < l.ExpiresAt && l.ExpiresAt <= now.Add(2*ttl) {
				return fmt.Errorf("%w by %s", partition.ErrLeaseHeld, l.Holder)
			}
			l.Holder = holder
			l.Fence++
		}
		l.ExpiresAt = now.Add(ttl)
		m.db.lease = l
		return nil
	})
	return l, err
}

// Release implements partition.Target.
func (m *Partition) Release(ctx context.Context, l partition.Lease) error {
	return m.update(ctx, OpRelease, func() error {
		if m.db.lease.Holder == l.Holder && m.db.lease.Fence == l.Fence {
			m.db.lease.Holder, m.db.lease.ExpiresAt = "", 0
		}
		return nil
	})
}
