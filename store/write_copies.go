package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/runnelkv/runnel/store/partition"
)

// EveryReachable asks Copy for all partitions that this process can reach.
const EveryReachable = -1

// Copy has further partitions catch up with a committed entry now, side by side,
// until want of them hold it durably, its master included; it need not be the sync
// process that does. It returns how many do, at least 1: fewer than want when no
// other can, or not in the timeout of a database operation. A partition that fails
// has another tried in its place; so has one that lacks more than a transaction
// should hold, or is not whole. The error says which failed; with as many copies as are
// wanted, or with EveryReachable on each that can be reached, there is none.
func (s *Store) Copy(ctx context.Context, e Entry, want int) (held int, err error) {
	keepers := s.copyTargets(e.Origin)
	if want == EveryReachable {
		want = 1 + len(keepers)
	}
	candidates := make(chan *backend, len(keepers))
	for _, m := range keepers {
		candidates <- m
	}
	close(candidates)
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	reached := make([]bool, max(want-1, 0))
	errs := make([]error, len(reached))
	var group sync.WaitGroup
	for i := range reached {
		group.Go(func() {
			for m := range candidates {
				failure := m.catchUps.reach(ctx, s, m, e)
				if failure == nil {
					reached[i] = true
					return
				}
				errs[i] = errors.Join(errs[i], failure)
			}
		})
	}
	group.Wait()
	held = 1
	for _, ok := range reached {
		if ok {
			held++
		}
	}
	if held >= want {
		return held, nil
	}
	return held, errors.Join(errs...)
}

// keepers are the partitions that can be asked to keep a copy of what an origin
// wrote, in random order, those last that are not known to be whole: what they
// are they know themselves.
func (s *Store) copyTargets(origin Origin) []*backend {
	var keepers []*backend
	for _, m := range *s.backends.Load() {
		if m.Name() != string(origin) && m.isReadable.Load() {
			keepers = append(keepers, m)
		}
	}
	rand.Shuffle(len(keepers), func(i, j int) { keepers[i], keepers[j] = keepers[j], keepers[i] })
	slices.SortStableFunc(keepers, func(a, b *backend) int {
		switch wholeA, wholeB := a.isComplete(origin), b.isComplete(origin); {
		case wholeA == wholeB:
			return 0
		case wholeA:
			return -1
		}
		return 1
	})
	return keepers
}

// catchUp brings origins forward on one member, for writes that need copies now. At
// most one Apply of an origin is under way: the writes that come meanwhile share the next.
type catchUps struct {
	mu      sync.Mutex
	origins map[Origin]*catchUpOrigin
}

type catchUpOrigin struct {
	roundSlot chan struct{} // holds a token while a round is under way
	mu        sync.Mutex    // guards next
	next      *catchUpRound // the round that writes join now; nil: the next one makes it
}

// catchUpRound takes the member to the newest of the revisions that its writes need.
type catchUpRound struct {
	upTo Revision
	done chan struct{} // closed once err is set
	err  error
}

func (c *catchUps) forOrigin(o Origin) *catchUpOrigin {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.origins == nil {
		c.origins = make(map[Origin]*catchUpOrigin)
	}
	if c.origins[o] == nil {
		c.origins[o] = &catchUpOrigin{roundSlot: make(chan struct{}, 1)}
	}
	return c.origins[o]
}

// reach returns once m holds e or a newer entry of its key, durably.
func (c *catchUps) reach(ctx context.Context, s *Store, m *backend, e Entry) error {
	if at, _ := m.position(e.Origin); at.Holds(e.Revision) {
		return nil
	}
	o := c.forOrigin(e.Origin)
	round := o.join(e.Revision)
	select {
	case <-round.done:
		return round.err
	case <-ctx.Done():
		return fmt.Errorf("bring %s to %d of %s: %w", m.Name(), e.Revision, e.Origin, ctx.Err())
	case o.roundSlot <- struct{}{}:
	}
	defer func() { <-o.roundSlot }()
	if upTo, mine := o.closeRound(round); mine {
		round.err = s.catchUpBackend(ctx, m, e.Origin, upTo)
		close(round.done)
	}
	return round.err
}

func (o *catchUpOrigin) join(upTo Revision) *catchUpRound {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.next == nil {
		o.next = &catchUpRound{done: make(chan struct{})}
	}
	o.next.upTo = max(o.next.upTo, upTo)
	return o.next
}

// begin closes a round to further writes, unless it is over already. The turn is held.
func (o *catchUpOrigin) closeRound(round *catchUpRound) (upTo Revision, mine bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.next != round {
		return 0, false
	}
	o.next = nil
	return round.upTo, true
}

// catchUpTries bounds how often a catch-up begins again because the sync process has
// moved the member meanwhile. One that began after the write brings the write along.
const catchUpTries = 5

// catchUp takes a member to a revision of an origin, or sees that the sync process
// has done so. The writes that share it may wait longer than the one whose ctx this is.
func (s *Store) catchUpBackend(ctx context.Context, m *backend, o Origin, upTo Revision) (err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.options.Timeout)
	defer cancel()
	origin := s.backend(string(o))
	for try := range catchUpTries {
		at, _ := m.position(o)
		if try > 0 || !at.Whole() {
			p, err := m.readPositions(ctx)
			if err != nil {
				return fmt.Errorf("read positions of %s: %w", m.Name(), err)
			}
			at = p.Origins[o]
		}
		if at.Holds(upTo) {
			return nil
		}
		at.Origin = o
		if at, err = partition.CatchUp(ctx, origin, m, at, Revision(origin.newestAnswered.Load())); err == nil {
			if m.advance(at); at.Holds(upTo) {
				return nil
			}
			return fmt.Errorf("%s is at %d and lacks %d of itself", o, at.Revision, upTo)
		}
		stale := try == 0 && errors.Is(err, partition.ErrTooFar) // by a position that may have been read long ago
		if !stale && !errors.Is(err, partition.ErrPositionMoved) && !errors.Is(err, partition.ErrOutcomeUnknown) {
			break
		}
	}
	return fmt.Errorf("bring %s to %d of %s: %w", m.Name(), upTo, o, err)
}
