package sync

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/runnelkv/runnel/store/partition"
)

// lease is the right of a process to copy to a target.
type lease struct {
	renewing sync.Mutex // held during Acquire, so that the target's streams request once; guards tried
	tried    bool       // the lease was requested at least once

	// Guarded by Syncer.mu.
	held    partition.Lease // Fence zero: not held
	renewAt time.Time
	standby bool // another process held the lease at the last request
}

// leaseFence returns the fence of the target's lease, which is acquired or renewed
// when due. ErrLeaseHeld: another process holds the lease.
func (r *replica) leaseFence(ctx context.Context) (int64, error) {
	if fence := r.currentFence(); fence != 0 {
		return fence, nil
	}
	return r.renewLease(ctx)
}

// currentFence returns zero if the lease is not held, or due for renewal.
func (r *replica) currentFence() int64 {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if !time.Now().Before(r.lease.renewAt) {
		return 0
	}
	return r.lease.held.Fence
}

func (r *replica) renewLease(ctx context.Context) (int64, error) {
	r.lease.renewing.Lock()
	defer r.lease.renewing.Unlock()
	if fence := r.currentFence(); fence != 0 {
		return fence, nil
	}
	o := r.s.options
	bound, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	renewAt := time.Now().Add(o.LeaseTTL / 3)
	held, err := r.Acquire(bound, o.Holder, o.LeaseTTL)
	if errors.Is(err, partition.ErrLeaseHeld) && !r.lease.tried && HasEnded(held.Holder) && r.Release(bound, held) == nil {
		held, err = r.Acquire(bound, o.Holder, o.LeaseTTL)
	}
	r.lease.tried = true
	if err != nil {
		if errors.Is(err, partition.ErrLeaseHeld) {
			r.setLease(partition.Lease{}, time.Time{}, true)
		}
		return 0, fmt.Errorf("lease of %s: %w", r.Name(), err)
	}
	r.setLease(held, renewAt, false)
	return held.Fence, nil
}

func (r *replica) setLease(held partition.Lease, renewAt time.Time, standby bool) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.lease.held, r.lease.renewAt, r.lease.standby = held, renewAt, standby
}

// forgetLease records that another process holds the lease instead of that fence.
func (r *replica) forgetLease(fence int64) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if r.lease.held.Fence == fence {
		r.lease.held, r.lease.standby = partition.Lease{}, true
	}
}

// whileLeased runs f under the lease, and renews the lease meanwhile. A failed renewal
// ends f's context.
func (r *replica) whileLeased(ctx context.Context, f func(ctx context.Context) error) error {
	if _, err := r.leaseFence(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	done := make(chan struct{})
	group.Go(func() error {
		defer close(done)
		return f(ctx)
	})
	group.Go(func() error {
		ticker := time.NewTicker(r.s.options.LeaseTTL / 3)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return nil
			case <-ticker.C:
				if _, err := r.leaseFence(ctx); err != nil {
					return err
				}
			}
		}
	})
	return group.Wait()
}

// releaseLeases releases all leases, so that another process need not wait until
// they expire. The end of ctx does not stop it.
func (s *Syncer) releaseLeases(ctx context.Context) {
	held := make(map[*replica]partition.Lease)
	s.mu.Lock()
	for _, r := range s.replicas {
		if r.lease.held.Fence != 0 {
			held[r] = r.lease.held
		}
	}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(s.options.Timeout, 2*time.Second))
	defer cancel()
	var group sync.WaitGroup
	for r, lease := range held {
		group.Go(func() {
			if err := r.Release(ctx, lease); err != nil {
				s.log.Info("lease not released, it expires", "partition", r.Name(), "error", err)
			}
			r.setLease(partition.Lease{}, time.Time{}, false)
		})
	}
	group.Wait()
}

// thisProcess distinguishes this process from an earlier one with the same number,
// such as the first process of a container.
var thisProcess = rand.Text()[:8]

// NewHolder returns a unique name for a holder of leases: host-pid-process-random.
func NewHolder() string {
	return fmt.Sprintf("%s-%d-%s-%s", hostName(), os.Getpid(), thisProcess, rand.Text()[:8])
}

func hostName() string {
	host, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return host
}

// HasEnded reports whether a holder was a process of this host that no longer exists.
// The answer may be wrong, because hosts and containers may have equal names. A caller
// therefore acts on it once per lease; a wrong answer merely causes some work to be done twice.
func HasEnded(holder string) bool {
	rest, found := strings.CutPrefix(holder, hostName()+"-")
	parts := strings.Split(rest, "-")
	if !found || len(parts) != 3 {
		return false
	}
	pid, err := strconv.Atoi(parts[0])
	if err != nil || pid <= 0 {
		return false
	}
	if pid == os.Getpid() {
		return parts[1] != thisProcess
	}
	return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}
