package budget

import (
	"errors"
	"testing"
	"time"

	"github.com/runnelkv/runnel/api/internal/problem"
)

// unheld is the free part of a budget.
func unheld(b *Budget) (n int64) {
	for step := b.Total(); step > 0; step /= 2 {
		for b.TryAcquire(step) {
			n += step
		}
	}
	b.Release(n)
	return n
}

// TestHoldGivesBackWhatItTook: after any sequence of resizes and failures, Release returns exactly the reserved memory.
func TestHoldGivesBackWhatItTook(t *testing.T) {
	b := New(1 << 20)
	h, other := Hold{Budget: b}, Hold{Budget: b}
	for _, step := range []struct{ size, unheld int64 }{{FreeBytes, 1 << 20}, {FreeBytes + 1, 1<<20 - FreeBytes - 1}, {500_000, 1<<20 - 500_000}, {100, 1 << 20}, {5 << 20, 0}, {200_000, 1<<20 - 200_000}} {
		if err := h.Resize(t.Context(), step.size, 0); err != nil || unheld(b) != step.unheld {
			t.Errorf("%d: %v, %d are free", step.size, err, unheld(b))
		}
	}
	err := other.Resize(t.Context(), 1<<20, time.Millisecond)
	if !overloaded(err) || other.taken != 0 || unheld(b) != 1<<20-200_000 {
		t.Errorf("more than is free: %v", err)
	}
	if err := other.Grow(t.Context(), FreeBytes); err != nil {
		t.Errorf("a small request: %v", err)
	}
	h.Release()
	other.Release()
	if unheld(b) != b.total {
		t.Errorf("%d of %d are free", unheld(b), b.total)
	}
}

func overloaded(err error) bool {
	e, ok := errors.AsType[*problem.Error](err)
	return ok && e.Type == problem.Overloaded
}
