package store

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// maxLookups bounds the keys of a shared statement.
const maxLookups = 128

// lookup is a point read on its way through a batcher. Whichever goroutine sets settled
// first decides the outcome: a worker or the sweep writes the answer and then sends done;
// a caller that leaves gets no answer. Only after a worker has answered may the lookup be
// reused, because then only the caller refers to it.
type lookup struct {
	key      Key
	until    time.Time     // the caller's deadline
	done     chan struct{} // buffered: a token for each use
	settled  atomic.Bool
	nextSame *lookup // of the same key, in the same batch
	place    int     // in the batch

	entry   Entry
	found   bool
	expired bool // the sweep answered: the backend was too slow
	err     error
}

// readBatcher answers point reads of a backend. Reads that queue while all workers are busy
// share the next statement; a lone read is sent at once.
type readBatcher struct {
	backend    *backend
	wakeCh     chan struct{} // a token for each worker that should look at the queue
	lookups    sync.Pool
	largeReads *largeReads
	sweepTimer *time.Timer // runs expireWaiters

	mu       sync.Mutex // guards the fields below
	queue    []*lookup
	flights  []*inFlight // of each worker
	sweepSet bool        // sweepTimer is running
	closed   bool
}

// inFlight holds the lookups that a worker has taken from the queue and not yet answered.
type inFlight struct{ lookups []*lookup }

func newReadBatcher(b *backend) *readBatcher {
	r := &readBatcher{backend: b, wakeCh: make(chan struct{}, b.options.Readers), largeReads: newLargeReads(b.options.Readers)}
	r.lookups.New = func() any { return &lookup{done: make(chan struct{}, 1)} }
	r.sweepTimer = time.AfterFunc(time.Hour, r.expireWaiters)
	r.sweepTimer.Stop()
	return r
}

// lookUp reads an entry, which may be a tombstone or expired. If the backend does not answer
// within wait plus sweepEvery, the error is a context.DeadlineExceeded; the statement
// continues.
func (r *readBatcher) lookUp(ctx context.Context, k Key, wait time.Duration) (e Entry, found bool, err error) {
	l := r.lookups.Get().(*lookup)
	until := time.Now().Add(wait)
	l.key, l.until = k, until
	if err := r.enqueue(l); err != nil {
		return Entry{}, false, err
	}
	select {
	case <-l.done:
	case <-ctx.Done():
		if l.settled.CompareAndSwap(false, true) {
			return Entry{}, false, r.timeoutError(context.Cause(ctx))
		}
		<-l.done
	}
	e, found, err = l.entry, l.found, l.err
	if !l.expired {
		*l = lookup{done: l.done}
		r.lookups.Put(l)
	}
	if found && isHead(&e) {
		return r.getLarge(ctx, k, until)
	}
	return e, found, err
}

func (r *readBatcher) timeoutError(cause error) error {
	return fmt.Errorf("read %s: %w: %w", r.backend.Name(), partition.ErrUnavailable, cause)
}

func (r *readBatcher) enqueue(l *lookup) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return ErrClosed
	}
	r.queue = append(r.queue, l)
	if !r.sweepSet {
		r.sweepSet = true
		r.sweepTimer.Reset(sweepEvery)
	}
	r.mu.Unlock()
	select {
	case r.wakeCh <- struct{}{}:
	default: // enough workers are awake
	}
	return nil
}

// sweepEvery is by how much a caller's deadline may be exceeded. A shared timer costs less
// than a timer for each caller.
const sweepEvery = 50 * time.Millisecond

// expireWaiters answers the lookups beyond their deadline. It runs while any lookup waits.
func (r *readBatcher) expireWaiters() {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	waiting := r.queue[:0]
	for _, l := range r.queue {
		if !r.expire(l, now) && !l.settled.Load() {
			waiting = append(waiting, l)
		}
	}
	clear(r.queue[len(waiting):])
	r.queue = waiting
	r.sweepSet = len(waiting) > 0
	for _, f := range r.flights {
		for _, l := range f.lookups {
			r.expire(l, now)
			r.sweepSet = true
		}
	}
	if r.sweepSet {
		r.sweepTimer.Reset(sweepEvery)
	}
}

func (r *readBatcher) expire(l *lookup, now time.Time) bool {
	if now.Before(l.until) || !l.settled.CompareAndSwap(false, true) {
		return false
	}
	l.expired, l.err = true, r.timeoutError(context.DeadlineExceeded)
	l.done <- struct{}{}
	return true
}

// readLoop answers lookups until ctx ends and every accepted lookup is answered.
func (r *readBatcher) readLoop(ctx context.Context) {
	w := &readWorker{r: r, timeout: newReusableTimeout(context.WithoutCancel(ctx), r.backend.options.Timeout)}
	defer w.timeout.stopContext()
	r.mu.Lock()
	r.flights = append(r.flights, &w.flight)
	r.mu.Unlock()
	for {
		select {
		case <-r.wakeCh:
		case <-ctx.Done():
			r.mu.Lock()
			r.closed = true
			r.mu.Unlock()
			for w.takeQueued() {
				w.answerBatch()
			}
			r.largeReads.closeAndWait()
			return
		}
		// Goroutines that are ready to run may want to read too: yield first, so that they
		// queue for this statement. A lone reader continues at once.
		for runtime.Gosched(); w.takeQueued(); runtime.Gosched() {
			w.answerBatch()
		}
	}
}

// readWorker runs statements of a batcher, one after the other, and reuses its buffers.
type readWorker struct {
	r       *readBatcher
	timeout *reusableTimeout
	flight  inFlight
	batch   []*lookup       // also in flight until the statement has ended
	keys    []Key           // of the batch, without duplicates
	firsts  map[Key]*lookup // first lookup of each key, for large batches
}

// takeQueued moves queued lookups into the worker's flight.
func (w *readWorker) takeQueued() bool {
	r := w.r
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.queue); n <= maxLookups {
		w.batch, r.queue = r.queue, w.batch[:0]
	} else {
		w.batch = append(w.batch[:0], r.queue[:maxLookups]...)
		r.queue = append(r.queue[:0], r.queue[maxLookups:]...)
	}
	w.flight.lookups = w.batch
	return len(w.batch) > 0
}

// endFlight hides the batch from the sweep: from now on only the worker answers.
func (w *readWorker) endFlight() {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	w.flight.lookups = nil
}

// answerBatch reads the batch's keys in a single statement. Of large values it returns the
// heads; the callers read these values through getLarge.
func (w *readWorker) answerBatch() {
	w.dedupKeys()
	maxValue := min(smallValue, manySmall/int64(len(w.keys)))
	entries, err := w.r.backend.readKeys(w.timeout.nextContext(), w.keys, maxValue)
	w.timeout.finishContext()
	w.endFlight()
	for i := range entries {
		for l := w.firstLookup(entries[i].Key, w.batch); l != nil; {
			next := l.nextSame // once l is finished its caller may reuse it
			w.finishLookup(l, &entries[i], nil)
			l = next
		}
	}
	for _, l := range w.batch {
		if l != nil {
			w.finishLookup(l, nil, err)
		}
	}
	clear(w.keys)
	clear(w.batch)
	clear(w.firsts)
}

func (w *readWorker) finishLookup(l *lookup, e *Entry, err error) {
	w.batch[l.place] = nil
	if !l.settled.CompareAndSwap(false, true) {
		return
	}
	if l.err = err; e != nil {
		l.entry, l.found = *e, true
	}
	l.done <- struct{}{}
}

// fewLookups is the largest batch that is searched linearly; larger ones use firsts.
const fewLookups = 8

// dedupKeys lists the keys of the batch and chains the lookups of equal keys.
func (w *readWorker) dedupKeys() {
	w.keys = w.keys[:0]
	if len(w.batch) > fewLookups && w.firsts == nil {
		w.firsts = make(map[Key]*lookup, maxLookups)
	}
	for i, l := range w.batch {
		l.place = i
		if first := w.firstLookup(l.key, w.batch[:i]); first != nil {
			l.nextSame, first.nextSame = first.nextSame, l
			continue
		}
		w.keys = append(w.keys, l.key)
		if len(w.batch) > fewLookups {
			w.firsts[l.key] = l
		}
	}
}

// firstLookup is the first unanswered lookup of a key among some of the batch.
func (w *readWorker) firstLookup(k Key, among []*lookup) *lookup {
	if len(w.batch) > fewLookups {
		return w.firsts[k]
	}
	for _, l := range among {
		if l != nil && l.key == k {
			return l
		}
	}
	return nil
}
