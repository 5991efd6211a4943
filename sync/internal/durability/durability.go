package durability

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// Tracker tracks an origin. A barrier serves every copy with an older snapshot: parallel targets share a barrier, and late
// targets often need none. All methods are safe for concurrent use.
type Tracker struct {
	timeout time.Duration // of a barrier, and of waiting for the barrier of another copy
	running chan struct{} // holds a token while a barrier runs
	durable atomic.Int64  // a crash of the origin keeps everything up to this revision
}

// New returns the tracker of an origin of which nothing is known to be durable. The timeout bounds a barrier, and the wait for
// the barrier of another copy.
func New(timeout time.Duration) *Tracker {
	return &Tracker{timeout: timeout, running: make(chan struct{}, 1)}
}

// Ensure returns once everything of the origin up to head is durable. The caller has read head from the origin.
func (t *Tracker) Ensure(ctx context.Context, origin partition.Partition, head partition.Revision) error {
	bound, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	select {
	case t.running <- struct{}{}:
		defer func() { <-t.running }()
	case <-bound.Done():
		return fmt.Errorf("barrier on %s: %w", origin.Name(), bound.Err())
	}
	if t.durable.Load() >= int64(head) {
		return nil
	}
	bound, cancel = context.WithTimeout(ctx, t.timeout)
	defer cancel()
	if err := origin.Barrier(bound); err != nil {
		return fmt.Errorf("barrier on %s: %w", origin.Name(), err)
	}
	t.durable.Store(int64(head))
	return nil
}

// CapAt forgets the durable revision if the origin's head lies below: the origin may assign those revisions again.
func (t *Tracker) CapAt(head partition.Revision) {
	if t.durable.Load() > int64(head) {
		t.durable.Store(0)
	}
}
