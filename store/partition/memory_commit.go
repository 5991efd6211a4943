package partition

import (
	"context"
	"fmt"
	"math"
)

// Commit implements Master. A Decide may block: readers go on meanwhile.
func (m *Memory) Commit(ctx context.Context, b Batch) (Claim, error) {
	unlock, err := m.beginWrite(ctx, OpCommit)
	if err != nil {
		return Claim{}, err
	}
	claim, err := m.commit(ctx, b, unlock)
	if err != nil {
		return Claim{}, err
	}
	if err := m.answer(OpCommitted); err != nil {
		return Claim{}, err
	}
	return claim, nil
}

// commit is the transaction: nothing changes before it cannot fail any more.
func (m *Memory) commit(ctx context.Context, b Batch, unlock func()) (Claim, error) {
	defer unlock()
	b, err := b.Normalize(m.db.name)
	if err != nil {
		return Claim{}, fmt.Errorf("commit on %s: %w", m.db.name, err)
	}
	claim, err := m.db.claim(b)
	if err != nil {
		return Claim{}, err
	}
	entries, err := b.Resolve(claim, m.db.name)
	if err == nil {
		err = CheckSizes(entries, m.db.maxValueBytes)
	}
	if err == nil {
		err = m.inTime(ctx, OpCommit)
	}
	if err != nil {
		return Claim{}, err
	}
	m.db.advance(claim.First+Revision(b.Revisions)-1, entries)
	return claim, nil
}

// claim reads what the batch asks for and works out its revisions. The
// writer token keeps both true until the commit.
func (db *memoryDB) claim(b Batch) (Claim, error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	own, master := db.positions[db.name]
	from, below := b.Claimable()
	if !master || own.Revision < from || own.Revision+Revision(b.Revisions) >= below {
		return Claim{}, fmt.Errorf("commit on %s: %w", db.name, b.ClaimError())
	}
	current := append(db.get(b.Read, math.MaxInt64), db.get(b.Heads, -1)...)
	return Claim{First: own.Revision + 1, Now: db.instant(), Current: current}, nil
}

// advance is the commit itself: counter and entries at one moment.
func (db *memoryDB) advance(last Revision, entries []Entry) {
	db.mu.Lock()
	defer db.mu.Unlock()
	own := db.positions[db.name]
	own.Revision = last
	db.positions[db.name] = own
	for _, e := range entries {
		db.put(e)
	}
}
