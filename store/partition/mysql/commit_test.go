package mysql_test

import (
	"context"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/mysqltest"
	"github.com/runnelkv/runnel/store/partition/partitiontest"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/test/servers"
)

// TestInterruptedCommitIsUnknownOnceItClaimed: an interrupted commit is known to have no effect
// only while it waits for its claim.
func TestInterruptedCommitIsUnknownOnceItClaimed(t *testing.T) {
	mysqltest.OnServers(t, func(t *testing.T, server *servers.Server) {
		address := server.Database(t)
		p := mysqltest.Prepared(t, mysqltest.Config(t, address), sqlengine.Options{Name: "a"})
		partitiontest.Join(t, p)
		if _, err := p.Commit(t.Context(), partitiontest.Blind(3, 0)); err != nil {
			t.Fatal(err)
		}
		before := partitiontest.GetAll(t, p, partitiontest.Blind(3, 0).Write)
		for lock, want := range map[string]error{
			"SELECT 1 FROM positions WHERE origin = 'a' FOR UPDATE": partition.ErrUnavailable,
			"SELECT 1 FROM entries WHERE `key` = 'k/2' FOR UPDATE":  partition.ErrOutcomeUnknown,
		} {
			tx, err := servers.Open(t, address).BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback()
			if _, err := tx.ExecContext(t.Context(), lock); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			_, err = p.Commit(ctx, partitiontest.Blind(3, 0))
			cancel()
			partitiontest.RequireError(t, err, want)
			if err := tx.Rollback(); err != nil {
				t.Fatal(err)
			}
			partitiontest.WantSame(t, lock, partitiontest.GetAll(t, p, partitiontest.Blind(3, 0).Write), before)
		}
	})
}
