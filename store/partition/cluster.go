package partition

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// clusterMap is the JSON of the column map.
type clusterMap struct {
	Masters []string `json:"masters"`
	Slots   []uint16 `json:"slots"`
}

// Cluster implements Identity.
func (s *SQL) Cluster(ctx context.Context) (c Cluster, err error) {
	err = s.read(ctx, "cluster", func(ctx context.Context, conn *session) error {
		c, err = s.cluster(ctx, conn)
		return err
	})
	return c, err
}

const selectCluster = `SELECT cluster_id, partition_id, name, epoch, map FROM {p}cluster WHERE id = 1`

func (s *SQL) cluster(ctx context.Context, conn *session) (Cluster, error) {
	var c Cluster
	var text []byte
	err := conn.queryRow(ctx, s.sql(selectCluster), nil, &c.ID, &c.PartitionID, &c.Name, &c.Epoch, &text)
	if errors.Is(err, sql.ErrNoRows) {
		return Cluster{}, ErrNoCluster
	}
	if err != nil {
		return Cluster{}, err
	}
	var m clusterMap
	if err := json.Unmarshal(text, &m); err != nil {
		return Cluster{}, fmt.Errorf("%w: the cluster map is damaged: %w", ErrRefused, err)
	}
	c.Masters, c.Slots = m.Masters, m.Slots
	return c, nil
}

// Join implements Identity.
func (s *SQL) Join(ctx context.Context, c Cluster) (stands Cluster, err error) {
	text, err := json.Marshal(clusterMap{Masters: c.Masters, Slots: c.Slots})
	if err != nil {
		return Cluster{}, s.failed("join", err)
	}
	c.PartitionID, c.Name = newPartitionID(), string(s.name)
	err = s.transact(ctx, "join", func(ctx context.Context, conn *session) error {
		if err := s.join(ctx, conn, c, text); err != nil {
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

// join leaves everything as it is when the cluster row is there.
func (s *SQL) join(ctx context.Context, conn *session, c Cluster, text []byte) error {
	ignore := s.dialect.insertIgnore()
	done, err := conn.exec(ctx, s.sql(ignore+insertCluster), c.ID, c.PartitionID, c.Name, c.Epoch, text)
	if err != nil {
		return err
	}
	if n, err := done.RowsAffected(); err != nil || n == 0 || !slices.Contains(c.Masters, c.Name) {
		return err
	}
	_, err = conn.exec(ctx, s.sql(ignore+insertOwn), string(s.name), int64(Floor(c.Epoch)))
	return err
}

// Barrier implements Source.
func (s *SQL) Barrier(ctx context.Context) error {
	return s.read(ctx, "barrier", s.dialect.barrier)
}
