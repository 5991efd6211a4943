package sync

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// durability tracks up to which revision an origin is durable, so that nothing is copied
// that a crash could take back. A barrier serves every copy with an older
// snapshot: parallel targets share a barrier, and late targets often need none.
type durability struct {
	timeout time.Duration // of a barrier

	mu      sync.Mutex
	durable partition.Revision // a crash of the origin keeps everything up to here
	running *barrier
}

// barrier is a running barrier. err is set before done is closed.
type barrier struct {
	head partition.Revision // was visible before the barrier began
	done chan struct{}
	err  error
}

// durabilityOf returns the durability of an origin, creating it on first use.
func (s *Syncer) durabilityOf(o partition.Origin) *durability {
	d, ok := s.durabilities[string(o)]
	if !ok {
		d = &durability{timeout: s.options.Timeout}
		s.durabilities[string(o)] = d
	}
	return d
}

// wait returns once everything of the origin up to head is durable. The caller
// has read head from the origin.
func (d *durability) wait(ctx context.Context, origin *replica, head partition.Revision) error {
	for {
		b, mine := d.joinBarrier(head)
		if b == nil {
			return nil
		}
		if mine {
			d.makeBarrier(ctx, origin, b)
		}
		select {
		case <-b.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if b.head >= head {
			return b.err
		}
	}
}

// joinBarrier returns the barrier to wait for, nil if none is necessary, and whether the
// caller has to make it.
func (d *durability) joinBarrier(head partition.Revision) (b *barrier, mine bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.durable >= head {
		return nil, false
	}
	if d.running != nil {
		return d.running, false
	}
	d.running = &barrier{head: head, done: make(chan struct{})}
	return d.running, true
}

// makeBarrier makes the barrier. The barrier may serve several copies, so the end of ctx does not stop it.
func (d *durability) makeBarrier(ctx context.Context, origin *replica, b *barrier) {
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.timeout)
	defer cancel()
	err := origin.Barrier(bound)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		d.durable = max(d.durable, b.head)
	} else {
		b.err = fmt.Errorf("barrier on %s: %w", origin.Name(), err)
	}
	d.running = nil
	close(b.done)
}

// capAt forgets the durable revision if the origin's head lies below: the origin may
// assign those revisions again.
func (d *durability) capAt(head partition.Revision) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.durable > head {
		d.durable = 0
	}
}
