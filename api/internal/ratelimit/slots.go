package ratelimit

import "sync"

// Slots bounds the number of things that each name has in progress at once. A nil Slots allows everything. Slots are safe for
// concurrent use. The memory is bounded by the things in progress.
type Slots struct {
	most int

	mu    sync.Mutex     // guards the field below
	taken map[string]int // never 0
}

// NewSlots returns Slots that allow each name most at once; nil if most is 0.
func NewSlots(most int) *Slots {
	if most <= 0 {
		return nil
	}
	return &Slots{most: most, taken: map[string]int{}}
}

// Take takes a slot of the name, and returns the function that frees the slot; further calls of the function do nothing.
// ok is false if all slots of the name are taken.
func (s *Slots) Take(name string) (free func(), ok bool) {
	if s == nil {
		return func() {}, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken[name] >= s.most {
		return nil, false
	}
	s.taken[name]++
	return sync.OnceFunc(func() { s.free(name) }), true
}

func (s *Slots) free(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken[name]--; s.taken[name] == 0 {
		delete(s.taken, name)
	}
}
