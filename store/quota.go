package store

import (
	"context"
	"time"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/internal/quota"
)

// Quota bounds the live entries of users whose names begin with Prefix ("" for all names): at most
// MaxKeys entries, and at most MaxBytes bytes in their values. 0 is no limit.
//
// An entry counts for every quota with a prefix of its name. A write that makes a quota's use grow
// beyond the limit fails with a *QuotaError; deletions, and writes that make nothing grow, never do.
// The bound is exact for the writes of a single process. Several processes together may exceed a
// limit by what they write between two measurements (Options.MeasureEvery). Before the first
// measurement of a process, only the growth by the writes of that process counts.
type Quota = quota.Quota

// QuotaStatus is the known use of a quota.
type QuotaStatus = quota.Status

// SetQuotas replaces the quotas, also while the store is running. A quota with the prefix of a former
// quota keeps its use.
func (s *Store) SetQuotas(quotas []Quota) { s.quotas.Set(string(User)+"/", quotas) }

// measureLoop measures the use of the quotas until ctx ends.
func (s *Store) measureLoop(ctx context.Context) {
	failing := false
	for {
		err := s.measureQuotas(ctx)
		if ctx.Err() != nil {
			return
		}
		if failed := err != nil; failed != failing {
			if failing = failed; failing {
				s.options.Logger.Warn("the use of the quotas cannot be measured: the last known use counts, with the writes of this process", "error", err)
			} else {
				s.options.Logger.Info("the use of the quotas was measured again")
			}
		}
		wait := s.options.MeasureEvery
		if failing {
			wait = min(wait, s.options.Poll)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-s.quotas.Due():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// measureQuotas measures the use of the quotas on every master.
func (s *Store) measureQuotas(ctx context.Context) error {
	if !s.quotas.IsActive() {
		return nil
	}
	c := s.cluster.Map()
	if c == nil {
		return backend.ErrNotReached
	}
	masters := make([]quota.Master, len(c.Masters))
	for i, name := range c.Masters {
		b := s.backends.Named(name)
		if b == nil {
			return backend.ErrUnknownPartition
		}
		masters[i] = b
	}
	return s.quotas.Measure(ctx, masters, s.options.Timeout)
}
