package transport

import (
	"sync"
	"time"
)

// watchDelay is how long an answer may take before its client is watched for
// going away: more than most take, little beside what an abandoned one costs.
const watchDelay = 50 * time.Millisecond

// watch puts off the read that net/http begins with each request and ends with
// its answer. To begin and to end it costs two system calls' worth each; what
// it would find out in the meantime helps only with answers that take long.
type watch struct {
	mu      sync.Mutex // guards the fields below
	waiting bool       // a read is put off
	over    bool       // it was ended before it was begun

	ended chan struct{} // buffered, 1: it is not wanted any more
	timer *time.Timer   // of the goroutine that waits
}

// wait puts a read off. True: it was ended meanwhile. False: it is due.
func (w *watch) wait() (ended bool) {
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
		<-w.ended // just now
		return true
	}
	w.waiting = false
	return false
}

// end ends the read that is put off, and those to come until it is called with
// over being false.
func (w *watch) end(over bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = over
	if over && w.waiting {
		w.waiting = false
		w.ended <- struct{}{}
	}
}
