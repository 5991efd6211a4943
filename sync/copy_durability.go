package sync

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// durability tracks up to which revision an origin is durable, so that nothing is copied
// that a crash could take back. A barrier serves every copy with an older
// snapshot: parallel targets share a barrier, and late targets often need none.
type durability struct {
	timeout time.Duration // of a barrier, and of waiting for the barrier of another copy
	running chan struct{} // holds a token while a barrier runs
	durable atomic.Int64  // a crash of the origin keeps everything up to this revision
}

// durabilityOf returns the durability of an origin, creating it on first use.
func (s *Syncer) durabilityOf(o partition.Origin) *durability {
	d, ok := s.durabilities[o]
	if !ok {
		d = &durability{timeout: s.options.Timeout, running: make(chan struct{}, 1)}
		s.durabilities[o] = d
	}
	return d
}

// ensure returns once everything of the origin up to head is durable. The caller
// has read head from the origin.
func (d *durability) ensure(ctx context.Context, origin *replica, head partition.Revision) error {
	bound, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	select {
	case d.running <- struct{}{}:
		defer func() { <-d.running }()
	case <-bound.Done():
		return fmt.Errorf("barrier on %s: %w", origin.Name(), bound.Err())
	}
	if d.durable.Load() >= int64(head) {
		return nil
	}
	bound, cancel = context.WithTimeout(ctx, d.timeout)
	defer cancel()
	if err := origin.Barrier(bound); err != nil {
		return fmt.Errorf("barrier on %s: %w", origin.Name(), err)
	}
	d.durable.Store(int64(head))
	return nil
}

// capAt forgets the durable revision if the origin's head lies below: the origin may
// assign those revisions again.
func (d *durability) capAt(head partition.Revision) {
	if d.durable.Load() > int64(head) {
		d.durable.Store(0)
	}
}
