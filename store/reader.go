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
	key     Key
	until   time.Time     // the caller goes elsewhere then
	done    chan struct{} // buffered: one token for each use
	settled atomic.Bool
	same    *lookup // another one of this key in its batch
	place   int     // in its batch

	entry Entry
	found bool
	late  bool // given up by the reader: the partition has not answered
	err   error
}

// reader answers point reads of one partition. Those that queued while all its
// workers were busy travel together in the next statement; a lone one goes at once.
type reader struct {
	m       *member
	wake    chan struct{} // one token for each worker that should look at the queue
	lookups sync.Pool
	larges  *largeReads
	watch   *time.Timer // runs sweep

	mu      sync.Mutex // guards the fields below
	queue   []*lookup
	flights []*flight
	watched bool // watch will fire
	closed  bool
}

// flight is what a worker has taken from the queue and not yet answered.
type flight struct{ lookups []*lookup }

func newReader(m *member) *reader {
	r := &reader{m: m, wake: make(chan struct{}, m.options.Readers), larges: newLargeReads(m.options.Readers)}
	r.lookups.New = func() any { return &lookup{done: make(chan struct{}, 1)} }
	r.watch = time.AfterFunc(time.Hour, r.sweep)
	r.watch.Stop()
	return r
}

// get reads one entry: a tombstone or an expired one too. When the partition
// does not answer within wait, or a little more, the error is a
// context.DeadlineExceeded, and its statement goes on.
func (r *reader) get(ctx context.Context, k Key, wait time.Duration) (e Entry, found bool, err error) {
	l := r.lookups.Get().(*lookup)
	until := time.Now().Add(wait)
	l.key, l.until = k, until
	if err := r.add(l); err != nil {
		return Entry{}, false, err
	}
	select {
	case <-l.done:
	case <-ctx.Done():
		if l.settled.CompareAndSwap(false, true) {
			return Entry{}, false, r.gaveUp(context.Cause(ctx))
		}
		<-l.done
	}
	e, found, err = l.entry, l.found, l.err
	if !l.late {
		*l = lookup{done: l.done}
		r.lookups.Put(l)
	}
	if found && isHead(&e) {
		return r.large(ctx, k, until)
	}
	return e, found, err
}

func (r *reader) gaveUp(cause error) error {
	return fmt.Errorf("read %s: %w: %w", r.m.Name(), partition.ErrUnavailable, cause)
}

func (r *reader) add(l *lookup) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return ErrClosed
	}
	r.queue = append(r.queue, l)
	if !r.watched {
		r.watched = true
		r.watch.Reset(sweepEvery)
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default: // enough workers will look already
	}
	return nil
}

// sweepEvery is how much longer than its patience a caller may wait. One timer
// for all of them costs less than one each.
const sweepEvery = 50 * time.Millisecond

// sweep answers those that have waited long enough, as long as anybody waits.
func (r *reader) sweep() {
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
	r.watched = len(waiting) > 0
	for _, f := range r.flights {
		for _, l := range f.lookups {
			r.expire(l, now)
			r.watched = true
		}
	}
	if r.watched {
		r.watch.Reset(sweepEvery)
	}
}

func (r *reader) expire(l *lookup, now time.Time) bool {
	if now.Before(l.until) || !l.settled.CompareAndSwap(false, true) {
		return false
	}
	l.late, l.err = true, r.gaveUp(context.DeadlineExceeded)
	l.done <- struct{}{}
	return true
}

// run answers reads until ctx ends and what was accepted before is answered.
func (r *reader) run(ctx context.Context) {
	w := &readWorker{r: r, limit: newLimit(context.WithoutCancel(ctx), r.m.options.Timeout)}
	defer w.limit.stop()
	r.mu.Lock()
	r.flights = append(r.flights, &w.flight)
	r.mu.Unlock()
	for {
		select {
		case <-r.wake:
		case <-ctx.Done():
			r.mu.Lock()
			r.closed = true
			r.mu.Unlock()
			for w.take() {
				w.answer()
			}
			r.larges.close()
			return
		}
		// Whoever can run now may want to read too: it queues before a processor
		// is spent on a statement. Alone, a reader goes on at once.
		for runtime.Gosched(); w.take(); runtime.Gosched() {
			w.answer()
		}
	}
}

// readWorker runs the statements of a reader, one after the other. What it
// needs for one is kept for the next.
type readWorker struct {
	r      *reader
	limit  *limit
	flight flight
	batch  []*lookup       // what flight shows
	keys   []Key           // of the batch, each once
	firsts map[Key]*lookup // the first lookup of each key, if there are many
}

// take begins a flight with what is queued.
func (w *readWorker) take() bool {
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
func (w *readWorker) land() {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	w.flight.lookups = nil
}

// answer reads the batch's keys in one statement. Of large values it gives the
// heads: whoever waits reads them with large.
func (w *readWorker) answer() {
	w.gather()
	entries, err := w.read(min(smallValue, manySmall/int64(len(w.keys))))
	w.land()
	for i := range entries {
		for l := w.first(entries[i].Key); l != nil; {
			next := l.same // after settling, l is somebody else's
			w.settle(l, &entries[i], nil)
			l = next
		}
	}
	for _, l := range w.batch {
		if l != nil {
			w.settle(l, nil, err)
		}
	}
	clear(w.keys)
	clear(w.batch)
	clear(w.firsts)
}

func (w *readWorker) settle(l *lookup, e *Entry, err error) {
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
func (w *readWorker) gather() {
	w.keys = w.keys[:0]
	if len(w.batch) > fewLookups && w.firsts == nil {
		w.firsts = make(map[Key]*lookup, maxLookups)
	}
	for i, l := range w.batch {
		l.place = i
		first := w.firstOf(l.key, w.batch[:i])
		if first != nil {
			l.same, first.same = first.same, l
			continue
		}
		w.keys = append(w.keys, l.key)
		if len(w.batch) > fewLookups {
			w.firsts[l.key] = l
		}
	}
}

func (w *readWorker) first(k Key) *lookup { return w.firstOf(k, w.batch) }

func (w *readWorker) firstOf(k Key, among []*lookup) *lookup {
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
		ctx := w.limit.begin()
		defer w.limit.end()
		var err error
		entries, err = m.GetSmall(ctx, w.keys, most)
		return struct{}{}, err
	})
	if err == nil {
		m.took(time.Since(began))
	}
	return entries, m.broken(err)
}

// broken turns the breaker's own errors into ErrUnavailable.
func (m *member) broken(err error) error {
	if err == nil || errors.Is(err, partition.ErrUnavailable) {
		return err
	}
	if isBreakerError(err) {
		return fmt.Errorf("%w: it failed just now: %w", partition.ErrUnavailable, err)
	}
	return err
}
