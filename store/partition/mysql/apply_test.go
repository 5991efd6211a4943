package mysql_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/mysqltest"
	"github.com/runnelkv/runnel/store/partition/partitiontest"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/test/servers"
)

// follower is a partition that has begun to copy "z", under a lease.
type follower struct {
	*sqlengine.Engine
	proxy *proxy
	lease partition.Lease
	at    partition.Revision
}

func newFollower(t *testing.T, address string) *follower {
	t.Helper()
	c := mysqltest.Config(t, address)
	f := &follower{proxy: newProxy(t, c.Addr)}
	c.Addr = f.proxy.listener.Addr().String()
	f.Engine = mysqltest.Prepared(t, c, sqlengine.Options{Name: "a"})
	var err error
	if f.lease, err = f.Acquire(t.Context(), "one", time.Hour); err != nil {
		t.Fatal(err)
	}
	for range 4 { // the first creates the row, the remaining ones open the connections
		if err := f.Apply(t.Context(), f.step(1)); err != nil {
			t.Fatal(err)
		}
		f.at++
	}
	return f
}

// step moves the follower n revisions forward, with as many entries.
func (f *follower) step(n int) partition.Copy {
	c := partition.Copy{Origin: "z", From: f.at, To: f.at + partition.Revision(n), Goal: f.at + partition.Revision(n), Fence: f.lease.Fence}
	for i, e := range partitiontest.Blind(n, 0).Write {
		e.Origin, e.Revision = "z", f.at+1+partition.Revision(i)
		c.Entries = append(c.Entries, e)
	}
	return c
}

func TestApplyTakesOneRoundTrip(t *testing.T) {
	mysqltest.OnServers(t, func(t *testing.T, server *servers.Server) {
		f := newFollower(t, server.Database(t))
		for _, n := range []int{1, 5, 0} {
			c := f.step(n)
			c.SyncedAt = partition.Instant(n + 1)
			if n == 0 {
				c.SyncedAt = 99 // a heartbeat
			}
			before := f.proxy.packets.Load()
			if err := f.Apply(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			f.at = c.To
			if sent := f.proxy.packets.Load() - before; sent != 1 {
				t.Errorf("a step of %d entries took %d packets, want 1", n, sent)
			}
		}
	})
}

// TestApplyWaitsForALeaseThatIsBeingTaken: the fence must not change before the commit.
func TestApplyWaitsForALeaseThatIsBeingTaken(t *testing.T) {
	mysqltest.OnServers(t, func(t *testing.T, server *servers.Server) {
		address := server.Database(t)
		f := newFollower(t, address)
		tx, err := servers.Open(t, address).BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(t.Context(), "UPDATE lease SET fence = fence + 1"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if err := f.Apply(ctx, f.step(3)); err == nil {
			t.Error("a step was made under a lease that was being taken over")
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		partitiontest.RequireError(t, f.Apply(t.Context(), f.step(3)), partition.ErrLeaseLost)
		if n := len(partitiontest.GetAll(t, f, partitiontest.Blind(3, 0).Write)); n != 1 {
			t.Errorf("%d entries stand, want 1", n)
		}
	})
}

// TestApplyElsewhereWritesNoChunk: of several statements only the first is guarded, so the rest
// must not be sent if the position differs.
func TestApplyElsewhereWritesNoChunk(t *testing.T) {
	mysqltest.OnServers(t, func(t *testing.T, server *servers.Server) {
		f := newFollower(t, server.Database(t))
		for what, size := range map[string]int{"of many chunks": 30_000, "of values that travel alone": 100_000} {
			c := f.step(40)
			for i := range c.Entries {
				e := &c.Entries[i]
				e.Key, e.Value = partition.Key(fmt.Sprintf("k/%d/%d", size, i)), make([]byte, size)
				e.Checksum, e.Size = partition.Checksum(e.Value), int64(size)
			}
			c.From--
			partitiontest.RequireError(t, f.Apply(t.Context(), c), partition.ErrPositionMoved)
			if n := len(partitiontest.GetAll(t, f, c.Entries)); n != 0 {
				t.Errorf("a step %s from elsewhere left %d entries", what, n)
			}
			c.From++
			if err := f.Apply(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			partitiontest.WantSame(t, what, partitiontest.GetAll(t, f, c.Entries), c.Entries)
			f.at = c.To
		}
	})
}

// TestLargeStepsAreWholeAndGuarded: the prepared statement writes a part of such a step, text the
// remaining rows.
func TestLargeStepsAreWholeAndGuarded(t *testing.T) {
	mysqltest.OnServers(t, func(t *testing.T, server *servers.Server) {
		f := newFollower(t, server.Database(t))
		other := partition.Copy{Origin: "other", SyncedAt: 1}
		for _, odd := range []int{-1, 300} {
			c := f.step(507)
			for i := range c.Entries {
				c.Entries[i].Key = partition.Key(fmt.Sprintf("k/%d\x00'\\%d", odd, i))
			}
			c.Entries[1].Value = []byte("\x00'\\\n\xff")
			c.Entries[2].Value, c.Entries[2].Deleted = nil, true
			if odd >= 0 {
				c.Entries[odd].Metadata = []byte(`{"a":"b"}`)
			}
			for i := range c.Entries {
				e := &c.Entries[i]
				e.Checksum, e.Size = partition.Checksum(e.Value), int64(len(e.Value))
			}
			newer := c.Entries[3]
			newer.Revision, newer.Value, newer.Checksum, newer.Size = c.To+100, []byte("newer"), partition.Checksum([]byte("newer")), 5
			newer.Origin = other.Origin
			other.From, other.To, other.Goal, other.Entries = other.To, newer.Revision, newer.Revision, []partition.Entry{newer}
			if err := f.Apply(t.Context(), other); err != nil {
				t.Fatal(err)
			}
			c.From--
			partitiontest.RequireError(t, f.Apply(t.Context(), c), partition.ErrPositionMoved)
			if n := len(partitiontest.GetAll(t, f, c.Entries)); n != 1 {
				t.Errorf("a step from elsewhere left %d entries", n-1)
			}
			c.From++
			if err := f.Apply(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			f.at = c.To
			c.Entries[3] = newer
			partitiontest.WantSame(t, fmt.Sprint(odd), partitiontest.GetAll(t, f, c.Entries), c.Entries)
		}
	})
}
