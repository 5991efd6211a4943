package sqlengine

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/runnelkv/runnel/store/partition"
)

// clusterMap is the JSON of the column map.
type clusterMap struct {
	Masters []string        `json:"masters"`
	Slots   []uint16        `json:"slots"`
	Ends    []partition.End `json:"ends,omitempty"`
}

// Cluster implements partition.Identity.
func (s *Engine) Cluster(ctx context.Context) (c partition.Cluster, err error) {
	err = s.read(ctx, "cluster", func(ctx context.Context, conn *Conn) error {
		c, err = s.cluster(ctx, conn)
		return err
	})
	return c, err
}

const selectCluster = `SELECT cluster_id, partition_id, name, epoch, map FROM {p}cluster WHERE id = 1`

func (s *Engine) cluster(ctx context.Context, conn *Conn) (partition.Cluster, error) {
	var c partition.Cluster
	var damage error
	err := conn.QueryRow(ctx, s.statement(selectCluster), nil, func(r Rows) {
		var m clusterMap
		damage = json.Unmarshal(r.Bytes(4), &m)
		c = partition.Cluster{ID: string(r.Bytes(0)), PartitionID: string(r.Bytes(1)), Name: string(r.Bytes(2)), Epoch: r.Int(3),
			Masters: m.Masters, Slots: m.Slots, Ends: m.Ends}
	})
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return partition.Cluster{}, partition.ErrNoCluster
	case err != nil:
		return partition.Cluster{}, err
	case damage != nil:
		return partition.Cluster{}, fmt.Errorf("%w: the cluster map is damaged: %w", partition.ErrRefused, damage)
	}
	return c, nil
}

// Join implements partition.Identity.
func (s *Engine) Join(ctx context.Context, c partition.Cluster) (stands partition.Cluster, err error) {
	c.PartitionID, c.Name = partition.NewPartitionID(), string(s.name)
	return s.writeCluster(ctx, "join", c, s.join)
}

// writeCluster runs write with the JSON of c's map, and returns the row as it is afterwards.
func (s *Engine) writeCluster(ctx context.Context, op string, c partition.Cluster, write func(context.Context, *Conn, partition.Cluster, []byte) error) (stands partition.Cluster, err error) {
	text, err := json.Marshal(clusterMap{Masters: c.Masters, Slots: c.Slots, Ends: c.Ends})
	if err != nil {
		return partition.Cluster{}, s.wrap(op, err)
	}
	err = s.transact(ctx, op, func(ctx context.Context, conn *Conn) error {
		if err := write(ctx, conn, c, text); err != nil {
			return err
		}
		stands, err = s.cluster(ctx, conn)
		return err
	})
	return stands, err
}

const (
	insertCluster = ` INTO {p}cluster (id, cluster_id, partition_id, name, epoch, map) VALUES (1, ?, ?, ?, ?, ?)`
	insertOwn     = ` INTO {p}positions (origin, revision, goal, synced_at, collected) VALUES (?, ?, 0, 0, 0)`
)

// join changes nothing if the cluster row exists.
func (s *Engine) join(ctx context.Context, conn *Conn, c partition.Cluster, text []byte) error {
	ignore := s.sql.InsertIgnore
	n, err := conn.Exec(ctx, s.statement(ignore+insertCluster), c.ID, c.PartitionID, c.Name, c.Epoch, text)
	if err != nil || n == 0 || !slices.Contains(c.Masters, c.Name) {
		return err
	}
	_, err = conn.Exec(ctx, s.statement(ignore+insertOwn), string(s.name), int64(partition.Floor(c.Epoch)))
	return err
}

// Accept implements partition.Identity.
func (s *Engine) Accept(ctx context.Context, c partition.Cluster) (stands partition.Cluster, err error) {
	return s.writeCluster(ctx, "accept", c, s.accept)
}

const (
	updateCluster = `UPDATE {p}cluster SET epoch = ?, map = ? WHERE id = 1 AND cluster_id = ? AND epoch < ?`
	raiseOwn      = `UPDATE {p}positions SET revision = ? WHERE origin = ? AND revision < ?`
)

// accept locks the counter, so that no commit comes between checking the ends and raising the
// counter.
func (s *Engine) accept(ctx context.Context, conn *Conn, c partition.Cluster, text []byte) error {
	n, err := conn.Exec(ctx, s.statement(updateCluster), c.Epoch, text, c.ID, c.Epoch)
	if err != nil {
		return err
	}
	if n == 0 {
		return s.checkAccepted(ctx, conn, c)
	}
	for _, e := range c.Ends {
		p, _, err := s.position(ctx, conn, e.Origin, s.sql.LockExclusive)
		if err == nil {
			err = c.CheckPosition(string(s.name), e.Origin, p.Revision)
		}
		if err != nil {
			return err
		}
	}
	if slices.Contains(c.Masters, string(s.name)) {
		floor := int64(partition.Floor(c.Epoch))
		_, err = conn.Exec(ctx, s.statement(raiseOwn), floor, string(s.name), floor)
	}
	return err
}

// checkAccepted returns the reason for which the row stayed unchanged; nil: the row is of c's epoch
// or later.
func (s *Engine) checkAccepted(ctx context.Context, conn *Conn, c partition.Cluster) error {
	stands, err := s.cluster(ctx, conn)
	if err == nil && stands.ID != c.ID {
		err = fmt.Errorf("%w: this database belongs to another cluster (%s, not %s)", partition.ErrRefused, stands.ID, c.ID)
	}
	return err
}

// Barrier implements partition.Source.
func (s *Engine) Barrier(ctx context.Context) error {
	return s.read(ctx, "barrier", func(ctx context.Context, conn *Conn) error {
		if s.sql.Barrier == "" {
			return nil
		}
		_, err := conn.Exec(ctx, s.statement(s.sql.Barrier))
		return err
	})
}
