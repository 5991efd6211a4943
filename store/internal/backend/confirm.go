package backend

import (
	"context"
	"fmt"
	"sync"

	"github.com/runnelkv/runnel/store/partition"
)

// confirmations shares readings of a master's counter: callers that arrive while a reading runs share the next.
type confirmations struct {
	mu      sync.Mutex // guards the fields below
	next    *confirmation
	running bool
}

// confirmation is a reading of the positions.
type confirmation struct {
	done    chan struct{} // closed when counter and err are set
	counter partition.Revision
	err     error
}

// ConfirmEpoch returns nil once a reading that began after the call shows the master's counter within an epoch: until the
// call no process can have taken the master's place. ErrStaleEpoch: the counter is of another epoch. ErrNoLease: this process
// may not answer for masters.
func (b *Backend) ConfirmEpoch(ctx context.Context, epoch int64) error {
	c := b.joinConfirmation()
	select {
	case <-c.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if c.err == nil && c.counter.Epoch() != epoch {
		return fmt.Errorf("%w: the counter of %s is of epoch %d, not %d", partition.ErrStaleEpoch, b.Name(), c.counter.Epoch(), epoch)
	}
	if c.err == nil && !b.HasLease() {
		return ErrNoLease
	}
	return c.err
}

func (b *Backend) joinConfirmation() *confirmation {
	cs := &b.confirmations
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.next == nil {
		cs.next = &confirmation{done: make(chan struct{})}
	}
	if !cs.running {
		cs.running = true
		go b.confirm()
	}
	return cs.next
}

// confirm reads until no caller waits.
func (b *Backend) confirm() {
	cs := &b.confirmations
	for {
		cs.mu.Lock()
		c := cs.next
		if c == nil {
			cs.running = false
			cs.mu.Unlock()
			return
		}
		cs.next = nil
		cs.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), b.set.options.Timeout)
		c.counter, c.err = b.Counter(ctx)
		cancel()
		close(c.done)
	}
}
