package sync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/runnelkv/runnel/store/partition"
)

// Bounds of a sweep of a master; the next sweep continues.
const (
	sweepBatch   = 500 // entries of a commit
	sweepBatches = 100 // commits
)

// errNothingExpired rolls a commit back.
var errNothingExpired = errors.New("nothing has expired")

// sweep replaces expired entries by tombstones, on all masters in parallel, and returns
// how many. Readers no longer see an entry once it has expired; sweeping
// merely frees its space.
func (s *Syncer) sweep(ctx context.Context, v *survey) (swept int64) {
	before, masters := s.totalSwept(), s.cluster.Origins()
	var group errgroup.Group
	for i := range v.observations {
		o := &v.observations[i]
		own := partition.Origin(o.replica.Name())
		if slices.Contains(masters, own) && o.ok && v.behind[own] == nil {
			group.Go(func() error { return o.replica.sweep(ctx) })
		}
	}
	if err := group.Wait(); err != nil && ctx.Err() == nil && !errors.Is(err, partition.ErrLeaseHeld) {
		s.log.Warn("not all expired entries could be swept", "error", err)
	}
	return s.totalSwept() - before
}

func (s *Syncer) totalSwept() (sum int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.replicas {
		sum += r.swept
	}
	return sum
}

// sweep sweeps a master, and sleeps after each commit for as long as the commit took.
func (r *replica) sweep(ctx context.Context) error {
	keys, err := r.expiredKeys(ctx)
	if err != nil || len(keys) == 0 {
		return err
	}
	c, err := r.Cluster(ctx)
	if err != nil {
		return fmt.Errorf("sweep %s: %w", r.Name(), err)
	}
	return r.whileLeased(ctx, func(ctx context.Context) error {
		for n := 0; len(keys) > 0 && n < sweepBatches; n++ {
			began := time.Now()
			if err := r.writeTombstones(ctx, c.Epoch, keys); err != nil {
				return fmt.Errorf("sweep %d entries of %s: %w", len(keys), r.Name(), err)
			}
			if len(keys) < sweepBatch {
				return nil
			}
			select {
			case <-time.After(time.Since(began)):
			case <-ctx.Done():
				return ctx.Err()
			}
			if keys, err = r.expiredKeys(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *replica) expiredKeys(ctx context.Context) ([]partition.Key, error) {
	bound, cancel := context.WithTimeout(ctx, r.s.options.Timeout)
	defer cancel()
	keys, err := r.Expired(bound, sweepBatch)
	if err != nil {
		return nil, fmt.Errorf("look for expired entries of %s: %w", r.Name(), err)
	}
	return keys, nil
}

// writeTombstones replaces the entries that are still expired within the
// transaction: by the master's clock, and under the lock that orders all of the master's
// writers. An entry that was written again, or given a later expiry, stays.
func (r *replica) writeTombstones(ctx context.Context, epoch int64, keys []partition.Key) error {
	bound, cancel := context.WithTimeout(ctx, r.s.options.Timeout)
	defer cancel()
	var written int64
	_, err := r.Commit(bound, partition.Batch{Epoch: epoch, Revisions: len(keys), Heads: keys,
		Decide: func(c partition.Claim) ([]partition.Entry, error) {
			tombstones := tombstonesOf(partition.Origin(r.Name()), c)
			written = int64(len(tombstones))
			if written == 0 {
				return nil, errNothingExpired
			}
			return tombstones, nil
		}})
	if errors.Is(err, errNothingExpired) {
		return nil
	}
	if err != nil {
		return err
	}
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.swept += written
	return nil
}

// tombstonesOf returns a tombstone for each expired entry of the claim.
func tombstonesOf(own partition.Origin, c partition.Claim) []partition.Entry {
	var tombstones []partition.Entry
	for i := range c.Current {
		e := &c.Current[i]
		if e.Deleted || e.Live(c.Now) || e.Origin != own {
			continue
		}
		tombstones = append(tombstones, partition.Entry{Key: e.Key, Origin: own, Revision: c.First + partition.Revision(len(tombstones)),
			Deleted: true, ModifiedAt: c.Now, Checksum: partition.Checksum(nil)})
	}
	return tombstones
}
