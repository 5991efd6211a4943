package store

import (
	"context"
	"sync"
	"time"
)

// Values of more than smallValue are never read in a statement that others wait
// for, and nor are those that would make a statement bring more than manySmall.
const smallValue = 1 << 20

// largeReads reads large values of one partition, each in a statement of its
// own, while the workers of the reader go on with small ones. Not more statements
// run at once than the reader has workers: so the bytes in flight are bounded.
type largeReads struct {
	slots chan struct{} // one token for each statement under way

	mu      sync.Mutex // guards the fields below, and waiters
	pending map[Key]*largeRead
	closed  bool
	work    sync.WaitGroup
}

// largeRead is a statement for all callers that ask for its key before it begins.
type largeRead struct {
	waiters int
	done    chan struct{} // closed once the fields below are set
	entry   Entry
	found   bool
	err     error
}

func newLargeReads(statements int) *largeReads {
	return &largeReads{slots: make(chan struct{}, statements), pending: make(map[Key]*largeRead)}
}

// large reads an entry with its value, however large that is.
func (r *readBatcher) getLarge(ctx context.Context, k Key, until time.Time) (Entry, bool, error) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	l := r.joinLarge(k)
	if l == nil {
		return Entry{}, false, ErrClosed
	}
	select {
	case <-l.done:
		return l.entry, l.found, l.err
	case <-ctx.Done():
	}
	r.largeReads.mu.Lock()
	defer r.largeReads.mu.Unlock()
	l.waiters--
	return Entry{}, false, r.timeoutError(context.Cause(ctx))
}

// joinLarge is the next statement that reads the key; nil once the reader is closed.
func (r *readBatcher) joinLarge(k Key) *largeRead {
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

// runLarge runs a statement when it is its turn, unless all callers have left.
func (r *readBatcher) runLarge(k Key, l *largeRead) {
	defer close(l.done)
	r.largeReads.slots <- struct{}{}
	defer func() { <-r.largeReads.slots }()
	if !r.largeReads.startRead(k, l) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.m.options.Timeout)
	defer cancel()
	entries, err := r.m.readKeys(ctx, keyRequest{keys: []Key{k}, most: wholeValues})
	if l.err = err; len(entries) > 0 {
		l.entry, l.found = entries[0], true
	}
}

// begin closes a statement for further callers, and reports whether any waits.
func (s *largeReads) startRead(k Key, l *largeRead) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pending, k)
	return l.waiters > 0
}

// close waits for the statements under way; no further ones begin.
func (s *largeReads) closeAndWait() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.work.Wait()
}
