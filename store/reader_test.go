package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
)

// TestHangingPartitionIsGivenUpAfterThePatience: a read goes on to the next
// partition about a second after it was sent to one that hangs, whatever else
// waits there, and none waits for ever when all of them hang.
func TestHangingPartitionIsGivenUpAfterThePatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const latest = 1100 * time.Millisecond
		o := options()
		o.Poll, o.Timeout = time.Hour, 5*time.Second
		r := newRig(t, 2, o)
		e := r.put(t, "a", "1")
		r.level(t)
		release := make(chan struct{})
		hang := func(op string) error {
			if op == partition.OpGet {
				<-release
			}
			return nil
		}
		r.parts[1].Fail(hang)
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
		r.parts[0].Fail(hang)
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

// TestEveryReadGetsItsOwnAnswer has many goroutines read the same and other
// keys from partitions that are slow, while some callers leave at once: what
// is used again must not answer anybody else.
func TestEveryReadGetsItsOwnAnswer(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := newRig(t, 1, options())
	const keys = 40
	for i := range keys / 2 {
		r.put(t, fmt.Sprint(i), fmt.Sprint("value of ", i))
	}
	r.parts[0].Fail(func(op string) error {
		if op == partition.OpGet && rand.IntN(4) == 0 {
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

// TestReadsAndWritesAllocateLittle guards what each of them costs between the
// API and a partition: what is counted is the statement's share for a lone one.
func TestReadsAndWritesAllocateLittle(t *testing.T) {
	o := options()
	o.Poll = time.Hour
	still := &still{Memory: partition.NewMemory("p0"), entries: []store.Entry{{Key: "k/a", Revision: 1, Checksum: partition.Checksum(nil)}}}
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

// still is a partition that answers at once, out of nothing.
type still struct {
	*partition.Memory
	entries []store.Entry
}

func (s *still) Get(context.Context, []store.Key) ([]store.Entry, error) { return s.entries, nil }

func (s *still) Commit(context.Context, partition.Batch) (partition.Claim, error) {
	return partition.Claim{First: 1, Now: 1}, nil
}
