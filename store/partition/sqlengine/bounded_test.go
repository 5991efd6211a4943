package sqlengine_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/mysqltest"
	"github.com/runnelkv/runnel/store/partition/partitiontest"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/test/servers"
)

// TestUpkeepIsBounded: the first copy, collecting tombstones, the search for expired entries, and
// Reset work on a large table in short steps. A concurrent writer never waits for long. With
// RUNNEL_TEST_LONG=1 the table on MariaDB has 2,000,000 entries.
func TestUpkeepIsBounded(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) {
		open := func(name string) *sqlengine.Engine {
			return preparedSQLite(t, filepath.Join(t.TempDir(), name+".db"), sqlengine.Options{Name: name})
		}
		checkUpkeep(t, open("a"), open("b"), nil)
	})
	mysqltest.OnServers(t, func(t *testing.T, server *servers.Server) {
		addresses := map[string]string{"a": server.Database(t), "b": server.Database(t)}
		open := func(name string) *sqlengine.Engine {
			return mysqltest.Prepared(t, mysqltest.Config(t, addresses[name]), sqlengine.Options{Name: name})
		}
		checkUpkeep(t, open("a"), open("b"), servers.Open(t, addresses["b"]))
	})
}

// TestSlowDiskShortensSteps: Reset and Collect succeed although the server needs 10 ms to remove a
// row, as with a slow disk.
func TestSlowDiskShortensSteps(t *testing.T) {
	mysqltest.OnServers(t, func(t *testing.T, server *servers.Server) {
		address := server.Database(t)
		p := mysqltest.Prepared(t, mysqltest.Config(t, address), sqlengine.Options{Name: "b", Timeout: 5 * time.Second})
		partitiontest.Join(t, p)
		raw := servers.Open(t, address)
		slow := "CREATE TRIGGER slow BEFORE DELETE ON entries FOR EACH ROW DO SLEEP(0.01)"
		if _, err := raw.ExecContext(t.Context(), slow); err != nil {
			t.Fatal(err)
		}
		const n = 600 // beyond the timeout in a single step
		at := partition.Revision(0)
		fill := func() {
			c := partition.Copy{Origin: "a", From: at, To: at + n, Goal: at + n, SyncedAt: 1}
			for i := range n {
				e := plainEntry(i)
				e.Origin, e.Revision, e.Deleted = "a", at+partition.Revision(i)+1, true
				e.Value, e.Checksum = nil, partition.Checksum(nil)
				c.Entries = append(c.Entries, e)
			}
			if err := p.Apply(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			at += n
		}
		fill()
		if removed, err := p.Collect(t.Context(), "a", at); removed != n || err != nil {
			t.Errorf("%d tombstones were collected: %v", removed, err)
		}
		fill()
		if err := p.Reset(t.Context(), "a"); err != nil {
			t.Error(err)
		}
	})
}

// upkeep is a master a, and a replica b that is a master too.
type upkeep struct {
	t    *testing.T
	a, b *sqlengine.Engine
	n    int
}

// longest is the limit of a read, a step, or a commit beside them: a multiple of the time on a busy
// machine, and half of the operation's timeout.
const longest = 5 * time.Second

func checkUpkeep(t *testing.T, a, b *sqlengine.Engine, raw *sql.DB) {
	u := &upkeep{t: t, a: a, b: b, n: 20_000}
	if os.Getenv("RUNNEL_TEST_LONG") == "1" && a.Kind() == "mariadb" {
		u.n = 2_000_000
	}
	partitiontest.Join(t, a)
	partitiontest.Join(t, b)
	u.write()
	u.fill()
	u.collect()
	u.expired()
	u.reset(raw)
}

// write writes n entries with a short life, then a tombstone.
func (u *upkeep) write() {
	for i := 0; i < u.n; i += 2000 {
		b := partition.Batch{Epoch: 1, Revisions: 2000}
		for j := range 2000 {
			e := plainEntry(i + j)
			e.Revision, e.ExpiresAt = partition.Revision(j), 1
			b.Write = append(b.Write, e)
		}
		u.commit(u.a, b)
	}
	u.commit(u.a, partition.Batch{Epoch: 1, Revisions: 1, Write: []partition.Entry{{Key: "k/gone", Deleted: true}}})
}

func plainEntry(i int) partition.Entry {
	value := make([]byte, 50)
	return partition.Entry{Key: partition.Key(fmt.Sprintf("k/%016x", uint64(i)*0x9e3779b97f4a7c15)),
		Value: value, Checksum: partition.Checksum(value)}
}

func (u *upkeep) commit(p *sqlengine.Engine, b partition.Batch) partition.Claim {
	u.t.Helper()
	c, err := p.Commit(u.t.Context(), b)
	if err != nil {
		u.t.Fatal(err)
	}
	return c
}

func (u *upkeep) position(p *sqlengine.Engine) partition.Position {
	at, err := p.Positions(u.t.Context())
	if err != nil {
		u.t.Error(err)
	}
	return at.Origins["a"]
}

// timed fails the test if f takes longer than the limit.
func (u *upkeep) timed(what string, f func() error) {
	u.t.Helper()
	began := time.Now()
	if err := f(); err != nil {
		u.t.Fatal(what, err)
	}
	if took := time.Since(began); took > longest {
		u.t.Errorf("%s took %v beside %d entries", what, took, u.n)
	}
}

// beside runs work while a writer commits to p, and bounds the writer's longest commit.
func (u *upkeep) beside(p *sqlengine.Engine, what string, work func()) {
	u.t.Helper()
	ctx, stop := context.WithCancel(u.t.Context())
	var writer sync.WaitGroup
	var took []time.Duration
	writer.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			e := plainEntry(i)
			e.Key = partition.Key(fmt.Sprint("w/", i%100))
			began := time.Now()
			if _, err := p.Commit(u.t.Context(), partition.Batch{Epoch: 1, Revisions: 1, Write: []partition.Entry{e}}); err != nil {
				u.t.Errorf("a write beside %s: %v", what, err)
			}
			took = append(took, time.Since(began))
		}
	})
	began := time.Now()
	work()
	all := time.Since(began)
	stop()
	writer.Wait()
	u.t.Logf("%s of %d entries in %v; longest of %d writes beside it %v", what, u.n, all, len(took), slices.Max(took))
	u.wantEven("a write beside "+what, took)
}

// wantEven fails the test if one of equal pieces of work took far longer than the rest: it depended on the number of entries.
// The limit alone would measure the machine.
func (u *upkeep) wantEven(what string, took []time.Duration) {
	u.t.Helper()
	slices.Sort(took)
	if slowest := took[len(took)-1]; slowest > max(longest, 20*took[len(took)/2]) {
		u.t.Errorf("%s took %v beside %d entries, and half of them at most %v", what, slowest, u.n, took[len(took)/2])
	}
}

// fill copies a's entries to b. The first step sets b's Collected to a's.
func (u *upkeep) fill() {
	at := u.position(u.a)
	var s partition.Snapshot
	u.timed("opening a snapshot", func() (err error) {
		s, err = u.a.Snapshot(u.t.Context(), "a", 0)
		return err
	})
	defer s.Close()
	u.beside(u.b, "a fill", func() {
		var took []time.Duration
		c := partition.Copy{Origin: "a", Goal: at.Revision, Collected: at.Revision - 1}
		for c.From < at.Revision {
			entries, err := s.Next(u.t.Context(), 2000, 1<<20)
			if err != nil && !errors.Is(err, io.EOF) {
				u.t.Fatal(err)
			}
			c.Entries, c.To = entries, at.Revision
			if err == nil {
				c.To = entries[len(entries)-1].Revision
			} else {
				c.SyncedAt = 1
			}
			began := time.Now()
			if err := u.b.Apply(u.t.Context(), c); err != nil {
				u.t.Fatal("a step of a fill: ", err)
			}
			took = append(took, time.Since(began))
			c.From, c.Collected = c.To, 0
		}
		u.wantEven("a step of a fill", took)
	})
}

// collect collects a tombstone that follows all entries, and checks that the progress is stored on
// the way.
func (u *upkeep) collect() {
	upTo := u.position(u.a).Revision
	seen := make(map[partition.Revision]bool)
	ctx, stop := context.WithCancel(u.t.Context())
	var watcher sync.WaitGroup
	watcher.Go(func() {
		for ctx.Err() == nil {
			seen[u.position(u.a).Collected] = true
		}
	})
	u.beside(u.a, "collecting", func() {
		if n, err := u.a.Collect(u.t.Context(), "a", upTo); n != 1 || err != nil {
			u.t.Errorf("%d tombstones were collected: %v", n, err)
		}
	})
	stop()
	watcher.Wait()
	if got := u.position(u.a).Collected; got != upTo || len(seen) < 4 {
		u.t.Errorf("collected is %d and not %d, and %d values were seen on the way", got, upTo, len(seen))
	}
}

// expired searches for expired entries on a, where all entries have expired, and on b, where all
// entries belong to a.
func (u *upkeep) expired() {
	u.timed("looking for what has expired", func() error {
		keys, err := u.a.Expired(u.t.Context(), partition.ExpirySpan{Origin: "a", Limit: 500})
		if err == nil && len(keys) != 500 {
			err = fmt.Errorf("%d have", len(keys))
		}
		return err
	})
	u.timed("looking for what has expired among another's", func() error {
		keys, err := u.b.Expired(u.t.Context(), partition.ExpirySpan{Origin: "b", Limit: 500})
		if err == nil && len(keys) != 0 {
			err = fmt.Errorf("%d have", len(keys))
		}
		return err
	})
}

// reset removes a's entries from b while another transaction (for example of a dump) has an older
// view.
func (u *upkeep) reset(raw *sql.DB) {
	if raw != nil {
		view, err := raw.BeginTx(u.t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
		if err != nil {
			u.t.Fatal(err)
		}
		defer view.Rollback()
		if _, err := view.ExecContext(u.t.Context(), "SELECT origin FROM positions"); err != nil {
			u.t.Fatal(err)
		}
	}
	u.beside(u.b, "emptying", func() {
		if err := u.b.Reset(u.t.Context(), "a"); err != nil {
			u.t.Error(err)
		}
	})
	if p := u.position(u.b); p != (partition.Position{Origin: p.Origin, Goal: p.Goal}) {
		u.t.Errorf("after it the position is %+v", p) // only the goal stays
	}
}
