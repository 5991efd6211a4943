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

// sweepBatch bounds the entries of one commit of a sweep, and sweepBatches its
// commits: what is left then waits for the next.
const (
	sweepBatch   = 500
	sweepBatches = 100
)

// errNothingExpired rolls a commit back.
var errNothingExpired = errors.New("nothing has expired")

// sweepSometimes sweeps beside everything else, once in Options.SweepEvery.
func (s *Syncer) sweepSometimes(ctx context.Context, v *view) {
	s.mu.Lock()
	defer s.mu.Unlock()
	every := s.options.SweepEvery
	if every < 0 || s.sweeping || time.Since(s.swept) < every {
		return
	}
	s.sweeping, s.swept = true, time.Now()
	s.work.Go(func() {
		if s.sweep(ctx, v) > 0 {
			signal(s.kick) // the tombstones can be copied
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.sweeping = false
	})
}

// sweepNow sweeps at the end of a lone pass, and has the tombstones copied too.
func (s *Syncer) sweepNow(ctx context.Context, v *view) error {
	if s.options.SweepEvery < 0 || s.sweep(ctx, v) == 0 {
		return nil
	}
	return s.start(ctx, alone).wait(ctx)
}

// sweep turns expired entries into tombstones, on all masters side by side,
// and says how many. An entry is gone for every reader when it expires; only its place is
// given back here.
func (s *Syncer) sweep(ctx context.Context, v *view) (swept int64) {
	before, masters := s.sweptSoFar(), s.cluster.Origins()
	var group errgroup.Group
	for i := range v.sights {
		at := &v.sights[i]
		own := partition.Origin(at.peer.Name())
		if slices.Contains(masters, own) && at.ok && v.behind[own] == nil {
			group.Go(func() error { return at.peer.sweep(ctx) })
		}
	}
	if err := group.Wait(); err != nil && ctx.Err() == nil && !errors.Is(err, partition.ErrLeaseHeld) {
		s.log.Warn("not all expired entries could be swept", "error", err)
	}
	return s.sweptSoFar() - before
}

func (s *Syncer) sweptSoFar() (sum int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.peers {
		sum += p.swept
	}
	return sum
}

// sweep sweeps one master, resting after each commit for as long as it took.
func (p *peer) sweep(ctx context.Context) error {
	keys, err := p.expired(ctx)
	if err != nil || len(keys) == 0 {
		return err
	}
	c, err := p.Cluster(ctx)
	if err != nil {
		return fmt.Errorf("sweep %s: %w", p.Name(), err)
	}
	return p.whileLeased(ctx, func(ctx context.Context) error {
		for n := 0; len(keys) > 0 && n < sweepBatches; n++ {
			began := time.Now()
			if err := p.bury(ctx, c.Epoch, keys); err != nil {
				return fmt.Errorf("sweep %d entries of %s: %w", len(keys), p.Name(), err)
			}
			if len(keys) < sweepBatch {
				return nil
			}
			if err := sleep(ctx, time.Since(began)); err != nil {
				return err
			}
			if keys, err = p.expired(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

func (p *peer) expired(ctx context.Context) ([]partition.Key, error) {
	bound, cancel := context.WithTimeout(ctx, p.s.options.Timeout)
	defer cancel()
	keys, err := p.Expired(bound, sweepBatch)
	if err != nil {
		return nil, fmt.Errorf("look for expired entries of %s: %w", p.Name(), err)
	}
	return keys, nil
}

// bury writes tombstones in place of those entries that are, in the
// transaction, still expired: by the master's clock, under the lock that
// orders all its writers. What was written again, or lives longer now, stays.
func (p *peer) bury(ctx context.Context, epoch int64, keys []partition.Key) error {
	bound, cancel := context.WithTimeout(ctx, p.s.options.Timeout)
	defer cancel()
	var buried int64
	_, err := p.Commit(bound, partition.Batch{Epoch: epoch, Revisions: len(keys), Heads: keys,
		Decide: func(c partition.Claim) ([]partition.Entry, error) {
			tombstones := tombstonesOf(partition.Origin(p.Name()), c)
			buried = int64(len(tombstones))
			if buried == 0 {
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
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	p.swept += buried
	return nil
}

// tombstonesOf is one for each entry of the claim that has expired.
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

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
