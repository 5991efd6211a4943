package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// TestHangingPartitionIsGivenUpAfterThePatience: a read goes to the next partition about a
// second after it was sent to a partition that hangs, also if others wait there. No read
// waits for ever when all partitions hang.
func TestHangingPartitionIsGivenUpAfterThePatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const latest = 1100 * time.Millisecond
		o := storetest.Options()
		o.Poll, o.Timeout = time.Hour, 5*time.Second
		r := storetest.New(t, 2, o)
		e := r.MustPut(t, "a", "1")
		r.Level(t)
		release := make(chan struct{})
		hang := func(op string) error {
			if op == memory.OpGet {
				<-release
			}
			return nil
		}
		r.Parts[1].Fail(hang)
		var group sync.WaitGroup
		for range 40 {
			group.Go(func() {
				began := time.Now()
				got, err := r.Get(t.Context(), e.Key, store.ReadOptions{})
				if took := time.Since(began); err != nil || got.Partition != "p0" || took > latest {
					t.Errorf("Get: %+v, %v after %v", got, err, took)
				}
			})
		}
		group.Wait()
		r.Parts[0].Fail(hang)
		for _, c := range []store.Consistency{store.Any, store.FromMaster} {
			began := time.Now()
			_, err := r.Get(t.Context(), e.Key, store.ReadOptions{Consistency: c})
			if took := time.Since(began); err == nil || took < o.Timeout || took > o.Timeout+latest {
				t.Errorf("%s with all partitions hanging: %v after %v", c, err, took)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		began := time.Now()
		if _, err := r.Get(ctx, e.Key, store.ReadOptions{}); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > time.Millisecond {
			t.Errorf("a caller that left: %v after %v", err, time.Since(began))
		}
		close(release)
		synctest.Wait()
		if got, err := r.Get(t.Context(), e.Key, store.ReadOptions{}); err != nil || got.Entry.Revision != e.Revision {
			t.Errorf("after the outage: %+v, %v", got, err)
		}
	})
}

// TestEveryReadGetsItsOwnAnswer: many goroutines read equal and different keys from slow
// partitions, while some callers leave at once. A reused lookup must not answer another
// caller.
func TestEveryReadGetsItsOwnAnswer(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := storetest.New(t, 1, storetest.Options())
	const keys = 40
	for i := range keys / 2 {
		r.MustPut(t, fmt.Sprint(i), fmt.Sprint("value of ", i))
	}
	r.Parts[0].Fail(func(op string) error {
		if op == memory.OpGet && rand.IntN(4) == 0 {
			<-time.After(time.Duration(rand.IntN(300)) * time.Microsecond)
		}
		return nil
	})
	var group sync.WaitGroup
	for g := range 48 {
		random := rand.New(rand.NewPCG(seed, uint64(g)))
		group.Go(func() {
			for range 400 {
				i := random.IntN(keys)
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(random.IntN(4)+1)*100*time.Microsecond)
				if random.IntN(3) > 0 {
					ctx = t.Context()
				}
				got, err := r.Get(ctx, store.User.Key(fmt.Sprint(i)), store.ReadOptions{})
				cancel()
				switch {
				case errors.Is(err, context.DeadlineExceeded):
				case i >= keys/2 && !errors.Is(err, store.ErrNotFound):
					t.Errorf("read %+v of the absent key %d: %v", got, i, err)
				case i < keys/2 && string(got.Entry.Value) != fmt.Sprint("value of ", i):
					t.Errorf("key %d: %q, %v", i, got.Entry.Value, err)
				}
			}
		})
	}
	group.Wait()
}

// TestReadsAndWritesAllocateLittle guards the allocations of reads and writes between the
// API and a partition. The statement's share is that of a lone read.
func TestReadsAndWritesAllocateLittle(t *testing.T) {
	o := storetest.Options()
	o.Poll = time.Hour
	still := &still{Partition: memory.New("p0"), entries: []store.Entry{{Key: "k/a", Revision: 1, Checksum: partition.Checksum(nil)}}}
	o.Partitions = []partition.Partition{still}
	s, err := store.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() { cancel(); <-done; s.Close() }()
	get := func() {
		if _, err := s.Get(ctx, "k/a", store.ReadOptions{}); err != nil {
			t.Error(err)
		}
	}
	put := func() {
		if _, err := s.Put(ctx, store.Entry{Key: "k/a"}); err != nil {
			t.Error(err)
		}
	}
	if n := testing.AllocsPerRun(500, get); n > 0 {
		t.Errorf("Get: %v allocations", n)
	}
	if n := testing.AllocsPerRun(500, put); n > 0 {
		t.Errorf("Put: %v allocations", n)
	}
}

// still is a partition that answers at once, without allocations.
type still struct {
	*memory.Partition
	entries []store.Entry
}

func (s *still) GetSmall(context.Context, []store.Key, int64) ([]store.Entry, error) {
	return s.entries, nil
}

func (s *still) Commit(context.Context, partition.Batch) (partition.Claim, error) {
	return partition.Claim{First: 1, Now: 1}, nil
}

// largeGate is a partition that holds back whole values.
type largeGate struct {
	*memory.Partition
	begun chan store.Key // a statement for whole values has started
	goOn  chan struct{}
	most  atomic.Int64 // largest number of bytes that a statement for several keys returned
}

func (p *largeGate) Get(ctx context.Context, keys []store.Key) ([]store.Entry, error) {
	for _, k := range keys {
		p.begun <- k
	}
	select {
	case <-p.goOn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return p.Partition.Get(ctx, keys)
}

func (p *largeGate) GetSmall(ctx context.Context, keys []store.Key, most int64) ([]store.Entry, error) {
	entries, err := p.Partition.GetSmall(ctx, keys, most)
	sum := int64(0)
	for i := range entries {
		sum += int64(len(entries[i].Value))
	}
	p.most.Store(max(p.most.Load(), sum))
	return entries, err
}

// TestSmallReadsNeverWaitForLargeOnes: a large value is read in a statement of its own,
// shared by all callers that asked before its start. At most as many such statements run as
// there are readers, and small values are read beside them.
func TestSmallReadsNeverWaitForLargeOnes(t *testing.T) {
	gate := &largeGate{Partition: memory.New("p0"), begun: make(chan store.Key, 100), goOn: make(chan struct{})}
	o := storetest.Options()
	o.Partitions, o.Readers, o.Timeout, o.MaxValueBytes = []partition.Partition{gate}, 2, time.Minute, 16<<20
	s, err := store.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	defer running.Wait()
	defer cancel()
	r := &storetest.Rig{Store: s}
	storetest.Eventually(t, "a writable master", func() bool { return s.Status().Partitions[0].Writable })
	large := strings.Repeat("v", 2<<20)
	for i := range 4 {
		r.MustPut(t, fmt.Sprint("large", i), large)
	}
	r.MustPut(t, "small", "1")
	var reads sync.WaitGroup
	get := func(name string, want string) {
		got, err := s.Get(t.Context(), store.User.Key(name), store.ReadOptions{Consistency: store.FromMaster})
		if err != nil || string(got.Entry.Value) != want {
			t.Errorf("%s: %d bytes, %v", name, len(got.Entry.Value), err)
		}
	}
	read := func(i int) { reads.Go(func() { get(fmt.Sprint("large", i), large) }) }
	read(0)
	read(1)
	<-gate.begun
	<-gate.begun
	for range 5 { // in a single statement
		read(2)
		read(3)
	}
	for range 100 {
		get("small", "1")
	}
	if n := len(gate.begun); n != 0 {
		t.Errorf("%d more statements for large values have begun", n)
	}
	left, leave := context.WithCancel(t.Context())
	leave()
	if _, err := s.Get(left, store.User.Key("large0"), store.ReadOptions{Consistency: store.FromMaster}); err == nil {
		t.Error("who has left was answered")
	}
	close(gate.goOn)
	reads.Wait()
	if n := len(gate.begun); n < 2 || n > 10 {
		t.Errorf("%d statements for 10 reads of 2 keys", n)
	}
	if gate.most.Load() > 8<<20 {
		t.Errorf("a statement brought %d bytes", gate.most.Load())
	}
}

// TestSlowReadIsAnsweredWhenNoneIsFaster: a value can be read that takes longer than
// readPatience, but less than the timeout.
func TestSlowReadIsAnsweredWhenNoneIsFaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := storetest.Options()
		o.Timeout = 10 * time.Second
		r := storetest.New(t, 2, o)
		r.MustPut(t, "a", "1")
		r.Level(t)
		for _, p := range r.Parts {
			p.Fail(func(op string) error {
				if op == memory.OpGet {
					<-time.After(1200 * time.Millisecond) // like a large value over a slow line
				}
				return nil
			})
		}
		for _, c := range []store.Consistency{store.Any, store.FromMaster} {
			got, err := r.Get(t.Context(), store.User.Key("a"), store.ReadOptions{Consistency: c})
			if err != nil || string(got.Entry.Value) != "1" {
				t.Errorf("%s: %+v, %v", c, got, err)
			}
		}
	})
}
