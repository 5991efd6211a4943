package partition_test

import (
	"context"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/test/servers"
)

// TestInterruptedCommitIsUnknownOnceItClaimed: a commit that is interrupted
// says that nothing happened only if it still waited for its claim.
func TestInterruptedCommitIsUnknownOnceItClaimed(t *testing.T) {
	onServers(t, func(t *testing.T, server *servers.Server) {
		address := server.Database(t)
		p := prepared(t, mysqlOf(t, address), partition.Options{Name: "a"})
		join(t, p)
		if _, err := p.Commit(t.Context(), blind(3, 0)); err != nil {
			t.Fatal(err)
		}
		before := getAll(t, p, blind(3, 0).Write)
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
			_, err = p.Commit(ctx, blind(3, 0))
			cancel()
			wantError(t, err, want)
			if err := tx.Rollback(); err != nil {
				t.Fatal(err)
			}
			wantSame(t, lock, getAll(t, p, blind(3, 0).Write), before)
		}
	})
}
