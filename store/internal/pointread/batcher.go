package pointread

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnelkv/runnel/store/internal/timeout"
	"github.com/runnelkv/runnel/store/partition"
)

// Source is the database that a batcher reads.
type Source interface {
	Name() string
	// ReadKeys reads entries in a single statement. Values larger than maxValue bytes are left
	// out, so that IsHead reports true for their entries.
	ReadKeys(ctx context.Context, keys []partition.Key, maxValue int64) ([]partition.Entry, error)
}

// Limits of the values that a statement returns, in bytes.
const (
	MaxSharedBytes = 8 << 20       // of all values of a shared statement
	smallValue     = 1 << 20       // of a value in a shared statement
	Whole          = math.MaxInt64 // larger than every value
)

// IsHead reports whether an entry was read without its value, because that is large.
func IsHead(e *partition.Entry) bool { return e.Value == nil && e.Size > 0 }

// ErrClosed: the context of Run has ended.
var ErrClosed = errors.New("store closed")

// maxLookups bounds the keys of a shared statement.
const maxLookups = 128

// lookup is a point read on its way through a batcher. Whichever goroutine sets settled
// first decides the outcome: a worker or the sweep writes the answer and then sends done;
// a caller that leaves gets no answer. Only after a worker has answered may the lookup be
// reused, because then no other goroutine refers to the lookup.
type lookup struct {
	key      partition.Key
	until    time.Time     // the caller's deadline
	done     chan struct{} // buffered: a token for each use
	settled  atomic.Bool
	nextSame *lookup // of the same key, in the same batch
	place    int     // in the batch

	entry   partition.Entry
	found   bool
	expired bool // the sweep answered: the source was too slow
	err     error
}

// Batcher answers point reads of a source.
type Batcher struct {
	source     Source
	timeout    time.Duration // of a statement
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

// New makes a batcher for so many workers. Each statement is bounded by the timeout.
func New(s Source, workers int, timeout time.Duration) *Batcher {
	r := &Batcher{source: s, timeout: timeout, wakeCh: make(chan struct{}, workers), largeReads: newLargeReads(workers)}
	r.lookups.New = func() any { return &lookup{done: make(chan struct{}, 1)} }
	r.sweepTimer = time.AfterFunc(time.Hour, r.expireWaiters)
	r.sweepTimer.Stop()
	return r
}

// Lookup reads an entry, which may be a tombstone or expired, with the value. If the source
// does not answer within wait plus 50 ms, the error is ErrUnavailable and a
// context.DeadlineExceeded; the statement continues.
func (r *Batcher) Lookup(ctx context.Context, k partition.Key, wait time.Duration) (e partition.Entry, found bool, err error) {
	l := r.lookups.Get().(*lookup)
	until := time.Now().Add(wait)
	l.key, l.until = k, until
	if err := r.enqueue(l); err != nil {
		return partition.Entry{}, false, err
	}
	select {
	case <-l.done:
	case <-ctx.Done():
		if l.settled.CompareAndSwap(false, true) {
			return partition.Entry{}, false, r.timeoutError(context.Cause(ctx))
		}
		<-l.done
	}
	e, found, err = l.entry, l.found, l.err
	if !l.expired {
		*l = lookup{done: l.done}
		r.lookups.Put(l)
	}
	if found && IsHead(&e) {
		return r.getLarge(ctx, k, until)
	}
	return e, found, err
}

func (r *Batcher) timeoutError(cause error) error {
	return fmt.Errorf("read %s: %w: %w", r.source.Name(), partition.ErrUnavailable, cause)
}

func (r *Batcher) enqueue(l *lookup) error {
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
func (r *Batcher) expireWaiters() {
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

func (r *Batcher) expire(l *lookup, now time.Time) bool {
	if now.Before(l.until) || !l.settled.CompareAndSwap(false, true) {
		return false
	}
	l.expired, l.err = true, r.timeoutError(context.DeadlineExceeded)
	l.done <- struct{}{}
	return true
}

// Run answers lookups until ctx ends and every accepted lookup is answered. Every worker is a
// goroutine in Run.
func (r *Batcher) Run(ctx context.Context) {
	w := &worker{r: r, timeout: timeout.New(context.WithoutCancel(ctx), r.timeout)}
	defer w.timeout.Stop()
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

// worker runs statements of a batcher in sequence and reuses the buffers.
type worker struct {
	r       *Batcher
	timeout *timeout.Reusable
	flight  inFlight
	batch   []*lookup                 // also in flight until the statement has ended
	keys    []partition.Key           // of the batch, without duplicates
	firsts  map[partition.Key]*lookup // first lookup of each key, for large batches
}

// takeQueued moves queued lookups into the worker's flight.
func (w *worker) takeQueued() bool {
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
func (w *worker) endFlight() {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	w.flight.lookups = nil
}

// answerBatch reads the batch's keys in a single statement. Of large values it returns the
// heads; the callers read these values through getLarge.
func (w *worker) answerBatch() {
	w.dedupKeys()
	maxValue := min(smallValue, MaxSharedBytes/int64(len(w.keys)))
	entries, err := w.r.source.ReadKeys(w.timeout.Next(), w.keys, maxValue)
	w.timeout.Finish()
	w.endFlight()
	for i := range entries {
		for l := w.firstLookup(entries[i].Key, w.batch); l != nil; {
			next := l.nextSame // once l is finished the caller may reuse l
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

func (w *worker) finishLookup(l *lookup, e *partition.Entry, err error) {
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
func (w *worker) dedupKeys() {
	w.keys = w.keys[:0]
	if len(w.batch) > fewLookups && w.firsts == nil {
		w.firsts = make(map[partition.Key]*lookup, maxLookups)
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
func (w *worker) firstLookup(k partition.Key, among []*lookup) *lookup {
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
