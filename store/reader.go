package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// maxLookups bounds the keys of one coalesced read.
const maxLookups = 128

// lookup is a point read on its way through a reader.
type lookup struct {
	key   Key
	done  chan struct{} // closed when the fields below are set
	entry Entry
	found bool
	err   error
}

// reader answers point reads of one partition. Those that queued while all its
// workers were busy travel together in the next statement; a lone one goes at once.
type reader struct {
	m    *member
	wake chan struct{} // one token for each worker that should look at the queue

	mu     sync.Mutex // guards the fields below
	queue  []*lookup
	closed bool
}

func newReader(m *member) *reader {
	return &reader{m: m, wake: make(chan struct{}, m.options.Readers)}
}

// get reads one entry: a tombstone or an expired one too.
func (r *reader) get(ctx context.Context, k Key) (Entry, bool, error) {
	l := &lookup{key: k, done: make(chan struct{})}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return Entry{}, false, ErrClosed
	}
	r.queue = append(r.queue, l)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default: // enough workers will look already
	}
	select {
	case <-l.done:
		return l.entry, l.found, l.err
	case <-ctx.Done():
		return Entry{}, false, fmt.Errorf("read %s: %w: %w", r.m.Name(), partition.ErrUnavailable, context.Cause(ctx))
	}
}

// run answers reads until ctx ends and what was accepted before is answered.
func (r *reader) run(ctx context.Context) {
	keys := make([]Key, 0, maxLookups)
	byKey := make(map[Key][]*lookup, maxLookups)
	for {
		select {
		case <-r.wake:
		case <-ctx.Done():
			r.mu.Lock()
			r.closed = true
			r.mu.Unlock()
			for ls := r.take(); len(ls) > 0; ls = r.take() {
				r.answer(context.WithoutCancel(ctx), ls, keys, byKey)
			}
			return
		}
		for ls := r.take(); len(ls) > 0; ls = r.take() {
			r.answer(context.WithoutCancel(ctx), ls, keys, byKey)
		}
	}
}

func (r *reader) take() []*lookup {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) <= maxLookups {
		ls := r.queue
		r.queue = nil
		return ls
	}
	ls := r.queue[:maxLookups:maxLookups]
	r.queue = r.queue[maxLookups:]
	return ls
}

// answer reads the lookups' keys in one statement. keys and byKey are the
// worker's own, kept between calls.
func (r *reader) answer(ctx context.Context, ls []*lookup, keys []Key, byKey map[Key][]*lookup) {
	keys = keys[:0]
	clear(byKey)
	for _, l := range ls {
		if byKey[l.key] == nil {
			keys = append(keys, l.key)
		}
		byKey[l.key] = append(byKey[l.key], l)
	}
	entries, err := r.read(ctx, keys)
	for _, e := range entries {
		for _, l := range byKey[e.Key] {
			l.entry, l.found = e, true
		}
	}
	for _, l := range ls {
		l.err = err
		close(l.done)
	}
}

func (r *reader) read(ctx context.Context, keys []Key) (entries []Entry, err error) {
	began := time.Now()
	_, err = r.m.breaker.Execute(func() (struct{}, error) {
		ctx, cancel := context.WithTimeout(ctx, r.m.options.Timeout)
		defer cancel()
		var err error
		entries, err = r.m.Get(ctx, keys)
		return struct{}{}, err
	})
	if err == nil {
		r.m.took(time.Since(began))
	}
	return entries, r.m.broken(err)
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
