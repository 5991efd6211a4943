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
	Ends    []End    `json:"ends,omitempty"`
}

// Cluster implements Identity.
func (s *SQL) Cluster(ctx context.Context) (c Cluster, err error) {
	err = s.read(ctx, "cluster", func(ctx context.Context, conn *Conn) error {
		c, err = s.cluster(ctx, conn)
		return err
	})
	return c, err
}

const selectCluster = `SELECT cluster_id, partition_id, name, epoch, map FROM {p}cluster WHERE id = 1`

func (s *SQL) cluster(ctx context.Context, conn *Conn) (Cluster, error) {
	var c Cluster
	var damage error
	err := conn.One(ctx, s.statement(selectCluster), nil, func(r Rows) {
		var m clusterMap
		damage = json.Unmarshal(r.Bytes(4), &m)
		c = Cluster{ID: string(r.Bytes(0)), PartitionID: string(r.Bytes(1)), Name: string(r.Bytes(2)), Epoch: r.Int(3),
			Masters: m.Masters, Slots: m.Slots, Ends: m.Ends}
	})
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Cluster{}, ErrNoCluster
	case err != nil:
		return Cluster{}, err
	case damage != nil:
		return Cluster{}, fmt.Errorf("%w: the cluster map is damaged: %w", ErrRefused, damage)
	}
	return c, nil
}

// Join implements Identity.
func (s *SQL) Join(ctx context.Context, c Cluster) (stands Cluster, err error) {
	c.PartitionID, c.Name = NewPartitionID(), string(s.name)
	return s.writeCluster(ctx, "join", c, s.join)
}

// writeCluster runs write, with the text of c's map, and returns the row that stands afterwards.
func (s *SQL) writeCluster(ctx context.Context, op string, c Cluster, write func(context.Context, *Conn, Cluster, []byte) error) (stands Cluster, err error) {
	text, err := json.Marshal(clusterMap{Masters: c.Masters, Slots: c.Slots, Ends: c.Ends})
	if err != nil {
		return Cluster{}, s.wrap(op, err)
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

// join leaves everything as it is when the cluster row is there.
func (s *SQL) join(ctx context.Context, conn *Conn, c Cluster, text []byte) error {
	ignore := s.sql.InsertIgnore
	n, err := conn.Exec(ctx, s.statement(ignore+insertCluster), c.ID, c.PartitionID, c.Name, c.Epoch, text)
	if err != nil || n == 0 || !slices.Contains(c.Masters, c.Name) {
		return err
	}
	_, err = conn.Exec(ctx, s.statement(ignore+insertOwn), string(s.name), int64(Floor(c.Epoch)))
	return err
}

// Accept implements Identity.
func (s *SQL) Accept(ctx context.Context, c Cluster) (stands Cluster, err error) {
	return s.writeCluster(ctx, "accept", c, s.accept)
}

const (
	updateCluster = `UPDATE {p}cluster SET epoch = ?, map = ? WHERE id = 1 AND cluster_id = ? AND epoch < ?`
	raiseOwn      = `UPDATE {p}positions SET revision = ? WHERE origin = ? AND revision < ?`
)

// accept locks the counter, so that no commit comes between the check of the ends
// and the raising of the counter.
func (s *SQL) accept(ctx context.Context, conn *Conn, c Cluster, text []byte) error {
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
		floor := int64(Floor(c.Epoch))
		_, err = conn.Exec(ctx, s.statement(raiseOwn), floor, string(s.name), floor)
	}
	return err
}

// checkAccepted tells why nothing was accepted: nil if the row is of c's epoch or later.
func (s *SQL) checkAccepted(ctx context.Context, conn *Conn, c Cluster) error {
	stands, err := s.cluster(ctx, conn)
	if err == nil && stands.ID != c.ID {
		err = fmt.Errorf("%w: this database belongs to another cluster (%s, not %s)", ErrRefused, stands.ID, c.ID)
	}
	return err
}

// Barrier implements Source.
func (s *SQL) Barrier(ctx context.Context) error {
	return s.read(ctx, "barrier", func(ctx context.Context, conn *Conn) error {
		if s.sql.Barrier == "" {
			return nil
		}
		_, err := conn.Exec(ctx, s.statement(s.sql.Barrier))
		return err
	})
}
