package partition

import (
	"context"
	"fmt"
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
	claim, err := m.db.claim(b)
	if err != nil {
		return Claim{}, err
	}
	entries, err := decide(b, claim)
	if err != nil {
		return Claim{}, err
	}
	if err := m.db.admit(b, claim, entries); err != nil {
		return Claim{}, err
	}
	if err := m.inTime(ctx, OpCommit); err != nil {
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
	if b.Revisions < 1 {
		return Claim{}, fmt.Errorf("commit on %s: claim of %d revisions", db.name, b.Revisions)
	}
	from, below := b.claimable()
	if !master || own.Revision < from || own.Revision+Revision(b.Revisions) >= below {
		return Claim{}, fmt.Errorf("commit on %s: %w", db.name, b.unclaimed())
	}
	return Claim{First: own.Revision + 1, Now: db.instant(), Current: db.current(b)}, nil
}

// current is what stands for the batch's keys; a key in both lists counts as Read.
func (db *memoryDB) current(b Batch) []Entry {
	entries := db.get(b.Read, anySize)
	seen := make(map[Key]bool, len(b.Read)+len(b.Heads))
	for _, k := range b.Read {
		seen[k] = true
	}
	for _, k := range b.Heads {
		if e, ok := db.entries[k]; ok && !seen[k] {
			entries = append(entries, head(e))
		}
		seen[k] = true
	}
	return entries
}

// decide returns what to write, revisions absolute.
func decide(b Batch, c Claim) ([]Entry, error) {
	if b.Decide != nil {
		return b.Decide(c)
	}
	entries := make([]Entry, len(b.Write))
	for i, e := range b.Write {
		e.Revision += c.First
		e.ModifiedAt = c.Now
		entries[i] = e
	}
	return entries, nil
}

// admit refuses entries that do not fit, or that break the rules of a batch.
func (db *memoryDB) admit(b Batch, c Claim, entries []Entry) error {
	keys := make(map[Key]bool, len(entries))
	revisions := make(map[Revision]bool, len(entries))
	for _, e := range entries {
		if int64(len(e.Value)) > db.maxValueBytes {
			return fmt.Errorf("commit of %d bytes on %s: %w", len(e.Value), db.name, ErrTooLarge)
		}
		if keys[e.Key] || revisions[e.Revision] {
			return fmt.Errorf("commit on %s: second entry of key %q or revision %d", db.name, e.Key, e.Revision)
		}
		if e.Revision < c.First || e.Revision >= c.First+Revision(b.Revisions) {
			return fmt.Errorf("commit on %s: revision %d is outside the claim", db.name, e.Revision)
		}
		keys[e.Key], revisions[e.Revision] = true, true
	}
	return nil
}

// advance is the commit itself: counter and entries at one moment.
func (db *memoryDB) advance(last Revision, entries []Entry) {
	db.mu.Lock()
	defer db.mu.Unlock()
	own := db.positions[db.name]
	own.Revision = last
	db.positions[db.name] = own
	for _, e := range entries {
		e.Origin = db.name
		db.put(e)
	}
}
