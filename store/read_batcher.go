package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// maxLookups bounds the keys of one coalesced read.
const maxLookups = 128

// lookup is a point read on its way through a reader. Whoever sets settled
// writes the answer and then sends done; a caller that leaves sets it too, and
// nobody answers. It is used again once a worker has answered it: nobody but
// its caller knows it any more then.
type lookup struct {
	key      Key
	until    time.Time     // the caller goes elsewhere then
	done     chan struct{} // buffered: one token for each use
	settled  atomic.Bool
	nextSame *lookup // another one of this key in its batch
	place    int     // in its batch

	entry   Entry
	found   bool
	expired bool // given up by the reader: the partition has not answered
	err     error
}

// reader answers point reads of one partition. Those that queued while all its
// workers were busy travel together in the next statement; a lone one goes at once.
type readBatcher struct {
	m          *backend
	wakeCh     chan struct{} // one token for each worker that should look at the queue
	lookups    sync.Pool
	largeReads *largeReads
	sweepTimer *time.Timer // runs sweep

	mu       sync.Mutex // guards the fields below
	queue    []*lookup
	flights  []*inFlight
	sweepSet bool // watch will fire
	closed   bool
}

// flight is what a worker has taken from the queue and not yet answered.
type inFlight struct{ lookups []*lookup }

func newReadBatcher(m *backend) *readBatcher {
	r := &readBatcher{m: m, wakeCh: make(chan struct{}, m.options.Readers), largeReads: newLargeReads(m.options.Readers)}
	r.lookups.New = func() any { return &lookup{done: make(chan struct{}, 1)} }
	r.sweepTimer = time.AfterFunc(time.Hour, r.expireWaiters)
	r.sweepTimer.Stop()
	return r
}

// get reads one entry: a tombstone or an expired one too. When the partition
// does not answer within wait, or a little more, the error is a
// context.DeadlineExceeded, and its statement goes on.
func (r *readBatcher) get(ctx context.Context, k Key, wait time.Duration) (e Entry, found bool, err error) {
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
	return fmt.Errorf("read %s: %w: %w", r.m.Name(), partition.ErrUnavailable, cause)
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
	default: // enough workers will look already
	}
	return nil
}

// sweepEvery is how much longer than its patience a caller may wait. One timer
// for all of them costs less than one each.
const sweepEvery = 50 * time.Millisecond

// sweep answers those that have waited long enough, as long as anybody waits.
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

// run answers reads until ctx ends and what was accepted before is answered.
func (r *readBatcher) readLoop(ctx context.Context) {
	w := &readWorker{r: r, timeout: newReusableTimeout(context.WithoutCancel(ctx), r.m.options.Timeout)}
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
				w.answer()
			}
			r.largeReads.closeAndWait()
			return
		}
		// Whoever can run now may want to read too: it queues before a processor
		// is spent on a statement. Alone, a reader goes on at once.
		for runtime.Gosched(); w.takeQueued(); runtime.Gosched() {
			w.answer()
		}
	}
}

// readWorker runs the statements of a reader, one after the other. What it
// needs for one is kept for the next.
type readWorker struct {
	r       *readBatcher
	timeout *reusableTimeout
	flight  inFlight
	batch   []*lookup       // what flight shows
	keys    []Key           // of the batch, each once
	firsts  map[Key]*lookup // the first lookup of each key, if there are many
}

// take begins a flight with what is queued.
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

// land ends the flight: from here on nobody else answers its lookups.
func (w *readWorker) endFlight() {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	w.flight.lookups = nil
}

// answer reads the batch's keys in one statement. Of large values it gives the
// heads: whoever waits reads them with large.
func (w *readWorker) answer() {
	w.dedupKeys()
	entries, err := w.read(min(smallValue, manySmall/int64(len(w.keys))))
	w.endFlight()
	for i := range entries {
		for l := w.firstLookup(entries[i].Key); l != nil; {
			next := l.nextSame // after settling, l is somebody else's
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

// fewLookups are found by going through them; more, through a map.
const fewLookups = 8

// gather lists the keys of the batch and chains the lookups of one key.
func (w *readWorker) dedupKeys() {
	w.keys = w.keys[:0]
	if len(w.batch) > fewLookups && w.firsts == nil {
		w.firsts = make(map[Key]*lookup, maxLookups)
	}
	for i, l := range w.batch {
		l.place = i
		first := w.firstAmong(l.key, w.batch[:i])
		if first != nil {
			l.nextSame, first.nextSame = first.nextSame, l
			continue
		}
		w.keys = append(w.keys, l.key)
		if len(w.batch) > fewLookups {
			w.firsts[l.key] = l
		}
	}
}

func (w *readWorker) firstLookup(k Key) *lookup { return w.firstAmong(k, w.batch) }

func (w *readWorker) firstAmong(k Key, among []*lookup) *lookup {
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

func (w *readWorker) read(most int64) (entries []Entry, err error) {
	m := w.r.m
	began := time.Now()
	_, err = m.breaker.Execute(func() (struct{}, error) {
		ctx := w.timeout.nextContext()
		defer w.timeout.finishContext()
		var err error
		entries, err = m.GetSmall(ctx, w.keys, most)
		return struct{}{}, err
	})
	if err == nil {
		m.observeLatency(time.Since(began))
	}
	return entries, m.breakerError(err)
}

// broken turns the breaker's own errors into ErrUnavailable.
func (m *backend) breakerError(err error) error {
	if err == nil || errors.Is(err, partition.ErrUnavailable) {
		return err
	}
	if isBreakerError(err) {
		return fmt.Errorf("%w: it failed just now: %w", partition.ErrUnavailable, err)
	}
	return err
}
