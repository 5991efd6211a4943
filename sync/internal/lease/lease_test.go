package lease

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// target returns a partition and its lease, which expires after 15 seconds.
func target() (*memory.Partition, *Lease) {
	p := memory.New("p1")
	return p, New(p, Options{Holder: "this", TTL: 15 * time.Second, Timeout: time.Second})
}

// requests counts the requests for a lease, and checks that a single goroutine makes them at a time.
func requests(t *testing.T, p *memory.Partition, l *Lease) *atomic.Int32 {
	n := new(atomic.Int32)
	p.Fail(func(op string) error {
		if op == memory.OpAcquire {
			n.Add(1)
			if l.renewing.TryLock() {
				t.Error("two goroutines could request the lease at once")
				l.renewing.Unlock()
			}
		}
		return nil
	})
	return n
}

// wait advances the clock of a bubble.
func wait(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestLeaseIsRequestedOnceInAThirdOfItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, l := target()
		n := requests(t, p, l)
		var group sync.WaitGroup
		for range 10 {
			group.Go(func() {
				if _, err := l.Fence(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if n.Load() != 1 || !l.IsHeld() || l.IsStandby() {
			t.Errorf("%d requests; held %v, standby %v", n.Load(), l.IsHeld(), l.IsStandby())
		}
		wait(5 * time.Second)
		if _, err := l.Fence(t.Context()); err != nil || n.Load() != 2 {
			t.Errorf("%d requests after a third of the time: %v", n.Load(), err)
		}
	})
}

func TestLeaseOfAnotherProcessIsStandby(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, l := target()
		held, err := p.Acquire(t.Context(), "other", 15*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Fence(t.Context()); !errors.Is(err, partition.ErrLeaseHeld) || l.IsHeld() || !l.IsStandby() {
			t.Errorf("%v; held %v, standby %v", err, l.IsHeld(), l.IsStandby())
		}
		if err := p.Release(t.Context(), held); err != nil {
			t.Fatal(err)
		}
		fence, err := l.Fence(t.Context())
		if err != nil || !l.IsHeld() || l.IsStandby() {
			t.Errorf("%v; held %v, standby %v", err, l.IsHeld(), l.IsStandby())
		}
		l.Forget(fence - 1)
		if !l.IsHeld() {
			t.Error("an older fence is forgotten")
		}
		l.Forget(fence)
		if l.IsHeld() || !l.IsStandby() {
			t.Error("the fence is not forgotten")
		}
	})
}

func TestReleasedLeaseIsFree(t *testing.T) {
	p, l := target()
	if err := l.Release(t.Context()); err != nil {
		t.Errorf("release of a lease that is not held: %v", err)
	}
	if _, err := l.Fence(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.Release(t.Context()); err != nil || l.IsHeld() {
		t.Errorf("release: %v, held %v", err, l.IsHeld())
	}
	if _, err := p.Acquire(t.Context(), "other", 15*time.Second); err != nil {
		t.Errorf("another process: %v", err)
	}
}

func TestWorkEndsWhenTheLeaseIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, l := target()
		ended := errors.New("ended")
		hour, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		err := l.While(hour, func(ctx context.Context) error {
			wait(time.Minute)
			if err := ctx.Err(); err != nil {
				t.Errorf("before the lease is lost: %v", err)
			}
			if _, err := p.Acquire(ctx, "other", 15*time.Second); !errors.Is(err, partition.ErrLeaseHeld) {
				t.Errorf("another process, after four times the lease's time: %v", err)
			}
			p.Fail(func(op string) error { return partition.ErrUnavailable })
			<-ctx.Done()
			return ended
		})
		if !errors.Is(err, partition.ErrUnavailable) {
			t.Errorf("error %v", err)
		}
		p.Fail(nil)
		if err := l.While(t.Context(), func(context.Context) error { return ended }); !errors.Is(err, ended) {
			t.Errorf("error %v", err)
		}
	})
}
