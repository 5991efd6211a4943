package sqlengine_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/mysqltest"
	"github.com/runnelkv/runnel/store/partition/partitiontest"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/test/servers"
)

// TestReadsDoNotGrowWithTheTable: reading few entries is as fast in a large table as in a small
// table, and listing few entries is as fast beside many tombstones. A database that scans the table
// takes a hundred times as long.
func TestReadsDoNotGrowWithTheTable(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) {
		p := preparedSQLite(t, filepath.Join(t.TempDir(), "runnel.db"), sqlengine.Options{Name: "a"})
		checkGrowth(t, p)
	})
	mysqltest.OnServers(t, func(t *testing.T, server *servers.Server) {
		checkGrowth(t, mysqltest.Prepared(t, mysqltest.Config(t, server.Database(t)), sqlengine.Options{Name: "a"}))
	})
}

func checkGrowth(t *testing.T, p *sqlengine.Engine) {
	partitiontest.Join(t, p)
	ctx := t.Context()
	reads := map[string]func() error{
		"Get": func() error { _, err := p.Get(ctx, []partition.Key{"k/1", "k/2", "k/absent"}); return err },
		"List": func() error {
			_, _, err := p.List(ctx, partition.Span{From: "k/", To: "k0", Limit: 10, Values: true})
			return err
		},
		"List beside tombstones": func() error {
			entries, more, err := p.List(ctx, partition.Span{From: "d/", To: "d0", Limit: 10})
			if err == nil && (len(entries) != 1 || more) {
				err = fmt.Errorf("%d entries, more %v", len(entries), more)
			}
			return err
		},
		"Positions": func() error { _, err := p.Positions(ctx); return err },
		"Newest":    func() error { _, err := p.Newest(ctx, "a", 8); return err },
		"Expired":   func() error { _, err := p.Expired(ctx, partition.ExpirySpan{Origin: "a", Limit: 10}); return err },
		"Snapshot": func() error {
			s, err := p.Snapshot(ctx, "a", partition.Floor(1))
			if err != nil {
				return err
			}
			defer s.Close()
			_, err = s.Next(ctx, 10, 1<<20)
			return err
		},
	}
	fastest := func(read func() error) time.Duration {
		best := time.Hour
		for range 15 {
			began := time.Now()
			if err := read(); err != nil {
				t.Fatal(err)
			}
			best = min(best, time.Since(began))
		}
		return best
	}
	fill := func(rounds int) {
		for round := range rounds {
			gone := partitiontest.Blind(1000, round)
			for i := range gone.Write {
				e := &gone.Write[i]
				*e = partition.Entry{Key: "d" + e.Key[1:], Revision: e.Revision, Deleted: true, Checksum: partition.Checksum(nil)}
			}
			for _, b := range []partition.Batch{partitiontest.Blind(1000, round), gone} {
				if _, err := p.Commit(ctx, b); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	last := partitiontest.Blind(1, 0)
	last.Write[0].Key = "d/last"
	if _, err := p.Commit(ctx, last); err != nil {
		t.Fatal(err)
	}
	few := make(map[string]time.Duration)
	fill(1)
	for name, read := range reads {
		few[name] = fastest(read)
	}
	fill(50)
	for name, read := range reads {
		if many := fastest(read); many > 4*few[name]+2*time.Millisecond {
			t.Errorf("%s takes %v beside 50,000 entries, and %v beside 1,000", name, many, few[name])
		}
	}
}
