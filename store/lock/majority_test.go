package lock_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/lock"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// newVoters is a rig of n voters that have been filled.
func newVoters(t *testing.T, n int) *rig {
	r := newRig(t, n)
	r.MustPut(t, "x", "1")
	r.Level(t)
	return r
}

// pause lets a partition take no copies until the returned function is called.
func pause(p *memory.Partition) (resume func()) {
	p.Fail(func(op string) error {
		if op == memory.OpApply {
			return partition.ErrUnavailable
		}
		return nil
	})
	return func() { p.Fail(nil) }
}

// awaitMajority waits until a write reaches a majority of the voters.
func (r *rig) awaitMajority(t *testing.T) {
	t.Helper()
	storetest.Eventually(t, "majority", func() bool {
		w, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("x"), Value: []byte("2")})
		return err == nil && r.Secure(t.Context(), store.Mark{Origin: w.Entry.Origin, Revision: w.Entry.Revision}) == nil
	})
}

func wantUnsecured(t *testing.T, what string, err error) {
	t.Helper()
	if _, ok := errors.AsType[*lock.UnsecuredError](err); !ok || !errors.Is(err, store.ErrOutcomeUnknown) {
		t.Errorf("%s: %v, want that the majority is unknown", what, err)
	}
}

// holders counts the replicas that hold the entry of a lock with a fence.
func (r *rig) holders(t *testing.T, l lock.Lock) (n int) {
	t.Helper()
	for _, p := range r.Parts[1:] {
		at, err := p.Positions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if at.Origins["p0"].Holds(l.Fence) {
			n++
		}
	}
	return n
}

// TestLocksAreGrantedByAMajority: whichever replica is paused. With both paused nothing is granted or renewed, and the
// same requests get their locks later.
func TestLocksAreGrantedByAMajority(t *testing.T) {
	for paused := 1; paused <= 2; paused++ {
		r := newVoters(t, 3)
		resume := pause(r.Parts[paused])
		held := r.acquire(t, request("held", "one"))
		if n := r.holders(t, held); n != 1 {
			t.Errorf("%d replicas hold the lock", n)
		}
		if _, err := r.locks.Renew(t.Context(), "held", held.Fence, time.Minute); err != nil {
			t.Error(err)
		}
		if several, err := r.locks.AcquireAll(t.Context(), []lock.Request{request("a", "one"), request("b", "one")}, 0); err != nil || r.holders(t, several[1]) != 1 {
			t.Errorf("%+v, %v", several, err)
		}
		resumeOther := pause(r.Parts[3-paused])
		q := request("c", "one")
		q.RequestID = "r"
		_, _, err := r.locks.Acquire(t.Context(), q)
		wantUnsecured(t, "Acquire", err)
		_, _, err = r.locks.Acquire(t.Context(), q)
		wantUnsecured(t, "Acquire again", err)
		_, err = r.locks.Renew(t.Context(), "held", held.Fence, time.Minute)
		wantUnsecured(t, "Renew", err)
		_, _, err = r.locks.Acquire(t.Context(), request("c", "two"))
		wantLocked(t, err, "one")
		stands := mustGet(t, r, "c")
		resume()
		resumeOther()
		r.awaitMajority(t)
		if again, isNew, err := r.locks.Acquire(t.Context(), q); err != nil || isNew || again.Fence != stands.Fence || r.holders(t, again) == 0 {
			t.Errorf("Acquire again: %+v, new %v, %v; want the fence %d", again, isNew, err, stands.Fence)
		}
	}
}

// TestLocksOfTwoVotersNeedTheMasterAlone: a replica that is away stops no lock.
func TestLocksOfTwoVotersNeedTheMasterAlone(t *testing.T) {
	r := newVoters(t, 2)
	pause(r.Parts[1])
	held := r.acquire(t, request("a", "one"))
	if _, err := r.locks.Renew(t.Context(), "a", held.Fence, time.Minute); err != nil {
		t.Error(err)
	}
}

// TestLockWhoseFenceNobodyLearnsIsReleased: without an id the request cannot be repeated.
func TestLockWhoseFenceNobodyLearnsIsReleased(t *testing.T) {
	r := newVoters(t, 3)
	defer pause(r.Parts[1])()
	resume := pause(r.Parts[2])
	_, _, err := r.locks.Acquire(t.Context(), request("a", "one"))
	wantUnsecured(t, "Acquire", err)
	_, _, err = r.locks.Wait(t.Context(), request("b", "one"), time.Second)
	wantUnsecured(t, "Wait", err)
	_, err = r.locks.AcquireAll(t.Context(), []lock.Request{request("c", "one"), request("d", "one")}, 0)
	wantUnsecured(t, "AcquireAll", err)
	resume()
	r.awaitMajority(t)
	for _, name := range []string{"a", "b", "c", "d"} {
		r.acquire(t, request(name, "two"))
	}
}

// TestWaiterIsGrantedByAMajority: the grant to a waiter is one like others.
func TestWaiterIsGrantedByAMajority(t *testing.T) {
	for paused := 1; paused <= 2; paused++ {
		r := newVoters(t, 3)
		first := r.acquire(t, request("a", "one"))
		q := request("a", "two")
		q.RequestID = "r"
		done := make(chan error, 1)
		var granted lock.Lock
		go func() {
			var err error
			granted, _, err = r.locks.Wait(t.Context(), q, time.Minute)
			done <- err
		}()
		storetest.Eventually(t, "ticket", func() bool { return r.waiting(t, "a") == 1 })
		for i := range paused {
			defer pause(r.Parts[1+i])()
		}
		if err := r.locks.Release(t.Context(), "a", first.Fence); err != nil {
			t.Fatal(err)
		}
		err := <-done
		if paused == 2 {
			wantUnsecured(t, "Wait", err)
		} else if err != nil || r.holders(t, granted) != 1 {
			t.Errorf("Wait: %+v, %v", granted, err)
		}
	}
}

// promoteAfterLoss takes the master p0 away and gives its place to p1.
func (r *rig) promoteAfterLoss(t *testing.T) {
	t.Helper()
	r.Parts[0].Fail(func(string) error { return partition.ErrUnavailable })
	storetest.RunSync(t, r.Rig)
	if _, err := r.Promote(t.Context(), store.PromoteRequest{Lost: "p0", To: "p1", Stopped: true}, func(store.PromoteStage) {}); err != nil {
		t.Fatal(err)
	}
	r.awaitMajority(t)
}

// TestLocksSurviveTheLossOfTheirMaster: with three voters and with five, all locks that were granted right before are held after
// the promotion, with the same fences, and nobody is granted a lock before its time to live is over by any clock.
func TestLocksSurviveTheLossOfTheirMaster(t *testing.T) {
	for _, n := range []int{3, 5} {
		r := newVoters(t, n)
		r.clocks[1].advance(29 * time.Second) // the clock of the next master is ahead
		var held []lock.Lock
		for i := range 20 {
			q := request(fmt.Sprint("a", i), "one")
			q.RequestID = "r"
			held = append(held, r.acquire(t, q))
		}
		r.promoteAfterLoss(t)
		for _, l := range held {
			q := request(l.Name, "one")
			q.RequestID = "r"
			again, isNew, err := r.locks.Acquire(t.Context(), q)
			if err != nil || isNew || again.Fence != l.Fence {
				t.Errorf("%d voters, the same request: %+v, new %v, %v; want the fence %d", n, again, isNew, err, l.Fence)
			}
		}
		r.clocks[1].advance(29 * time.Second)
		for _, l := range held {
			_, _, err := r.locks.Acquire(t.Context(), request(l.Name, "two"))
			wantLocked(t, err, "one")
		}
		r.clocks[1].advance(2 * time.Second)
		for _, l := range held {
			if next := r.acquire(t, request(l.Name, "two")); next.Fence <= l.Fence {
				t.Errorf("fence %d follows %d", next.Fence, l.Fence)
			}
		}
	}
}

// TestGrantsOfAReplacedMasterNeverCount: a process that knows nothing of the promotion grants a lock on the former master, while
// the next master grants the lock too. The first grant is never answered.
func TestGrantsOfAReplacedMasterNeverCount(t *testing.T) {
	r := newVoters(t, 3)
	former := &storetest.Rig{}
	for _, p := range r.Parts {
		former.Parts = append(former.Parts, p.Reopen())
	}
	o := storetest.Options()
	o.Poll = time.Hour // so the process reads no other map
	former.Start(t, o, "p0")
	r.promoteAfterLoss(t)
	next := r.acquire(t, request("a", "two"))
	q := request("a", "one")
	q.RequestID = "r"
	if got, _, err := lock.New(former.Store).Acquire(t.Context(), q); err == nil {
		t.Errorf("the former master has granted %+v, and the next master %+v", got, next)
	}
}

// TestTicketOfAMovedLockLetsItNotExpireEarly: a waiter writes the entry of a lock that has not expired by the clock of
// the new master, which is ahead by less than the time to live.
func TestTicketOfAMovedLockLetsItNotExpireEarly(t *testing.T) {
	r := newRig(t, 2)
	r.clocks[1].advance(20 * time.Second)
	held := r.acquire(t, request("a", "one"))
	r.Level(t)
	if err := r.Move(t.Context(), store.MoveRequest{From: "p0", To: "p1"}, func(store.MoveStage) {}); err != nil {
		t.Fatal(err)
	}
	_, _, err := r.locks.Wait(t.Context(), request("a", "two"), 10*time.Millisecond)
	wantLocked(t, err, "one")
	r.clocks[1].advance(29 * time.Second)
	_, _, err = r.locks.Acquire(t.Context(), request("a", "three"))
	wantLocked(t, err, "one")
	if got := mustGet(t, r, "a"); got.Fence != held.Fence {
		t.Errorf("the lock is held as %+v", got)
	}
}
