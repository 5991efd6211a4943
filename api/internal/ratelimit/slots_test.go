package ratelimit

import (
	"sync"
	"sync/atomic"
	"testing"
)

func TestSlotsOfANameAreLimited(t *testing.T) {
	s := NewSlots(2)
	first, _ := s.Take("a")
	second, _ := s.Take("a")
	if _, ok := s.Take("a"); ok || first == nil || second == nil {
		t.Error("a third slot was taken, or a second was refused")
	}
	other, ok := s.Take("b")
	if !ok {
		t.Error("the slots of a count against b")
	}
	first()
	first() // frees nothing further
	third, ok := s.Take("a")
	if !ok {
		t.Error("a free slot was refused")
	}
	if _, ok := s.Take("a"); ok {
		t.Error("a slot was freed twice")
	}
	second()
	third()
	other()
	if len(s.taken) != 0 {
		t.Errorf("names without a slot are kept: %v", s.taken)
	}
	for range 100 {
		if _, ok := NewSlots(0).Take("a"); !ok {
			t.Fatal("refused without a limit")
		}
	}
}

// TestConcurrentTakersNeverExceedTheSlots takes and frees the slots of one name from many goroutines.
func TestConcurrentTakersNeverExceedTheSlots(t *testing.T) {
	const most = 3
	s := NewSlots(most)
	var held, taken, above atomic.Int32
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			for range 1000 {
				free, ok := s.Take("a")
				if !ok {
					continue
				}
				taken.Add(1)
				if held.Add(1) > most {
					above.Add(1)
				}
				held.Add(-1)
				free()
			}
		})
	}
	running.Wait()
	if above.Load() > 0 || taken.Load() == 0 || len(s.taken) != 0 {
		t.Errorf("%d of %d takers were above the limit; left: %v", above.Load(), taken.Load(), s.taken)
	}
}
