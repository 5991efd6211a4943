package partition

import (
	"context"
	"fmt"
	"io"
)

// snapshot streams the rows of one query inside a read-only transaction, on a
// connection of its own.
type snapshot struct {
	s        *SQL
	c        *session
	position Position
	rows     rows
	end      context.CancelFunc // of the query
	row      row
	done     bool
}

// Snapshot implements Source.
func (s *SQL) Snapshot(ctx context.Context, origin Origin, after Revision) (Snapshot, error) {
	ctx, done, err := s.begin(ctx, "snapshot")
	if err != nil {
		return nil, err
	}
	defer done()
	c, err := s.dialect.stream(ctx)
	if err != nil {
		return nil, s.failed("snapshot", err)
	}
	n := &snapshot{s: s, c: c}
	if err := n.open(ctx, origin, after); err != nil {
		_ = n.Close()
		return nil, s.failed("snapshot", err)
	}
	return n, nil
}

const selectAfter = `SELECT ` + entryColumns + ` FROM {p}entries {by_revision} WHERE origin = ? AND revision > ? ORDER BY revision`

func (n *snapshot) open(ctx context.Context, origin Origin, after Revision) error {
	var now Instant // before the view: the view holds everything up to it
	if err := n.c.queryRowOnce(ctx, n.s.timed(selectClock), &now); err != nil {
		return err
	}
	n.c.inTx = true
	for _, statement := range n.s.dialect.beginSnapshot() {
		if _, err := n.c.exec(ctx, statement); err != nil {
			return err
		}
	}
	var err error
	if n.position, _, err = n.s.position(ctx, n.c, origin, ""); err != nil {
		return err
	}
	if origin == n.s.name {
		n.position.SyncedAt = now
	}
	// The query outlives this call, but not its beginning.
	var query context.Context
	query, n.end = context.WithCancel(n.s.life)
	stop := context.AfterFunc(ctx, n.end)
	defer stop()
	n.rows, err = n.c.query(query, n.s.sql(selectAfter), string(origin), int64(after))
	return err
}

// Position implements Snapshot.
func (n *snapshot) Position() Position { return n.position }

// Next implements Snapshot.
func (n *snapshot) Next(ctx context.Context, maxEntries int, maxBytes int64) ([]Entry, error) {
	if n.rows == nil || n.s.life.Err() != nil {
		return nil, n.s.failed("next", fmt.Errorf("%w: closed", ErrUnavailable))
	}
	if n.done {
		return nil, io.EOF
	}
	ctx, done := n.s.within(ctx, n.s.timeout)
	defer done()
	stop := context.AfterFunc(ctx, n.end)
	defer stop()
	entries, err := n.next(maxEntries, maxBytes)
	if err == nil && len(entries) == 0 {
		n.done = true
		return nil, io.EOF
	}
	if ctxErr := ctx.Err(); err != nil && ctxErr != nil {
		err = ctxErr
	}
	return entries, n.s.failed("next", err)
}

func (n *snapshot) next(maxEntries int, maxBytes int64) ([]Entry, error) {
	var entries []Entry
	for len(entries) < max(maxEntries, 1) {
		if !n.rows.Next() {
			n.done = n.rows.Err() == nil // known now, so that who closes it here need not drop the connection
			break
		}
		e, err := n.row.scan(n.rows, true)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
		if maxBytes -= e.Size; maxBytes <= 0 {
			break
		}
	}
	return entries, n.rows.Err()
}

// Close implements Snapshot. In mid-stream it drops the connection, as the
// rest of the rows would have to be read otherwise.
func (n *snapshot) Close() error {
	if n.c == nil {
		return nil
	}
	if n.rows != nil {
		if !n.done {
			n.c.hangUp()
		}
		_ = n.rows.Close() // after hanging up it fails, and says nothing new
		n.rows = nil
	}
	if n.end != nil {
		n.end()
	}
	n.c.release()
	n.c = nil
	return nil
}
