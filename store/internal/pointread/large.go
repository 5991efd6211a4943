package pointread

import (
	"context"
	"sync"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// largeReads reads the large values of a source, each in a separate statement, while the
// batcher's workers continue with small values. It runs at most as many statements at once
// as the batcher has workers, which bounds the bytes in flight.
type largeReads struct {
	slots chan struct{} // a token for each running statement

	mu      sync.Mutex // guards the fields below, and waiters
	pending map[partition.Key]*largeRead
	closed  bool
	work    sync.WaitGroup
}

// largeRead is a statement shared by all callers that ask for the key before the start.
type largeRead struct {
	waiters int
	done    chan struct{} // closed once the fields below are set
	entry   partition.Entry
	found   bool
	err     error
}

func newLargeReads(statements int) *largeReads {
	return &largeReads{slots: make(chan struct{}, statements), pending: make(map[partition.Key]*largeRead)}
}

// getLarge reads an entry with a value of any size.
func (r *Batcher) getLarge(ctx context.Context, k partition.Key, until time.Time) (partition.Entry, bool, error) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	l := r.joinLarge(k)
	if l == nil {
		return partition.Entry{}, false, ErrClosed
	}
	select {
	case <-l.done:
		return l.entry, l.found, l.err
	case <-ctx.Done():
	}
	r.largeReads.mu.Lock()
	defer r.largeReads.mu.Unlock()
	l.waiters--
	return partition.Entry{}, false, r.timeoutError(context.Cause(ctx))
}

// joinLarge joins or makes the next statement for a key; nil once the batcher is closed.
func (r *Batcher) joinLarge(k partition.Key) *largeRead {
	s := r.largeReads
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	l := s.pending[k]
	if l == nil {
		l = &largeRead{done: make(chan struct{})}
		s.pending[k] = l
		s.work.Go(func() { r.runLarge(k, l) })
	}
	l.waiters++
	return l
}

// runLarge waits for a slot and runs the statement, unless all callers have left.
func (r *Batcher) runLarge(k partition.Key, l *largeRead) {
	defer close(l.done)
	r.largeReads.slots <- struct{}{}
	defer func() { <-r.largeReads.slots }()
	if !r.largeReads.startRead(k, l) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.timeout)
	defer cancel()
	entries, err := r.source.ReadKeys(ctx, []partition.Key{k}, Whole)
	if l.err = err; len(entries) > 0 {
		l.entry, l.found = entries[0], true
	}
}

// startRead closes a statement to further callers and reports whether any caller waits.
func (s *largeReads) startRead(k partition.Key, l *largeRead) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pending, k)
	return l.waiters > 0
}

// closeAndWait rejects further statements and waits for the running ones.
func (s *largeReads) closeAndWait() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.work.Wait()
}
