package budget

import (
	"context"
	"hash/maphash"
	"math"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/store"
)

// Budget bounds the memory that the bodies and values of all requests take
// together. What a request holds below FreeBytes is not counted: small requests
// pay for no accounting, and http.max_connections bounds how many there are.
type Budget struct {
	total int64
	free  *semaphore.Weighted
	sizes [4096]atomic.Uint32 // in KiB, of large values by the hash of their keys; 0: none
	seed  maphash.Seed
}

const (
	FreeBytes = 64 << 10
	Wait      = time.Second // until memory is free, before a request is refused
	noLimit   = 1 << 30     // the budget where the process has no memory limit
)

// How many times its size a body or a value takes on its way: the body, the
// statement of the commit and what the driver copies; the value, its text, the
// encoder's buffer and the one that is written, which grow by doubling.
const (
	BodyCopies   = 3
	EncodeCopies = 7
)

// New has total bytes; 0: a quarter of the process's memory limit (GOMEMLIMIT).
func New(total int64) *Budget {
	if total == 0 {
		if total = debug.SetMemoryLimit(-1) / 4; total > math.MaxInt64/4 {
			total = noLimit
		}
	}
	return &Budget{total: total, free: semaphore.NewWeighted(total), seed: maphash.MakeSeed()}
}

func (b *Budget) sizeOf(key string) *atomic.Uint32 {
	return &b.sizes[maphash.String(b.seed, key)%uint64(len(b.sizes))]
}

// Expected is the size of key's value, as far as it was large when it was last
// read or written here: what is about to be read is reserved before.
func (b *Budget) Expected(key string) int64 { return int64(b.sizeOf(key).Load()) << 10 }

// Learn notes the size of a value.
func (b *Budget) Learn(key string, size int64) {
	if size > FreeBytes {
		b.sizeOf(key).Store(uint32((size + 1023) >> 10))
	} else if s := b.sizeOf(key); s.Load() != 0 {
		s.Store(0)
	}
}

// Total is the size of the budget in bytes.
func (b *Budget) Total() int64 { return b.total }

// Acquire takes n bytes, and waits for them until ctx ends.
func (b *Budget) Acquire(ctx context.Context, n int64) error {
	if b.free.Acquire(ctx, n) != nil {
		return b.exhausted()
	}
	return nil
}

// TryAcquire takes n bytes if they are free.
func (b *Budget) TryAcquire(n int64) bool { return b.free.TryAcquire(n) }

// Release gives n bytes back.
func (b *Budget) Release(n int64) { b.free.Release(n) }

func (b *Budget) exhausted() error {
	return problem.New(problem.Overloaded, "The memory for requests (%d MiB) is in use.", b.total>>20)
}

// Hold is what one request, or one part of it, has of the budget. It is not for
// concurrent use.
type Hold struct {
	Budget *Budget
	wanted int64
	taken  int64
}

// Resize makes the hold one of n bytes. More than is free it waits for, for at
// most the time given; then it is refused, and the hold is as before. A request
// that wants more than there is gets all of it.
func (h *Hold) Resize(ctx context.Context, n int64, wait time.Duration) error {
	target := int64(0)
	if n > FreeBytes {
		target = min(n, h.Budget.total)
	}
	if more := target - h.taken; more < 0 {
		h.Budget.free.Release(-more)
	} else if more > 0 && !h.Budget.free.TryAcquire(more) {
		ctx, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		if h.Budget.free.Acquire(ctx, more) != nil {
			return h.Budget.exhausted()
		}
	}
	h.wanted, h.taken = n, target
	return nil
}

// Grow is Resize by n bytes more.
func (h *Hold) Grow(ctx context.Context, n int64) error { return h.Resize(ctx, h.wanted+n, Wait) }

// Release gives everything back.
func (h *Hold) Release() {
	if h.taken > 0 {
		h.Budget.free.Release(h.taken)
	}
	h.wanted, h.taken = 0, 0
}

// ValueBytes is the size of the values of entries.
func ValueBytes(entries []store.Entry) (n int64) {
	for i := range entries {
		n += int64(len(entries[i].Value))
	}
	return n
}

// Encoded is what entries take while one after the other is encoded.
func Encoded(entries []store.Entry) (n int64) {
	largest := int64(0)
	for i := range entries {
		size := int64(len(entries[i].Value))
		n, largest = n+size, max(largest, size)
	}
	return n + EncodeCopies*largest
}
