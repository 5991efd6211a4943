package memory

import (
	"context"
	"maps"
	"slices"

	"github.com/runnelkv/runnel/store/partition"
)

// view is a copy of the database. Stored entries are never changed in place.
type view struct {
	m         *Partition
	cluster   partition.Cluster
	positions partition.Positions
	entries   *database // holds only entries
	closed    bool
}

// View implements partition.Source.
func (m *Partition) View(ctx context.Context) (partition.View, error) {
	v := &view{m: m}
	err := m.view(ctx, OpView, func() error {
		if m.db.cluster == nil {
			return partition.ErrNoCluster
		}
		v.cluster, v.entries = cloneCluster(*m.db.cluster), &database{entries: maps.Clone(m.db.entries)}
		v.positions = m.db.allPositions()
		if own, has := v.positions.Origins[m.db.name]; has {
			own.SyncedAt = v.positions.Now
			v.positions.Origins[m.db.name] = own
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return v, nil
}

// Cluster implements partition.View.
func (v *view) Cluster() partition.Cluster { return v.cluster }

// Positions implements partition.View.
func (v *view) Positions() partition.Positions { return v.positions }

// Snapshot implements partition.View.
func (v *view) Snapshot(ctx context.Context, origin partition.Origin, after partition.Revision) (partition.Snapshot, error) {
	if err := v.m.begin(ctx, OpSnapshot); err != nil {
		return nil, err
	}
	if v.closed {
		return nil, v.m.unavailable(OpSnapshot, "view closed")
	}
	p := v.positions.Origins[origin]
	p.Origin = origin
	return &snapshot{m: v.m, position: p, epoch: v.cluster.Epoch, heads: v.positions.Origins, rest: v.entries.between(origin, after, p.Revision)}, nil
}

// List implements partition.View.
func (v *view) List(ctx context.Context, s partition.Span) (entries []partition.Entry, more bool, err error) {
	if err := v.m.begin(ctx, OpList); err != nil {
		return nil, false, err
	}
	if v.closed {
		return nil, false, v.m.unavailable(OpList, "view closed")
	}
	if v.entries.index.sorted == nil {
		v.entries.index.sorted = slices.Sorted(maps.Keys(v.entries.entries))
	}
	for _, k := range v.entries.index.from(s.From) {
		e := v.entries.entries[k]
		switch {
		case s.To != "" && k >= s.To:
			return entries, false, nil
		case !e.Live(v.positions.Now):
		case len(entries) == s.Limit:
			return entries, true, nil
		default:
			entries = append(entries, clone(e))
		}
	}
	return entries, false, nil
}

// Close implements partition.View.
func (v *view) Close() error {
	v.closed = true
	return nil
}
