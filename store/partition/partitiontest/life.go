package partitiontest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

var lifeChecks = []check{
	{"RestartKeepsEverything", checkRestart},
	{"HandlesShareOneDatabase", checkHandlesShare},
	{"CloseEndsEveryCallOfItsHandleAlone", checkClose},
	{"CloseEndsACommitUnderWay", checkCloseUnderWay},
	{"KillMidCommitLeavesNothing", checkKillMidCommit},
	{"LateCallsAreUnavailableAndDoNothing", checkLateCalls},
	{"DeadlineEndsTheWaitForAnotherWriter", checkDeadlineWhileWaiting},
	{"BarrierSucceeds", checkBarrier},
}

func checkRestart(t *testing.T, s suite) {
	n := s.node(t, alpha)
	entries := []partition.Entry{put("k/a", "1"), deletion("k/b")}
	claim := commit(t, n, entries...)
	must(t, n.Apply(t.Context(), partition.Copy{Origin: beta, To: 7, Goal: 9, SyncedAt: 5, Entries: []partition.Entry{at(put("k/c", "3"), beta, 7)}}))
	lease, err := n.Acquire(t.Context(), "one", time.Hour)
	must(t, err)
	cluster, err := n.Cluster(t.Context())
	must(t, err)
	before, err := n.Positions(t.Context())
	must(t, err)
	must(t, n.Close())

	p := n.open(t)
	wantEntries(t, held(t, p, alpha), stamped(alpha, claim, entries...))
	wantEntries(t, held(t, p, beta), []partition.Entry{at(put("k/c", "3"), beta, 7)})
	after, err := p.Positions(t.Context())
	must(t, err)
	if !reflect.DeepEqual(after.Origins, before.Origins) {
		t.Errorf("positions were %+v and are %+v", before.Origins, after.Origins)
	}
	if c, err := p.Cluster(t.Context()); err != nil || !reflect.DeepEqual(c, cluster) {
		t.Errorf("cluster was %+v and is %+v (%v)", cluster, c, err)
	}
	_, err = p.Acquire(t.Context(), "two", time.Hour)
	wantError(t, err, partition.ErrLeaseHeld)
	if next := commit(t, p, put("k/d", "4")); next.First != claim.First+2 {
		t.Errorf("the counter went on at %d, want %d", next.First, claim.First+2)
	}
	must(t, p.Apply(t.Context(), partition.Copy{Origin: beta, From: 7, To: 7, Goal: 7, Fence: lease.Fence}))
}

func checkHandlesShare(t *testing.T, s suite) {
	n := s.node(t, alpha)
	other := n.open(t)
	claim := commit(t, n, put("k/a", "1"))
	wantEntries(t, get(t, other, "k/a"), stamped(alpha, claim, put("k/a", "1")))
	if next := commit(t, other, put("k/a", "2")); next.First != claim.First+1 {
		t.Errorf("the other handle claimed %d after %d", next.First, claim.First)
	}
	separate := s.node(t, alpha)
	wantEntries(t, get(t, separate, "k/a"), nil)
}

// call is a method of a partition with arguments that would succeed.
type call struct {
	name string
	do   func(ctx context.Context, p partition.Partition) error
}

// calls contains every method that can fail, except for Prepare and Close.
var calls = []call{
	{"Cluster", func(ctx context.Context, p partition.Partition) error { _, err := p.Cluster(ctx); return err }},
	{"Join", func(ctx context.Context, p partition.Partition) error {
		_, err := p.Join(ctx, clusterOf(alpha))
		return err
	}},
	{"Promise", func(ctx context.Context, p partition.Partition) error { _, err := p.Promise(ctx, 1); return err }},
	{"Accept", func(ctx context.Context, p partition.Partition) error {
		_, err := p.Accept(ctx, proposal(1, epoch+1))
		return err
	}},
	{"Commit", func(ctx context.Context, p partition.Partition) error {
		_, err := p.Commit(ctx, batch(put("k/late", "1")))
		return err
	}},
	{"Decide", func(ctx context.Context, p partition.Partition) error {
		b := batch()
		b.Decide = func(c partition.Claim) ([]partition.Entry, error) {
			return []partition.Entry{at(put("k/late", "2"), alpha, c.First)}, nil
		}
		_, err := p.Commit(ctx, b)
		return err
	}},
	{"Get", func(ctx context.Context, p partition.Partition) error {
		_, err := p.Get(ctx, []partition.Key{"k/a"})
		return err
	}},
	{"List", func(ctx context.Context, p partition.Partition) error {
		_, _, err := p.List(ctx, partition.Span{Limit: 1})
		return err
	}},
	{"Expired", func(ctx context.Context, p partition.Partition) error {
		_, err := p.Expired(ctx, partition.ExpirySpan{Origin: alpha, Limit: 1})
		return err
	}},
	{"Positions", func(ctx context.Context, p partition.Partition) error { _, err := p.Positions(ctx); return err }},
	{"Snapshot", func(ctx context.Context, p partition.Partition) error {
		s, err := p.Snapshot(ctx, alpha, 0)
		if err != nil {
			return err
		}
		return s.Close()
	}},
	{"View", func(ctx context.Context, p partition.Partition) error {
		v, err := p.View(ctx)
		if err != nil {
			return err
		}
		return v.Close()
	}},
	{"Barrier", func(ctx context.Context, p partition.Partition) error { return p.Barrier(ctx) }},
	{"Apply", func(ctx context.Context, p partition.Partition) error {
		return p.Apply(ctx, partition.Copy{Origin: "late", To: 1, Goal: 1, Entries: []partition.Entry{at(put("k/late", "3"), "late", 1)}})
	}},
	{"Reset", func(ctx context.Context, p partition.Partition) error { return p.Reset(ctx, beta) }},
	{"Collect", func(ctx context.Context, p partition.Partition) error {
		_, err := p.Collect(ctx, alpha, partition.Floor(epoch)+1)
		return err
	}},
	{"Acquire", func(ctx context.Context, p partition.Partition) error {
		_, err := p.Acquire(ctx, "late", time.Hour)
		return err
	}},
	{"Release", func(ctx context.Context, p partition.Partition) error {
		return p.Release(ctx, partition.Lease{Holder: "late", Fence: 1})
	}},
}

// settled returns a master on which each of calls would change something.
func settled(t *testing.T, s suite) node {
	t.Helper()
	n := s.voter(t, alpha)
	commit(t, n, deletion("k/gone"), put("k/a", "1"))
	must(t, n.Apply(t.Context(), partition.Copy{Origin: beta, To: 7, Goal: 7, SyncedAt: 1, Entries: []partition.Entry{at(put("k/c", "3"), beta, 7)}}))
	return n
}

// wantSettled fails the check unless a settled master is unchanged.
func wantSettled(t *testing.T, p partition.Partition) {
	t.Helper()
	if got := len(held(t, p, alpha)) + len(held(t, p, beta)) + len(held(t, p, "late")); got != 3 {
		t.Errorf("%d entries stand, want 3", got)
	}
	positions, err := p.Positions(t.Context())
	must(t, err)
	if len(positions.Origins) != 2 || positions.Origins[alpha].Revision != partition.Floor(epoch)+2 ||
		positions.Origins[alpha].Collected != 0 || positions.Origins[beta].Revision != 7 {
		t.Errorf("positions have changed: %+v", positions.Origins)
	}
	wantRow(t, p, clusterOf(alpha), 0, 0, 0)
	if _, err := p.Acquire(t.Context(), "somebody", time.Hour); err != nil {
		t.Errorf("the lease is not free: %v", err)
	}
}

func checkClose(t *testing.T, s suite) {
	n := settled(t, s)
	closed := n.open(t)
	open := snapshot(t, closed, alpha, 0)
	must(t, closed.Close())
	for _, c := range calls {
		if err := c.do(t.Context(), closed); !errors.Is(err, partition.ErrUnavailable) {
			t.Errorf("%s after Close: %v, want ErrUnavailable", c.name, err)
		}
	}
	_, err := open.Next(t.Context(), 1, 1)
	wantError(t, err, partition.ErrUnavailable)
	wantSettled(t, n)
}

func checkCloseUnderWay(t *testing.T, s suite) {
	n := settled(t, s)
	p := n.open(t)
	var ended atomic.Bool
	b := batch()
	b.Decide = func(c partition.Claim) ([]partition.Entry, error) {
		go func() {
			p.Close()
			ended.Store(true)
		}()
		return []partition.Entry{at(put("k/late", "1"), alpha, c.First)}, awaitClosed(t.Context(), p)
	}
	_, err := p.Commit(t.Context(), b)
	wantError(t, err, partition.ErrUnavailable)
	must(t, eventually(t.Context(), ended.Load))
	wantSettled(t, n)
}

// awaitClosed waits until p refuses calls.
func awaitClosed(ctx context.Context, p partition.Partition) error {
	err := eventually(ctx, func() bool {
		_, err := p.Get(ctx, []partition.Key{"k/a"})
		return errors.Is(err, partition.ErrUnavailable)
	})
	if err != nil {
		return fmt.Errorf("calls go on after Close: %w", err)
	}
	return nil
}

func checkKillMidCommit(t *testing.T, s suite) {
	n := settled(t, s)
	victim := n.open(t)
	b := batch()
	b.Decide = func(c partition.Claim) ([]partition.Entry, error) {
		return []partition.Entry{at(put("k/late", "1"), alpha, c.First)}, n.kill(t.Context(), victim)
	}
	_, err := victim.Commit(t.Context(), b)
	if !errors.Is(err, partition.ErrUnavailable) && !errors.Is(err, partition.ErrOutcomeUnknown) {
		t.Errorf("the killed commit answered %v", err)
	}
	wantSettled(t, n)
	commit(t, n, put("k/after", "1"))
}

func checkLateCalls(t *testing.T, s suite) {
	n := settled(t, s)
	for _, c := range calls {
		ctx, cancel := context.WithTimeout(t.Context(), -time.Second)
		if err := c.do(ctx, n); !errors.Is(err, partition.ErrUnavailable) {
			t.Errorf("%s after its deadline: %v, want ErrUnavailable", c.name, err)
		}
		cancel()
	}
	wantSettled(t, n)
}

func checkDeadlineWhileWaiting(t *testing.T, s suite) {
	n := settled(t, s)
	other := n.open(t)
	b := batch()
	b.Decide = func(partition.Claim) ([]partition.Entry, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		begun := time.Now()
		_, err := other.Commit(ctx, batch(put("k/late", "1")))
		if waited := time.Since(begun); waited > 2*time.Second {
			t.Errorf("a writer with 50 ms to wait waited %s", waited)
		}
		return nil, fmt.Errorf("the second writer: %w", err)
	}
	_, err := n.Commit(t.Context(), b)
	wantError(t, err, partition.ErrUnavailable)
	wantSettled(t, n)
}

func checkBarrier(t *testing.T, s suite) {
	n := s.node(t, alpha)
	before := commit(t, n, put("k/a", "1"))
	must(t, n.Barrier(t.Context()))
	must(t, n.open(t).Barrier(t.Context()))
	if after := position(t, n, alpha).Revision; after != before.First {
		t.Errorf("a barrier moved the counter from %d to %d", before.First, after)
	}
}
