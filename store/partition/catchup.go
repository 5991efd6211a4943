package partition

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Limits of CatchUp. A replica that lacks more is left to the sync process.
const (
	catchUpEntries = 4096
	catchUpBytes   = 16 << 20
)

// CatchUp brings a replica from the position at to the origin's current position, in a single
// transaction, and returns the new position. CatchUp may run beside a sync process: Apply changes a
// position only if the position is still where the caller read it. The origin's revisions up to
// durable are known to be durable; a barrier on the origin makes later revisions durable.
//
// ErrTooFar: at is not Whole, one transaction is not enough, an entry of the origin is damaged, the target does not know the origin's cluster
// map yet, or later masters may have written keys that the target lacks of the origin (see
// Cluster.GaveAway); nothing has changed. ErrSetBack:
// see CheckLineage. Other errors are those of Snapshot, Barrier and Apply.
func CatchUp(ctx context.Context, origin, target Partition, at Position, durable Revision) (Position, error) {
	if !at.Whole() {
		return at, fmt.Errorf("%w: it is being filled, or amid a catch-up to %d", ErrTooFar, at.Goal)
	}
	c, err := gapCopy(ctx, origin, target, at, durable)
	if err == nil && len(c.Goals) > 0 {
		err = fmt.Errorf("%w: it is at %d, and slots were given away since", ErrTooFar, at.Revision)
	}
	return applyGap(ctx, target, at, c, err)
}

// CatchUpJointly is CatchUp also for a target that is amid a catch-up, or lacks entries of slots that were given away. It may
// raise goals of other origins (Copy.Goals), so the caller must read the target's positions again.
func CatchUpJointly(ctx context.Context, origin, target Partition, at Position, durable Revision) (Position, error) {
	c, err := gapCopy(ctx, origin, target, at, durable)
	return applyGap(ctx, target, at, c, err)
}

// applyGap applies the result of gapCopy.
func applyGap(ctx context.Context, target Target, at Position, c Copy, err error) (Position, error) {
	if err == nil && c.To > at.Revision {
		err = target.Apply(ctx, c)
	}
	if err != nil || c.To <= at.Revision {
		return at, err
	}
	return at.Follow(c), nil
}

// gapCopy reads what a replica at the position at lacks, and makes it durable. If it lacks nothing, To is 0.
func gapCopy(ctx context.Context, origin, target Partition, at Position, durable Revision) (c Copy, err error) {
	if !at.Filled() {
		return c, fmt.Errorf("%w: it is being filled", ErrTooFar)
	}
	newest, err := target.Newest(ctx, at.Origin, LineageEntries)
	if err != nil {
		return c, err
	}
	if err := CheckLineage(ctx, origin, at.Origin, newest); err != nil {
		return c, err
	}
	snap, err := origin.Snapshot(ctx, at.Origin, at.Revision)
	if err != nil {
		return c, err
	}
	defer func() { _ = snap.Close() }() // nothing was written
	head := snap.Position()
	switch {
	case at.MissesTombstonesOf(head):
		return c, fmt.Errorf("%w: it is at %d, and tombstones up to %d are collected", ErrTooFar, at.Revision, head.Collected)
	case head.Revision <= at.Revision:
		return c, nil
	}
	if c, err = planCopy(ctx, target, at, snap); err != nil {
		return c, err
	}
	entries, err := gap(ctx, snap)
	if err != nil {
		return c, err
	}
	if durable < head.Revision {
		if err := origin.Barrier(ctx); err != nil {
			return c, err
		}
	}
	c.Origin, c.From, c.To, c.Goal, c.SyncedAt, c.Entries = at.Origin, at.Revision, head.Revision, head.Revision, head.SyncedAt, entries
	return c, nil
}

// firstEpoch is the epoch in which a cluster is founded. No slot has moved before the next.
const firstEpoch = 1

// planCopy returns a copy from the snapshot of an origin without its entries: with the epoch of the source's map and the ballot of the
// target's, and, if the target is below the revision at which the origin gave slots away, with the heads of the other origins
// as goals. ErrTooFar: the target does not know the map of the snapshot yet, or takes no copies of the origin.
func planCopy(ctx context.Context, target Identity, at Position, snap Snapshot) (plan Copy, err error) {
	epoch, heads := snap.Heads()
	plan.Epoch = epoch
	if epoch <= firstEpoch {
		return plan, nil
	}
	c, err := target.Cluster(ctx)
	if err == nil && c.Epoch < epoch {
		err = fmt.Errorf("%w: its cluster map is of epoch %d, before %d", ErrTooFar, c.Epoch, epoch)
	}
	if err == nil {
		err = c.CheckTarget(target.Name(), at.Origin)
	}
	plan.Ballot = c.Accepted
	if err != nil || at.Revision >= c.GaveAway(at.Origin) {
		return plan, err
	}
	plan.Goals = make(map[Origin]Revision)
	for o, p := range heads {
		if o != at.Origin && string(o) != target.Name() && p.Seen() > 0 {
			plan.Goals[o] = p.Seen()
		}
	}
	return plan, nil
}

// gap reads a snapshot to its end, or fails with ErrTooFar.
func gap(ctx context.Context, snap Snapshot) (entries []Entry, err error) {
	for bytes := int64(0); ; {
		more, err := snap.Next(ctx, catchUpEntries, catchUpBytes)
		if errors.Is(err, io.EOF) {
			return entries, nil
		}
		if err != nil {
			return nil, err
		}
		for i := range more {
			if bytes += more[i].Size; !more[i].Intact() {
				return nil, fmt.Errorf("%w: %w: the row of %q", ErrTooFar, ErrDamaged, more[i].Key)
			}
		}
		entries = append(entries, more...)
		if more[len(more)-1].Revision >= snap.Position().Revision {
			return entries, nil
		}
		if len(entries) >= catchUpEntries || bytes >= catchUpBytes {
			return nil, fmt.Errorf("%w: by more than %d entries or %d bytes", ErrTooFar, len(entries), bytes)
		}
	}
}
