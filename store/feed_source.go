package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// ErrResync: the reader has not seen tombstones that are collected by now, or has seen
// writes that a restore has undone. It may hold keys that no longer exist, and must start
// again at the beginning.
var ErrResync = errors.New("the token is older than collected tombstones, or includes writes that a restore has undone")

// changeSource is a partition that changes are read from. It is complete, not in a
// multi-step catch-up, and holds everything that the reader has seen, of every origin.
// Otherwise it could return an older state of a key after a newer one, where mastership of
// the key has moved.
type changeSource struct {
	s         *Store
	backend   *backend
	tag       ClusterTag
	positions partition.Positions // read when the source was opened
}

// withSource runs f with sources that hold everything the token has seen, one after the
// other, until f succeeds.
func (s *Store) withSource(ctx context.Context, t ChangeToken, f func(*changeSource) error) error {
	c := s.cluster.Load()
	if c == nil {
		return ErrNoPartition
	}
	if !t.IsBeginning() && t.cluster != c.tag {
		return ErrForeignToken
	}
	if c.hasLost(t.seen) {
		return ErrResync
	}
	var failure error
	for _, b := range s.feedCandidates(c, t) {
		src, err := s.openSource(ctx, c, b, t)
		if err == nil {
			err = f(src)
		}
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrForeignToken), errors.Is(err, ErrClosed): // no other source can help
			return err
		case !errors.Is(failure, ErrResync): // another source may have collected less
			failure = err
		}
	}
	switch {
	case errors.Is(failure, ErrResync):
		return ErrResync
	case failure != nil:
		return fmt.Errorf("%w: %w", ErrNoPartition, failure)
	}
	return ErrNoPartition
}

// How well a partition is known to serve as a source of changes.
const (
	sourceGood    = iota // a replica: its changes are durable at their origin, and the master is spared
	sourceMaster         // a master, or a replica that has been behind for a while
	sourceUnknown        // not known to be complete and to hold everything the reader has seen
)

// feedCandidates lists the backends that may be a source, the best first.
func (s *Store) feedCandidates(c *clusterMap, t ChangeToken) []*backend {
	type candidate struct {
		b    *backend
		rank int
		sum  Revision // of all positions
	}
	var all []candidate
	for _, b := range *s.backends.Load() {
		if k := b.observed.Load(); k != nil && b.isUp() && !b.mayLackWrites.Load() {
			sum := Revision(0)
			for _, at := range k.Origins {
				sum += at.Revision
			}
			all = append(all, candidate{b, s.sourceRank(c, b, k, t), sum})
		}
	}
	slices.SortStableFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(b.sum, a.sum))
	})
	backends := make([]*backend, len(all))
	for i := range all {
		backends[i] = all[i].b
	}
	return backends
}

func (s *Store) sourceRank(c *clusterMap, b *backend, k *observedPositions, t ChangeToken) int {
	switch {
	case checkSource(c, b, k.Positions, t) != nil:
		return sourceUnknown
	case slices.Contains(c.Masters, b.Name()) || s.isLaggingReplica(c, b):
		return sourceMaster
	}
	return sourceGood
}

// sourcePatience is how long a replica may be behind before masters are asked instead. It
// is longer than the usual interval between passes.
const sourcePatience = 2 * time.Second

// isLaggingReplica reports whether the backend has been behind the known position of an
// origin for longer than sourcePatience.
func (s *Store) isLaggingReplica(c *clusterMap, b *backend) bool {
	for _, name := range c.Masters {
		master, o := s.backend(name), Origin(name)
		if master == nil {
			continue
		}
		own, _ := b.position(o)
		if head, ok := master.position(o); ok && own.Revision < head.Revision && s.staleness(b, o) > sourcePatience {
			return true
		}
	}
	return false
}

// openSource reads a backend's positions and checks that it may serve a reader that has
// seen t.
func (s *Store) openSource(ctx context.Context, c *clusterMap, b *backend, t ChangeToken) (*changeSource, error) {
	bound, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	p, err := b.Positions(bound)
	if err == nil {
		err = checkSource(c, b, p, t)
	}
	if err != nil {
		return nil, err
	}
	return &changeSource{s: s, backend: b, tag: c.tag, positions: p}, nil
}

// checkSource rejects a partition that lacks an origin, is in a multi-step catch-up (its
// position is ahead of its contents then), or lacks something that the token has seen.
func checkSource(c *clusterMap, b *backend, p partition.Positions, t ChangeToken) error {
	for _, name := range c.Masters {
		if _, ok := p.Origins[Origin(name)]; !ok {
			return fmt.Errorf("%s holds nothing of %s", b.Name(), name)
		}
	}
	for o, at := range p.Origins {
		if err := checkPosition(b, o, at); err != nil {
			return err
		}
	}
	for o, r := range t.seen.All() {
		if p.Origins[o].Revision < r {
			return fmt.Errorf("%s has not reached the token yet", b.Name())
		}
	}
	return nil
}

func checkPosition(b *backend, o Origin, at partition.Position) error {
	if b.Name() != string(o) && !at.Whole() {
		return fmt.Errorf("%s is catching up with %s", b.Name(), o)
	}
	return nil
}

// vectorOf is everything that a partition at these positions holds.
func vectorOf(p partition.Positions) (v Vector) {
	for o, at := range p.Origins {
		v = v.With(Mark{o, at.Revision})
	}
	return v
}

// startToken is the token of a reader that starts at the beginning: it has seen nothing,
// and needs none of the tombstones that are collected already.
func (src *changeSource) startToken() ChangeToken {
	t := ChangeToken{cluster: src.tag}
	for o, at := range src.positions.Origins {
		t.floor = t.floor.With(Mark{o, at.Collected})
	}
	return t
}

// mayContinue returns ErrResync if tombstones that the token has not seen are collected.
func (src *changeSource) mayContinue(t ChangeToken) error {
	if t.IsBeginning() {
		return nil
	}
	for o, at := range src.positions.Origins {
		if t.lacks(o, at) {
			return ErrResync
		}
	}
	return nil
}

// ensureDurable makes the source's own changes up to r durable. A row is visible before its
// commit is durable. If such a row were handed out, a crash could undo it, and its revision
// would be issued again, to a write that no reader with this token would ever receive.
func (src *changeSource) ensureDurable(ctx context.Context, r Revision) error {
	o := Origin(src.backend.Name())
	if r <= Revision(src.backend.durableUpTo.Load()) {
		return nil
	}
	for _, b := range *src.s.backends.Load() {
		// A replica's changes were durable at their origin before they were copied.
		if at, ok := b.position(o); ok && b != src.backend && at.Revision >= r {
			return nil
		}
	}
	bound, cancel := context.WithTimeout(ctx, src.s.options.Timeout)
	defer cancel()
	if err := src.backend.Barrier(bound); err != nil {
		return err
	}
	raiseTo(&src.backend.durableUpTo, r)
	return nil
}
