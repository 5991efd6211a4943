package feed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/internal/cluster"
	"github.com/runnelkv/runnel/store/internal/version"
	"github.com/runnelkv/runnel/store/partition"
)

// ErrResync: the reader has not seen tombstones that are collected by now, or has seen
// writes that a restore has undone. The reader may hold keys that no longer exist, and must start
// again at the beginning.
var ErrResync = errors.New("the token is older than collected tombstones, or includes writes that a restore has undone")

// changeSource is a partition that changes are read from: a complete partition, not in a
// multi-step catch-up, and holds everything that the reader has seen, of every origin.
// A different partition could return an older state of a key after a newer one, where mastership of
// the key has moved.
type changeSource struct {
	feed      *Feed
	backend   *backend.Backend
	tag       version.ClusterTag
	positions partition.Positions // read when the source was opened
}

// withSource runs use with sources that hold everything the token has seen, in turn,
// until use succeeds.
func (f *Feed) withSource(ctx context.Context, t Token, use func(*changeSource) error) error {
	c := f.cluster.Map()
	if c == nil {
		return backend.ErrNoPartition
	}
	if !t.IsBeginning() && t.cluster != c.Tag {
		return version.ErrForeignToken
	}
	if c.HasLost(t.seen) {
		return ErrResync
	}
	var failure error
	for _, b := range f.feedCandidates(c, t) {
		src, err := f.openSource(ctx, c, b, t)
		if err == nil {
			err = use(src)
		}
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, version.ErrForeignToken), errors.Is(err, backend.ErrClosed): // no further source can help
			return err
		case !errors.Is(failure, ErrResync): // another source may have collected less
			failure = err
		}
	}
	switch {
	case errors.Is(failure, ErrResync):
		return ErrResync
	case failure != nil:
		return fmt.Errorf("%w: %w", backend.ErrNoPartition, failure)
	}
	return backend.ErrNoPartition
}

// How well a partition is known to serve as a source of changes.
const (
	sourceGood    = iota // a replica: its changes are durable at their origin, and the master is spared
	sourceMaster         // a master, or a replica that has been behind for a while
	sourceUnknown        // not known to be complete and to hold everything the reader has seen
)

// feedCandidates lists the backends that may be a source, the best first.
func (f *Feed) feedCandidates(c *cluster.Map, t Token) []*backend.Backend {
	type candidate struct {
		b    *backend.Backend
		rank int
		sum  partition.Revision // of all positions
	}
	var all []candidate
	for _, b := range f.backends.All() {
		if k := b.Observed(); k != nil && b.IsUp() && !b.MayLackWrites() {
			sum := partition.Revision(0)
			for _, at := range k.Origins {
				sum += at.Revision
			}
			all = append(all, candidate{b, f.sourceRank(c, b, k, t), sum})
		}
	}
	slices.SortStableFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(b.sum, a.sum))
	})
	backends := make([]*backend.Backend, len(all))
	for i := range all {
		backends[i] = all[i].b
	}
	return backends
}

func (f *Feed) sourceRank(c *cluster.Map, b *backend.Backend, k *backend.Observation, t Token) int {
	switch {
	case checkSource(c, b, k.Positions, t) != nil:
		return sourceUnknown
	case slices.Contains(c.Masters, b.Name()) || f.isLaggingReplica(c, b):
		return sourceMaster
	}
	return sourceGood
}

// sourcePatience is how long a replica may be behind before masters are asked instead. This
// is longer than the usual interval between passes.
const sourcePatience = 2 * time.Second

// isLaggingReplica reports whether the backend has been behind the known position of an
// origin for longer than sourcePatience.
func (f *Feed) isLaggingReplica(c *cluster.Map, b *backend.Backend) bool {
	for _, o := range c.Origins() {
		master := f.backends.Named(string(o))
		if master == nil {
			continue
		}
		own, _ := b.Position(o)
		if head, ok := master.Position(o); ok && own.Revision < head.Revision && f.backends.Staleness(b, o) > sourcePatience {
			return true
		}
	}
	return false
}

// openSource reads a backend's positions and checks that the backend may serve a reader that has
// seen t.
func (f *Feed) openSource(ctx context.Context, c *cluster.Map, b *backend.Backend, t Token) (*changeSource, error) {
	bound, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	p, err := b.Positions(bound)
	if err == nil {
		err = checkSource(c, b, p, t)
	}
	if err != nil {
		return nil, err
	}
	return &changeSource{feed: f, backend: b, tag: c.Tag, positions: p}, nil
}

// checkSource rejects a partition that lacks an origin, is in a multi-step catch-up (its
// position is ahead of its contents then), or lacks something that the token has seen.
func checkSource(c *cluster.Map, b *backend.Backend, p partition.Positions, t Token) error {
	for _, o := range c.Origins() {
		if _, ok := p.Origins[o]; !ok {
			return fmt.Errorf("%s holds nothing of %s", b.Name(), o)
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

func checkPosition(b *backend.Backend, o partition.Origin, at partition.Position) error {
	if b.Name() != string(o) && !at.Whole() {
		return fmt.Errorf("%s is catching up with %s", b.Name(), o)
	}
	return nil
}

// startToken is the token of a reader that starts at the beginning, has seen nothing,
// and needs none of the tombstones that are collected already.
func (src *changeSource) startToken() Token {
	t := Token{cluster: src.tag}
	for o, at := range src.positions.Origins {
		t.floor = t.floor.With(version.Mark{Origin: o, Revision: at.Collected})
	}
	return t
}

// mayContinue returns ErrResync if tombstones that the token has not seen are collected.
func (src *changeSource) mayContinue(t Token) error {
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
func (src *changeSource) ensureDurable(ctx context.Context, r partition.Revision) error {
	o := partition.Origin(src.backend.Name())
	if r <= src.backend.DurableUpTo() {
		return nil
	}
	for _, b := range src.feed.backends.All() {
		// A replica's changes were durable at their origin before they were copied.
		if at, ok := b.Position(o); ok && b != src.backend && at.Revision >= r {
			return nil
		}
	}
	bound, cancel := context.WithTimeout(ctx, src.feed.timeout)
	defer cancel()
	if err := src.backend.Barrier(bound); err != nil {
		return err
	}
	src.backend.NoteDurable(r)
	return nil
}
