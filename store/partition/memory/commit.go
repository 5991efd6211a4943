package memory

import (
	"context"
	"fmt"
	"math"

	"github.com/runnelkv/runnel/store/partition"
)

// Commit implements partition.Master. Readers continue while Decide blocks.
func (m *Partition) Commit(ctx context.Context, b partition.Batch) (partition.Claim, error) {
	unlock, err := m.beginWrite(ctx, OpCommit)
	if err != nil {
		return partition.Claim{}, err
	}
	claim, err := m.commit(ctx, b, unlock)
	if err == nil {
		err = m.answer(OpCommitted)
	}
	if err != nil {
		return partition.Claim{}, err
	}
	return claim, nil
}

// commit is the transaction. All that can fail comes before the first change.
func (m *Partition) commit(ctx context.Context, b partition.Batch, unlock func()) (partition.Claim, error) {
	defer unlock()
	b, err := b.Normalize(m.db.name, m.KnownSchema())
	if err != nil {
		return partition.Claim{}, fmt.Errorf("commit on %s: %w", m.db.name, err)
	}
	claim, err := m.db.claim(b)
	if err != nil {
		return partition.Claim{}, err
	}
	entries, err := b.Resolve(claim, m.db.name)
	if err == nil {
		err = partition.CheckSizes(entries, m.db.maxValueBytes)
	}
	if err == nil {
		err = m.inTime(ctx, OpCommit)
	}
	if err != nil {
		return partition.Claim{}, err
	}
	m.db.advance(claim.First+partition.Revision(b.Revisions)-1, entries, b.GuardDelta(claim, entries))
	return claim, nil
}

// claim computes the revisions of the batch and reads its entries. The writer token keeps both
// valid until the commit.
func (db *database) claim(b partition.Batch) (partition.Claim, error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	own, master := db.positions[db.name]
	from, below := b.Claimable()
	if !master || b.Unguarded && db.guards != 0 || own.Revision < from || own.Revision+partition.Revision(b.Revisions) >= below {
		return partition.Claim{}, fmt.Errorf("commit on %s: %w", db.name, b.ClaimError())
	}
	current := append(db.get(b.Read, math.MaxInt64), db.get(b.Heads, -1)...)
	return partition.Claim{First: own.Revision + 1, Now: db.instant(), Guards: db.guards, Current: current}, nil
}

// advance changes counter, entries and the number of guards at the same moment.
func (db *database) advance(last partition.Revision, entries []partition.Entry, moreGuards int64) {
	db.mu.Lock()
	defer db.mu.Unlock()
	own := db.positions[db.name]
	own.Revision = last
	db.guards += moreGuards
	db.positions[db.name] = own
	for _, e := range entries {
		db.put(e)
	}
}

// CountGuards implements partition.Master.
func (m *Partition) CountGuards(ctx context.Context, epoch int64, counted func(partition.Key) bool) error {
	return m.update(ctx, OpCountGuards, func() error {
		if m.db.guards < partition.GuardsUnknown {
			return nil
		}
		if m.db.positions[m.db.name].Revision.Epoch() != epoch {
			return partition.ErrStaleEpoch
		}
		m.db.guards = 0
		for k, e := range m.db.entries {
			if e.Guards() && counted(k) {
				m.db.guards++
			}
		}
		return nil
	})
}
