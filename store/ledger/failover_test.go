package ledger_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/ledger"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// failover is the loss of a master and the promotion of another partition in its place.
type failover struct {
	name       string
	lost, heir int  // partitions
	lossy      bool // the lost master has writes that no other partition holds
}

// failovers are those of a bank with the masters p0, of the payer, and p1, of the payee.
var failovers = []failover{
	{"the payee's master with its last writes", 1, 2, true},
	{"the payer's master with its last writes", 0, 2, true},
	{"the payee's master without a loss", 1, 0, false},
	{"the payer's master without a loss", 0, 2, false},
}

// TestFailoversAtEachFailpoint loses a master while an operation is at each point, and promotes another partition. An operation
// that was answered is not undone; any other takes effect at most once, by a repetition; the old master returns.
func TestFailoversAtEachFailpoint(t *testing.T) {
	var undone atomic.Int64
	t.Cleanup(func() { // after the cases, which are parallel
		if undone.Load() == 0 {
			t.Error("no master was lost with its last write")
		}
	})
	for i := range failpoints {
		for j := range failovers {
			f, o := &failpoints[i], &failovers[j]
			t.Run(f.name+", "+o.name, func(t *testing.T) {
				t.Parallel()
				if o.testAt(t, f) {
					undone.Add(1)
				}
			})
		}
	}
}

// testAt reports whether a write of the lost master does not count any more.
func (o *failover) testAt(t *testing.T, f *failpoint) (undone bool) {
	b := newIdleBank(t, 3, ledger.Options{Grace: 20 * time.Millisecond}, "p0", "p1")
	if err := prepareCrash(t.Context(), b.Ledger); err != nil {
		t.Fatal(err)
	}
	struck := make(chan struct{})
	strike := sync.OnceFunc(func() { o.strike(b); close(struck) })
	disturbed := ledger.New(b.rig.Store, ledger.Options{Every: time.Millisecond, Grace: time.Millisecond, Logger: slog.New(slog.DiscardHandler), Failpoint: func(point string) {
		if point == f.point {
			strike()
		}
	}})
	ctx, stop := context.WithCancel(context.Background())
	var worker sync.WaitGroup
	worker.Go(func() { _ = disturbed.Run(ctx) })
	t.Cleanup(func() { stop(); worker.Wait() })
	answer := f.act(t.Context(), disturbed)
	select {
	case <-struck:
	case <-time.After(10 * time.Second):
		t.Fatalf("the point %s was not reached; the operation: %v", f.point, answer)
	}
	last := o.lose(t, b)
	lost, heir := b.rig.Parts[o.lost].Name(), b.rig.Parts[o.heir].Name()
	storetest.Eventually(t, "promotion", func() bool {
		_, err := b.rig.Promote(t.Context(), store.PromoteRequest{Lost: lost, To: heir, Stopped: true}, func(store.PromoteStage) {})
		return err == nil || !slices.ContainsFunc(b.rig.ClusterMap().Masters, func(m store.MasterInfo) bool { return m.Name == lost })
	})
	undone = last > 0 && b.rig.Lost(store.VectorOf(store.Mark{Origin: store.Origin(lost), Revision: last}))
	b.work(t)
	if answer != nil {
		f.repeat(t, b.Ledger)
	}
	f.check(t, b)
	o.takeBack(t, b, undone)
	f.check(t, b)
	return undone
}

// rest are the partitions but the lost one.
func (o *failover) rest(b *bank) []*memory.Partition {
	return slices.Delete(slices.Clone(b.rig.Parts), o.lost, o.lost+1)
}

// strike begins the loss: nobody takes copies any more, or, without a loss, the master takes no more writes.
func (o *failover) strike(b *bank) {
	if o.lossy {
		refuseCopies(o.rest(b)...)
		return
	}
	b.rig.Parts[o.lost].Fail(func(op string) error {
		if op == memory.OpCommit {
			return partition.ErrUnavailable
		}
		return nil
	})
}

// lose makes the master unreachable, after a last write that nobody else holds, or after every write was copied. It returns
// the revision of the last write.
func (o *failover) lose(t *testing.T, b *bank) (last store.Revision) {
	t.Helper()
	lost := b.rig.Parts[o.lost]
	if o.lossy {
		last = b.put(t, lost.Name(), "tail").Revision
	}
	lost.Fail(func(string) error { return partition.ErrUnavailable })
	if o.lossy {
		for _, p := range o.rest(b) {
			p.Fail(nil)
		}
		return last
	}
	source := lost.Reopen()
	storetest.Eventually(t, "copies of every write", func() bool {
		for _, p := range o.rest(b) {
			positions, err := p.Positions(t.Context())
			if err != nil {
				return false
			}
			at := positions.Origins[partition.Origin(lost.Name())]
			at.Origin = partition.Origin(lost.Name())
			if _, err := partition.CatchUpJointly(t.Context(), source, p, at, 0); err != nil {
				return false
			}
		}
		return true
	})
	return 0
}

// put writes a key of the user that has the named master.
func (b *bank) put(t *testing.T, master, prefix string) store.Entry {
	t.Helper()
	name := prefix
	for b.rig.Master(store.User.Key(name)) != master {
		name += "x"
	}
	return b.rig.MustPut(t, name, "1")
}

// takeBack lets the old master return: with writes that do not count any more it is refused, otherwise it follows. Then the
// books add up on every partition that is to be read.
func (o *failover) takeBack(t *testing.T, b *bank, undone bool) {
	t.Helper()
	b.rig.Parts[o.lost].Fail(nil)
	state, parts := store.Ready, b.rig.Parts
	if undone {
		state, parts = store.Refused, o.rest(b)
	}
	storetest.Eventually(t, "old master "+string(state), func() bool { return b.rig.Status().Partitions[o.lost].State == state })
	r := b.wantSoundOn(t, parts)
	if r.Sums["EUR"].Balances.Int64() != 300 {
		t.Errorf("the balances add up to %s", &r.Sums["EUR"].Balances)
	}
	_, _, err := b.Account(t.Context(), crashIDs[0], store.ReadOptions{Partition: b.rig.Parts[o.lost].Name()})
	if undone && (err == nil || errors.Is(err, store.ErrNotFound)) {
		t.Errorf("the old master answers: %v", err)
	}
}
