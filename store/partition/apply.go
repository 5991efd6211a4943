package partition

import (
	"context"
	"errors"
	"fmt"
)

// Apply implements Target.
func (s *SQL) Apply(ctx context.Context, c Copy) error {
	err := s.usable(ctx)
	if err == nil {
		err = c.check(s.MaxValueBytes())
	}
	if err == nil {
		err = fit(c.Entries, s.MaxValueBytes())
	}
	if err != nil {
		return s.failed("apply", err)
	}
	if done, err := s.applyQuickly(ctx, c); done {
		return s.failed("apply", err)
	}
	return s.transact(ctx, "apply", func(ctx context.Context, conn *session) error {
		if err := s.checkFence(ctx, conn, c.Fence); err != nil {
			return err
		}
		if err := s.move(ctx, conn, c); err != nil {
			return err
		}
		return s.dialect.upsertNewer(ctx, conn, c.Entries)
	})
}

// shortcut is a dialect that has a quicker way to make a step than a transaction
// statement by statement. Unless it is done the quicker way has changed
// nothing, and the error, if any, does not count.
type shortcut interface {
	applyQuickly(ctx context.Context, c Copy) (done bool, err error)
}

func (s *SQL) applyQuickly(ctx context.Context, c Copy) (done bool, err error) {
	quick, has := s.dialect.(shortcut)
	if !has {
		return false, nil
	}
	ctx, end, err := s.begin(ctx, "apply")
	if err != nil {
		return true, err
	}
	defer end()
	return quick.applyQuickly(ctx, c)
}

const selectFence = `SELECT fence FROM {p}lease WHERE id = 1`

// checkFence locks the lease: nobody takes it over before the commit.
func (s *SQL) checkFence(ctx context.Context, conn *session, fence int64) error {
	if fence == 0 {
		return nil
	}
	var current int64
	if err := conn.queryRow(ctx, s.sql(selectFence+s.dialect.forShare()), nil, &current); err != nil {
		return err
	}
	if current != fence {
		return fmt.Errorf("%w: fence %d, now %d", ErrLeaseLost, fence, current)
	}
	return nil
}

const (
	insertPosition = `INSERT INTO {p}positions (origin, revision, goal, synced_at, collected) VALUES (?, ?, ?, ?, ?)`
	updatePosition = `UPDATE {p}positions SET revision = ?, goal = ?, synced_at = ?, collected = ? WHERE origin = ?`
)

// move takes the position from c.From to c.To under a lock on its row. Of two
// that find no row, the second's INSERT fails: moved.
func (s *SQL) move(ctx context.Context, conn *session, c Copy) error {
	p, found, err := s.position(ctx, conn, c.Origin, s.dialect.forUpdate())
	if err != nil {
		return err
	}
	if p.Revision != c.From {
		return fmt.Errorf("%w: %s at %d, not at %d", ErrPositionMoved, c.Origin, p.Revision, c.From)
	}
	syncedAt, collected := int64(max(p.SyncedAt, c.SyncedAt)), int64(max(p.Collected, c.Collected))
	if found {
		_, err = conn.exec(ctx, s.sql(updatePosition), int64(c.To), int64(c.Goal), syncedAt, collected, string(c.Origin))
		return err
	}
	_, err = conn.exec(ctx, s.sql(insertPosition), string(c.Origin), int64(c.To), int64(c.Goal), syncedAt, collected)
	if errors.Is(s.explain(err), errDuplicate) {
		return fmt.Errorf("%w: %s has just begun", ErrPositionMoved, c.Origin)
	}
	return err
}

// errDuplicate is what dialects explain the violation of a unique key with.
var errDuplicate = errors.New("duplicate key")

// Place implements Target. Locks on the positions keep Collect from removing,
// under its feet, the tombstones that it would bring back, and Reset from emptying
// what it is about to write to.
func (s *SQL) Place(ctx context.Context, entries []Entry) error {
	err := s.usable(ctx)
	if err == nil {
		err = fit(entries, s.MaxValueBytes())
	}
	if err != nil {
		return s.failed("place", err)
	}
	return s.transact(ctx, "place", func(ctx context.Context, conn *session) error {
		ahead, err := s.ahead(ctx, conn, entries)
		if err != nil {
			return err
		}
		return s.dialect.upsertNewer(ctx, conn, ahead)
	})
}

// ahead keeps the entries that are to be placed.
func (s *SQL) ahead(ctx context.Context, conn *session, entries []Entry) ([]Entry, error) {
	positions := make(map[Origin]Position)
	var ahead []Entry
	for _, e := range entries {
		p, known := positions[e.Origin]
		if !known {
			var err error
			if p, _, err = s.position(ctx, conn, e.Origin, s.dialect.forShare()); err != nil {
				return nil, err
			}
			positions[e.Origin] = p
		}
		is, err := p.before(e, s.name)
		if err != nil {
			return nil, err
		}
		if is {
			ahead = append(ahead, e)
		}
	}
	return ahead, nil
}

// before reports whether e, which is to be placed on the partition called self,
// is ahead of its position for e's origin. If not, it is held.
func (p Position) before(e Entry, self Origin) (bool, error) {
	switch {
	case e.Origin == self:
		return false, fmt.Errorf("%w: %s is its own origin", ErrRefused, self)
	case p.SyncedAt == 0:
		return false, fmt.Errorf("%w: it is being filled with what is of %s", ErrNotWhole, e.Origin)
	case e.Revision > p.Revision:
		return true, nil
	case p.Revision < p.Goal:
		return false, fmt.Errorf("%w: it is at %d of %s, amid a catch-up to %d, and may lack %d", ErrNotWhole,
			p.Revision, e.Origin, p.Goal, e.Revision)
	}
	return false, nil
}
