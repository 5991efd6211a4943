package lock_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/lock"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// clock is the clock of a database, which the test sets.
type clock struct{ micros atomic.Int64 }

func newClock(at time.Time) *clock {
	c := &clock{}
	c.micros.Store(at.UnixMicro())
	return c
}

func (c *clock) now() time.Time          { return time.UnixMicro(c.micros.Load()) }
func (c *clock) advance(d time.Duration) { c.micros.Add(d.Microseconds()) }

// rig is a store of partitions with a clock each. Its locks may protect keys.
type rig struct {
	*storetest.Rig
	clocks []*clock
	locks  *lock.Locks
}

func newRig(t *testing.T, n int) *rig {
	t.Helper()
	r := &rig{Rig: &storetest.Rig{}}
	for i := range n {
		c := newClock(time.Now())
		p := memory.New(fmt.Sprintf("p%d", i), memory.Clock(c.now))
		p.PlantSchema(partition.Schema{Version: partition.SchemaVersion, OldestReader: partition.SchemaVersion, OldestWriter: partition.SchemaVersion})
		r.clocks, r.Parts = append(r.clocks, c), append(r.Parts, p)
	}
	r.Start(t, storetest.Options(), "p0")
	r.locks = lock.New(r.Store)
	return r
}

func request(name, owner string) lock.Request {
	return lock.Request{Name: name, Owner: owner, TTL: 30 * time.Second}
}

func (r *rig) acquire(t *testing.T, q lock.Request) lock.Lock {
	t.Helper()
	l, _, err := r.locks.Acquire(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func wantLocked(t *testing.T, err error, owner string) {
	t.Helper()
	locked, ok := errors.AsType[*store.LockedError](err)
	if !ok || locked.Holder.Owner != owner {
		t.Errorf("the error is %v, want that %s holds the lock", err, owner)
	}
}

func wantStale(t *testing.T, err error) {
	t.Helper()
	if _, ok := errors.AsType[*store.StaleFenceError](err); !ok {
		t.Errorf("the error is %v, want a stale fence", err)
	}
}

func (r *rig) put(name, value string, fences ...store.Fence) error {
	key := store.User.Key(name)
	return r.Update(context.Background(), []store.Key{key}, store.UpdateOptions{Fences: fences}, func(tx *store.Tx) error {
		tx.Put(store.Entry{Key: key, Value: []byte(value)})
		return nil
	})
}

func TestAcquireGivesGrowingFences(t *testing.T) {
	r := newRig(t, 1)
	first := r.acquire(t, request("a", "one"))
	_, _, err := r.locks.Acquire(t.Context(), request("a", "two"))
	wantLocked(t, err, "one")
	if got, err := r.locks.Get(t.Context(), "a"); err != nil || got.Fence != first.Fence || got.Owner != "one" {
		t.Errorf("Get is %+v, %v", got, err)
	}
	for range 2 { // a release may be repeated
		if err := r.locks.Release(t.Context(), "a", first.Fence); err != nil {
			t.Error(err)
		}
	}
	if _, err := r.locks.Get(t.Context(), "a"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a released lock: %v", err)
	}
	if second := r.acquire(t, request("a", "two")); second.Fence <= first.Fence {
		t.Errorf("fence %d follows %d", second.Fence, first.Fence)
	}
	wantStale(t, r.locks.Release(t.Context(), "a", first.Fence))
	if got, err := r.locks.Get(t.Context(), "a"); err != nil || got.Owner != "two" {
		t.Errorf("a refused release freed the lock: %+v, %v", got, err)
	}
}

func TestRepeatedRequestGetsTheSameFence(t *testing.T) {
	r := newRig(t, 1)
	q := request("a", "one")
	q.RequestID = "r1"
	first := r.acquire(t, q)
	again, isNew, err := r.locks.Acquire(t.Context(), q)
	if err != nil || isNew || again.Fence != first.Fence {
		t.Errorf("again: %+v, new %v, %v", again, isNew, err)
	}
	q.RequestID = "r2"
	_, _, err = r.locks.Acquire(t.Context(), q)
	wantLocked(t, err, "one")
}

func TestLockExpiresByTheClockOfItsMaster(t *testing.T) {
	r := newRig(t, 1)
	first := r.acquire(t, request("a", "one"))
	r.clocks[0].advance(30*time.Second - time.Microsecond)
	_, _, err := r.locks.Acquire(t.Context(), request("a", "two"))
	wantLocked(t, err, "one")
	renewed, err := r.locks.Renew(t.Context(), "a", first.Fence, time.Minute)
	if err != nil || renewed.Fence != first.Fence {
		t.Fatalf("Renew: %+v, %v", renewed, err)
	}
	r.clocks[0].advance(-time.Hour) // a clock that is set back lengthens the time
	_, _, err = r.locks.Acquire(t.Context(), request("a", "two"))
	wantLocked(t, err, "one")
	r.clocks[0].advance(time.Hour + time.Minute)
	_, err = r.locks.Renew(t.Context(), "a", first.Fence, time.Minute)
	wantStale(t, err)
	wantStale(t, r.put("x", "late", store.Fence{Name: "a", Fence: first.Fence}))
	r.acquire(t, request("a", "two"))
}

func TestForceMakesTheFenceStale(t *testing.T) {
	r := newRig(t, 1)
	held := r.acquire(t, request("a", "one"))
	freed, err := r.locks.Force(t.Context(), "a")
	if err != nil || freed.Fence != held.Fence {
		t.Errorf("Force: %+v, %v", freed, err)
	}
	_, err = r.locks.Force(t.Context(), "a")
	if !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Force of a free lock: %v", err)
	}
	wantStale(t, r.put("x", "late", store.Fence{Name: "a", Fence: held.Fence}))
}

// TestFenceIsCheckedInTheWrite: a fence of the holder lets the write pass, every other fence refuses the whole write.
func TestFenceIsCheckedInTheWrite(t *testing.T) {
	r := newRig(t, 1)
	held := r.acquire(t, request("a", "one"))
	fence := store.Fence{Name: "a", Fence: held.Fence}
	if err := r.put("x", "1", fence); err != nil {
		t.Error(err)
	}
	for _, f := range []store.Fence{{Name: "a", Fence: held.Fence + 1}, {Name: "a"}, {Name: "b", Fence: held.Fence}} {
		wantStale(t, r.put("x", "2", f))
		wantStale(t, r.put("x", "2", fence, f))
	}
	writes := []store.Write{
		{Entry: store.Entry{Key: store.User.Key("y"), Value: []byte("1")}, Options: store.UpdateOptions{Fences: []store.Fence{{Name: "a"}}}},
		{Entry: store.Entry{Key: store.User.Key("z"), Value: []byte("1")}, Options: store.UpdateOptions{Fences: []store.Fence{fence}}},
		{Entry: store.Entry{Key: store.User.Key("w"), Value: []byte("1")}},
	}
	r.UpdateEach(t.Context(), writes)
	wantStale(t, writes[0].Err)
	if writes[1].Err != nil || writes[2].Err != nil {
		t.Errorf("the others: %v, %v", writes[1].Err, writes[2].Err)
	}
	for name, want := range map[string]string{"x": "1", "z": "1", "w": "1", "y": ""} {
		read, err := r.Get(t.Context(), store.User.Key(name), store.ReadOptions{Consistency: store.FromMaster})
		if string(read.Entry.Value) != want || (err == nil) != (want != "") {
			t.Errorf("%s is %q, %v", name, read.Entry.Value, err)
		}
	}
}

// TestFencedIncrementsAreNotLost increments a counter under a lock, which each increment acquires anew.
func TestFencedIncrementsAreNotLost(t *testing.T) {
	r := newRig(t, 1)
	const writers, rounds = 20, 50
	value := func() (n int) {
		read, err := r.Get(context.Background(), store.User.Key("n"), store.ReadOptions{Consistency: store.FromMaster})
		if err == nil {
			fmt.Sscan(string(read.Entry.Value), &n)
		}
		return n
	}
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for range rounds {
				held, _, err := r.locks.Wait(context.Background(), request("n", fmt.Sprint(w)), time.Minute)
				if err == nil {
					err = r.put("n", fmt.Sprint(value()+1), store.Fence{Name: "n", Fence: held.Fence})
				}
				if err == nil {
					err = r.locks.Release(context.Background(), "n", held.Fence)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	if got := value(); got != writers*rounds {
		t.Errorf("%d increments gave %d", writers*rounds, got)
	}
}

func TestLockProtectsItsKey(t *testing.T) {
	r := newRig(t, 1)
	r.MustPut(t, "a", "before")
	q := request("a", "one")
	q.Protects = true
	held := r.acquire(t, q)
	_, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("a"), Value: []byte("blind")})
	wantLocked(t, err, "one")
	wantLocked(t, r.put("a", "update"), "one")
	wantStale(t, r.put("a", "wrong", store.Fence{Name: "a", Fence: held.Fence - 1}))
	r.MustPut(t, "b", "other keys are free")
	if err := r.put("a", "fenced", store.Fence{Name: "a", Fence: held.Fence}); err != nil {
		t.Error(err)
	}
	if err := r.locks.Release(t.Context(), "a", held.Fence); err != nil {
		t.Fatal(err)
	}
	r.MustPut(t, "a", "after")
	held = r.acquire(t, q)
	r.clocks[0].advance(31 * time.Second)
	r.MustPut(t, "a", "expired")
}

func TestProtectionNeedsThatOlderBinariesAreShutOut(t *testing.T) {
	r := &storetest.Rig{Parts: []*memory.Partition{memory.New("p0")}}
	r.Parts[0].PlantSchema(partition.Schema{Version: 5, OldestReader: 4, OldestWriter: 4})
	r.Start(t, storetest.Options(), "p0")
	q := request("a", "one")
	q.Protects = true
	_, _, err := lock.New(r.Store).Acquire(t.Context(), q)
	if p, ok := errors.AsType[*lock.ProtectionError](err); !ok || !strings.Contains(p.Error(), "runnel migrate --finish") {
		t.Errorf("the error is %v", err)
	}
}

func TestInvalidRequestsAreNamed(t *testing.T) {
	r := newRig(t, 1)
	long := strings.Repeat("x", 600)
	for field, change := range map[string]func(*lock.Request){
		"ttl zero":        func(q *lock.Request) { q.TTL = 0 },
		"ttl negative":    func(q *lock.Request) { q.TTL = -time.Second },
		"ttl over a day":  func(q *lock.Request) { q.TTL = 24*time.Hour + 1 },
		"owner empty":     func(q *lock.Request) { q.Owner = "" },
		"owner long":      func(q *lock.Request) { q.Owner = long },
		"owner control":   func(q *lock.Request) { q.Owner = "a\nb" },
		"owner bytes":     func(q *lock.Request) { q.Owner = "\xff" },
		"request_id long": func(q *lock.Request) { q.RequestID = long },
		"info large":      func(q *lock.Request) { q.Info = json.RawMessage(strings.Repeat(" ", 5000)) },
	} {
		q := request("a", "one")
		change(&q)
		_, _, err := r.locks.Acquire(t.Context(), q)
		name, _, _ := strings.Cut(field, " ")
		if e, ok := errors.AsType[*lock.InvalidError](err); !ok || e.Field != name {
			t.Errorf("%s: %v", field, err)
		}
	}
	for _, name := range []string{"", "a\x00", "\xff", long} {
		_, _, err := r.locks.Acquire(t.Context(), request(name, "one"))
		if _, ok := errors.AsType[*store.KeyError](err); !ok {
			t.Errorf("name %.10q: %v", name, err)
		}
	}
	if _, err := r.locks.Get(t.Context(), "a"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an invalid request took the lock: %v", err)
	}
}

func TestListShowsHeldLocks(t *testing.T) {
	r := newRig(t, 1)
	for _, name := range []string{"a/1", "a/2", "b/1"} {
		q := request(name, "one")
		q.Info = json.RawMessage(`{"job":7}`)
		r.acquire(t, q)
	}
	if err := r.locks.Release(t.Context(), "a/2", mustGet(t, r, "a/2").Fence); err != nil {
		t.Fatal(err)
	}
	locks, _, err := r.locks.List(t.Context(), store.ListOptions{Prefix: "a/"})
	if err != nil || len(locks) != 1 || locks[0].Name != "a/1" || string(locks[0].Info) != `{"job":7}` {
		t.Errorf("List: %+v, %v", locks, err)
	}
}

func mustGet(t *testing.T, r *rig, name string) lock.Lock {
	t.Helper()
	l, err := r.locks.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
