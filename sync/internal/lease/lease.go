package lease

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/runnelkv/runnel/store/partition"
)

// Options configure a Lease. Each field must be set.
type Options struct {
	Holder  string        // names this process, unique; see NewHolder
	TTL     time.Duration // how long the partition waits for a process that died; renewals are due at a third
	Timeout time.Duration // of a request
}

// Lease is the right of a process to copy to a partition. Its use acquires and renews the lease. All methods are safe for
// concurrent use.
type Lease struct {
	partition partition.Partition
	options   Options

	renewing sync.Mutex // held during Acquire, so that concurrent users request once; guards tried
	tried    bool       // the lease was requested at least once

	mu      sync.Mutex      // guards the fields below
	held    partition.Lease // Fence zero: not held
	renewAt time.Time
	standby bool // another process held the lease at the last request
}

// New returns the lease of a partition, not held yet.
func New(p partition.Partition, o Options) *Lease {
	return &Lease{partition: p, options: o}
}

// Fence returns the fence of the lease, which is acquired or renewed when due. partition.ErrLeaseHeld: another process holds
// the lease.
func (l *Lease) Fence(ctx context.Context) (int64, error) {
	if fence := l.currentFence(); fence != 0 {
		return fence, nil
	}
	return l.renew(ctx)
}

// currentFence returns zero if the lease is not held, or due for renewal.
func (l *Lease) currentFence() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !time.Now().Before(l.renewAt) {
		return 0
	}
	return l.held.Fence
}

func (l *Lease) renew(ctx context.Context) (int64, error) {
	l.renewing.Lock()
	defer l.renewing.Unlock()
	if fence := l.currentFence(); fence != 0 {
		return fence, nil
	}
	p, o := l.partition, l.options
	bound, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	renewAt := time.Now().Add(o.TTL / 3)
	held, err := p.Acquire(bound, o.Holder, o.TTL)
	if errors.Is(err, partition.ErrLeaseHeld) && !l.tried && HasEnded(held.Holder) && p.Release(bound, held) == nil {
		held, err = p.Acquire(bound, o.Holder, o.TTL)
	}
	l.tried = true
	if err != nil {
		if errors.Is(err, partition.ErrLeaseHeld) {
			l.record(partition.Lease{}, time.Time{}, true)
		}
		return 0, fmt.Errorf("lease of %s: %w", p.Name(), err)
	}
	l.record(held, renewAt, false)
	return held.Fence, nil
}

func (l *Lease) record(held partition.Lease, renewAt time.Time, standby bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held, l.renewAt, l.standby = held, renewAt, standby
}

// Forget records that another process holds the lease instead of that fence.
func (l *Lease) Forget(fence int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held.Fence == fence {
		l.held, l.standby = partition.Lease{}, true
	}
}

// While runs f under the lease, and renews the lease meanwhile. A failed renewal ends f's context. The error is f's or the
// lease's.
func (l *Lease) While(ctx context.Context, f func(ctx context.Context) error) error {
	if _, err := l.Fence(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	done := make(chan struct{})
	group.Go(func() error {
		defer close(done)
		return f(ctx)
	})
	group.Go(func() error {
		ticker := time.NewTicker(l.options.TTL / 3)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return nil
			case <-ticker.C:
				if _, err := l.Fence(ctx); err != nil {
					return err
				}
			}
		}
	})
	return group.Wait()
}

// Release gives the lease up if this process holds it, so that another process need not wait for its end.
func (l *Lease) Release(ctx context.Context) error {
	l.mu.Lock()
	held := l.held
	l.mu.Unlock()
	if held.Fence == 0 {
		return nil
	}
	err := l.partition.Release(ctx, held)
	l.record(partition.Lease{}, time.Time{}, false)
	return err
}

// IsHeld reports whether this process holds the lease, as far as known.
func (l *Lease) IsHeld() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held.Fence != 0
}

// IsStandby reports whether another process held the lease at the last request.
func (l *Lease) IsStandby() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.standby
}
