package store

import (
	"cmp"
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

// Copy makes further partitions catch up with a committed entry, concurrently, until want
// partitions hold the entry durably; the master counts. Copy does not need the sync
// process. It returns the number of partitions that hold the entry, at least 1. That is
// less than want if too few partitions can catch up within the timeout of a database
// operation. A partition that fails, is incomplete, or is too far behind for a single
// transaction is replaced by another. The error joins the failures; it is nil when want
// partitions hold the entry, or, with EveryReachable, all that are reachable.
func (s *Store) Copy(ctx context.Context, e Entry, want int) (held int, err error) {
	targets := s.copyTargets(e.Origin)
	if want == EveryReachable {
		want = 1 + len(targets)
	}
	next := make(chan *backend, len(targets))
	for _, b := range targets {
		next <- b
	}
	close(next)
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	var (
		mu    sync.Mutex // guards held and errs
		errs  []error
		group sync.WaitGroup
	)
	held = 1
	for range want - 1 {
		group.Go(func() {
			for b := range next {
				err := b.catchUps.reach(ctx, s, b, e)
				mu.Lock()
				if err != nil {
					errs = append(errs, err)
				} else {
					held++
				}
				mu.Unlock()
				if err == nil {
					return
				}
			}
		})
	}
	group.Wait()
	if held >= want {
		return held, nil
	}
	return held, errors.Join(errs...)
}

// copyTargets lists the readable partitions except the origin, in random order; those not
// known to be complete come last, as they may have been filled since.
func (s *Store) copyTargets(origin Origin) []*backend {
	targets := slices.DeleteFunc(slices.Clone(*s.backends.Load()), func(b *backend) bool {
		return b.Name() == string(origin) || !b.isReadable.Load()
	})
	rand.Shuffle(len(targets), func(i, j int) { targets[i], targets[j] = targets[j], targets[i] })
	rank := func(b *backend) int {
		if b.isComplete(origin) {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(targets, func(a, b *backend) int { return cmp.Compare(rank(a), rank(b)) })
	return targets
}

// catchUps makes a backend catch up with origins, for writes that need copies at once. Of
// each origin at most one Apply is in progress; writes that arrive meanwhile share the
// next round.
type catchUps struct {
	mu      sync.Mutex
	origins map[Origin]*catchUpOrigin
}

type catchUpOrigin struct {
	roundSlot chan struct{} // holds a token while a round is in progress
	mu        sync.Mutex    // guards next
	next      *catchUpRound // the round that writes join; nil: the next write makes a new one
}

// catchUpRound takes the backend to the newest revision that the round's writes need.
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

// reach returns once b durably holds e, or a newer entry of its key.
func (c *catchUps) reach(ctx context.Context, s *Store, b *backend, e Entry) error {
	if at, _ := b.position(e.Origin); at.Holds(e.Revision) {
		return nil
	}
	o := c.forOrigin(e.Origin)
	round := o.joinRound(e.Revision)
	select {
	case <-round.done:
		return round.err
	case <-ctx.Done():
		return fmt.Errorf("bring %s to %d of %s: %w", b.Name(), e.Revision, e.Origin, ctx.Err())
	case o.roundSlot <- struct{}{}:
	}
	defer func() { <-o.roundSlot }()
	if upTo, mine := o.closeRound(round); mine {
		round.err = s.catchUpBackend(ctx, b, e.Origin, upTo)
		close(round.done)
	}
	return round.err
}

func (o *catchUpOrigin) joinRound(upTo Revision) *catchUpRound {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.next == nil {
		o.next = &catchUpRound{done: make(chan struct{})}
	}
	o.next.upTo = max(o.next.upTo, upTo)
	return o.next
}

// closeRound closes a round to further writes; mine is false if the round has run already.
// The caller holds the slot.
func (o *catchUpOrigin) closeRound(round *catchUpRound) (upTo Revision, mine bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.next != round {
		return 0, false
	}
	o.next = nil
	return round.upTo, true
}

// catchUpTries bounds the restarts of a catch-up after the sync process has moved its target
// meanwhile. A pass that began after the write brings the write along.
const catchUpTries = 5

// catchUpBackend takes a backend to a revision of an origin, unless the sync process does so first.
// The end of ctx does not cancel the work: further writes may share the round.
func (s *Store) catchUpBackend(ctx context.Context, b *backend, o Origin, upTo Revision) (err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.options.Timeout)
	defer cancel()
	origin := s.backend(string(o))
	for try := range catchUpTries {
		at, _ := b.position(o)
		if try > 0 || !at.Whole() {
			p, err := b.readPositions(ctx)
			if err != nil {
				return fmt.Errorf("read positions of %s: %w", b.Name(), err)
			}
			at = p.Origins[o]
		}
		if at.Holds(upTo) {
			return nil
		}
		at.Origin = o
		if at, err = partition.CatchUp(ctx, origin, b, at, Revision(origin.newestAnswered.Load())); err == nil {
			if b.advancePosition(at); at.Holds(upTo) {
				return nil
			}
			return fmt.Errorf("%s is at revision %d and has lost its revision %d", o, at.Revision, upTo)
		}
		outdated := try == 0 && errors.Is(err, partition.ErrTooFar) // the position may have been read long ago
		if !outdated && !errors.Is(err, partition.ErrPositionMoved) && !errors.Is(err, partition.ErrOutcomeUnknown) {
			break
		}
	}
	return fmt.Errorf("bring %s to %d of %s: %w", b.Name(), upTo, o, err)
}
