package sqlengine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/runnelkv/runnel/store/partition"
)

// snapshot streams the rows of a query in a read-only transaction on a connection of its own.
type snapshot struct {
	s        *Engine
	c        *Conn
	inView   bool // the connection and its transaction belong to a view
	position partition.Position
	epoch    int64
	heads    map[partition.Origin]partition.Position
	rows     Rows
	end      context.CancelFunc // ends the query
	shared   SharedStrings
	done     bool

	last, seen partition.Revision // revisions: of the newest entry, and of the entry read last
}

// Snapshot implements partition.Source.
func (s *Engine) Snapshot(ctx context.Context, origin partition.Origin, after partition.Revision) (partition.Snapshot, error) {
	ctx, done, err := s.begin(ctx, "snapshot")
	if err != nil {
		return nil, err
	}
	defer done()
	c, err := s.dialect.Acquire(ctx, Streaming)
	if err != nil {
		return nil, s.wrap("snapshot", err)
	}
	n := &snapshot{s: s, c: c}
	if err := n.open(ctx, origin, after); err != nil {
		_ = n.Close()
		return nil, s.wrap("snapshot", err)
	}
	return n, nil
}

const (
	ofSnapshot = ` FROM {p}entries {by_revision} WHERE origin = ? AND revision > ?
	AND revision <= (SELECT revision FROM {p}positions WHERE origin = ?) ORDER BY revision`
	selectAfter = `SELECT ` + EntryColumns + ofSnapshot

	// selectOrigins returns a row without a position if there are no positions.
	selectOrigins = `SELECT ` + originColumns + ofOrigins
	selectLast    = `SELECT revision` + ofSnapshot + ` DESC LIMIT 1`
)

func (n *snapshot) open(ctx context.Context, origin partition.Origin, after partition.Revision) error {
	open := n.openStepwise
	if n.s.sql.Pipelined {
		open = n.openPipelined
	}
	return n.openQuery(ctx, func(query context.Context) error {
		now, err := open(query, origin, after)
		if origin == n.s.name {
			n.position.SyncedAt = now
		}
		return err
	})
}

// openQuery calls open with a context that lasts as long as the snapshot, but ends with ctx until open returns.
func (n *snapshot) openQuery(ctx context.Context, open func(query context.Context) error) error {
	var query context.Context
	query, n.end = context.WithCancel(n.s.life)
	stop := context.AfterFunc(ctx, n.end)
	defer stop()
	err := open(query)
	if ctxErr := ctx.Err(); err != nil && ctxErr != nil {
		err = ctxErr
	}
	return err
}

// openStepwise sends the statements one by one. The clock is read before the view is opened, so the
// view contains everything up to now.
func (n *snapshot) openStepwise(ctx context.Context, origin partition.Origin, after partition.Revision) (now partition.Instant, err error) {
	if err := n.c.QueryRow(ctx, n.s.timed(selectClock), nil, func(r Rows) { now = partition.Instant(r.Int(0)) }); err != nil {
		return 0, err
	}
	n.c.inTx = true
	for _, statement := range n.s.sql.BeginSnapshot {
		if _, err := n.c.Exec(ctx, Kept(statement)); err != nil {
			return 0, err
		}
	}
	n.heads = make(map[partition.Origin]partition.Position)
	if err = n.c.QueryRows(ctx, n.s.statement(selectOrigins), nil, func(r Rows) error { n.addHead(r); return nil }); err != nil {
		return 0, err
	}
	n.position = n.headOf(origin)
	return now, n.openRows(ctx, origin, after)
}

// addHead takes a row of selectOrigins.
func (n *snapshot) addHead(r Rows) {
	n.epoch = r.Int(5)
	if o := partition.Origin(r.Bytes(4)); o != "" {
		n.heads[o] = positionOf(r, o)
	}
}

func (n *snapshot) headOf(origin partition.Origin) partition.Position {
	p := n.heads[origin]
	p.Origin = origin
	return p
}

// openRows opens the rows in the open transaction.
func (n *snapshot) openRows(ctx context.Context, origin partition.Origin, after partition.Revision) error {
	of := []any{string(origin), int64(after), string(origin)}
	err := n.c.QueryRow(ctx, n.s.statement(selectLast), of, func(r Rows) { n.last = partition.Revision(r.Int(0)) })
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	n.rows, err = n.c.Query(ctx, n.s.statement(selectAfter), of...)
	return err
}

// openPipelined sends the same statements in one packet, followed by COMMIT: opening takes one
// round trip instead of five, and Close takes none.
func (n *snapshot) openPipelined(ctx context.Context, origin partition.Origin, after partition.Revision) (now partition.Instant, err error) {
	texts := append([]string{n.s.timed(selectClock).Text}, n.s.sql.BeginSnapshot...)
	for _, text := range []string{selectOrigins, selectLast, selectAfter, "COMMIT"} {
		texts = append(texts, n.s.statement(text).Text)
	}
	of := []any{string(origin), int64(after), string(origin)}
	n.c.inTx = true
	n.rows, err = n.c.Query(ctx, Statement{strings.Join(texts, ";"), false}, slices.Concat(of, of)...)
	if err != nil {
		return 0, err
	}
	n.heads = make(map[partition.Origin]partition.Position)
	for _, read := range []func(Rows){
		func(r Rows) { now = partition.Instant(r.Int(0)) },
		n.addHead,
		func(r Rows) { n.last = partition.Revision(r.Int(0)) },
	} {
		for n.rows.Next() {
			read(n.rows)
		}
		if err := n.rows.(MultiRows).NextResult(); err != nil {
			return 0, err
		}
	}
	n.position = n.headOf(origin)
	return now, nil
}

// Position implements partition.Snapshot.
func (n *snapshot) Position() partition.Position { return n.position }

// Heads implements partition.Snapshot.
func (n *snapshot) Heads() (int64, map[partition.Origin]partition.Position) { return n.epoch, n.heads }

// Next implements partition.Snapshot.
func (n *snapshot) Next(ctx context.Context, maxEntries int, maxBytes int64) ([]partition.Entry, error) {
	if n.rows == nil || n.s.life.Err() != nil {
		return nil, n.s.wrap("next", fmt.Errorf("%w: closed", partition.ErrUnavailable))
	}
	if n.done {
		return nil, io.EOF
	}
	ctx, done := n.s.withTimeout(ctx, n.s.timeout)
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
	return entries, n.s.wrap("next", err)
}

func (n *snapshot) next(maxEntries int, maxBytes int64) ([]partition.Entry, error) {
	var entries []partition.Entry
	for len(entries) < max(maxEntries, 1) {
		if !n.rows.Next() {
			n.done = n.rows.Err() == nil // so that Close need not discard the connection
			break
		}
		e := n.rows.Entry(&n.shared, true)
		n.seen = e.Revision
		entries = append(entries, e)
		if maxBytes -= e.Size; maxBytes <= 0 {
			break
		}
	}
	if err := n.rows.Err(); err != nil || !n.done || n.seen >= n.last {
		return entries, err
	}
	return nil, fmt.Errorf("%w: the entries end at %d, before %d", partition.ErrUnavailable, n.seen, n.last)
}

// Close implements partition.Snapshot. Before the end of the rows Close discards the connection, because
// reading the remaining rows could take long.
func (n *snapshot) Close() error {
	if n.c == nil {
		return nil
	}
	if n.rows != nil {
		if !n.done {
			n.c.Abort()
		}
		// After Abort the error of Close has no information.
		if err := n.rows.Close(); err == nil && n.done && n.s.sql.Pipelined && !n.inView {
			n.c.inTx = false // COMMIT has succeeded
		}
		n.rows = nil
	}
	if n.end != nil {
		n.end()
	}
	if !n.inView {
		n.c.Release()
	}
	n.c = nil
	return nil
}
