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

// Budget bounds the memory that the bodies and values of all requests take together. The first FreeBytes of a request
// are not counted: small requests need no accounting, and http.max_connections bounds their number.
type Budget struct {
	total int64
	free  *semaphore.Weighted
	sizes [4096]atomic.Uint32 // KiB of the last large value, by hash of the key; 0: small or unknown
	seed  maphash.Seed
}

const (
	FreeBytes = 64 << 10
	Wait      = time.Second // for memory, before a request is refused
	noLimit   = 1 << 30     // the budget of a process without a memory limit
)

// BodyCopies and EncodeCopies are the copies of a body or a value that exist at the same time. A body exists as the
// body itself, in the statement of the commit, and in the driver's copy. A value exists as the value, its text, the
// encoder's buffer and the output buffer; the buffers grow by doubling.
const (
	BodyCopies   = 3
	EncodeCopies = 7
)

// New returns a budget of total bytes. If total is 0, a quarter of the process's memory limit (GOMEMLIMIT) counts.
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

// Expected returns the size of the key's value, if the value was larger than FreeBytes when this process last read or
// wrote it; otherwise 0. Reads reserve this much before they begin. Keys with the same hash get the same answer.
func (b *Budget) Expected(key string) int64 { return int64(b.sizeOf(key).Load()) << 10 }

// Learn records the size of the key's value for Expected.
func (b *Budget) Learn(key string, size int64) {
	if size > FreeBytes {
		b.sizeOf(key).Store(uint32((size + 1023) >> 10))
	} else if s := b.sizeOf(key); s.Load() != 0 {
		s.Store(0)
	}
}

// Total is the size of the budget in bytes.
func (b *Budget) Total() int64 { return b.total }

// Acquire takes n bytes, and waits until they are free. When ctx ends first, the error is problem.Overloaded.
func (b *Budget) Acquire(ctx context.Context, n int64) error {
	if b.free.Acquire(ctx, n) != nil {
		return b.exhausted()
	}
	return nil
}

// TryAcquire takes n bytes if they are free.
func (b *Budget) TryAcquire(n int64) bool { return b.free.TryAcquire(n) }

// Release returns n bytes.
func (b *Budget) Release(n int64) { b.free.Release(n) }

func (b *Budget) exhausted() error {
	return problem.New(problem.Overloaded, "The memory for requests (%d MiB) is in use.", b.total>>20)
}

// Hold is the share of a budget that a request, or a part of a request, has reserved. A Hold is not safe for concurrent
// use.
type Hold struct {
	Budget *Budget
	wanted int64
	taken  int64
}

// Resize changes the share to n bytes. While not enough is free Resize waits, at most for the time given; then it
// returns problem.Overloaded and the share stays as before. A request larger than the budget reserves the whole budget.
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

// Grow resizes the share by n more bytes and waits at most Wait.
func (h *Hold) Grow(ctx context.Context, n int64) error { return h.Resize(ctx, h.wanted+n, Wait) }

// Release returns the whole share.
func (h *Hold) Release() {
	if h.taken > 0 {
		h.Budget.free.Release(h.taken)
	}
	h.wanted, h.taken = 0, 0
}

// ValueBytes returns the total size of the entries' values.
func ValueBytes(entries []store.Entry) (n int64) {
	for i := range entries {
		n += int64(len(entries[i].Value))
	}
	return n
}

// Encoded returns the memory that entries take while they are encoded in turn.
func Encoded(entries []store.Entry) (n int64) {
	largest := int64(0)
	for i := range entries {
		size := int64(len(entries[i].Value))
		n, largest = n+size, max(largest, size)
	}
	return n + EncodeCopies*largest
}
