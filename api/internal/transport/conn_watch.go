package transport

import (
	"sync"
	"time"
)

// watchDelay is how long an answer may take before its client is watched: longer than most answers, and short beside
// the cost of an abandoned answer.
const watchDelay = 50 * time.Millisecond

// watch delays the read by which net/http notices that a client leaves. To start and to cancel the read costs about two
// system calls for each request, and the result matters only for slow answers.
type watch struct {
	mu      sync.Mutex // guards the fields below
	waiting bool       // a read is delayed
	over    bool       // the read was cancelled before the start

	ended chan struct{} // capacity 1: signals a delayed read that it is cancelled
	timer *time.Timer   // of the delaying goroutine
}

// delayRead waits watchDelay. The result is true if the read was cancelled in the meantime, false if the read is due.
func (w *watch) delayRead() (ended bool) {
	w.mu.Lock()
	over := w.over
	w.waiting = !over
	w.mu.Unlock()
	if over {
		return true
	}
	if w.timer == nil {
		w.timer = time.NewTimer(watchDelay)
	} else {
		w.timer.Reset(watchDelay)
	}
	select {
	case <-w.ended:
		w.timer.Stop()
		return true
	case <-w.timer.C:
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.waiting {
		<-w.ended // sent just now
		return true
	}
	w.waiting = false
	return false
}

// cancelRead cancels the delayed read, and later reads until it is called with over == false.
func (w *watch) cancelRead(over bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = over
	if over && w.waiting {
		w.waiting = false
		w.ended <- struct{}{}
	}
}
