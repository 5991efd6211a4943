package lock_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/lock"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// waiting reports the length of the queue of a held lock.
func (r *rig) waiting(t *testing.T, name string) int { return mustGet(t, r, name).Waiting }

// TestWaitersAreServedInOrderOverTwoProcesses: the queue is part of the lock, not of a process.
func TestWaitersAreServedInOrderOverTwoProcesses(t *testing.T) {
	r := newRig(t, 1)
	second := &storetest.Rig{Parts: []*memory.Partition{r.Parts[0].Reopen()}}
	second.Start(t, storetest.Options(), "p0")
	processes := []*lock.Locks{r.locks, lock.New(second.Store)}
	held := r.acquire(t, request("a", "first"))
	const n = 8
	order := make(chan int, n)
	var group sync.WaitGroup
	for i := range n {
		l := processes[i%2]
		group.Go(func() {
			got, _, err := l.Wait(context.Background(), request("a", fmt.Sprint(i)), time.Minute)
			if err != nil {
				t.Error(err)
				return
			}
			order <- i
			if err := l.Release(context.Background(), "a", got.Fence); err != nil {
				t.Error(err)
			}
		})
		storetest.Eventually(t, "ticket", func() bool { return r.waiting(t, "a") == i+1 })
	}
	_, _, err := r.locks.Acquire(t.Context(), request("a", "pushy"))
	wantLocked(t, err, "first")
	if err := r.locks.Release(t.Context(), "a", held.Fence); err != nil {
		t.Fatal(err)
	}
	group.Wait()
	for i := range n {
		if got := <-order; got != i {
			t.Errorf("waiter %d came %dth", got, i)
		}
	}
}

func TestWaiterThatGoesAwayLeavesNoTicketAndIsNotGranted(t *testing.T) {
	r := newRig(t, 1)
	held := r.acquire(t, request("a", "one"))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, _, err := r.locks.Wait(ctx, request("a", "two"), time.Minute)
		done <- err
	}()
	storetest.Eventually(t, "ticket", func() bool { return r.waiting(t, "a") == 1 })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Wait: %v", err)
	}
	if n := r.waiting(t, "a"); n != 0 {
		t.Errorf("%d tickets are left", n)
	}
	if err := r.locks.Release(t.Context(), "a", held.Fence); err != nil {
		t.Fatal(err)
	}
	r.acquire(t, request("a", "three"))
}

// TestLockThatAnotherProcessHasConfirmedIsKept: the client of a paused process has repeated its request at another process, which
// confirms the lock. When the paused process goes on, its client has gone.
func TestLockThatAnotherProcessHasConfirmedIsKept(t *testing.T) {
	r := newRig(t, 1)
	q := request("a", "first")
	q.RequestID = "7"
	ctx, leave := context.WithCancel(t.Context())
	r.Parts[0].Fail(func(op string) error {
		if op == memory.OpCommitted {
			r.Parts[0].Fail(nil)
			leave()
		}
		return nil
	})
	if _, _, err := r.locks.Wait(ctx, q, time.Minute); !errors.Is(err, context.Canceled) {
		t.Fatalf("a client that has gone: %v", err)
	}
	second := &storetest.Rig{Parts: []*memory.Partition{r.Parts[0].Reopen()}}
	second.Start(t, storetest.Options(), "p0")
	held, isNew, err := lock.New(second.Store).Acquire(t.Context(), q)
	if err != nil || isNew {
		t.Errorf("the repetition: %+v, new %v, %v", held, isNew, err)
	}
}

func TestWaitEndsInTimeAndLeavesNoTicket(t *testing.T) {
	r := newRig(t, 1)
	r.acquire(t, request("a", "one"))
	began := time.Now()
	_, _, err := r.locks.Wait(t.Context(), request("a", "two"), 150*time.Millisecond)
	wantLocked(t, err, "one")
	if took := time.Since(began); took < 150*time.Millisecond || took > 5*time.Second {
		t.Errorf("it waited for %v", took)
	}
	if n := r.waiting(t, "a"); n != 0 {
		t.Errorf("%d tickets are left", n)
	}
}

// TestTicketOfADeadProcessHoldsUpTheQueueForItsTimeOnly: nothing is granted to the ticket.
func TestTicketOfADeadProcessHoldsUpTheQueueForItsTimeOnly(t *testing.T) {
	r := newRig(t, 1)
	held := r.acquire(t, request("a", "one"))
	dying := &storetest.Rig{Parts: []*memory.Partition{r.Parts[0].Reopen()}}
	dying.Start(t, storetest.Options(), "p0")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _, _, _ = lock.New(dying.Store).Wait(ctx, request("a", "dead"), time.Minute) }()
	storetest.Eventually(t, "ticket", func() bool { return r.waiting(t, "a") == 1 })
	dying.Parts[0].Fail(func(string) error { return context.Canceled }) // nothing reaches the database any more
	if err := r.locks.Release(t.Context(), "a", held.Fence); err != nil {
		t.Fatal(err)
	}
	_, _, err := r.locks.Acquire(t.Context(), request("a", "two"))
	wantLocked(t, err, "dead")
	r.clocks[0].advance(7 * time.Second)
	r.acquire(t, request("a", "two"))
}

// TestTicketsOfAProcessAreRenewedWithOneWrite: all waiters of a process keep their places, and the entry is not written for each.
func TestTicketsOfAProcessAreRenewedWithOneWrite(t *testing.T) {
	r := newRig(t, 1)
	r.acquire(t, request("a", "one"))
	const n = 20
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for range n {
		group.Go(func() { _, _, _ = r.locks.Wait(ctx, request("a", "two"), time.Minute) })
	}
	storetest.Eventually(t, "tickets", func() bool { return r.waiting(t, "a") == n })
	entry := func() (e store.Entry, deadlines map[store.Instant]int) {
		got, err := r.Get(t.Context(), store.Lock.Key("a"), store.ReadOptions{Consistency: store.FromMaster})
		if err != nil {
			t.Fatal(err)
		}
		var record struct {
			Queue []struct{ Deadline store.Instant }
		}
		if err := json.Unmarshal(got.Entry.Value, &record); err != nil {
			t.Fatal(err)
		}
		deadlines = make(map[store.Instant]int)
		for _, ticket := range record.Queue {
			deadlines[ticket.Deadline]++
		}
		return got.Entry, deadlines
	}
	before, first := entry()
	r.clocks[0].advance(3 * time.Second)
	storetest.Eventually(t, "later deadline", func() bool {
		after, deadlines := entry()
		for deadline := range first {
			delete(deadlines, deadline)
		}
		for _, tickets := range deadlines {
			return tickets == n && after.Revision > before.Revision
		}
		return false
	})
	if after, _ := entry(); after.Revision > before.Revision+2 {
		t.Errorf("the entry was written %d times", after.Revision-before.Revision)
	}
	cancel()
	group.Wait()
	if left := r.waiting(t, "a"); left != 0 {
		t.Errorf("%d tickets are left", left)
	}
}

// TestQueueIsBounded: MaxWaiting tickets stand in the queue.
func TestQueueIsBounded(t *testing.T) {
	for _, free := range []int{0, 1} {
		r := newRig(t, 1)
		r.acquire(t, request("a", "one"))
		key := store.Lock.Key("a")
		got, err := r.Get(t.Context(), key, store.ReadOptions{Consistency: store.FromMaster})
		if err != nil {
			t.Fatal(err)
		}
		var record map[string]json.RawMessage
		if err := json.Unmarshal(got.Entry.Value, &record); err != nil {
			t.Fatal(err)
		}
		var queue []map[string]any
		for i := range lock.MaxWaiting - free {
			queue = append(queue, map[string]any{"id": fmt.Sprint(i), "owner": "other", "deadline": got.Entry.ModifiedAt.Add(time.Hour)})
		}
		if record["queue"], err = json.Marshal(queue); err == nil {
			got.Entry.Value, err = json.Marshal(record)
		}
		if err == nil {
			err = r.Update(t.Context(), []store.Key{key}, store.UpdateOptions{}, func(tx *store.Tx) error { tx.Put(got.Entry); return nil })
		}
		if err != nil || r.waiting(t, "a") != lock.MaxWaiting-free {
			t.Fatalf("%d wait: %v", r.waiting(t, "a"), err)
		}
		_, _, err = r.locks.Wait(t.Context(), request("a", "next"), 10*time.Millisecond)
		if _, full := errors.AsType[*lock.QueueError](err); full != (free == 0) {
			t.Errorf("with room for %d: %v", free, err)
		}
	}
}

// TestLocksInOppositeOrdersDoNotDeadlock acquires two locks together, named in opposite orders.
func TestLocksInOppositeOrdersDoNotDeadlock(t *testing.T) {
	r := newRig(t, 1)
	var group sync.WaitGroup
	for _, names := range [][2]string{{"a", "b"}, {"b", "a"}} {
		for range 2 {
			group.Go(func() {
				for range 20 {
					held, err := r.locks.AcquireAll(context.Background(), []lock.Request{request(names[0], "x"), request(names[1], "x")}, 20*time.Second)
					if err != nil {
						t.Error(err)
						return
					}
					for _, h := range held {
						if err := r.locks.Release(context.Background(), h.Name, h.Fence); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
	}
	group.Wait()
	blocked := r.acquire(t, request("b", "y"))
	if _, err := r.locks.AcquireAll(t.Context(), []lock.Request{request("a", "x"), request("b", "x")}, 0); err == nil {
		t.Error("a held lock was acquired")
	}
	r.acquire(t, request("a", "y")) // it was released again
	if got := mustGet(t, r, "b"); got.Fence != blocked.Fence {
		t.Errorf("b is held as %+v", got)
	}
}

// TestMovedLockNeverExpiresEarly moves the lock to a master whose clock is an hour ahead.
func TestMovedLockNeverExpiresEarly(t *testing.T) {
	r := newRig(t, 2)
	r.clocks[1].advance(time.Hour)
	q := request("a", "one")
	q.Protects = true
	held := r.acquire(t, q)
	fence := store.Fence{Name: "a", Fence: held.Fence}
	r.Level(t)
	if err := r.Move(t.Context(), store.MoveRequest{From: "p0", To: "p1"}, func(store.MoveStage) {}); err != nil {
		t.Fatal(err)
	}
	_, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("a"), Value: []byte("blind")})
	wantLocked(t, err, "one")
	_, _, err = r.locks.Acquire(t.Context(), request("a", "two"))
	wantLocked(t, err, "one")
	if err := r.put("a", "fenced", fence); err != nil {
		t.Errorf("the holder's write after the move: %v", err)
	}
	r.clocks[1].advance(29 * time.Second)
	_, _, err = r.locks.Acquire(t.Context(), request("a", "two"))
	wantLocked(t, err, "one")
	r.clocks[1].advance(2 * time.Second)
	if next := r.acquire(t, request("a", "two")); next.Fence <= held.Fence {
		t.Errorf("fence %d follows %d", next.Fence, held.Fence)
	}
	wantStale(t, r.put("a", "late", fence))
}

// TestMovedLockIsReleasedAfterItsTime: a release or force ends a lock of the former master after its time is over by the
// clock of the new master.
func TestMovedLockIsReleasedAfterItsTime(t *testing.T) {
	r := newRig(t, 2)
	r.clocks[1].advance(time.Hour)
	released, forced := r.acquire(t, request("released", "one")), r.acquire(t, request("forced", "one"))
	r.Level(t)
	if err := r.Move(t.Context(), store.MoveRequest{From: "p0", To: "p1"}, func(store.MoveStage) {}); err != nil {
		t.Fatal(err)
	}
	if err := r.locks.Release(t.Context(), "released", released.Fence); err != nil {
		t.Error(err)
	}
	if _, err := r.locks.Force(t.Context(), "forced"); err != nil {
		t.Error(err)
	}
	for _, l := range []lock.Lock{released, forced} {
		if next := r.acquire(t, request(l.Name, "two")); next.Fence <= l.Fence {
			t.Errorf("fence %d follows %d", next.Fence, l.Fence)
		}
	}
}
