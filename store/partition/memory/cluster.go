package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/runnelkv/runnel/store/partition"
)

// Cluster implements partition.Identity.
func (m *Partition) Cluster(ctx context.Context) (c partition.Cluster, err error) {
	err = m.view(ctx, OpCluster, func() error {
		if m.db.cluster == nil {
			return partition.ErrNoCluster
		}
		c = cloneCluster(*m.db.cluster)
		return nil
	})
	return c, err
}

// Join implements partition.Identity.
func (m *Partition) Join(ctx context.Context, c partition.Cluster) (stands partition.Cluster, err error) {
	err = m.update(ctx, OpJoin, func() error {
		if m.db.cluster == nil {
			if err := m.db.join(cloneCluster(c)); err != nil {
				return err
			}
		}
		stands = cloneCluster(*m.db.cluster)
		return nil
	})
	return stands, err
}

// join comes before the first row.
func (db *database) join(c partition.Cluster) (err error) {
	if err := c.CheckMoves(); err != nil {
		return fmt.Errorf("%w: the map is damaged: %w", partition.ErrRefused, err)
	}
	schema := db.schema
	if c.NeedsBallots() {
		if schema, err = schema.WithBallots(); err != nil {
			return err
		}
	}
	c.PartitionID, c.Name = partition.NewPartitionID(), string(db.name)
	c.Promised, c.Accepted, c.Chosen = 0, 0, 0
	if err := db.raise(c); err != nil {
		return err
	}
	db.cluster, db.schema = &c, schema
	return nil
}

// raise raises the counter of a master.
func (db *database) raise(c partition.Cluster) error {
	own := db.positions[db.name]
	counter, err := c.Raise(db.name, own)
	if err == nil && counter > 0 {
		if len(db.entries) > 0 {
			db.guards += partition.GuardsUnknown
		}
		own.Origin, own.Revision = db.name, counter
		db.positions[db.name] = own
	}
	return err
}

// row returns the cluster row, for a change that may need ballots.
func (db *database) row(needsBallots bool) (partition.Cluster, error) {
	if needsBallots {
		if err := db.schema.CheckBallots(); err != nil {
			return partition.Cluster{}, err
		}
	}
	if db.cluster == nil {
		return partition.Cluster{}, partition.ErrNoCluster
	}
	return *db.cluster, nil
}

// Promise implements partition.Identity.
func (m *Partition) Promise(ctx context.Context, ballot int64) (stands partition.Cluster, err error) {
	err = m.update(ctx, OpPromise, func() error {
		row, err := m.db.row(true)
		if err != nil {
			return err
		}
		if row, err = row.Promise(ballot); err == nil {
			m.db.cluster = &row
		}
		stands = cloneCluster(row)
		return err
	})
	return stands, err
}

// Accept implements partition.Identity.
func (m *Partition) Accept(ctx context.Context, c partition.Cluster) (stands partition.Cluster, err error) {
	err = m.update(ctx, OpAccept, func() error {
		if err := m.db.accept(cloneCluster(c)); err != nil {
			return err
		}
		stands = cloneCluster(*m.db.cluster)
		return nil
	})
	return stands, err
}

func (db *database) accept(c partition.Cluster) error {
	row, err := db.row(c.NeedsBallots())
	if err != nil {
		return err
	}
	row, replaces, err := row.Accept(c)
	if err != nil {
		return err
	}
	if replaces {
		for _, e := range row.Ends {
			if err := row.CheckPosition(string(db.name), e.Origin, db.positions[e.Origin].Revision); err != nil {
				return err
			}
		}
		if err := db.raise(row); err != nil {
			return err
		}
		for o, p := range db.positions {
			db.positions[o], _ = row.Renew(string(db.name), p)
		}
	}
	db.cluster = &row
	return nil
}

func cloneCluster(c partition.Cluster) partition.Cluster {
	c.Masters, c.Slots, c.Ends = slices.Clone(c.Masters), slices.Clone(c.Slots), slices.Clone(c.Ends)
	c.Epochs, c.Voters, c.Moves = maps.Clone(c.Epochs), slices.Clone(c.Voters), slices.Clone(c.Moves)
	for i := range c.Moves {
		c.Moves[i].Slots = slices.Clone(c.Moves[i].Slots)
	}
	return c
}
