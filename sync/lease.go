package sync

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/runnelkv/runnel/store/partition"
)

// lease is this process's right to copy to a target, if it has it.
type lease struct {
	renewing sync.Mutex // held over Acquire, so that a target's lanes ask once; guards tried
	tried    bool       // it was asked for once

	mu      sync.Mutex
	held    partition.Lease // Fence zero: not held
	renewAt time.Time
	standby bool // another process had it when last asked
}

func (l *lease) isHeld() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held.Fence != 0
}

func (l *lease) isStandby() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.standby
}

// current returns the lease, and whether it need not be renewed yet.
func (l *lease) current() (partition.Lease, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held, l.held.Fence != 0 && time.Now().Before(l.renewAt)
}

func (l *lease) set(held partition.Lease, renewAt time.Time, standby bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held, l.renewAt, l.standby = held, renewAt, standby
}

// lost forgets the lease of that fence.
func (l *lease) lost(fence int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held.Fence == fence {
		l.held, l.standby = partition.Lease{}, true
	}
}

// fence returns the fence of the target's lease, taking or renewing it when
// due. ErrLeaseHeld: another process has it.
func (p *peer) fence(ctx context.Context) (int64, error) {
	if held, ok := p.lease.current(); ok {
		return held.Fence, nil
	}
	return p.renew(ctx)
}

func (p *peer) renew(ctx context.Context) (int64, error) {
	p.lease.renewing.Lock()
	defer p.lease.renewing.Unlock()
	if held, ok := p.lease.current(); ok {
		return held.Fence, nil
	}
	o := p.s.options
	bound, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	renewAt := time.Now().Add(o.LeaseTTL / 3)
	held, err := p.Acquire(bound, o.Holder, o.LeaseTTL)
	if errors.Is(err, partition.ErrLeaseHeld) && !p.lease.tried && HasEnded(held.Holder) && p.Release(bound, held) == nil {
		held, err = p.Acquire(bound, o.Holder, o.LeaseTTL)
	}
	p.lease.tried = true
	if err != nil {
		if errors.Is(err, partition.ErrLeaseHeld) {
			p.lease.set(partition.Lease{}, time.Time{}, true)
		}
		return 0, fmt.Errorf("lease of %s: %w", p.Name(), err)
	}
	p.lease.set(held, renewAt, false)
	return held.Fence, nil
}

// whileLeased runs f under the lease, which is renewed meanwhile; f's context
// ends if that fails.
func (p *peer) whileLeased(ctx context.Context, f func(ctx context.Context) error) error {
	if _, err := p.fence(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	done := make(chan struct{})
	group.Go(func() error {
		defer close(done)
		return f(ctx)
	})
	group.Go(func() error {
		ticker := time.NewTicker(p.s.options.LeaseTTL / 3)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return nil
			case <-ticker.C:
				if _, err := p.fence(ctx); err != nil {
					return err
				}
			}
		}
	})
	return group.Wait()
}

// release gives all leases up, so that another process need not wait for them
// to expire. It goes on after ctx has ended.
func (s *Syncer) release(ctx context.Context) {
	s.mu.Lock()
	peers := s.peers
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(s.options.Timeout, 2*time.Second))
	defer cancel()
	var group sync.WaitGroup
	for _, p := range peers {
		held, _ := p.lease.current()
		if held.Fence == 0 {
			continue
		}
		group.Go(func() {
			if err := p.Release(ctx, held); err != nil {
				s.log.Info("lease not released, it expires", "partition", p.Name(), "error", err)
			}
			p.lease.set(partition.Lease{}, time.Time{}, false)
		})
	}
	group.Wait()
}
