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

// Close implements partition.View.
func (v *view) Close() error {
	if v.c != nil {
		v.c.Release()
		v.c = nil
	}
	return nil
}
