package backend

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// shared runs a reading for many callers: callers that arrive while a reading runs share the next.
type shared[T any] struct {
	mu      sync.Mutex // guards the fields below
	next    *reading[T]
	running bool
}

// reading is a reading of a database.
type reading[T any] struct {
	done chan struct{} // closed when the fields below are set
	is   T
	err  error
}

// read returns the result of a reading that began after the call. A reading takes at most limit.
func (s *shared[T]) read(ctx context.Context, limit time.Duration, f func(context.Context) (T, error)) (T, error) {
	r := s.join(limit, f)
	select {
	case <-r.done:
		return r.is, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

func (s *shared[T]) join(limit time.Duration, f func(context.Context) (T, error)) *reading[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		s.next = &reading[T]{done: make(chan struct{})}
	}
	if !s.running {
		s.running = true
		go s.run(limit, f)
	}
	return s.next
}

// run reads until no caller waits.
func (s *shared[T]) run(limit time.Duration, f func(context.Context) (T, error)) {
	for {
		s.mu.Lock()
		r := s.next
		if r == nil {
			s.running = false
			s.mu.Unlock()
			return
		}
		s.next = nil
		s.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		r.is, r.err = f(ctx)
		cancel()
		close(r.done)
	}
}

// ConfirmEpoch returns nil once a reading that began after the call shows the master's counter within an epoch: until the
// call no process can have taken the master's place. ErrStaleEpoch: the counter is of another epoch.
func (b *Backend) ConfirmEpoch(ctx context.Context, epoch int64) error {
	counter, err := b.counters.read(ctx, b.set.options.Timeout, b.Counter)
	if err == nil && counter.Epoch() != epoch {
		return fmt.Errorf("%w: the counter of %s is of epoch %d, not %d", partition.ErrStaleEpoch, b.Name(), counter.Epoch(), epoch)
	}
	return err
}

// ConfirmedMap returns the cluster row as a reading shows it that began after the call.
func (b *Backend) ConfirmedMap(ctx context.Context) (partition.Cluster, error) {
	return b.rows.read(ctx, b.set.options.Timeout, b.Cluster)
}
