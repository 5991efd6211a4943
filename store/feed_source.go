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

// ErrResync: the reader has not seen tombstones that are collected by now, or has
// seen writes that a restore has undone. What it holds may be of keys that are
// gone: it begins anew, at the beginning.
var ErrResync = errors.New("changes that were not seen yet are collected, or some that were seen are undone")

// changeSource is a partition that changes are read from: it is whole, not
// amid a catch-up, and holds everything that the reader has seen already, of
// every origin. (Otherwise it could give a key's older state after its newer
// one, when the key's master has moved.)
type changeSource struct {
	s         *Store
	m         *backend
	tag       ClusterTag
	positions partition.Positions // read when it was chosen
}

// fromSource runs f with partitions that cover the token, one after the other,
// until it succeeds.
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
	for _, m := range s.feedCandidates(c, t) {
		src, err := s.openSource(ctx, c, m, t)
		if err == nil {
			err = f(src)
		}
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case isFinal(err) && !errors.Is(err, ErrResync):
			return err
		case !errors.Is(failure, ErrResync): // another one may have collected less
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

// How well a partition is known to fit as a source of changes.
const (
	sourceGood    = iota // a replica: what it holds is durable where it was written, and the writers are left alone
	sourceMaster         // a master, or a replica that has been behind for a while
	sourceUnknown        // it is not known to be whole and to hold what the reader has seen
)

// changeMembers lists who may be asked, the best first.
func (s *Store) feedCandidates(c *clusterMap, t ChangeToken) []*backend {
	type candidate struct {
		m    *backend
		rank int
		sum  Revision
	}
	var all []candidate
	for _, m := range *s.backends.Load() {
		if k := m.observed.Load(); k != nil && m.isUp() && !m.mayLackWrites.Load() {
			all = append(all, candidate{m, s.sourceRank(c, m, k, t), sum(k.Positions)})
		}
	}
	slices.SortStableFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(b.sum, a.sum))
	})
	members := make([]*backend, len(all))
	for i := range all {
		members[i] = all[i].m
	}
	return members
}

func (s *Store) sourceRank(c *clusterMap, m *backend, k *observedPositions, t ChangeToken) int {
	switch {
	case checkWhole(c, m, k.Positions) != nil || !covers(k.Positions, t):
		return sourceUnknown
	case slices.Contains(c.Masters, m.Name()) || s.isLaggingReplica(c, m):
		return sourceMaster
	}
	return sourceGood
}

// sourcePatience is how long a replica may be behind before masters are asked
// instead: longer than a pass takes to come by.
const sourcePatience = 2 * time.Second

// laggard reports whether the member has been behind what is known of an origin.
func (s *Store) isLaggingReplica(c *clusterMap, m *backend) bool {
	for _, name := range c.Masters {
		own, _ := m.position(Origin(name))
		if head, ok := s.knownHead(Origin(name)); ok && own.Revision < head && s.staleness(m, Origin(name)) > sourcePatience {
			return true
		}
	}
	return false
}

func (s *Store) knownHead(o Origin) (head Revision, ok bool) {
	m := s.backend(string(o))
	if m == nil {
		return 0, false
	}
	at, ok := m.position(o)
	return at.Revision, ok
}

func sum(p partition.Positions) (sum Revision) {
	for _, at := range p.Origins {
		sum += at.Revision
	}
	return sum
}

// openSource reads a member's positions and checks that it may serve who has
// seen t.
func (s *Store) openSource(ctx context.Context, c *clusterMap, m *backend, t ChangeToken) (*changeSource, error) {
	bound, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	p, err := m.Positions(bound)
	if err == nil {
		err = checkWhole(c, m, p)
	}
	if err == nil && !covers(p, t) {
		err = fmt.Errorf("%s does not hold everything yet that the token has seen", m.Name())
	}
	if err != nil {
		return nil, err
	}
	return &changeSource{s: s, m: m, tag: c.tag, positions: p}, nil
}

// checkWhole refuses a partition that lacks an origin, or is amid a catch-up in
// several steps: its position says more than it holds then.
func checkWhole(c *clusterMap, m *backend, p partition.Positions) error {
	for _, name := range c.Masters {
		if _, ok := p.Origins[Origin(name)]; !ok {
			return fmt.Errorf("%s holds nothing of %s", m.Name(), name)
		}
	}
	for o, at := range p.Origins {
		if err := checkPosition(m, o, at); err != nil {
			return err
		}
	}
	return nil
}

func checkPosition(m *backend, o Origin, at partition.Position) error {
	if m.Name() != string(o) && !at.Whole() {
		return fmt.Errorf("%s is amid a catch-up of %s", m.Name(), o)
	}
	return nil
}

func covers(p partition.Positions, t ChangeToken) bool {
	for o, r := range t.seen.All() {
		if p.Origins[o].Revision < r {
			return false
		}
	}
	return true
}

// head is the token of who has seen everything that the source holds.
func (src *changeSource) head() ChangeToken {
	t := ChangeToken{cluster: src.tag}
	for o, at := range src.positions.Origins {
		t.seen = t.seen.With(Mark{o, at.Revision})
	}
	return t
}

// begin is the token of who begins: it has seen nothing, and needs none of the
// tombstones that are gone already.
func (src *changeSource) startToken() ChangeToken {
	t := ChangeToken{cluster: src.tag}
	for o, at := range src.positions.Origins {
		t.floor = t.floor.With(Mark{o, at.Collected})
	}
	return t
}

// mayContinue returns ErrResync if tombstones that the token has not seen are gone.
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

// settle makes sure that what the source holds of its own origin up to r is
// durable. A row is visible before its commit is: handed out now, a crash could
// take it back, and its revision would be given to another write that
// nobody with this token is ever told of.
func (src *changeSource) ensureDurable(ctx context.Context, r Revision) error {
	o := Origin(src.m.Name())
	if r <= src.s.tail.durableUpTo(o) {
		return nil
	}
	for _, m := range *src.s.backends.Load() {
		// What another one holds was durable before it was copied.
		if at, ok := m.position(o); ok && m != src.m && at.Revision >= r {
			return nil
		}
	}
	bound, cancel := context.WithTimeout(ctx, src.s.options.Timeout)
	defer cancel()
	if err := src.m.Barrier(bound); err != nil {
		return err
	}
	src.s.tail.noteDurable(o, r)
	return nil
}
