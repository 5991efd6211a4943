package catchup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/partition"
)

// Copier makes partitions catch up with single writes.
type Copier struct {
	backends *backend.Set
	timeout  time.Duration // of a database operation

	mu      sync.Mutex // guards streams
	streams map[copyStream]*catchUps
}

// copyStream is the copying of an origin to a target.
type copyStream struct {
	target *backend.Backend
	origin partition.Origin
}

// New makes a copier.
func New(backends *backend.Set, timeout time.Duration) *Copier {
	return &Copier{backends: backends, timeout: timeout, streams: make(map[copyStream]*catchUps)}
}

// EveryReachable asks Copy for all partitions that this process can reach.
const EveryReachable = -1

// Copy makes further partitions catch up with a committed entry until want partitions hold the entry durably; see
// Store.Copy.
func (c *Copier) Copy(ctx context.Context, e partition.Entry, want int) (held int, err error) {
	targets := c.copyTargets(e.Origin)
	if want == EveryReachable {
		want = 1 + len(targets)
	}
	next := make(chan *backend.Backend, len(targets))
	for _, b := range targets {
		next <- b
	}
	close(next)
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
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
				err := c.reach(ctx, b, e.Origin, e.Revision)
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
func (c *Copier) copyTargets(origin partition.Origin) []*backend.Backend {
	targets := slices.DeleteFunc(slices.Clone(c.backends.All()), func(b *backend.Backend) bool {
		return b.Name() == string(origin) || !b.IsReadable()
	})
	rand.Shuffle(len(targets), func(i, j int) { targets[i], targets[j] = targets[j], targets[i] })
	rank := func(b *backend.Backend) int {
		if b.IsComplete(origin) {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(targets, func(a, b *backend.Backend) int { return cmp.Compare(rank(a), rank(b)) })
	return targets
}

// catchUps makes a backend catch up with an origin, for writes that need copies at once. At most one Apply is in progress;
// writes that arrive meanwhile share the next round.
type catchUps struct {
	roundSlot chan struct{} // holds a token while a round is in progress
	mu        sync.Mutex    // guards next
	next      *catchUpRound // the round that writes join; nil: the next write makes a new one
}

// catchUpRound takes the backend to the newest revision that the round's writes need.
type catchUpRound struct {
	upTo partition.Revision
	done chan struct{} // closed once err is set
	err  error
}

func (c *Copier) catchUpsOf(st copyStream) *catchUps {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams[st] == nil {
		c.streams[st] = &catchUps{roundSlot: make(chan struct{}, 1)}
	}
	return c.streams[st]
}

// reach returns once b durably holds everything of an origin up to a revision.
func (c *Copier) reach(ctx context.Context, b *backend.Backend, origin partition.Origin, upTo partition.Revision) error {
	if at, _ := b.Position(origin); at.Holds(upTo) {
		return nil
	}
	o := c.catchUpsOf(copyStream{b, origin})
	round := o.joinRound(upTo)
	select {
	case <-round.done:
		return round.err
	case <-ctx.Done():
		return fmt.Errorf("bring %s to %d of %s: %w", b.Name(), upTo, origin, ctx.Err())
	case o.roundSlot <- struct{}{}:
	}
	defer func() { <-o.roundSlot }()
	if upTo, mine := o.closeRound(round); mine {
		round.err = c.catchUpBackend(ctx, b, origin, upTo)
		close(round.done)
	}
	return round.err
}

func (o *catchUps) joinRound(upTo partition.Revision) *catchUpRound {
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
func (o *catchUps) closeRound(round *catchUpRound) (upTo partition.Revision, mine bool) {
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
func (c *Copier) catchUpBackend(ctx context.Context, b *backend.Backend, o partition.Origin, upTo partition.Revision) (err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
	defer cancel()
	origin := c.backends.Named(string(o))
	if origin == nil {
		return fmt.Errorf("%s lacks revision %d of %s: %w", b.Name(), upTo, o, backend.ErrUnknownPartition)
	}
	for try := range catchUpTries {
		at, _ := b.Position(o)
		if try > 0 || !at.Whole() {
			p, err := b.ReadPositions(ctx)
			if err != nil {
				return fmt.Errorf("read positions of %s: %w", b.Name(), err)
			}
			at = p.Origins[o]
		}
		if at.Holds(upTo) {
			return nil
		}
		at.Origin = o
		if at, err = partition.CatchUp(ctx, origin, b, at, origin.NewestAnswered()); err == nil {
			if b.AdvancePosition(at); at.Holds(upTo) {
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
