package sync

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/runnelkv/runnel/store/partition"
)

// mark is a moment at which every configured partition was complete. Tombstones up to upTo may
// be collected once all partitions have passed heads: an older entry that such a
// tombstone replaced, of any origin, can then no longer arrive, because the position that would
// move with it has moved.
type mark struct {
	at    time.Time
	upTo  revisions // that all partitions held
	heads revisions // of the origins
}

type revisions map[partition.Origin]partition.Revision

// reaches reports whether every revision of other is reached.
func (r revisions) reaches(other revisions) bool {
	for o, revision := range other {
		if r[o] < revision {
			return false
		}
	}
	return true
}

// newMark returns a mark of now, or nil unless the pass has read every partition and
// found it complete.
func (v *survey) newMark() *mark {
	m := &mark{at: time.Now(), upTo: make(revisions), heads: make(revisions)}
	for _, origin := range v.origins {
		if v.behind[origin] != nil {
			return nil
		}
		for i := range v.observations {
			o := &v.observations[i]
			p := o.positionOf(origin)
			own := o.replica.Name() == string(origin)
			if !o.fresh || (!own && !p.Whole()) {
				return nil
			}
			if least, seen := m.upTo[origin]; !seen || p.Revision < least {
				m.upTo[origin] = p.Revision
			}
			m.heads[origin] = max(m.heads[origin], p.Revision)
		}
	}
	return m
}

// dueForCollection returns the revisions up to which tombstones may be collected now, nil if
// none, and starts the wait for the next collection. Syncer.mu is held.
func (s *Syncer) dueForCollection(v *survey) revisions {
	m, old := v.newMark(), s.mark
	if m == nil {
		return nil
	}
	if old != nil && (m.at.Sub(old.at) < s.options.TombstoneGrace || !m.upTo.reaches(old.heads) || !m.upTo.reaches(old.upTo)) {
		return nil
	}
	s.mark = m
	if old == nil {
		return nil
	}
	return old.upTo
}

// startMark lets a standalone pass collect up to the positions at its beginning.
func (s *Syncer) startMark(v *survey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mark == nil {
		s.mark = v.newMark()
	}
}

// collect removes the tombstones that are due from all partitions, in parallel.
func (s *Syncer) collect(ctx context.Context, v *survey) {
	s.mu.Lock()
	due := s.dueForCollection(v)
	s.mu.Unlock()
	if due == nil {
		return
	}
	var group errgroup.Group
	for i := range v.observations {
		group.Go(func() error { return s.collectOn(ctx, &v.observations[i], due) })
	}
	if err := group.Wait(); err != nil && ctx.Err() == nil && !errors.Is(err, partition.ErrLeaseHeld) {
		s.log.Warn("not all tombstones could be collected", "error", err)
	}
}

func (s *Syncer) collectOn(ctx context.Context, o *observation, due revisions) error {
	r := o.replica
	for origin, upTo := range due {
		if o.positionOf(origin).Collected >= upTo {
			continue
		}
		var n int
		err := r.lease.While(ctx, func(ctx context.Context) (err error) {
			n, err = r.Collect(ctx, origin, upTo)
			return err
		})
		s.mu.Lock()
		r.collected += int64(n)
		r.stale = true
		s.mu.Unlock()
		if err != nil {
			return fmt.Errorf("collect tombstones of %s on %s: %w", origin, r.Name(), err)
		}
	}
	return nil
}
