package cluster

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/partition"
)

// MoveRequest names slots to move.
type MoveRequest struct {
	From, To string
	Slots    []Slot // nil: all slots of From
}

// MoveStage is a stage of a move.
type MoveStage string

// The stages of a move, in their order. From MoveBegun to MoveDone or MoveAborted the slots have no master.
const (
	MoveLevelling MoveStage = "levelling" // the new master copies the entries that it lacks, while the old one takes writes
	MoveBegun     MoveStage = "begun"     // the old master takes no more writes of the slots
	MoveLevel     MoveStage = "level"     // the new master holds everything
	MoveDone      MoveStage = "done"      // the new master takes writes
	MoveAborted   MoveStage = "aborted"   // the old master takes writes again
)

// ErrMoveRefused: the move cannot begin; nothing was changed.
var ErrMoveRefused = errors.New("the move cannot begin")

// ErrMoveAborted: the move could not be completed in time; the old master takes writes again.
var ErrMoveAborted = errors.New("the move was aborted")

var errAbortedElsewhere = errors.New("another process has aborted it")

const (
	levelTimeout = 30 * time.Second // of the copying before a move begins
	moveTimeout  = 10 * time.Second // of the time in which slots have no master
	smallLag     = 256              // revisions that are copied after the move has begun
)

// Move moves slots from a master to another partition, which becomes their master, without losing a write. Both, and a
// majority of the voters, must be reachable. Writes to the slots wait meanwhile; all others go on. progress is called at
// each stage; it must not block.
func (r *Register) Move(ctx context.Context, q MoveRequest, progress func(MoveStage)) error {
	progress(MoveLevelling)
	if err := r.levelBeforeMove(ctx, q); err != nil {
		return err
	}
	var begun *partition.Move // by an attempt that was outvoted, perhaps after a voter had accepted it
	c, err := r.change(ctx, func(c partition.Cluster) (partition.Cluster, error) {
		if m := underWay(&c); m != nil && begun != nil && m.Began == begun.Began && m.To == begun.To && bytes.Equal(m.Slots, begun.Slots) {
			return c, nil
		}
		c, err := beginMove(c, q)
		begun = underWay(&c)
		return c, err
	})
	if err != nil {
		return err
	}
	progress(MoveBegun)
	return r.finishMove(ctx, c, progress)
}

// levelBeforeMove checks that a move can be completed, and lets the new master copy until it lacks little.
func (r *Register) levelBeforeMove(ctx context.Context, q MoveRequest) error {
	ctx, cancel := context.WithTimeout(ctx, levelTimeout)
	defer cancel()
	from, to := r.backends.Named(q.From), r.backends.Named(q.To)
	for _, b := range []struct {
		name string
		b    *backend.Backend
	}{{q.From, from}, {q.To, to}} {
		if b.b == nil {
			return fmt.Errorf("%w: %w", ErrMoveRefused, notConfigured(b.name))
		}
		if err := unusable(b.b); err != nil {
			return fmt.Errorf("%w: %w", ErrMoveRefused, err)
		}
	}
	if err := r.checkSchemas(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrMoveRefused, err)
	}
	if c := r.Map(); c != nil {
		if _, err := beginMove(cloneMap(c.Cluster), q); err != nil {
			return err
		}
	}
	for {
		at, lag, err := r.lagOf(ctx, from, to)
		if err == nil && lag <= smallLag {
			return nil
		}
		if err == nil {
			_, err = partition.CatchUpJointly(ctx, from, to, at, 0)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %s is not level with %s after %s: %w", ErrMoveRefused, q.To, q.From, levelTimeout, cmp.Or(err, ctx.Err()))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func notConfigured(name string) error { return fmt.Errorf("no partition named %q is configured", name) }

// unusable returns the reason for which a partition cannot become or stay a master now, or nil.
func unusable(b *backend.Backend) error {
	if st := b.State(); cmp.Or(st.Err, st.Behind) != nil {
		return fmt.Errorf("%s cannot be used: %w", b.Name(), cmp.Or(st.Err, st.Behind))
	}
	return nil
}

// checkSchemas returns an error if a partition that answers takes no ballots. The schemas are read afresh, because
// 'runnel migrate --finish' may have ended a moment ago.
func (r *Register) checkSchemas(ctx context.Context) error {
	read := r.askAll(ctx, r.backends.All(), func(ctx context.Context, b *backend.Backend) (partition.Cluster, error) {
		schema, err := b.Schema(ctx)
		if err != nil {
			return partition.Cluster{}, nil // the majority decides without it
		}
		return partition.Cluster{}, schema.CheckBallots()
	})
	for name, err := range read.errors {
		if b := r.backends.Named(name); b.State().IsPrepared {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// lagOf returns the position of a target for an origin, and how many revisions it lacks. An error says that the target is
// not whole.
func (r *Register) lagOf(ctx context.Context, origin, target *backend.Backend) (at partition.Position, lag int64, err error) {
	o := partition.Origin(origin.Name())
	head, err := origin.ReadPositions(ctx)
	if err != nil {
		return at, 0, err
	}
	all, err := target.ReadPositions(ctx)
	if err != nil {
		return at, 0, err
	}
	for _, former := range r.Map().Origins() {
		p := all.Origins[former]
		if string(former) == target.Name() {
			continue
		}
		if !p.Filled() || former != o && (p.CatchingUp() || p.Revision < r.Map().GaveAway(former)) {
			return at, 0, fmt.Errorf("%w: it does not hold all of %s yet: wait until the sync process has copied it", partition.ErrTooFar, former)
		}
	}
	at = all.Origins[o]
	return at, int64(head.Origins[o].Revision - max(at.Revision, partition.Floor(head.Origins[o].Revision.Epoch()))), nil
}

// finishMove completes the move under way in the map c, or aborts it when it cannot be completed in time. finishMove may
// run in several processes at once.
func (r *Register) finishMove(ctx context.Context, c partition.Cluster, progress func(MoveStage)) error {
	m := underWay(&c)
	if m == nil {
		return nil
	}
	from, to := r.backends.Named(m.From), r.backends.Named(m.To)
	if from == nil || to == nil { // a process that has them configured completes the move
		return fmt.Errorf("%s or %s is not configured here", m.From, m.To)
	}
	bound, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	err := r.levelForMove(bound, c, from, to, partition.Floor(m.Began))
	if err == nil {
		progress(MoveLevel)
		c, err = r.change(bound, func(now partition.Cluster) (partition.Cluster, error) { return endMove(now, *m) })
	}
	if err != nil && ctx.Err() != nil {
		return err // the move goes on in another process, or at the next start
	}
	var abortErr error
	if err != nil {
		c, abortErr = r.change(ctx, func(now partition.Cluster) (partition.Cluster, error) { return abortMove(now, *m) })
	}
	switch {
	case abortErr != nil:
		return fmt.Errorf("%w; the move could not be aborted either, and goes on by itself when the partitions are back: %w", err, abortErr)
	case hasEnded(&c, *m): // here or in another process
		progress(MoveDone)
		return nil
	}
	progress(MoveAborted)
	return fmt.Errorf("%w, and %s takes writes again: %w", ErrMoveAborted, m.From, cmp.Or(err, errAbortedElsewhere))
}

// levelForMove lets the old master accept the map of the move, after which it takes no more writes of the slots, and the new
// master copy the rest.
func (r *Register) levelForMove(ctx context.Context, c partition.Cluster, from, to *backend.Backend, upTo partition.Revision) error {
	for {
		err := r.levelOnce(ctx, c, from, to, upTo)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (r *Register) levelOnce(ctx context.Context, c partition.Cluster, from, to *backend.Backend, upTo partition.Revision) error {
	for _, b := range []*backend.Backend{from, to} {
		if stands, err := b.Accept(ctx, c); err != nil {
			return err
		} else if stands.Epoch < c.Epoch {
			return fmt.Errorf("%w: %s has not accepted the map of the move", partition.ErrOutvoted, b.Name())
		}
	}
	at, _, err := r.lagOf(ctx, from, to)
	if err != nil || at.Whole() && at.Revision >= upTo {
		return err
	}
	at, err = partition.CatchUpJointly(ctx, from, to, at, 0)
	if err == nil && at.Revision < upTo {
		err = fmt.Errorf("%s is at %d of %s, not at %d", to.Name(), at.Revision, from.Name(), upTo)
	}
	return err
}

// ContinueLoop completes, until ctx ends, moves that their process has left behind, and changes of the map that were
// interrupted. It waits first, because the process that began a move is the fastest to complete it.
func (r *Register) ContinueLoop(ctx context.Context) {
	const patience = time.Second
	var before *Map
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(patience + rand.N(patience)):
		}
		now := r.Map()
		for stands := now == before; now != nil && stands; stands = now != r.Map() {
			now = r.Map()
			if err := r.continueMoves(ctx, now); err != nil && ctx.Err() == nil {
				r.options.Logger.Warn("the cluster map needs a change that is not possible yet", "error", err)
			}
		}
		before = r.Map()
	}
}

// continueMoves does what the map c, which has stood for a while, asks for.
func (r *Register) continueMoves(ctx context.Context, c *Map) error {
	switch {
	case !c.IsConfirmed() || r.unconfirmed.Swap(false): // accepted by some voters: all of them, or none, shall follow
		_, err := r.change(ctx, func(c partition.Cluster) (partition.Cluster, error) { return c, nil })
		return err
	case c.HasMoveUnderWay() && underWay(&c.Cluster).Lost:
		_, err := r.finishPromotion(ctx, c.Cluster, func(s PromoteStage) { r.options.Logger.Info("a promotion that was left behind goes on", "stage", s) })
		return err
	case c.HasMoveUnderWay():
		return r.finishMove(ctx, c.Cluster, func(s MoveStage) { r.options.Logger.Info("a move that was left behind goes on", "stage", s) })
	}
	if !c.Leases.Held {
		if err := r.holdLeases(ctx, c.Cluster); err != nil {
			return err
		}
	}
	for _, name := range c.Masters {
		if b := r.backends.Named(name); b != nil && b.IsReadable() && isFrozen(b, c) {
			_, err := r.change(ctx, func(now partition.Cluster) (partition.Cluster, error) { return reopen(now, c, name) })
			return err
		}
	}
	return nil
}

// isFrozen reports whether a master takes no writes because it has accepted a map that was not chosen.
func isFrozen(b *backend.Backend, c *Map) bool {
	at, ok := b.Position(partition.Origin(b.Name()))
	return ok && at.Revision >= partition.Floor(c.EpochOf(b.Name())+1)
}
