package testbed

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// Replicas are the servers for measurements of replication: a primary and two replicas by MariaDB's asynchronous
// replication. The replicas' servers also hold two of Runnel's three partitions. The third partition is on the
// main server, which has no binary log, because Runnel needs none.
type Replicas struct {
	Primary *MariaDB
	Servers [2]*MariaDB
	Write   *sql.DB    // the primary's plain table
	Read    [2]*sql.DB // the same on the replicas
}

// StartReplicas starts the three servers, and the replication between them.
func (s *Testbed) StartReplicas(ctx context.Context) (*Replicas, error) {
	r := &Replicas{}
	group, starting := errgroup.WithContext(ctx)
	start := func(m **MariaDB, name string, settings ...string) {
		group.Go(func() (err error) {
			*m, err = s.startMariaDB(starting, name, settings...)
			return err
		})
	}
	// With sync_binlog a write that was answered is in the binary log after a power cut, as everything else here.
	start(&r.Primary, "primary", "--server-id=1", "--log-bin=primary", "--sync-binlog=1")
	start(&r.Servers[0], "replica-0", "--server-id=2")
	start(&r.Servers[1], "replica-1", "--server-id=3")
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return r, r.connect(ctx, s)
}

// connect starts the replication and waits until the table exists on both replicas.
func (r *Replicas) connect(ctx context.Context, s *Testbed) (err error) {
	if r.Write, err = s.OpenDatabase(ctx, r.Primary, plainDatabase); err != nil {
		return err
	}
	for i, m := range r.Servers {
		if r.Read[i], err = s.OpenDatabase(ctx, m, plainDatabase); err != nil {
			return err
		}
		follow := fmt.Sprintf("CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=%s, MASTER_USER='root', MASTER_PASSWORD='%s', MASTER_USE_GTID=slave_pos",
			PortOf(r.Primary.Address), DatabasePassword)
		if err := Statements(ctx, r.Read[i], follow, "START SLAVE"); err != nil {
			return err
		}
	}
	if err := Statements(ctx, r.Write, plainTable); err != nil {
		return err
	}
	at, err := r.position(ctx)
	for i := range r.Read {
		err = errors.Join(err, r.reached(ctx, i, at))
	}
	return err
}

// Statements runs statements in order, up to the first that fails.
func Statements(ctx context.Context, db *sql.DB, all ...string) error {
	for _, query := range all {
		if _, err := db.ExecContext(ctx, query); err != nil {
			return fmt.Errorf("%.60s: %w", query, err)
		}
	}
	return nil
}

// position returns the primary's last transaction.
func (r *Replicas) position(ctx context.Context) (gtid string, err error) {
	err = r.Write.QueryRowContext(ctx, "SELECT @@GLOBAL.gtid_binlog_pos").Scan(&gtid)
	return gtid, err
}

// replayTime bounds how long a replica may take.
const replayTime = 20 * time.Minute

// reached returns when a replica has applied the transaction.
func (r *Replicas) reached(ctx context.Context, replica int, gtid string) error {
	var late int
	err := r.Read[replica].QueryRowContext(ctx, "SELECT MASTER_GTID_WAIT(?, ?)", gtid, int(replayTime.Seconds())).Scan(&late)
	if err == nil && late != 0 {
		err = fmt.Errorf("replica %d does not reach %s", replica, gtid)
	}
	return err
}

// Replay lets a replica apply the transactions between two positions to an empty table, and returns the duration.
func (r *Replicas) Replay(ctx context.Context, replica int, from, to string) (time.Duration, error) {
	db := r.Read[replica]
	err := Statements(ctx, db, "STOP SLAVE", "TRUNCATE TABLE plain", "SET GLOBAL gtid_slave_pos = '"+from+"'")
	if err != nil {
		return 0, err
	}
	began := time.Now()
	err = errors.Join(Statements(ctx, db, "START SLAVE"), r.reached(ctx, replica, to))
	return time.Since(began), err
}

// Singles writes n rows to the primary in separate transactions, and returns the positions before and after.
func (r *Replicas) Singles(ctx context.Context, prefix string, n int) (from, to string, err error) {
	const writers = 64
	if from, err = r.position(ctx); err != nil {
		return "", "", err
	}
	group, writing := errgroup.WithContext(ctx)
	for w := range writers {
		group.Go(func() error {
			for i := w; i < n; i += writers {
				if _, err := r.Write.ExecContext(writing, PlainPut, fmt.Sprintf("%s%08d", prefix, i), fmt.Sprintf("%0100d", i)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return "", "", err
	}
	to, err = r.position(ctx)
	return from, to, err
}

// Thousands writes n rows to the primary in transactions of 1,000.
func (r *Replicas) Thousands(ctx context.Context, prefix string, n int) (from, to string, err error) {
	if from, err = r.position(ctx); err != nil {
		return "", "", err
	}
	for i := 0; i < n; i += 1000 {
		query := []byte("INSERT INTO plain (name, value) VALUES ")
		for j := i; j < min(n, i+1000); j++ {
			query = fmt.Appendf(query, "('%s%08d','%0100d'),", prefix, j, j)
		}
		if err := Statements(ctx, r.Write, string(query[:len(query)-1])); err != nil {
			return "", "", err
		}
	}
	to, err = r.position(ctx)
	return from, to, err
}
