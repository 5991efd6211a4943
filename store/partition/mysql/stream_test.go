package mysql_test

import (
	"testing"

	"github.com/runnelkv/runnel/store/partition/mysqltest"
	"github.com/runnelkv/runnel/store/partition/partitiontest"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/test/servers"
)

// TestSnapshotReadToItsEndKeepsItsConnection: the sync process closes a snapshot after the origin's
// newest entry, without another call of Next.
func TestSnapshotReadToItsEndKeepsItsConnection(t *testing.T) {
	mysqltest.OnServers(t, func(t *testing.T, server *servers.Server) {
		c := mysqltest.Config(t, server.Database(t))
		x := newProxy(t, c.Addr)
		c.Addr = x.listener.Addr().String()
		p := mysqltest.Prepared(t, c, sqlengine.Options{Name: "a"})
		partitiontest.Join(t, p)
		if _, err := p.Commit(t.Context(), partitiontest.OneWrite("k/a")); err != nil {
			t.Fatal(err)
		}
		var before int
		for i := range 3 {
			s, err := p.Snapshot(t.Context(), "a", 0)
			if err != nil {
				t.Fatal(err)
			}
			if entries, err := s.Next(t.Context(), 10, 1<<20); err != nil || len(entries) != 1 {
				t.Fatalf("%d entries, %v", len(entries), err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			x.mu.Lock()
			n := len(x.conns)
			x.mu.Unlock()
			if i > 0 && n != before {
				t.Errorf("snapshot %d has taken a new connection", i)
			}
			before = n
		}
	})
}

// TestSnapshotTakesOneRoundTrip, including its end; the next snapshot contains later entries.
func TestSnapshotTakesOneRoundTrip(t *testing.T) {
	mysqltest.OnServers(t, func(t *testing.T, server *servers.Server) {
		f := newFollower(t, server.Database(t))
		for i := range 3 {
			if err := f.Apply(t.Context(), f.step(2)); err != nil {
				t.Fatal(err)
			}
			f.at += 2
			before := f.proxy.packets.Load()
			s, err := f.Snapshot(t.Context(), "z", f.at-2)
			if err != nil {
				t.Fatal(err)
			}
			entries, err := s.Next(t.Context(), 10, 1<<20)
			if err != nil || len(entries) != 2 || s.Position().Revision != f.at || s.Position().Goal != f.at {
				t.Fatalf("%d entries at %+v, %v", len(entries), s.Position(), err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if sent := f.proxy.packets.Load() - before; i > 0 && sent != 1 { // the first snapshot connects
				t.Errorf("a snapshot took %d packets, want 1", sent)
			}
		}
	})
}
