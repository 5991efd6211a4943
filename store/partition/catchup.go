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
// ErrTooFar: at is not Whole, or one transaction is not enough; nothing has changed. ErrSetBack:
// see CheckLineage. Other errors are those of Snapshot, Barrier and Apply.
func CatchUp(ctx context.Context, origin, target Partition, at Position, durable Revision) (Position, error) {
	if !at.Whole() {
		return at, fmt.Errorf("%w: it is being filled, or amid a catch-up to %d", ErrTooFar, at.Goal)
	}
	newest, err := target.Newest(ctx, at.Origin, LineageEntries)
	if err != nil {
		return at, err
	}
	if err := CheckLineage(ctx, origin, at.Origin, newest); err != nil {
		return at, err
	}
	snap, err := origin.Snapshot(ctx, at.Origin, at.Revision)
	if err != nil {
		return at, err
	}
	defer func() { _ = snap.Close() }() // nothing was written
	head := snap.Position()
	switch {
	case at.MissesTombstonesOf(head):
		return at, fmt.Errorf("%w: it is at %d, and tombstones up to %d are collected", ErrTooFar, at.Revision, head.Collected)
	case head.Revision <= at.Revision:
		return at, nil
	}
	entries, err := gap(ctx, snap)
	if err != nil {
		return at, err
	}
	if durable < head.Revision {
		if err := origin.Barrier(ctx); err != nil {
			return at, err
		}
	}
	c := Copy{Origin: at.Origin, From: at.Revision, To: head.Revision, Goal: head.Revision, SyncedAt: head.SyncedAt, Entries: entries}
	if err := target.Apply(ctx, c); err != nil {
		return at, err
	}
	return at.Follow(c), nil
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
			bytes += more[i].Size
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
