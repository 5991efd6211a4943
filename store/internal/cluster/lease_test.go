package cluster_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// newLeased starts a store of n partitions with the master p0, and gives its processes leases.
func newLeased(t *testing.T, n int, o store.Options, length time.Duration) *storetest.Rig {
	t.Helper()
	r := storetest.New(t, n, o)
	for _, p := range r.Parts {
		if err := p.Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	storetest.RunSync(t, r)
	storetest.Eventually(t, "every partition filled", func() bool {
		for _, p := range r.Status().Partitions {
			if !p.Readable {
				return false
			}
		}
		return true
	})
	if err := r.SetLeases(t.Context(), length); err != nil {
		t.Fatal(err)
	}
	return r
}

// secondProcess starts a further store on the same databases.
func secondProcess(t *testing.T, r *storetest.Rig) *storetest.Rig {
	t.Helper()
	other := &storetest.Rig{}
	for _, p := range r.Parts {
		other.Parts = append(other.Parts, p.Reopen())
	}
	other.Start(t, storetest.Options(), "p0")
	return other
}

func write(r *storetest.Rig) (store.Entry, error) {
	w, err := r.Put(context.Background(), store.Entry{Key: store.User.Key("k"), Value: []byte("v")})
	return w.Entry, err
}

// readsOfMaster are the reads that only a process with a lease may answer.
var readsOfMaster = map[string]store.ReadOptions{
	"consistency=master": {Consistency: store.FromMaster},
	"bounded":            {Consistency: store.Bounded, MaxStaleness: time.Hour},
}

// TestProcessWithoutMajorityAnswersForNoMaster: a process that reaches the master and one replica of four.
func TestProcessWithoutMajorityAnswersForNoMaster(t *testing.T) {
	r := newLeased(t, 5, storetest.Options(), 100*time.Millisecond)
	k := r.MustPut(t, "k", "v")
	storetest.Eventually(t, "a level replica", func() bool { return held(t, r.Parts[1:2], k) == 1 })
	for _, p := range r.Parts[2:] {
		down(p)
	}
	storetest.Eventually(t, "the end of the lease", func() bool {
		_, err := write(r)
		return errors.Is(err, store.ErrMasterUnavailable) && strings.Contains(err.Error(), "no master lease")
	})
	for name, o := range readsOfMaster {
		for range 20 { // by the master, and by the replica
			if _, err := r.Get(t.Context(), store.User.Key("k"), o); err == nil {
				t.Errorf("%s: answered without a lease", name)
			}
		}
	}
	if _, err := r.Get(t.Context(), store.User.Key("k"), store.ReadOptions{}); err != nil {
		t.Errorf("a plain read: %v", err)
	}
	r.Parts[2].Fail(nil)
	storetest.Eventually(t, "a lease again", func() bool { _, err := write(r); return err == nil })
	for name, o := range readsOfMaster {
		storetest.Eventually(t, name, func() bool { _, err := r.Get(t.Context(), store.User.Key("k"), o); return err == nil })
	}
}

// TestSuspendedProcessAnswersForNoMaster: the machine is suspended between the commit and its answer, or amid a read.
func TestSuspendedProcessAnswersForNoMaster(t *testing.T) {
	var passed atomic.Int64
	began := time.Now()
	o := storetest.Options()
	o.Poll = time.Hour // the lease is not renewed after the suspension
	o.BootClock = func() time.Duration { return time.Since(began) + time.Minute + time.Duration(passed.Load()) }
	setup := newLeased(t, 3, storetest.Options(), store.MaxLease)
	r := &storetest.Rig{}
	for _, p := range setup.Parts {
		r.Parts = append(r.Parts, p.Reopen())
	}
	r.Start(t, o, "p0")
	r.MustPut(t, "k", "v")
	for _, c := range []struct {
		name, at string
		request  func() error
		want     error
	}{
		{"a write", memory.OpCommitted, func() error { _, err := write(r); return err }, store.ErrOutcomeUnknown},
		{"a write that was not sent", memory.OpCommit, func() error { _, err := write(r); return err }, store.ErrOutcomeUnknown},
		{"consistency=master", memory.OpGet, read(t, r, "consistency=master"), store.ErrMasterUnavailable},
		{"consistency=master", memory.OpCounter, read(t, r, "consistency=master"), store.ErrMasterUnavailable},
		{"bounded", memory.OpGet, read(t, r, "bounded"), nil},
		{"bounded", memory.OpCounter, read(t, r, "bounded"), nil},
	} {
		for _, p := range r.Parts {
			p.Fail(nil)
		}
		if err := r.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := c.request(); err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("%s without a suspension: %v", c.name, err)
		}
		var suspended atomic.Bool // and no other partition answers afterwards
		for _, p := range r.Parts {
			p.Fail(func(op string) error {
				if op == c.at && suspended.CompareAndSwap(false, true) {
					passed.Add(int64(time.Hour))
				}
				if suspended.Load() && p != r.Parts[0] {
					return partition.ErrUnavailable
				}
				return nil
			})
		}
		if err := c.request(); suspended.Load() && (err == nil || errors.Is(err, store.ErrNotFound) || c.want != nil && !errors.Is(err, c.want)) {
			t.Errorf("%s amid which the machine was suspended, at %s: %v", c.name, c.at, err)
		}
	}
}

// read returns a request that reads a key as readsOfMaster says.
func read(t *testing.T, r *storetest.Rig, name string) func() error {
	return func() error {
		_, err := r.Get(t.Context(), store.User.Key("k"), readsOfMaster[name])
		return err
	}
}

// TestPromotionExcludesProcessesThatReachTheOldMaster: a process reaches only the old master, which is up.
func TestPromotionExcludesProcessesThatReachTheOldMaster(t *testing.T) {
	r := newLeased(t, 3, storetest.Options(), 300*time.Millisecond)
	cut := secondProcess(t, r)
	down(cut.Parts[1])
	down(cut.Parts[2])
	down(r.Parts[0])
	var done atomic.Bool
	stop, writing := make(chan struct{}), make(chan struct{})
	acked := 0
	go func() {
		defer close(writing)
		for {
			select {
			case <-stop:
				return
			default:
			}
			late := done.Load()
			if _, err := write(cut); err == nil {
				if acked++; late {
					t.Error("a write to the old master was acknowledged after the promotion")
				}
			}
		}
	}()
	began := time.Now()
	p, err := r.Promote(t.Context(), store.PromoteRequest{Lost: "p0", To: "p1"}, func(s store.PromoteStage) {
		if s == store.PromoteDone {
			done.Store(true)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Errorf("the promotion did not wait for the end of leases: %s", took)
	}
	if e, err := write(r); err != nil || e.Origin != "p1" || e.Revision.Epoch() != p.Epoch {
		t.Errorf("%+v, %v, and %+v", e, err, p)
	}
	time.Sleep(100 * time.Millisecond) // for late acknowledgements
	close(stop)
	if <-writing; acked == 0 {
		t.Error("the process that reaches the old master alone has written nothing before")
	}
}

// TestLostMasterReturnsDuringItsPromotion: nothing of its writes is lost then.
func TestLostMasterReturnsDuringItsPromotion(t *testing.T) {
	r := newLeased(t, 3, storetest.Options(), 300*time.Millisecond)
	for _, p := range r.Parts[1:] {
		p.Fail(func(op string) error {
			if op == memory.OpApply || op == memory.OpAcquire {
				return partition.ErrUnavailable
			}
			return nil
		})
	}
	tail := r.MustPut(t, "tail", "1")
	down(r.Parts[0])
	for _, p := range r.Parts[1:] {
		p.Fail(nil)
	}
	if n := held(t, r.Parts[1:], tail); n > 0 {
		t.Fatalf("%d replicas hold the last write", n)
	}
	done, err := r.Promote(t.Context(), store.PromoteRequest{Lost: "p0", To: "p1"}, func(s store.PromoteStage) {
		if s == store.PromoteBegun {
			r.Parts[0].Fail(nil)
		}
	})
	if err != nil || done.Cut != 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	if e := r.MustPut(t, "k", "2"); e.Origin != "p1" {
		t.Errorf("%+v", e)
	}
	wantValue(t, r, "tail", "1", "p0", "p1", "p2")
	storetest.Eventually(t, "the old master as a replica", func() bool { return r.Status().Partitions[0].State == store.Ready })
}

// TestMovesWithLeasesLoseNoWrite: a change of the map does not end a lease.
func TestMovesWithLeasesLoseNoWrite(t *testing.T) {
	r := newLeased(t, 3, storetest.Options(), 5*time.Second)
	stop, writing := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		defer func() { writing <- n }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := write(r); err != nil {
				t.Errorf("a write beside moves: %v", err)
				return
			}
			n++
		}
	}()
	for _, q := range []store.MoveRequest{{From: "p0", To: "p1"}, {From: "p1", To: "p2"}, {From: "p2", To: "p0"}} {
		storetest.Eventually(t, q.From+" to "+q.To, func() bool { return r.Move(t.Context(), q, func(store.MoveStage) {}) == nil })
	}
	close(stop)
	if n := <-writing; n == 0 {
		t.Error("nothing was written")
	}
}

// TestLeasesThatCannotBeSetChangeNothing.
func TestLeasesThatCannotBeSetChangeNothing(t *testing.T) {
	two := storetest.New(t, 2, storetest.Options())
	r := newLeased(t, 3, storetest.Options(), time.Second)
	for _, p := range two.Parts {
		if err := p.Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	epoch := r.Status().Epoch
	refused := func(name string, r *storetest.Rig, length time.Duration, says string) {
		t.Helper()
		if err := r.SetLeases(t.Context(), length); !errors.Is(err, store.ErrLeasesRefused) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	refused("two partitions", two, time.Second, "three voters")
	refused("too short", r, time.Millisecond, "between 20ms and 5m")
	refused("too long", r, time.Hour, "between 20ms and 5m")
	if err := r.SetLeases(t.Context(), time.Second); err != nil || r.Status().Epoch != epoch {
		t.Errorf("the same leases again: %v, epoch %d after %d", err, r.Status().Epoch, epoch)
	}
	down(r.Parts[0])
	storetest.Eventually(t, "the loss of the master", func() bool { return !r.Status().Partitions[0].Readable })
	refused("a master that is down", r, 2*time.Second, "p0 cannot be used")
	r.Parts[0].Fail(nil)
	storetest.Eventually(t, "no leases", func() bool { return r.SetLeases(t.Context(), 0) == nil })
	if m := r.ClusterMap(); m.Lease != 0 || !m.HasLease {
		t.Errorf("%+v", m)
	}
	if _, err := r.Promote(t.Context(), store.PromoteRequest{Lost: "p0", To: "p1"}, noStages); !errors.Is(err, store.ErrPromoteRefused) {
		t.Errorf("a promotion without leases and without an operator's word: %v", err)
	}
}
