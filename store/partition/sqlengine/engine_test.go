package sqlengine_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	_ "modernc.org/sqlite"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/mysqltest"
	"github.com/runnelkv/runnel/store/partition/partitiontest"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/store/partition/sqlite"
	"github.com/runnelkv/runnel/test/servers"
)

// database is one database of any dialect: open opens a partition in the database, sql bypasses
// Runnel.
type database struct {
	open func(o sqlengine.Options) *sqlengine.Engine
	sql  *sql.DB
}

// prepared opens a prepared partition.
func (d database) prepared(t *testing.T, o sqlengine.Options) *sqlengine.Engine {
	t.Helper()
	p := d.open(o)
	if err := p.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

// everywhere runs test on an empty database of each dialect.
func everywhere(t *testing.T, test func(t *testing.T, d database)) {
	t.Run("SQLite", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "runnel.db")
		raw, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(5000)")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { raw.Close() })
		test(t, database{sql: raw, open: func(o sqlengine.Options) *sqlengine.Engine {
			p, err := sqlite.Open(path, o)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = p.Close() })
			return p
		}})
	})
	for name, server := range map[string]func(testing.TB) *servers.Server{"MariaDB": servers.MariaDB, "MySQL": servers.MySQL} {
		t.Run(name, func(t *testing.T) {
			address := server(t).Database(t)
			test(t, database{sql: servers.Open(t, address), open: func(o sqlengine.Options) *sqlengine.Engine {
				return mysqltest.Open(t, mysqltest.Config(t, address), o)
			}})
		})
	}
}

func count(t *testing.T, db *sql.DB, table string) (n int) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPrepareRefusesANewerSchema(t *testing.T) {
	everywhere(t, func(t *testing.T, d database) {
		d.prepared(t, sqlengine.Options{Name: "a", TablePrefix: "x_"})
		partitiontest.Exec(t, d.sql, "UPDATE x_compat SET version = 9999, oldest_reader = 9998")
		err := d.open(sqlengine.Options{Name: "a", TablePrefix: "x_"}).Prepare(t.Context())
		partitiontest.RequireError(t, err, partition.ErrRefused)
	})
}

// TestApplyNamesAForeignRow: if a row of another key has a revision of the copy, Apply names the
// row and overwrites nothing. Without the row Apply succeeds.
func TestApplyNamesAForeignRow(t *testing.T) {
	everywhere(t, func(t *testing.T, d database) {
		p := d.prepared(t, sqlengine.Options{Name: "b"})
		value := []byte("v")
		c := partition.Copy{Origin: "a"}
		step := func(keys ...partition.Key) error {
			c.Entries = nil
			for i, k := range keys {
				c.Entries = append(c.Entries, partition.Entry{Key: k, Origin: "a", Revision: c.From + partition.Revision(i) + 1, Value: value, Checksum: partition.Checksum(value)})
			}
			c.To = c.From + partition.Revision(len(keys))
			c.Goal = c.To
			return p.Apply(t.Context(), c)
		}
		if err := step("k/1", "k/2"); err != nil {
			t.Fatal(err)
		}
		c.From = 2
		partitiontest.Exec(t, d.sql, "UPDATE entries SET revision = 4 WHERE `key` = ?", []byte("k/1"))
		err := step("k/3", "k/4")
		partitiontest.RequireError(t, err, partition.ErrRefused)
		for _, part := range []string{`"k/1"`, `"k/4"`, "revision 4 of a"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s is not in %q", part, err)
			}
		}
		held, err := p.Get(t.Context(), []partition.Key{"k/1", "k/3", "k/4"})
		if err != nil || len(held) != 1 || held[0].Revision != 4 {
			t.Errorf("%+v stand (%v)", held, err)
		}
		partitiontest.Exec(t, d.sql, "DELETE FROM entries WHERE `key` = ?", []byte("k/1"))
		if err := step("k/3", "k/4"); err != nil {
			t.Error(err)
		}
	})
}

func TestTablePrefixKeepsClustersApart(t *testing.T) {
	everywhere(t, func(t *testing.T, d database) {
		one := d.prepared(t, sqlengine.Options{Name: "a", TablePrefix: "one_"})
		two := d.prepared(t, sqlengine.Options{Name: "a", TablePrefix: "two_"})
		partitiontest.Join(t, one)
		if _, err := two.Cluster(t.Context()); !errors.Is(err, partition.ErrNoCluster) {
			t.Fatalf("the second cluster sees the first's row: %v", err)
		}
		partitiontest.Join(t, two)
		if _, err := one.Commit(t.Context(), partitiontest.Blind(3, 0)); err != nil {
			t.Fatal(err)
		}
		if n, m := count(t, d.sql, "one_entries"), count(t, d.sql, "two_entries"); n != 3 || m != 0 {
			t.Errorf("%d and %d entries, want 3 and 0", n, m)
		}
	})
}

func TestCommitOfAStaleEpochWritesNothing(t *testing.T) {
	everywhere(t, func(t *testing.T, d database) {
		p := d.prepared(t, sqlengine.Options{Name: "a"})
		partitiontest.Join(t, p)
		counters := map[string]partition.Revision{
			"another epoch":          partition.Floor(2),
			"an older epoch":         partition.Floor(1) - 1,
			"the end of the epoch":   partition.Floor(2) - 3,
			"a later epoch, written": partition.Floor(2) + 7,
		}
		for name, counter := range counters {
			partitiontest.Exec(t, d.sql, "UPDATE positions SET revision = ?", int64(counter))
			for _, b := range []partition.Batch{partitiontest.Blind(3, 0), partitiontest.Decided(3), partitiontest.Large(3)} {
				_, err := p.Commit(t.Context(), b)
				partitiontest.RequireError(t, err, partition.ErrStaleEpoch)
			}
			positions, err := p.Positions(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := positions.Origins["a"].Revision; got != counter {
				t.Errorf("%s: the counter moved from %d to %d", name, counter, got)
			}
		}
		if n := count(t, d.sql, "entries"); n != 0 {
			t.Errorf("%d entries were written", n)
		}
		partitiontest.Exec(t, d.sql, "UPDATE positions SET revision = ?", int64(partition.Floor(1)+41))
		if claim, err := p.Commit(t.Context(), partitiontest.Blind(3, 0)); err != nil || claim.First != partition.Floor(1)+42 {
			t.Errorf("back in its epoch it claims %d: %v", claim.First, err)
		}
	})
}

// TestAcceptThatChangesNothingIsDurable: InnoDB shows the row of another process before the row is durable. So an answer
// that a voter has accepted a ballot needs a commit of its own.
func TestAcceptThatChangesNothingIsDurable(t *testing.T) {
	mysqltest.OnServers(t, func(t *testing.T, server *servers.Server) {
		address := server.Database(t)
		p, db := mysqltest.Prepared(t, mysqltest.Config(t, address), sqlengine.Options{Name: "a"}), servers.Open(t, address)
		partitiontest.Join(t, p)
		if err := p.Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
		row, err := p.Cluster(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		row.Epoch, row.Accepted = 2, 3
		for want := range 3 {
			if _, err := p.Accept(t.Context(), row); err != nil {
				t.Fatal(err)
			}
			var commits int
			if err := db.QueryRow("SELECT counter FROM barrier").Scan(&commits); err != nil || commits != want {
				t.Errorf("after %d repetitions %d commits were made (%v)", want, commits, err)
			}
		}
	})
}

// awkward returns entries whose columns contain every byte and all that has a meaning in SQL.
func awkward() []partition.Entry {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	texts := []string{string(all), `'; DROP TABLE entries; --`, `\`, `\\'`, `'`, `''`, `"`, "`", "\x00", "\x1a", `%_\%`, "?", "{p}{key}{now}",
		"\xbf'", "\x81'; --", "\xf0\x9f'", "日本語", "/* */ # --", "@runnel_first", "\r\n", "NULL", "0x41", "\xff\xfe"}
	var entries []partition.Entry
	for i, text := range texts {
		entries = append(entries, partition.Entry{
			Key: partition.Key("k/" + text), Revision: partition.Revision(i), ContentType: text,
			Metadata: []byte(text), Value: []byte(text), Checksum: partition.Checksum([]byte(text)),
			ExpiresAt: partition.Instant(i),
		})
	}
	return entries
}

func TestEveryByteComesBack(t *testing.T) {
	everywhere(t, func(t *testing.T, d database) {
		p, copied := d.prepared(t, sqlengine.Options{Name: "a"}), d.prepared(t, sqlengine.Options{Name: "b", TablePrefix: "b_"})
		partitiontest.Join(t, p)
		entries := awkward()
		b := partition.Batch{Epoch: 1, Revisions: len(entries), Write: entries}
		for range 2 { // the second replaces
			claim, err := p.Commit(t.Context(), b)
			if err != nil {
				t.Fatal(err)
			}
			want := slices.Clone(entries)
			for i := range want {
				want[i].Origin, want[i].ModifiedAt, want[i].Size = "a", claim.Now, int64(len(want[i].Value))
				want[i].Revision += claim.First
			}
			partitiontest.WantSame(t, "commit", partitiontest.GetAll(t, p, want), want)
			listed, more, err := p.List(t.Context(), partition.Span{Limit: 100, Values: true})
			if err != nil || more {
				t.Fatal(more, err)
			}
			partitiontest.WantSame(t, "list", listed, want)
			copyAll(t, p, copied, want)
			partitiontest.WantSame(t, "copy", partitiontest.GetAll(t, copied, want), want)
		}
	})
}

// copyAll applies what p wrote last to target, by a snapshot.
func copyAll(t *testing.T, p, target partition.Partition, want []partition.Entry) {
	t.Helper()
	positions, err := target.Positions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	from := positions.Origins["a"].Revision
	s, err := p.Snapshot(t.Context(), "a", from)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	entries, err := s.Next(t.Context(), len(want)+1, 1<<30)
	if err != nil || len(entries) != len(want) {
		t.Fatalf("%d entries in the snapshot, %v", len(entries), err)
	}
	if _, err := s.Next(t.Context(), 1, 1); err != io.EOF {
		t.Fatalf("after the last: %v", err)
	}
	c := partition.Copy{Origin: "a", From: from, To: s.Position().Revision, Goal: s.Position().Revision, Entries: entries}
	if err := target.Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// TestRevisionsAreNeverGivenToTwoKeys: a second entry of one (origin,
// revision) is an error; it must not be swallowed, nor change the first.
func TestRevisionsAreNeverGivenToTwoKeys(t *testing.T) {
	everywhere(t, func(t *testing.T, d database) {
		p := d.prepared(t, sqlengine.Options{Name: "a"})
		partitiontest.Join(t, p)
		if _, err := p.Commit(t.Context(), partitiontest.Blind(1, 0)); err != nil {
			t.Fatal(err)
		}
		before := partitiontest.GetAll(t, p, []partition.Entry{{Key: "k/0"}})
		partitiontest.Exec(t, d.sql, "UPDATE positions SET revision = ?", int64(partition.Floor(1))) // as after a lost fsync
		other := partitiontest.Blind(1, 1)
		if _, err := p.Commit(t.Context(), other); err == nil {
			t.Error("the revision was given out again")
		}
		e := other.Write[0]
		e.Key, e.Origin, e.Revision = "k/placed", "b", partition.Floor(1)+1
		first := e
		first.Key = "k/first"
		step := partition.Copy{Origin: "b", To: e.Revision, Goal: e.Revision, SyncedAt: 1, Entries: []partition.Entry{first}}
		if err := p.Apply(t.Context(), step); err != nil {
			t.Fatal(err)
		}
		partitiontest.Exec(t, d.sql, "UPDATE positions SET revision = ? WHERE origin = ?", 0, "b")
		step.Entries = []partition.Entry{e}
		if err := p.Apply(t.Context(), step); err == nil {
			t.Error("an entry was swallowed")
		}
		partitiontest.WantSame(t, "before", partitiontest.GetAll(t, p, []partition.Entry{{Key: "k/0"}, {Key: "k/1"}, {Key: "k/placed"}}), before)
	})
}

func TestPartitionIsUnavailableUntilPrepared(t *testing.T) {
	everywhere(t, func(t *testing.T, d database) {
		p := d.open(sqlengine.Options{Name: "a"})
		_, err := p.Get(t.Context(), []partition.Key{"k/a"})
		partitiontest.RequireError(t, err, partition.ErrUnavailable)
		_, err = p.Commit(context.Background(), partitiontest.Blind(1, 0))
		partitiontest.RequireError(t, err, partition.ErrUnavailable)
	})
}

func TestBatchesAreSplit(t *testing.T) {
	everywhere(t, func(t *testing.T, d database) {
		p := d.prepared(t, sqlengine.Options{Name: "a"})
		partitiontest.Join(t, p)
		b := partition.Batch{Epoch: 1, Revisions: 700}
		for i := range b.Revisions {
			value := bytes.Repeat([]byte("'\x00\\"), (i%40)*1000)
			e := partition.Entry{Key: partition.Key(fmt.Sprintf("k/%03d", i)), Revision: partition.Revision(i),
				Value: value, Checksum: partition.Checksum(value)}
			b.Write, b.Read = append(b.Write, e), append(b.Read, e.Key)
		}
		for _, held := range []int{0, 700} {
			claim, err := p.Commit(t.Context(), b)
			if err != nil {
				t.Fatal(err)
			}
			if len(claim.Current) != held {
				t.Fatalf("%d entries stood, want %d", len(claim.Current), held)
			}
			for _, e := range partitiontest.GetAll(t, p, b.Write) {
				var i int
				_, _ = fmt.Sscanf(string(e.Key), "k/%d", &i)
				if !e.Intact() || e.Revision != claim.First+partition.Revision(i) || e.ModifiedAt != claim.Now {
					t.Fatalf("%s is not as it was written: revision %d of %d", e.Key, e.Revision, claim.First)
				}
			}
		}
	})
}

// TestStartThatWasCutShortIsMadeAgain is about a process that died when it had made the
// table of versions and nothing else.
func TestStartThatWasCutShortIsMadeAgain(t *testing.T) {
	everywhere(t, func(t *testing.T, d database) {
		d.prepared(t, sqlengine.Options{Name: "a"})
		partitiontest.Exec(t, d.sql, "DELETE FROM schema_version")
		for _, table := range []string{"entries", "positions", "cluster", "lease", "barrier", "compat"} {
			partitiontest.Exec(t, d.sql, "DROP TABLE "+table)
		}
		partitiontest.Join(t, d.prepared(t, sqlengine.Options{Name: "a"}))
	})
}

// preparedSQLite returns the prepared partition in a file.
func preparedSQLite(t *testing.T, path string, o sqlengine.Options) *sqlengine.Engine {
	t.Helper()
	p, err := sqlite.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	if err := p.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}
