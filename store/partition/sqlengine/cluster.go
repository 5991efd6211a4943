package sqlengine

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/runnelkv/runnel/store/partition"
)

// clusterMap is the JSON of the column map.
type clusterMap struct {
	Masters  []string           `json:"masters"`
	Slots    []uint16           `json:"slots"`
	Ends     []partition.End    `json:"ends,omitempty"`
	Epochs   map[string]int64   `json:"epochs,omitempty"`
	Voters   []string           `json:"voters,omitempty"`
	Moves    []partition.Move   `json:"moves,omitempty"`
	Halted   string             `json:"halted,omitempty"`
	Leases   partition.Leases   `json:"leases,omitzero"`
	Failover partition.Failover `json:"failover,omitzero"`
}

func mapText(c *partition.Cluster) ([]byte, error) {
	return json.Marshal(clusterMap{c.Masters, c.Slots, c.Ends, c.Epochs, c.Voters, c.Moves, c.Halted, c.Leases, c.Failover})
}

// Cluster implements partition.Identity.
func (s *Engine) Cluster(ctx context.Context) (c partition.Cluster, err error) {
	err = s.read(ctx, "cluster", func(ctx context.Context, conn *Conn) error {
		c, err = s.cluster(ctx, conn, "")
		return err
	})
	return c, err
}

const (
	clusterColumns = `cluster_id, partition_id, name, epoch, map`
	selectCluster  = `SELECT ` + clusterColumns + ` FROM {p}cluster WHERE id = 1`
	selectBallots  = `SELECT ` + clusterColumns + `, promised, accepted, chosen FROM {p}cluster AS c LEFT JOIN {p}ballots AS b ON b.id = c.id WHERE c.id = 1`
)

// cluster reads the cluster row. lock is a locking fragment.
func (s *Engine) cluster(ctx context.Context, conn *Conn, lock string) (partition.Cluster, error) {
	hasBallots, err := s.hasBallots(ctx, conn)
	if err != nil {
		return partition.Cluster{}, err
	}
	text := selectCluster
	if hasBallots {
		text = selectBallots
	}
	var c partition.Cluster
	var damage error
	err = conn.QueryRow(ctx, s.statement(text+lock), nil, func(r Rows) {
		var m clusterMap
		damage = json.Unmarshal(r.Bytes(4), &m)
		c = partition.Cluster{ID: string(r.Bytes(0)), PartitionID: string(r.Bytes(1)), Name: string(r.Bytes(2)), Epoch: r.Int(3),
			Masters: m.Masters, Slots: m.Slots, Ends: m.Ends, Epochs: m.Epochs, Voters: m.Voters, Moves: m.Moves, Halted: m.Halted, Leases: m.Leases, Failover: m.Failover}
		if hasBallots {
			c.Promised, c.Accepted, c.Chosen = r.Int(5), r.Int(6), r.Int(7)
		}
	})
	switch damage = cmp.Or(damage, c.CheckMoves()); {
	case errors.Is(err, sql.ErrNoRows):
		return partition.Cluster{}, partition.ErrNoCluster
	case err != nil:
		return partition.Cluster{}, err
	case damage != nil:
		return partition.Cluster{}, fmt.Errorf("%w: the cluster map is damaged: %w", partition.ErrRefused, damage)
	}
	return c, nil
}

const (
	insertCluster = ` INTO {p}cluster (id, cluster_id, partition_id, name, epoch, map) VALUES (1, ?, ?, ?, ?, ?)`
	updateCluster = `UPDATE {p}cluster SET epoch = ?, map = ? WHERE id = 1`
	updateBallots = `UPDATE {p}ballots SET promised = ?, accepted = ?, chosen = ? WHERE id = 1`
	renewPosition = `UPDATE {p}positions SET revision = 0, goal = ?, synced_at = 0 WHERE origin = ?`
	raiseOwn      = `UPDATE {p}positions SET revision = ? WHERE origin = ?`
)

// Join implements partition.Identity.
func (s *Engine) Join(ctx context.Context, c partition.Cluster) (stands partition.Cluster, err error) {
	c.PartitionID, c.Name = partition.NewPartitionID(), string(s.name)
	text, err := mapText(&c)
	if err != nil {
		return partition.Cluster{}, s.wrap("join", err)
	}
	err = s.transact(ctx, "join", func(ctx context.Context, conn *Conn) error {
		n, err := conn.Exec(ctx, s.statement(s.sql.InsertIgnore+insertCluster), c.ID, c.PartitionID, c.Name, c.Epoch, text)
		if err == nil && n > 0 {
			err = s.completeJoin(ctx, conn, &c)
		}
		if err == nil {
			stands, err = s.cluster(ctx, conn, "")
		}
		return err
	})
	return stands, err
}

// completeJoin makes all changes that belong to the first cluster row.
func (s *Engine) completeJoin(ctx context.Context, conn *Conn, c *partition.Cluster) error {
	if c.NeedsBallots() {
		if err := s.admitBallots(ctx, conn); err != nil {
			return err
		}
	}
	return s.raise(ctx, conn, c)
}

// raise raises the counter of a master. The lock of its row orders all commits.
func (s *Engine) raise(ctx context.Context, conn *Conn, c *partition.Cluster) error {
	own, found, err := s.position(ctx, conn, s.name, s.sql.LockExclusive)
	if err != nil {
		return err
	}
	counter, err := c.Raise(s.name, own)
	switch {
	case err != nil || counter == 0:
		return err
	case found:
		_, err = conn.Exec(ctx, s.statement(raiseOwn), int64(counter), string(s.name))
	default:
		err = s.addPosition(ctx, conn, partition.Position{Origin: s.name, Revision: counter})
	}
	if err != nil {
		return err
	}
	return s.forgetGuards(ctx, conn)
}

// change runs f on the locked cluster row in a transaction, and returns the row as it is afterwards,
// also with ErrOutvoted.
func (s *Engine) change(ctx context.Context, op string, needsBallots bool, f func(context.Context, *Conn, partition.Cluster) (partition.Cluster, error)) (stands partition.Cluster, err error) {
	err = s.transact(ctx, op, func(ctx context.Context, conn *Conn) error {
		if needsBallots {
			if err := s.checkBallots(ctx, conn); err != nil {
				return err
			}
		}
		row, err := s.cluster(ctx, conn, s.sql.LockExclusive)
		if err != nil {
			return err
		}
		if stands, err = f(ctx, conn, row); err != nil {
			return err
		}
		return s.writeBallots(ctx, conn, row, stands)
	})
	if err != nil && !errors.Is(err, partition.ErrOutvoted) {
		return partition.Cluster{}, err
	}
	return stands, err
}

// writeBallots writes the ballots of a row if they have changed. Otherwise another process may have
// written the row, and may not have made it durable yet.
func (s *Engine) writeBallots(ctx context.Context, conn *Conn, before, row partition.Cluster) error {
	if before.Promised == row.Promised && before.Accepted == row.Accepted && before.Chosen == row.Chosen {
		return s.raiseBarrier(ctx, conn)
	}
	n, err := conn.Exec(ctx, s.statement(updateBallots), row.Promised, row.Accepted, row.Chosen)
	if err == nil && n != 1 {
		err = fmt.Errorf("%w: the table ballots is damaged: its only row is missing", partition.ErrRefused)
	}
	return err
}

// Promise implements partition.Identity.
func (s *Engine) Promise(ctx context.Context, ballot int64) (partition.Cluster, error) {
	return s.change(ctx, "promise", true, func(_ context.Context, _ *Conn, row partition.Cluster) (partition.Cluster, error) {
		return row.Promise(ballot)
	})
}

// Accept implements partition.Identity.
func (s *Engine) Accept(ctx context.Context, c partition.Cluster) (partition.Cluster, error) {
	return s.change(ctx, "accept", c.NeedsBallots(), func(ctx context.Context, conn *Conn, row partition.Cluster) (partition.Cluster, error) {
		row, replaces, err := row.Accept(c)
		if err == nil && replaces {
			err = s.replaceMap(ctx, conn, &row)
		}
		return row, err
	})
}

// replaceMap locks the counter, so that no commit comes between checking the ends and raising the
// counter.
func (s *Engine) replaceMap(ctx context.Context, conn *Conn, c *partition.Cluster) error {
	for _, e := range c.Ends {
		p, _, err := s.position(ctx, conn, e.Origin, s.sql.LockExclusive)
		if err == nil {
			err = c.CheckPosition(string(s.name), e.Origin, p.Revision)
		}
		if renewed, isLost := c.Renew(string(s.name), p); err == nil && isLost {
			_, err = conn.Exec(ctx, s.statement(renewPosition), int64(renewed.Goal), string(e.Origin))
		}
		if err != nil {
			return err
		}
	}
	text, err := mapText(c)
	if err == nil {
		_, err = conn.Exec(ctx, s.statement(updateCluster), c.Epoch, text)
	}
	if err != nil {
		return err
	}
	return s.raise(ctx, conn, c)
}

// Barrier implements partition.Source.
func (s *Engine) Barrier(ctx context.Context) error {
	return s.read(ctx, "barrier", s.raiseBarrier)
}

func (s *Engine) raiseBarrier(ctx context.Context, conn *Conn) error {
	if s.sql.Barrier == "" {
		return nil
	}
	_, err := conn.Exec(ctx, s.statement(s.sql.Barrier))
	return err
}

const (
	// An empty partition has no guards.
	forgetGuards = AddGuards + ` AND EXISTS (SELECT 1 FROM {p}entries {by_key})`
	// selectGuards returns a row without a key if there are no guards. A single statement sees a single moment.
	selectGuards = `SELECT p.revision, p.guarded, e.{key} FROM {p}positions AS p LEFT JOIN {p}entries AS e
		ON e.{key} >= ? AND e.{key} < ? AND e.deleted = 0 AND e.content_type = ? WHERE p.origin = ? ORDER BY e.{key}`
	correctGuards = AddGuards + ` AND guarded >= ? AND revision >= ? AND revision < ?`
)

// CountGuards implements partition.Master. Commits after the count change the number by as much as the guards, so the
// difference between the two stays. Only one process can correct the number: the number is unknown, and of the epoch in
// which it was read, until then.
func (s *Engine) CountGuards(ctx context.Context, epoch int64, counted func(partition.Key) bool) error {
	revision, number, found, err := s.readGuards(ctx, counted)
	if err != nil || number < partition.GuardsUnknown {
		return err
	}
	if revision.Epoch() != epoch {
		return s.wrap("count guards", fmt.Errorf("%w: its counter is of epoch %d, not %d", partition.ErrStaleEpoch, revision.Epoch(), epoch))
	}
	return s.transact(ctx, "count guards", func(ctx context.Context, conn *Conn) error {
		_, err := conn.Exec(ctx, s.statement(correctGuards), found-number, string(s.name), partition.GuardsUnknown,
			int64(partition.Floor(epoch)), int64(partition.Floor(epoch+1)))
		return err
	})
}

// readGuards reads the counter, the number of guards, and the guards themselves as of the same moment.
func (s *Engine) readGuards(ctx context.Context, counted func(partition.Key) bool) (revision partition.Revision, number, found int64, err error) {
	err = s.read(ctx, "count guards", func(ctx context.Context, c *Conn) error {
		if known, err := s.hasGuards(ctx, c); err != nil || !known {
			return err
		}
		found = 0
		args := []any{[]byte(partition.GuardsFrom), []byte(partition.GuardsTo), []byte(partition.GuardContentType), string(s.name)}
		return c.QueryRows(ctx, s.statement(selectGuards), args, func(r Rows) error {
			revision, number = partition.Revision(r.Int(0)), r.Int(1)
			if k := r.Bytes(2); k != nil && counted(partition.Key(k)) {
				found++
			}
			return nil
		})
	})
	return revision, number, found, err
}

// forgetGuards marks the number of guards as unknown, in the open transaction.
func (s *Engine) forgetGuards(ctx context.Context, conn *Conn) error {
	known, err := s.hasGuards(ctx, conn)
	if err == nil && known {
		_, err = conn.Exec(ctx, s.statement(forgetGuards), partition.GuardsUnknown, string(s.name))
	}
	return err
}
