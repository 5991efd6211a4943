package memory

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// Apply implements Target.
func (m *Partition) Apply(ctx context.Context, c partition.Copy) error {
	unlock, err := m.beginWrite(ctx, OpApply)
	if err != nil {
		return err
	}
	err = m.db.apply(c)
	unlock()
	if err != nil {
		return fmt.Errorf("apply %d entries of %s to %s: %w", len(c.Entries), c.Origin, m.db.name, err)
	}
	return m.answer(OpApplied)
}

func (db *database) apply(c partition.Copy) error {
	if err := cmp.Or(c.Check(), partition.CheckSizes(c.Entries, db.maxValueBytes)); err != nil {
		return err
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	if c.Fence != 0 && c.Fence != db.lease.Fence {
		return partition.ErrLeaseLost
	}
	p := db.positions[c.Origin]
	if p.Revision != c.From {
		return partition.ErrPositionMoved
	}
	db.positions[c.Origin] = p.Follow(c)
	for _, e := range c.Entries {
		db.putNewer(e)
	}
	return nil
}

// putNewer stores e unless what stands is as new.
func (db *database) putNewer(e partition.Entry) {
	if e.Revision > db.entries[e.Key].Revision {
		db.put(e)
	}
}

// Reset implements Target.
func (m *Partition) Reset(ctx context.Context, origin partition.Origin) error {
	unlock, err := m.beginWrite(ctx, OpReset)
	if err != nil {
		return err
	}
	defer unlock()
	if origin == m.db.name {
		return fmt.Errorf("reset %s: its own origin: %w", origin, partition.ErrRefused)
	}
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	delete(m.db.positions, origin)
	m.db.remove(origin, func(partition.Entry) bool { return true })
	return nil
}

// Collect implements Target, in one transaction.
func (m *Partition) Collect(ctx context.Context, origin partition.Origin, upTo partition.Revision) (int, error) {
	unlock, err := m.beginWrite(ctx, OpCollect)
	if err != nil {
		return 0, err
	}
	defer unlock()
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	p := m.db.positions[origin]
	if upTo > p.Revision {
		return 0, fmt.Errorf("collect %s on %s up to %d, beyond its position %d: %w",
			origin, m.db.name, upTo, p.Revision, partition.ErrRefused)
	}
	if upTo > p.Collected {
		p.Collected = upTo
		m.db.positions[origin] = p
	}
	return m.db.remove(origin, func(e partition.Entry) bool { return e.Deleted && e.Revision <= upTo }), nil
}

// Acquire implements Target.
func (m *Partition) Acquire(ctx context.Context, holder string, ttl time.Duration) (partition.Lease, error) {
	unlock, err := m.beginWrite(ctx, OpAcquire)
	if err != nil {
		return partition.Lease{}, err
	}
	defer unlock()
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	now, lease := m.db.instant(), &m.db.lease
	if lease.Holder != holder {
		if now < lease.ExpiresAt && lease.ExpiresAt <= now.Add(2*ttl) {
			return *lease, fmt.Errorf("lease of %s with %s: %w", m.db.name, lease.Holder, partition.ErrLeaseHeld)
		}
		lease.Holder = holder
		lease.Fence++
	}
	lease.ExpiresAt = now.Add(ttl)
	return *lease, nil
}

// Release implements Target.
func (m *Partition) Release(ctx context.Context, l partition.Lease) error {
	unlock, err := m.beginWrite(ctx, OpRelease)
	if err != nil {
		return err
	}
	defer unlock()
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	if m.db.lease.Holder == l.Holder && m.db.lease.Fence == l.Fence {
		m.db.lease.Holder, m.db.lease.ExpiresAt = "", 0
	}
	return nil
}
