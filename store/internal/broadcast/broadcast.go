package broadcast

import (
	"sync"
	"sync/atomic"
)

// Channel wakes goroutines that wait for a change.
type Channel struct {
	waiting atomic.Bool
	mu      sync.Mutex // guards ch
	ch      chan struct{}
}

// Next returns a channel that the next broadcast closes.
func (n *Channel) Next() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch == nil {
		n.ch = make(chan struct{})
		n.waiting.Store(true)
	}
	return n.ch
}

// Send costs one atomic load while nothing waits.
func (n *Channel) Send() {
	if !n.waiting.Load() {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch != nil {
		close(n.ch)
		n.ch = nil
		n.waiting.Store(false)
	}
}
