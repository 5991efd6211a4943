package partition

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"io"
	"slices"
	"strings"
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

	last, seen Revision // of the newest entry, and of the last one read
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

const (
	ofSnapshot = ` FROM {p}entries {by_revision} WHERE origin = ? AND revision > ?
	AND revision <= (SELECT revision FROM {p}positions WHERE origin = ?) ORDER BY revision`
	selectAfter = `SELECT ` + entryColumns + ofSnapshot
	selectLast  = `SELECT revision` + ofSnapshot + ` DESC LIMIT 1`
)

func (n *snapshot) open(ctx context.Context, origin Origin, after Revision) error {
	// The query outlives this call, but not its beginning.
	var query context.Context
	query, n.end = context.WithCancel(n.s.life)
	stop := context.AfterFunc(ctx, n.end)
	defer stop()
	open := n.openSlowly
	if n.s.dialect.atOnce() {
		open = n.openAtOnce
	}
	now, err := open(query, origin, after)
	if origin == n.s.name {
		n.position.SyncedAt = now
	}
	if ctxErr := ctx.Err(); err != nil && ctxErr != nil {
		err = ctxErr
	}
	return err
}

// openSlowly sends one statement after the other. The clock is read before the
// view is taken: the view holds everything up to it.
func (n *snapshot) openSlowly(ctx context.Context, origin Origin, after Revision) (now Instant, err error) {
	if err := n.c.queryRowOnce(ctx, n.s.timed(selectClock), &now); err != nil {
		return 0, err
	}
	n.c.inTx = true
	for _, statement := range n.s.dialect.beginSnapshot() {
		if _, err := n.c.exec(ctx, statement); err != nil {
			return 0, err
		}
	}
	if n.position, _, err = n.s.position(ctx, n.c, origin, ""); err != nil {
		return 0, err
	}
	of := []any{string(origin), int64(after), string(origin)}
	if err := n.c.queryRow(ctx, n.s.sql(selectLast), of, &n.last); err != nil && err != sql.ErrNoRows {
		return 0, err
	}
	n.rows, err = n.c.query(ctx, n.s.sql(selectAfter), of...)
	return now, err
}

// openAtOnce sends the same statements together, and the transaction's end
// behind them: a target waits for one round trip in place of five, and Close
// for none.
func (n *snapshot) openAtOnce(ctx context.Context, origin Origin, after Revision) (now Instant, err error) {
	statements := append([]string{n.s.timed(selectClock)}, n.s.dialect.beginSnapshot()...)
	statements = append(statements, n.s.sql(selectPosition), n.s.sql(selectLast), n.s.sql(selectAfter), "COMMIT")
	of := []any{string(origin), int64(after), string(origin)}
	n.c.inTx = true
	n.rows, err = n.c.queryOnce(ctx, strings.Join(statements, ";"), slices.Concat([]any{string(origin)}, of, of)...)
	if err != nil {
		return 0, err
	}
	rows := n.rows.(*linkRows)
	if err := firstRow(rows, &now); err != nil {
		return 0, err
	}
	n.position = Position{Origin: origin}
	if err := rows.nextResult(); err != nil {
		return 0, err
	}
	p := &n.position
	if err := firstRow(rows, &p.Revision, &p.Goal, &p.SyncedAt, &p.Collected); err != nil && err != sql.ErrNoRows {
		return 0, err
	}
	if err := rows.nextResult(); err != nil {
		return 0, err
	}
	if err := firstRow(rows, &n.last); err != nil && err != sql.ErrNoRows {
		return 0, err
	}
	if err := rows.nextResult(); err != nil {
		return 0, err
	}
	return now, nil
}

// firstRow scans the first row of a result, or fails with sql.ErrNoRows.
func firstRow(rows rows, into ...any) error {
	if !rows.Next() {
		return cmp.Or(rows.Err(), sql.ErrNoRows)
	}
	return rows.Scan(into...)
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
		e := n.rows.entry(&n.row, true)
		n.seen = e.Revision
		entries = append(entries, e)
		if maxBytes -= e.Size; maxBytes <= 0 {
			break
		}
	}
	if err := n.rows.Err(); err != nil || !n.done || n.seen >= n.last {
		return entries, err
	}
	return nil, fmt.Errorf("%w: the entries end at %d, before %d", ErrUnavailable, n.seen, n.last)
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
		// After hanging up it fails, and says nothing new.
		if err := n.rows.Close(); err == nil && n.done && n.s.dialect.atOnce() {
			n.c.inTx = false // COMMIT was answered too
		}
		n.rows = nil
	}
	if n.end != nil {
		n.end()
	}
	n.c.release()
	n.c = nil
	return nil
}
