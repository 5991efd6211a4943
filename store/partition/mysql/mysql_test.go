package mysql_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/mysql"
	"github.com/runnelkv/runnel/store/partition/mysqltest"
	"github.com/runnelkv/runnel/store/partition/partitiontest"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/test/servers"
)

func TestPrepareCreatesTheDatabase(t *testing.T) {
	mysqltest.OnServers(t, func(t *testing.T, server *servers.Server) {
		p := mysqltest.Prepared(t, mysqltest.Config(t, server.Vacant(t)), sqlengine.Options{Name: "a"})
		partitiontest.Join(t, p)
		if _, err := p.Commit(t.Context(), partitiontest.Blind(1, 0)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestMissingPrivilegesAreNamed(t *testing.T) {
	mysqltest.OnServers(t, func(t *testing.T, server *servers.Server) {
		users := map[string]string{
			"of nothing":      server.User(t, server.Database(t)),
			"of no CREATE":    server.User(t, server.Database(t), "SELECT", "INSERT", "UPDATE", "DELETE"),
			"of no database":  server.User(t, server.Vacant(t)),
			"of SELECT alone": server.User(t, server.Database(t), "SELECT"),
		}
		for what, address := range users {
			wantGrant(t, what, mysqltest.Config(t, address))
		}
		c := mysqltest.Config(t, server.Database(t))
		c.Password = "wrong-password"
		wantGrant(t, "with a wrong password", c)
	})
}

func wantGrant(t *testing.T, what string, c mysql.Config) {
	t.Helper()
	err := mysqltest.Open(t, c, sqlengine.Options{Name: "a"}).Prepare(t.Context())
	if !errors.Is(err, partition.ErrRefused) {
		t.Errorf("a user %s: %v, want ErrRefused", what, err)
		return
	}
	text := err.Error()
	if !strings.Contains(text, "GRANT SELECT, INSERT") || !strings.Contains(text, "TO '"+c.User+"'") {
		t.Errorf("a user %s: no GRANT in %q", what, text)
	}
	if strings.Contains(text, c.Password) {
		t.Errorf("a user %s: the password is in %q", what, text)
	}
}

func TestGrantedPrivilegesSuffice(t *testing.T) {
	mysqltest.OnServers(t, func(t *testing.T, server *servers.Server) {
		address := server.User(t, server.Vacant(t), "SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "INDEX", "DROP")
		p := mysqltest.Prepared(t, mysqltest.Config(t, address), sqlengine.Options{Name: "a"})
		partitiontest.Join(t, p)
		ctx, cancel := context.WithCancel(t.Context())
		b := partitiontest.Decided(1)
		decide := b.Decide
		b.Decide = func(c partition.Claim) ([]partition.Entry, error) { cancel(); return decide(c) }
		_, err := p.Commit(ctx, b)
		partitiontest.RequireError(t, err, partition.ErrUnavailable)
		if _, err := p.Commit(t.Context(), partitiontest.Blind(1, 0)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestServerThatIsDownIsUnavailable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	p := mysqltest.Open(t, mysql.Config{Addr: l.Addr().String(), User: "u", Password: "p", Database: "d"}, sqlengine.Options{Name: "a"})
	partitiontest.RequireError(t, p.Prepare(t.Context()), partition.ErrUnavailable)
}

// TestPrepareGivesUpOnAServerThatHangs: the server is frozen, so connections succeed but no answer
// comes.
func TestPrepareGivesUpOnAServerThatHangs(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	p := mysqltest.Open(t, mysql.Config{Addr: listener.Addr().String(), User: "root", Database: "x"},
		sqlengine.Options{Name: "a", Timeout: 300 * time.Millisecond})
	began := time.Now()
	if err := p.Prepare(t.Context()); !errors.Is(err, partition.ErrUnavailable) {
		t.Errorf("Prepare: %v, want ErrUnavailable", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("Prepare took %v, though one operation may take 300ms", took)
	}
}

// TestValuesUpToThePacketFit: a value of MaxValueBytes is stored by every writing operation, and a
// larger value is refused.
func TestValuesUpToThePacketFit(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers of its own")
	}
	small := map[string]*servers.Server{
		"MariaDB": servers.NewMariaDB(t, "--max-allowed-packet=1M"),
		"MySQL":   servers.NewMySQL(t, "--max-allowed-packet=1M"),
	}
	for name, server := range small {
		t.Run(name, func(t *testing.T) { checkLargest(t, server) })
	}
	mysqltest.OnServers(t, checkLargest)
}

func checkLargest(t *testing.T, server *servers.Server) {
	p := mysqltest.Prepared(t, mysqltest.Config(t, server.Database(t)), sqlengine.Options{Name: "a", Timeout: time.Minute})
	partitiontest.Join(t, p)
	copied := partition.Copy{Origin: "other"}
	value := bytes.Repeat([]byte("'"), int(p.MaxValueBytes()))
	for _, e := range []partition.Entry{{Key: "k/largest"}, {Key: partition.Key("k/" + strings.Repeat("\x00", 1000)),
		ContentType: strings.Repeat("\\", 1024), Metadata: bytes.Repeat([]byte("'"), 64<<10)}} {
		e.Value, e.Checksum = value, partition.Checksum(value)
		b := partition.Batch{Epoch: 1, Revisions: 1, Write: []partition.Entry{e}}
		claim, err := p.Commit(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		e.Revision = claim.First
		wantIntact(t, p, e)
		e.Origin, e.Revision = "other", 7+claim.First
		copied.From, copied.To, copied.Goal, copied.Entries = copied.To, e.Revision, e.Revision, []partition.Entry{e}
		if err := p.Apply(t.Context(), copied); err != nil {
			t.Fatal(err)
		}
		wantIntact(t, p, e)
	}
	many := partition.Batch{Epoch: 1, Revisions: 40} // the largest values that are sent as text
	for i := range many.Revisions {
		e := partition.Entry{Key: partition.Key(fmt.Sprintf("k/%d", i)), Revision: partition.Revision(i), Value: value[:64<<10],
			Metadata: value[:64<<10], Checksum: partition.Checksum(value[:64<<10])}
		many.Write = append(many.Write, e)
	}
	if _, err := p.Commit(t.Context(), many); err != nil {
		t.Fatal(err)
	}
	over := partition.Entry{Key: "k/over", Value: append(value, 'x')}
	_, err := p.Commit(t.Context(), partition.Batch{Epoch: 1, Revisions: 1, Write: []partition.Entry{over}})
	partitiontest.RequireError(t, err, partition.ErrTooLarge)
}

func wantIntact(t *testing.T, p partition.Partition, want partition.Entry) {
	t.Helper()
	got := partitiontest.GetAll(t, p, []partition.Entry{want})
	if len(got) != 1 || !got[0].Intact() || got[0].Revision != want.Revision || len(got[0].Value) != len(want.Value) {
		t.Fatalf("%.20q was not read back as it was written", want.Key)
	}
}

// TestCutCommitsStandWhollyOrNotAtAll cuts the connection during commits, after each of many
// numbers of bytes in either direction.
func TestCutCommitsStandWhollyOrNotAtAll(t *testing.T) {
	mysqltest.OnServers(t, func(t *testing.T, server *servers.Server) {
		address := server.Database(t)
		sound := mysqltest.Prepared(t, mysqltest.Config(t, address), sqlengine.Options{Name: "a"})
		partitiontest.Join(t, sound)
		outcomes := map[string]int{}
		for round := range 60 {
			b := partitiontest.Blind(5, round)
			if round%2 == 1 {
				b = distinct(partitiontest.Decided(5), round)
			}
			// The first commit opens the connection; the cut happens during the second.
			x := newProxy(t, mysqltest.Config(t, address).Addr)
			c := mysqltest.Config(t, address)
			c.Addr = x.listener.Addr().String()
			victim := mysqltest.Prepared(t, c, sqlengine.Options{Name: "a"})
			if _, err := victim.Commit(t.Context(), partition.Batch{Epoch: 1, Revisions: 1}); err != nil {
				t.Fatal(err)
			}
			x.cutAfter(int64(round*round), round%4 < 2)
			_, err := victim.Commit(t.Context(), b)
			outcomes[wantWhole(t, sound, round, err)]++
			_ = victim.Close()
			x.cut()
		}
		t.Log(outcomes)
		if outcomes["unavailable"] == 0 || outcomes["unknown"] == 0 {
			t.Errorf("the cuts did not meet every outcome: %v", outcomes)
		}
	})
}

// distinct gives the entries of a decision the keys of a round.
func distinct(b partition.Batch, round int) partition.Batch {
	decide := b.Decide
	b.Decide = func(c partition.Claim) ([]partition.Entry, error) {
		entries, err := decide(c)
		for i := range entries {
			entries[i].Key = partition.Key(fmt.Sprintf("k/%d", round*5+i))
		}
		return entries, err
	}
	return b
}

// wantWhole compares the result of a commit with the stored entries.
func wantWhole(t *testing.T, p partition.Partition, round int, err error) string {
	t.Helper()
	// A commit on the intact handle waits until the server has ended the cut transaction.
	if _, err := p.Commit(t.Context(), partition.Batch{Epoch: 1, Revisions: 1}); err != nil {
		t.Fatal(err)
	}
	var of []partition.Entry
	for i := range 5 {
		of = append(of, partition.Entry{Key: partition.Key(fmt.Sprintf("k/%d", round*5+i))})
	}
	stands := len(partitiontest.GetAll(t, p, of))
	switch {
	case err == nil && stands == 5:
		return "done"
	case errors.Is(err, partition.ErrUnavailable) && stands == 0:
		return "unavailable"
	case errors.Is(err, partition.ErrOutcomeUnknown) && (stands == 0 || stands == 5):
		return "unknown"
	}
	t.Fatalf("round %d: %d of 5 entries stand after %v", round, stands, err)
	return ""
}

// cutAfter cuts all connections after n more bytes in a direction.
func (x *proxy) cutAfter(n int64, toServer bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.limit, x.toServer, x.limited = n, toServer, true
}

// copy forwards bytes up to the limit of the direction.
func (x *proxy) copy(to, from net.Conn, toServer bool) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if toServer {
			x.packets.Add(1)
		} else {
			x.received.Add(int64(n))
		}
		pass, cut := x.allow(n, toServer)
		if _, werr := to.Write(buffer[:pass]); werr != nil || err != nil {
			return
		}
		if cut {
			x.cut()
			return
		}
	}
}

func (x *proxy) allow(n int, toServer bool) (pass int, cut bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.limited || x.toServer != toServer {
		return n, false
	}
	pass = min(n, int(x.limit))
	x.limit -= int64(pass)
	return pass, pass < n
}

func BenchmarkMariaDB(b *testing.B) { benchmarkServer(b, servers.MariaDB(b)) }
func BenchmarkMySQL(b *testing.B)   { benchmarkServer(b, servers.MySQL(b)) }

func benchmarkServer(b *testing.B, server *servers.Server) {
	partitiontest.Benchmark(b, mysqltest.Prepared(b, mysqltest.Config(b, server.Database(b)), sqlengine.Options{Name: "a"}))
}

// TestSnapshotClosedInMidStreamIsNotDrained counts the bytes that the server sends after a large
// snapshot was closed at its first entry.
func TestSnapshotClosedInMidStreamIsNotDrained(t *testing.T) {
	mysqltest.OnServers(t, func(t *testing.T, server *servers.Server) {
		c := mysqltest.Config(t, server.Database(t))
		x := newProxy(t, c.Addr)
		c.Addr = x.listener.Addr().String()
		p := mysqltest.Prepared(t, c, sqlengine.Options{Name: "a"})
		partitiontest.Join(t, p)
		value := make([]byte, 4<<20)
		for i := range 12 {
			e := partition.Entry{Key: partition.Key(fmt.Sprintf("k/%d", i)), Value: value, Checksum: partition.Checksum(value)}
			if _, err := p.Commit(t.Context(), partition.Batch{Epoch: 1, Revisions: 1, Write: []partition.Entry{e}}); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			before := x.received.Load()
			s, err := p.Snapshot(t.Context(), "a", 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Next(t.Context(), 1, 1); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if n := x.received.Load() - before; n > 32<<20 {
				t.Errorf("%d MiB were read of 48, for one entry of 4", n>>20)
			}
		}
	})
}
