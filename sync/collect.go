package sync

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/runnelkv/runnel/store/partition"
)

// mark is a moment at which every configured partition was whole: what all had
// passed, and where the origins were. Tombstones that all had passed
// then may go once all are beyond where the origins were: whatever
// those tombstones replaced, of any origin, can then not arrive any more,
// because the position it would move has moved.
type mark struct {
	at    time.Time
	upTo  revisions
	heads revisions
}

type revisions map[partition.Origin]partition.Revision

// reaches reports whether every revision of the other is reached.
func (r revisions) reaches(other revisions) bool {
	for o, revision := range other {
		if r[o] < revision {
			return false
		}
	}
	return true
}

// passed is what all partitions hold of every origin, and where the origins
// are. ok is false unless every partition was read in this pass and is whole.
func (v *view) passed() (upTo, heads revisions, ok bool) {
	upTo, heads = make(revisions), make(revisions)
	for _, o := range v.origins {
		if v.behind[o] != nil {
			return nil, nil, false
		}
		for i := range v.sights {
			s := &v.sights[i]
			p := s.position(o)
			own := s.peer.Name() == string(o)
			if !s.fresh || (!own && !p.Whole()) {
				return nil, nil, false
			}
			if least, seen := upTo[o]; !seen || p.Revision < least {
				upTo[o] = p.Revision
			}
			heads[o] = max(heads[o], p.Revision)
		}
	}
	return upTo, heads, true
}

// ripe returns up to where tombstones may be collected now, and begins to wait
// for the next time. Syncer.mu is held.
func (s *Syncer) ripe(v *view) revisions {
	upTo, heads, ok := v.passed()
	if !ok {
		return nil
	}
	now := time.Now()
	old := s.mark
	if old != nil && (now.Sub(old.at) < s.options.TombstoneGrace || !upTo.reaches(old.heads) || !upTo.reaches(old.upTo)) {
		return nil
	}
	s.mark = &mark{at: now, upTo: upTo, heads: heads}
	if old == nil {
		return nil
	}
	return old.upTo
}

// beginMark has a lone pass collect what all had passed when it began.
func (s *Syncer) beginMark(v *view) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if upTo, heads, ok := v.passed(); ok && s.mark == nil {
		s.mark = &mark{at: time.Now(), upTo: upTo, heads: heads}
	}
}

// collectSometimes collects beside everything else, once in Options.CollectEvery.
func (s *Syncer) collectSometimes(ctx context.Context, v *view) {
	s.mu.Lock()
	defer s.mu.Unlock()
	every := s.options.CollectEvery
	if every < 0 || s.collecting || time.Since(s.considered) < every {
		return
	}
	s.considered = time.Now()
	due := s.ripe(v)
	if due == nil {
		return
	}
	s.collecting = true
	s.work.Go(func() {
		s.collect(ctx, v, due)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.collecting = false
	})
}

// collectNow collects what a lone pass may; v is what was seen after it.
func (s *Syncer) collectNow(ctx context.Context, v *view) {
	if s.options.CollectEvery < 0 {
		return
	}
	s.mu.Lock()
	due := s.ripe(v)
	s.mu.Unlock()
	if due != nil {
		s.collect(ctx, v, due)
	}
}

// collect removes tombstones up to due on all partitions, side by side.
func (s *Syncer) collect(ctx context.Context, v *view, due revisions) {
	var group errgroup.Group
	for i := range v.sights {
		at := &v.sights[i]
		group.Go(func() error { return s.collectOn(ctx, at, due) })
	}
	if err := group.Wait(); err != nil && ctx.Err() == nil && !errors.Is(err, partition.ErrLeaseHeld) {
		s.log.Warn("not all tombstones could be collected", "error", err)
	}
}

func (s *Syncer) collectOn(ctx context.Context, at *sight, due revisions) error {
	p := at.peer
	for o, upTo := range due {
		if at.position(o).Collected >= upTo {
			continue
		}
		var n int
		err := p.whileLeased(ctx, func(ctx context.Context) (err error) {
			n, err = p.Collect(ctx, o, upTo)
			return err
		})
		s.mu.Lock()
		p.collected += int64(n)
		p.stale = true
		s.mu.Unlock()
		if err != nil {
			return fmt.Errorf("collect tombstones of %s on %s: %w", o, p.Name(), err)
		}
	}
	return nil
}
