package partition

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

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

// resetChunk removes some rows while it holds the place of the position, so that
// nobody fills the origin under its feet: whoever has begun to is left alone.
func (s *SQL) resetChunk(ctx context.Context, conn *session, origin Origin) (more bool, err error) {
	_, err = conn.exec(ctx, s.sql(insertPosition), string(origin), 0, 0, 0, 0)
	if errors.Is(s.explain(err), errDuplicate) {
		return false, fmt.Errorf("%w: somebody else fills %s already", ErrPositionMoved, origin)
	}
	if err != nil {
		return false, err
	}
	keys, last, err := s.keys(ctx, conn, selectOfOrigin, string(origin), chunkRows)
	if err != nil {
		return false, err
	}
	if _, err := s.remove(ctx, conn, origin, last, keys); err != nil {
		return false, err
	}
	_, err = conn.exec(ctx, s.sql(deletePosition), string(origin))
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
	done, err := conn.execOnce(ctx, s.sql(deleteKeys)+placeholders(len(keys)), args...)
	if err != nil {
		return 0, err
	}
	n, err := done.RowsAffected()
	return int(n), err
}
