package sqlengine

import (
	"context"
	"fmt"

	"github.com/runnelkv/runnel/store/partition"
)

// view is a read-only transaction on a connection of its own.
type view struct {
	s         *Engine
	c         *Conn
	cluster   partition.Cluster
	positions partition.Positions
}

// View implements partition.Source.
func (s *Engine) View(ctx context.Context) (partition.View, error) {
	ctx, done, err := s.begin(ctx, "view")
	if err != nil {
		return nil, err
	}
	defer done()
	c, err := s.dialect.Acquire(ctx, Streaming)
	if err != nil {
		return nil, s.wrap("view", err)
	}
	v := &view{s: s, c: c}
	if err := v.openView(ctx); err != nil {
		_ = v.Close()
		return nil, s.wrap("view", err)
	}
	return v, nil
}

// openView reads the clock before the view is opened, so the view contains everything up to Now.
func (v *view) openView(ctx context.Context) (err error) {
	var now partition.Instant
	if err := v.c.QueryRow(ctx, v.s.timed(selectClock), nil, func(r Rows) { now = partition.Instant(r.Int(0)) }); err != nil {
		return err
	}
	v.c.inTx = true
	for _, statement := range v.s.sql.BeginSnapshot {
		if _, err := v.c.Exec(ctx, Kept(statement)); err != nil {
			return err
		}
	}
	if v.cluster, err = v.s.cluster(ctx, v.c, ""); err != nil {
		return err
	}
	if v.positions, err = v.s.positions(ctx, v.c); err != nil {
		return err
	}
	v.positions.Now = now
	if own, has := v.positions.Origins[v.s.name]; has {
		own.SyncedAt = now
		v.positions.Origins[v.s.name] = own
	}
	return nil
}

// Cluster implements partition.View.
func (v *view) Cluster() partition.Cluster { return v.cluster }

// Positions implements partition.View.
func (v *view) Positions() partition.Positions { return v.positions }

// Snapshot implements partition.View.
func (v *view) Snapshot(ctx context.Context, origin partition.Origin, after partition.Revision) (partition.Snapshot, error) {
	if v.c == nil {
		return nil, v.s.wrap("snapshot", fmt.Errorf("%w: closed", partition.ErrUnavailable))
	}
	ctx, done, err := v.s.begin(ctx, "snapshot")
	if err != nil {
		return nil, err
	}
	defer done()
	n := &snapshot{s: v.s, c: v.c, inView: true, epoch: v.cluster.Epoch, heads: v.positions.Origins}
	n.position = n.headOf(origin)
	err = n.openQuery(ctx, func(query context.Context) error { return n.openRows(query, origin, after) })
	if err != nil {
		_ = n.Close()
		return nil, v.s.wrap("snapshot", err)
	}
	return n, nil
}

const (
	selectSpan    = `SELECT ` + EntryColumns + ` FROM {p}entries {by_key} WHERE deleted = 0 AND {key} >= ?`
	selectSpanEnd = ` AND (expires_at IS NULL OR expires_at > ?) ORDER BY {key} LIMIT ?`
)

// List implements partition.View.
func (v *view) List(ctx context.Context, span partition.Span) (entries []partition.Entry, more bool, err error) {
	switch {
	case v.c == nil:
		return nil, false, v.s.wrap("list", fmt.Errorf("%w: closed", partition.ErrUnavailable))
	case span.Limit < 1:
		return nil, false, v.s.wrap("list", fmt.Errorf("limit %d", span.Limit))
	}
	ctx, done, err := v.s.begin(ctx, "list")
	if err != nil {
		return nil, false, err
	}
	defer done()
	text, args := selectSpan, []any{[]byte(span.From)}
	if span.To != "" {
		text, args = text+` AND {key} < ?`, append(args, []byte(span.To))
	}
	var shared SharedStrings
	err = v.c.QueryRows(ctx, v.s.statement(text+selectSpanEnd), append(args, int64(v.positions.Now), int64(span.Limit)+1), func(r Rows) error {
		entries = append(entries, r.Entry(&shared, true))
		return nil
	})
	if err != nil {
		return nil, false, v.s.wrap("list", err)
	}
	return entries[:min(len(entries), span.Limit)], len(entries) > span.Limit, nil
}

// Close implements partition.View.
func (v *view) Close() error {
	if v.c != nil {
		v.c.Release()
		v.c = nil
	}
	return nil
}
