package ledger_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/ledger"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/mysqltest"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/test/servers"
)

const (
	ringWorkers = 20
	ringBound   = 10 * time.Second // of a transfer, on a machine that is busy
)

// ringTransfers is the number of transfers around the ring.
func ringTransfers(short, long int) int {
	if isLong {
		return long
	}
	return short
}

// runRing makes transfers of 1 around a ring of accounts, one half of the workers in each direction, so that every account pays and is
// paid by both neighbours at once. Each worker returns to the balances of the beginning.
func runRing(t *testing.T, l *ledger.Ledger, ids []string, total int) {
	t.Helper()
	run := rand.Uint64()
	var group sync.WaitGroup
	slowest := make([]time.Duration, ringWorkers)
	for w := range ringWorkers {
		from, to := ids[w%len(ids)], ids[(w+1)%len(ids)]
		if w >= len(ids) {
			from, to = to, from
		}
		group.Go(func() {
			for i := range total / ringWorkers {
				began := time.Now()
				done, _, err := l.Transfer(t.Context(), order(from, to, fmt.Sprintf("%d-%d-%d", run, w, i), 1))
				if err != nil || done.Status != ledger.Posted {
					t.Errorf("%s, %v", done.Status, err)
					return
				}
				slowest[w] = max(slowest[w], time.Since(began))
			}
		})
	}
	group.Wait()
	for w, d := range slowest {
		if d > ringBound {
			t.Errorf("a transfer of worker %d took %v", w, d)
		}
	}
}

// TestOppositeTransfersAndRingsNeverWait: A to B against B to A, around a ring of ten accounts on two masters.
func TestOppositeTransfersAndRingsNeverWait(t *testing.T) {
	b := newBank(t, 2, "p0", "p1")
	ids := b.apart(t, 10, "p0", "p1")
	b.open(t, 1000, ids...)
	runRing(t, b.Ledger, ids, ringTransfers(2000, 100_000))
	for _, id := range ids {
		b.wantBalances(t, map[string]int64{id: 1000})
	}
	b.wantSound(t)
}

// TestRingsSurfaceNoDeadlockOfTheDatabase: the same on MariaDB, whose transactions lock rows.
func TestRingsSurfaceNoDeadlockOfTheDatabase(t *testing.T) {
	server := servers.MariaDB(t)
	var parts []partition.Partition
	for _, name := range []string{"p0", "p1"} {
		parts = append(parts, mysqltest.Prepared(t, mysqltest.Config(t, server.Database(t)), sqlengine.Options{Name: name}))
	}
	s, err := store.Open(store.Options{Partitions: parts, Masters: []string{"p0", "p1"}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	storetest.Eventually(t, "two masters", func() bool {
		for _, p := range s.Status().Partitions {
			if !p.Writable {
				return false
			}
		}
		return true
	})
	b := &bank{Ledger: ledger.New(s, ledger.Options{}), rig: &storetest.Rig{Store: s}}
	ids := b.apart(t, 10, "p0", "p1")
	b.open(t, 1000, ids...)
	runRing(t, b.Ledger, ids, ringTransfers(400, 10_000))
	for _, id := range ids {
		b.wantBalances(t, map[string]int64{id: 1000})
	}
}
