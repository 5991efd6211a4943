package sync

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/runnelkv/runnel/store"
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
			group.Go(func() error { return o.replica.sweep(ctx, v) })
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

// sweep sweeps a master: the keys of its slots, whichever master has written the entries. An entry expires by the clock of
// its origin.
func (r *replica) sweep(ctx context.Context, v *survey) error {
	bound, cancel := context.WithTimeout(ctx, r.s.options.Timeout)
	defer cancel()
	c, err := r.Cluster(bound)
	if err != nil {
		return fmt.Errorf("sweep %s: %w", r.Name(), err)
	}
	sw := &masterSweep{r: r, c: c, own: partition.Origin(r.Name()), until: make(map[partition.Origin]partition.Instant)}
	sw.until[sw.own] = 0
	for _, o := range sw.formerOrigins() {
		if until, ok := v.clockOf(o); ok {
			sw.until[o] = until
		}
	}
	for _, o := range slices.Sorted(maps.Keys(sw.until)) {
		if err := sw.sweepOrigin(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// clockOf returns the last known time of an origin's clock, or 0 if the origin is not configured any more: then the clock of
// the present master alone decides. If no time is known, ok is false.
func (v *survey) clockOf(origin partition.Origin) (at partition.Instant, ok bool) {
	for i := range v.observations {
		if o := &v.observations[i]; o.replica.Name() == string(origin) {
			return o.at.Now, o.at.Now != 0
		}
	}
	return 0, true
}

// masterSweep is a sweep of a master.
type masterSweep struct {
	r     *replica
	c     partition.Cluster // the master's row
	own   partition.Origin
	until map[partition.Origin]partition.Instant // by origin whose entries are swept, the last expiry to sweep; 0: the master's clock decides
}

// formerOrigins returns the masters that had some of the master's present slots before.
func (sw *masterSweep) formerOrigins() (origins []partition.Origin) {
	for _, m := range sw.c.Moves {
		if m.From != string(sw.own) && slices.ContainsFunc(m.Slots.All(), sw.owns) {
			origins = append(origins, partition.Origin(m.From))
		}
	}
	return origins
}

// owns reports whether the master has the slot. During its move a slot has no master.
func (sw *masterSweep) owns(slot uint16) bool {
	return sw.c.Masters[sw.c.Slots[slot]] == string(sw.own) && sw.c.MoveOf(slot) == nil
}

// isMine reports whether the sweep may replace an entry of a key. Before the first move, every own entry may be.
func (sw *masterSweep) isMine(k partition.Key) bool {
	return len(sw.c.Moves) == 0 || sw.owns(uint16(store.SlotOf(k)))
}

// sweepOrigin sweeps the entries of an origin, and sleeps after each commit for as long as the commit took.
func (sw *masterSweep) sweepOrigin(ctx context.Context, o partition.Origin) error {
	span := partition.ExpirySpan{Origin: o, Until: sw.until[o], Limit: sweepBatch}
	for range sweepBatches {
		expired, err := sw.r.expired(ctx, span)
		if err != nil || len(expired) == 0 {
			return err
		}
		var keys []partition.Key
		for _, k := range expired {
			if sw.isMine(k.Key) {
				keys = append(keys, k.Key)
			}
		}
		began := time.Now()
		if len(keys) > 0 {
			err = sw.r.lease.While(ctx, func(ctx context.Context) error { return sw.writeTombstones(ctx, keys) })
		}
		if err != nil {
			return fmt.Errorf("sweep %d entries of %s: %w", len(keys), sw.r.Name(), err)
		}
		if len(expired) < sweepBatch {
			return nil
		}
		span.After = expired[len(expired)-1]
		select {
		case <-time.After(time.Since(began)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (r *replica) expired(ctx context.Context, s partition.ExpirySpan) ([]partition.ExpiredKey, error) {
	bound, cancel := context.WithTimeout(ctx, r.s.options.Timeout)
	defer cancel()
	expired, err := r.Expired(bound, s)
	if err != nil {
		return nil, fmt.Errorf("look for expired entries of %s on %s: %w", s.Origin, r.Name(), err)
	}
	return expired, nil
}

// writeTombstones replaces the entries that are still expired within the
// transaction: by the master's clock, and under the lock that orders all of the master's
// writers. An entry that was written again, or given a later expiry, stays.
func (sw *masterSweep) writeTombstones(ctx context.Context, keys []partition.Key) error {
	bound, cancel := context.WithTimeout(ctx, sw.r.s.options.Timeout)
	defer cancel()
	var written int64
	_, err := sw.r.Commit(bound, partition.Batch{Epoch: sw.c.EpochOf(sw.r.Name()), Revisions: len(keys), Heads: keys,
		Decide: func(c partition.Claim) ([]partition.Entry, error) {
			tombstones := sw.tombstonesOf(c)
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
	sw.r.s.mu.Lock()
	defer sw.r.s.mu.Unlock()
	sw.r.swept += written
	return nil
}

// tombstonesOf returns a tombstone for each expired entry of the claim.
func (sw *masterSweep) tombstonesOf(c partition.Claim) []partition.Entry {
	var tombstones []partition.Entry
	for i := range c.Current {
		e := &c.Current[i]
		until, swept := sw.until[e.Origin]
		if !swept || e.Deleted || e.Live(c.Now) || until != 0 && e.ExpiresAt > until {
			continue
		}
		tombstones = append(tombstones, partition.Entry{Key: e.Key, Origin: sw.own, Revision: c.First + partition.Revision(len(tombstones)),
			Deleted: true, ModifiedAt: c.Now, Checksum: partition.Checksum(nil)})
	}
	return tombstones
}
