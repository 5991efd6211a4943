package api

import (
	"context"
	"hash/maphash"
	"math"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/runnelkv/runnel/store"
)

// budget bounds the memory that the bodies and values of all requests take
// together. What a request holds below freeBytes is not counted: small requests
// pay for no accounting, and http.max_connections bounds how many there are.
type budget struct {
	total int64
	free  *semaphore.Weighted
	sizes [4096]atomic.Uint32 // in KiB, of large values by the hash of their keys; 0: none
	seed  maphash.Seed
}

const (
	freeBytes  = 64 << 10
	budgetWait = time.Second // until memory is free, before a request is refused
	noLimit    = 1 << 30     // the budget where the process has no memory limit
)

// How many times its size a body or a value takes on its way: the body, the
// statement of the commit and what the driver copies; the value, its text, the
// encoder's buffer and the one that is written, which grow by doubling.
const (
	bodyCopies   = 3
	encodeCopies = 7
)

// newBudget has total bytes; 0: a quarter of the process's memory limit (GOMEMLIMIT).
func newBudget(total int64) *budget {
	if total == 0 {
		if total = debug.SetMemoryLimit(-1) / 4; total > math.MaxInt64/4 {
			total = noLimit
		}
	}
	return &budget{total: total, free: semaphore.NewWeighted(total), seed: maphash.MakeSeed()}
}

func (b *budget) sizeOf(k store.Key) *atomic.Uint32 {
	return &b.sizes[maphash.String(b.seed, string(k))%uint64(len(b.sizes))]
}

// expected is the size of key's value, as far as it was large when it was last
// read or written here: what is about to be read is reserved before.
func (b *budget) expected(k store.Key) int64 { return int64(b.sizeOf(k).Load()) << 10 }

// learn notes the size of a value.
func (b *budget) learn(k store.Key, size int64) {
	if size > freeBytes {
		b.sizeOf(k).Store(uint32((size + 1023) >> 10))
	} else if s := b.sizeOf(k); s.Load() != 0 {
		s.Store(0)
	}
}

// hold is what one request, or one part of it, has of the budget. It is not for
// concurrent use.
type hold struct {
	budget *budget
	wanted int64
	taken  int64
}

// resize makes the hold one of n bytes. More than is free it waits for, for at
// most the time given; then it is refused, and the hold is as before. A request
// that wants more than there is gets all of it.
func (h *hold) resize(ctx context.Context, n int64, wait time.Duration) error {
	target := int64(0)
	if n > freeBytes {
		target = min(n, h.budget.total)
	}
	if more := target - h.taken; more < 0 {
		h.budget.free.Release(-more)
	} else if more > 0 && !h.budget.free.TryAcquire(more) {
		ctx, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		if h.budget.free.Acquire(ctx, more) != nil {
			return refuse(kindOverloaded, "The memory for requests (%d MiB) is in use.", h.budget.total>>20)
		}
	}
	h.wanted, h.taken = n, target
	return nil
}

// grow is resize by n bytes more.
func (h *hold) grow(ctx context.Context, n int64) error { return h.resize(ctx, h.wanted+n, budgetWait) }

// release gives everything back.
func (h *hold) release() {
	if h.taken > 0 {
		h.budget.free.Release(h.taken)
	}
	h.wanted, h.taken = 0, 0
}

func valueBytes(entries []store.Entry) (n int64) {
	for i := range entries {
		n += int64(len(entries[i].Value))
	}
	return n
}

// encoded is what entries take while one after the other is encoded.
func encoded(entries []store.Entry) (n int64) {
	largest := int64(0)
	for i := range entries {
		size := int64(len(entries[i].Value))
		n, largest = n+size, max(largest, size)
	}
	return n + encodeCopies*largest
}
