package sqlengine

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

const (
	deletePosition = `DELETE FROM {p}positions WHERE origin = ?`
	zeroPosition   = `UPDATE {p}positions SET revision = 0, synced_at = 0, collected = 0 WHERE origin = ?`
	selectOfOrigin = `SELECT {key}, revision FROM {p}entries {by_revision} WHERE origin = ? AND revision > ? ORDER BY revision LIMIT ?`
	deleteKeys     = `{delete_by_key} WHERE origin = ? AND revision <= ? AND {key} IN `
	selectChunk    = `SELECT {key}, revision, deleted FROM {p}entries {by_revision}
		WHERE origin = ? AND revision > ? AND revision <= ? ORDER BY revision LIMIT ?`
	updateCollected = `UPDATE {p}positions SET collected = ? WHERE origin = ? AND collected = ? AND revision >= ?`
)

// A step of Reset or Collect handles the number of entries that takes about stepTime: a slow disk
// makes the steps smaller, so that none exceeds the timeout.
const (
	firstStepRows = 20
	minStepRows   = 5
	maxStepRows   = 1000
	stepTime      = 250 * time.Millisecond
)

// nextStepRows returns the number of rows of the step after a step of rows.
func nextStepRows(rows int, took time.Duration) int {
	fitting := float64(rows) * float64(stepTime) / float64(max(took, time.Microsecond))
	return int(min(max(fitting, minStepRows), maxStepRows))
}

// Reset implements partition.Target. Each chunk starts after the previous: a search from the start would read
// all removed rows, which the database keeps as long as an older view is open.
func (s *Engine) Reset(ctx context.Context, origin partition.Origin) error {
	if origin == s.name {
		return s.wrap("reset", fmt.Errorf("%w: %s is its own origin", partition.ErrRefused, origin))
	}
	err := s.transact(ctx, "reset", func(ctx context.Context, conn *Conn) error {
		_, err := conn.Exec(ctx, s.statement(zeroPosition), string(origin))
		return err
	})
	after, rows := partition.Revision(math.MinInt64), firstStepRows
	for more := true; err == nil && more; {
		var last partition.Revision
		began := time.Now()
		err = s.transact(ctx, "reset", func(ctx context.Context, conn *Conn) error {
			last, more, err = s.resetChunk(ctx, conn, origin, after, rows)
			return err
		})
		after, rows = last, nextStepRows(rows, time.Since(began))
	}
	return err
}

// resetChunk removes some rows. Meanwhile it locks the row of the position, so that no other process
// copies the origin. ErrPositionMoved: another process has begun to.
func (s *Engine) resetChunk(ctx context.Context, conn *Conn, origin partition.Origin, after partition.Revision, rows int) (last partition.Revision, more bool, err error) {
	p, found, err := s.position(ctx, conn, origin, s.sql.LockExclusive)
	if err == nil && !found {
		err = s.addPosition(ctx, conn, partition.Position{Origin: origin})
	}
	if err == nil && p.Revision != 0 {
		err = fmt.Errorf("%w: another process copies %s already", partition.ErrPositionMoved, origin)
	}
	if err != nil {
		return 0, false, err
	}
	keys, last, err := selectKeys(ctx, conn, s.statement(selectOfOrigin), string(origin), int64(after), rows)
	if err != nil {
		return 0, false, err
	}
	if _, err = s.removeKeys(ctx, conn, origin, last, keys); err == nil && !found {
		_, err = conn.Exec(ctx, s.statement(deletePosition), string(origin))
	}
	return last, len(keys) == rows, err
}

// Collect implements partition.Target. It reads the entries after Position.Collected in chunks. A chunk is
// read before the position is locked, because that lock orders all writers of a master. The chunk
// stays valid: up to the position entries are only replaced, by entries with revisions beyond the
// position.
func (s *Engine) Collect(ctx context.Context, origin partition.Origin, upTo partition.Revision) (total int, err error) {
	for rows := firstStepRows; ; {
		var c chunk
		began := time.Now()
		err := s.read(ctx, "collect", func(ctx context.Context, conn *Conn) (err error) {
			c, err = s.readChunk(ctx, conn, origin, upTo, rows)
			return err
		})
		if err != nil || c.from >= upTo {
			return total, err
		}
		removed := 0
		err = s.transact(ctx, "collect", func(ctx context.Context, conn *Conn) (err error) {
			removed, err = s.collectChunk(ctx, conn, origin, c)
			return err
		})
		if err != nil {
			return total, err
		}
		total += removed
		rows = nextStepRows(rows, time.Since(began))
	}
}

// chunk is a range of an origin's entries in the order of their revisions.
type chunk struct {
	from, to   partition.Revision // exclusive, inclusive
	tombstones []partition.Key
}

// readChunk reads the chunk after Position.Collected.
func (s *Engine) readChunk(ctx context.Context, conn *Conn, origin partition.Origin, upTo partition.Revision, rows int) (chunk, error) {
	p, _, err := s.position(ctx, conn, origin, "")
	if err != nil {
		return chunk{}, err
	}
	if upTo > p.Revision {
		return chunk{}, fmt.Errorf("%w: %s up to %d is beyond the position %d", partition.ErrRefused, origin, upTo, p.Revision)
	}
	c := chunk{from: p.Collected, to: upTo}
	if c.from >= upTo {
		return c, nil
	}
	var last partition.Revision
	n := 0
	err = conn.QueryRows(ctx, s.statement(selectChunk), []any{string(origin), int64(c.from), int64(upTo), rows}, func(r Rows) error {
		n, last = n+1, partition.Revision(r.Int(1))
		if r.Int(2) != 0 {
			c.tombstones = append(c.tombstones, partition.Key(r.Bytes(0)))
		}
		return nil
	})
	if n == rows {
		c.to = last
	}
	return c, err
}

// collectChunk removes the tombstones of a chunk, unless another process has removed them or has
// reset the origin.
func (s *Engine) collectChunk(ctx context.Context, conn *Conn, origin partition.Origin, c chunk) (removed int, err error) {
	n, err := conn.Exec(ctx, s.statement(updateCollected), int64(c.to), string(origin), int64(c.from), int64(c.to))
	if err != nil || n == 0 {
		return 0, err
	}
	return s.removeKeys(ctx, conn, origin, c.to, c.tombstones)
}

// removeKeys deletes the entries of keys that belong to origin and have a revision up to last.
// Entries written since the keys were read have later revisions or another origin.
func (s *Engine) removeKeys(ctx context.Context, conn *Conn, origin partition.Origin, last partition.Revision, keys []partition.Key) (int, error) {
	if len(keys) == 0 {
		return 0, nil
	}
	args := append(make([]any, 0, len(keys)+2), string(origin), int64(last))
	for _, k := range keys {
		args = append(args, []byte(k))
	}
	n, err := conn.Exec(ctx, Statement{s.names.Replace(deleteKeys) + Placeholders(len(keys)), false}, args...)
	return int(n), err
}
