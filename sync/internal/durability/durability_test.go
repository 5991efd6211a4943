package durability

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

func TestBarrierServesOnlyWhatWasThereBeforeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var barriers atomic.Int32
		release := make(chan struct{})
		origin := memory.New("p0")
		origin.Fail(func(op string) error {
			if op == memory.OpBarrier {
				barriers.Add(1)
				<-release
			}
			return nil
		})
		tracker := New(time.Minute)
		var group sync.WaitGroup
		for _, head := range []partition.Revision{10, 10, 5, 20} {
			group.Go(func() {
				if err := tracker.Ensure(t.Context(), origin, head); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		close(release)
		group.Wait()
		if n := barriers.Load(); n != 2 {
			t.Errorf("%d barriers", n)
		}
	})
}

func TestRevisionsThatAreAssignedAgainNeedANewBarrier(t *testing.T) {
	var barriers atomic.Int32
	origin := memory.New("p0")
	origin.Fail(func(string) error { barriers.Add(1); return nil })
	tracker := New(time.Minute)
	for _, step := range []struct {
		capAt, head partition.Revision
		barriers    int
	}{{20, 10, 1}, {10, 10, 1}, {9, 10, 2}, {10, 9, 2}} {
		tracker.CapAt(step.capAt)
		if err := tracker.Ensure(t.Context(), origin, step.head); err != nil {
			t.Fatal(err)
		}
		if n := int(barriers.Load()); n != step.barriers {
			t.Errorf("%+v: %d barriers", step, n)
		}
	}
}

// TestBarrierThatHangsEndsInTime, and the copies that wait for it have the same time.
func TestBarrierThatHangsEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		origin := memory.New("p0")
		release := make(chan struct{})
		defer close(release)
		origin.Fail(func(string) error { <-release; return partition.ErrUnavailable })
		tracker := New(time.Second)
		go func() { _ = tracker.Ensure(context.Background(), origin, 1) }()
		synctest.Wait()
		began := time.Now()
		if err := tracker.Ensure(t.Context(), origin, 1); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}
