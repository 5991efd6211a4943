package mysql_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/mysqltest"
	"github.com/runnelkv/runnel/store/partition/partitiontest"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/test/servers"
)

// TestTransactionOutOfTimeKeepsNoLocks: Collect has locked the counter of revisions and waits for a
// row. When its time is over, commits succeed at once.
func TestTransactionOutOfTimeKeepsNoLocks(t *testing.T) {
	mysqltest.OnServers(t, func(t *testing.T, server *servers.Server) {
		address := server.Database(t)
		p := mysqltest.Prepared(t, mysqltest.Config(t, address), sqlengine.Options{Name: "a", Timeout: 30 * time.Second})
		partitiontest.Join(t, p)
		b := partitiontest.Blind(1, 0)
		b.Write[0].Deleted, b.Write[0].Value, b.Write[0].Checksum = true, nil, partition.Checksum(nil)
		claim, err := p.Commit(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		tx := locked(t, servers.Open(t, address), "SELECT 1 FROM entries FOR UPDATE")
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if _, err := p.Collect(ctx, "a", claim.First); !errors.Is(err, partition.ErrUnavailable) {
			t.Fatalf("Collect of a locked row: %v", err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if _, err := p.Commit(ctx, partition.Batch{Epoch: 1, Revisions: 1}); err != nil {
			t.Errorf("a commit after it: %v", err)
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
	})
}

// locked opens a transaction and takes the locks of statement.
func locked(t *testing.T, db *sql.DB, statement string) *sql.Tx {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback() })
	if _, err := tx.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
	return tx
}

// TestConnectionsStayWithinTheirLimit: 200 callers read changes, beside writers, readers and calls
// with an ended context. Four connections serve all of them.
func TestConnectionsStayWithinTheirLimit(t *testing.T) {
	mysqltest.OnServers(t, func(t *testing.T, server *servers.Server) {
		address := server.Database(t)
		c := mysqltest.Config(t, address)
		p := mysqltest.Prepared(t, c, sqlengine.Options{Name: "a", MaxConns: 4, Timeout: time.Minute})
		partitiontest.Join(t, p)
		done := make(chan struct{})
		most := 0
		var watcher, callers sync.WaitGroup
		watcher.Go(func() { most = mostConnections(t, servers.Open(t, address), c.Database, done) })
		for range 200 {
			callers.Go(func() { readChanges(t, p) })
		}
		for i := range 20 {
			callers.Go(func() {
				if _, err := p.Commit(t.Context(), partitiontest.Blind(1, i)); err != nil {
					t.Error(err)
				}
				if _, err := p.Positions(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		callers.Wait()
		close(done)
		watcher.Wait()
		if most < 2 || most > 4 {
			t.Errorf("%d connections were open at once, want at most 4", most)
		}
	})
}

func mostConnections(t *testing.T, db *sql.DB, database string, done chan struct{}) (most int) {
	for {
		most = max(most, len(servers.Connections(t, db, "db = ?", database)))
		select {
		case <-done:
			return most
		case <-time.After(time.Millisecond):
		}
	}
}

func readChanges(t *testing.T, p partition.Partition) {
	s, err := p.Snapshot(t.Context(), "a", 0)
	if err != nil {
		t.Error(err)
		return
	}
	defer s.Close()
	for err == nil {
		_, err = s.Next(t.Context(), 100, 1<<20)
	}
	if err != io.EOF {
		t.Error(err)
	}
}

// TestReadOnAConnectionThatDiesIsMadeAgain: while the server answers, no read fails.
func TestReadOnAConnectionThatDiesIsMadeAgain(t *testing.T) {
	mysqltest.OnServers(t, func(t *testing.T, server *servers.Server) {
		address := server.Database(t)
		c, db := mysqltest.Config(t, address), servers.Open(t, address)
		p := mysqltest.Prepared(t, c, sqlengine.Options{Name: "a", Timeout: 30 * time.Second})
		partitiontest.Join(t, p)
		if _, err := p.Commit(t.Context(), partitiontest.Blind(1, 0)); err != nil {
			t.Fatal(err)
		}
		reads := map[string]func() error{
			"entries":   func() error { _, err := p.Get(t.Context(), []partition.Key{"k/0"}); return err },
			"positions": func() error { _, err := p.Positions(t.Context()); return err },
		}
		for table, read := range reads {
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.ExecContext(t.Context(), "LOCK TABLES "+table+" WRITE"); err != nil {
				t.Fatal(err)
			}
			answer := make(chan error, 1)
			go func() { answer <- read() }()
			var waiting []int64
			for len(waiting) == 0 {
				waiting = servers.Connections(t, db, "db = ? AND state LIKE 'Waiting for table%'", c.Database)
			}
			partitiontest.Exec(t, db, fmt.Sprintf("KILL CONNECTION %d", waiting[0]))
			if _, err := conn.ExecContext(t.Context(), "UNLOCK TABLES"); err != nil {
				t.Fatal(err)
			}
			if err := <-answer; err != nil {
				t.Errorf("a read of %s: %v", table, err)
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}
