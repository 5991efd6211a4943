package partition

import (
	"context"
	"database/sql"
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
	insertPosition = `INSERT INTO {p}positions (origin, revision, goal, synced_at, collected) VALUES (?, ?, ?, ?, 0)`
	updatePosition = `UPDATE {p}positions SET revision = ?, goal = ?, synced_at = ? WHERE origin = ?`
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
	syncedAt := max(p.SyncedAt, c.SyncedAt)
	if found {
		_, err = conn.exec(ctx, s.sql(updatePosition), int64(c.To), int64(c.Goal), int64(syncedAt), string(c.Origin))
		return err
	}
	_, err = conn.exec(ctx, s.sql(insertPosition), string(c.Origin), int64(c.To), int64(c.Goal), int64(syncedAt))
	if errors.Is(s.explain(err), errDuplicate) {
		return fmt.Errorf("%w: %s has just begun", ErrPositionMoved, c.Origin)
	}
	return err
}

// errDuplicate is what dialects explain the violation of a unique key with.
var errDuplicate = errors.New("duplicate key")

// Place implements Target. Locks on the positions keep Collect from removing,
// under its feet, the tombstones that it would bring back.
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

// ahead keeps the entries that the positions of their origins have not reached.
func (s *SQL) ahead(ctx context.Context, conn *session, entries []Entry) ([]Entry, error) {
	reached := make(map[Origin]Revision)
	var ahead []Entry
	for _, e := range entries {
		r, known := reached[e.Origin]
		if !known {
			p, _, err := s.position(ctx, conn, e.Origin, s.dialect.forShare())
			if err != nil {
				return nil, err
			}
			r, reached[e.Origin] = p.Revision, p.Revision
		}
		if e.Revision > r {
			ahead = append(ahead, e)
		}
	}
	return ahead, nil
}

const (
	deletePosition  = `DELETE FROM {p}positions WHERE origin = ?`
	selectOfOrigin  = `SELECT {key}, revision FROM {p}entries {by_revision} WHERE origin = ? ORDER BY revision LIMIT ?`
	deleteKeys      = `DELETE FROM {p}entries WHERE origin = ? AND revision <= ? AND {key} IN `
	selectTombstone = `SELECT {key}, revision FROM {p}entries {by_revision}
		WHERE origin = ? AND revision > ? AND revision <= ? AND deleted = 1 ORDER BY revision LIMIT ?`
	updateCollected = `UPDATE {p}positions SET collected = ? WHERE origin = ?`
)

// chunkRows bounds the rows that a transaction of Reset or Collect removes.
const chunkRows = 1000

// Reset implements Target.
func (s *SQL) Reset(ctx context.Context, origin Origin) error {
	if origin == s.name {
		return s.failed("reset", fmt.Errorf("%w: %s is its own origin", ErrRefused, origin))
	}
	err := s.transact(ctx, "reset", func(ctx context.Context, conn *session) error {
		_, err := conn.exec(ctx, s.sql(deletePosition), string(origin))
		return err
	})
	for more := true; err == nil && more; {
		err = s.transact(ctx, "reset", func(ctx context.Context, conn *session) error {
			more, err = s.resetChunk(ctx, conn, origin)
			return err
		})
	}
	return err
}

func (s *SQL) resetChunk(ctx context.Context, conn *session, origin Origin) (more bool, err error) {
	keys, last, err := s.keys(ctx, conn, selectOfOrigin, string(origin), chunkRows)
	if err != nil {
		return false, err
	}
	_, err = s.remove(ctx, conn, origin, last, keys)
	return len(keys) == chunkRows, err
}

// Collect implements Target. What is up to Position.Collected is gone, so the
// search for more begins there.
func (s *SQL) Collect(ctx context.Context, origin Origin, upTo Revision) (int, error) {
	total := 0
	for more := true; more; {
		removed := 0
		err := s.transact(ctx, "collect", func(ctx context.Context, conn *session) (err error) {
			removed, more, err = s.collectChunk(ctx, conn, origin, upTo)
			return err
		})
		if err != nil {
			return total, err
		}
		total += removed
	}
	return total, nil
}

func (s *SQL) collectChunk(ctx context.Context, conn *session, origin Origin, upTo Revision) (removed int, more bool, err error) {
	p, _, err := s.position(ctx, conn, origin, s.dialect.forUpdate())
	if err != nil {
		return 0, false, err
	}
	if upTo > p.Revision {
		return 0, false, fmt.Errorf("%w: %s up to %d is beyond the position %d", ErrRefused, origin, upTo, p.Revision)
	}
	if upTo <= p.Collected {
		return 0, false, nil
	}
	keys, last, err := s.keys(ctx, conn, selectTombstone, string(origin), int64(p.Collected), int64(upTo), chunkRows)
	if err != nil {
		return 0, false, err
	}
	if more = len(keys) == chunkRows; !more {
		last = upTo
	}
	if _, err := conn.exec(ctx, s.sql(updateCollected), int64(last), string(origin)); err != nil {
		return 0, false, err
	}
	removed, err = s.remove(ctx, conn, origin, last, keys)
	return removed, more, err
}

// keys reads keys, and the revision of the last.
func (s *SQL) keys(ctx context.Context, conn *session, statement string, args ...any) (keys []Key, last Revision, err error) {
	rows, err := conn.query(ctx, s.sql(statement), args...)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var k sql.RawBytes
		if err := rows.Scan(&k, &last); err != nil {
			return nil, 0, err
		}
		keys = append(keys, Key(k))
	}
	return keys, last, rows.Err()
}

// remove deletes those keys that still have an entry of origin up to last.
// (What was written since has a later revision, or another origin.)
func (s *SQL) remove(ctx context.Context, conn *session, origin Origin, last Revision, keys []Key) (int, error) {
	if len(keys) == 0 {
		return 0, nil
	}
	args := append(make([]any, 0, len(keys)+2), string(origin), int64(last))
	for _, k := range keys {
		args = append(args, []byte(k))
	}
	done, err := conn.conn.ExecContext(ctx, s.sql(deleteKeys)+placeholders(len(keys)), args...)
	if err != nil {
		return 0, err
	}
	n, err := done.RowsAffected()
	return int(n), err
}
