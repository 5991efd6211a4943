package sync

import (
	"context"
	"errors"
	"fmt"

	"github.com/runnelkv/runnel/store/partition"
)

// job is one copy of an origin to a target.
type job struct {
	lane   *lane
	gate   *gate
	share  *share // nil: reads for itself
	to     *peer
	from   *peer
	origin partition.Origin
	at     partition.Position // the target's
	beat   partition.Instant  // not zero: only confirm that the target is level, as of then
	seen   partition.Revision // the origin's head as the pass has it, nobody else's is beyond; zero: the source is another
}

// direct reports whether the source is the origin itself.
func (j *job) direct() bool { return j.from.Name() == string(j.origin) }

// sourceError is a failure that is not the target's.
type sourceError struct {
	name string
	err  error
}

func (e *sourceError) Error() string { return fmt.Sprintf("copy from %s: %v", e.name, e.err) }
func (e *sourceError) Unwrap() error { return e.err }

func (j *job) fromSource(err error) error {
	if err == nil {
		return nil
	}
	return &sourceError{j.from.Name(), err}
}

// reread asks the target for its position.
func (j *job) reread(ctx context.Context) (partition.Position, error) {
	all, err := j.to.learn(ctx)
	at := all.Origins[j.origin]
	at.Origin = j.origin
	return at, err
}

// copy takes the target from its position to where its source is, and returns
// the state that the lane is in then.
func (s *Syncer) copy(ctx context.Context, j *job) (State, error) {
	if j.beat != 0 {
		return Level, s.confirm(ctx, j)
	}
	if _, err := j.to.fence(ctx); err != nil {
		return "", err
	}
	snap, err := s.open(ctx, j)
	if err != nil {
		return "", err
	}
	defer func() { _ = snap.Close() }() // of a view that was only read

	c := newCourse(s, j, snap)
	if c.head < max(j.at.Revision, j.seen) {
		j.doubt() // the source lost something since it was chosen: the next pass sees how
		return Waiting, nil
	}
	if err := c.run(ctx); err != nil {
		return "", err
	}
	if err := c.tell(ctx); err != nil {
		return "", err
	}
	if c.goal > c.head || c.synced == 0 {
		return Waiting, nil
	}
	return Level, nil
}

// confirm tells a level target that it was still level at j.beat.
func (s *Syncer) confirm(ctx context.Context, j *job) error {
	return s.apply(ctx, j, partition.Copy{
		Origin: j.origin, From: j.at.Revision, To: j.at.Revision,
		Goal: max(j.at.Revision, j.at.Goal), SyncedAt: j.beat,
	})
}

// open opens the snapshot to copy from. A target that holds nothing is
// emptied first, as an earlier Reset may have been cut short; so is one
// that may have missed tombstones, but only if its origin is there. A target whose fill was
// interrupted has missed none if its source has collected no more since: what it holds was
// not deleted, or the tombstone comes.
func (s *Syncer) open(ctx context.Context, j *job) (partition.Snapshot, error) {
	if j.at.Revision == 0 {
		if err := s.empty(ctx, j, Filling); err != nil {
			return nil, err
		}
		return s.snapshot(ctx, j)
	}
	snap, err := s.snapshot(ctx, j)
	if err != nil || !j.at.MissesTombstonesOf(snap.Position()) {
		return snap, err
	}
	_ = snap.Close() // nothing was read of it
	j.share = nil
	if !j.direct() {
		return nil, j.fromSource(errTooOld)
	}
	if err := s.checkLineage(ctx, j, snap.Position()); err != nil {
		return nil, err
	}
	if err := s.empty(ctx, j, Refilling); err != nil {
		return nil, err
	}
	return s.snapshot(ctx, j)
}

func (s *Syncer) snapshot(ctx context.Context, j *job) (partition.Snapshot, error) {
	bound, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	if j.share != nil {
		snap, err := j.share.tap(bound, j)
		if !errors.Is(err, errAlone) {
			return snap, j.fromSource(err)
		}
		j.share = nil
	}
	snap, err := j.from.Snapshot(bound, j.origin, j.at.Revision)
	return snap, j.fromSource(err)
}

var errTooOld = errors.New("it is older than the tombstones that were collected; it can be filled afresh once the origin is reachable")

// empty removes everything of the origin from the target: if it is still where
// it was, as read under the lease.
func (s *Syncer) empty(ctx context.Context, j *job, state State) error {
	at, err := j.reread(ctx)
	if err != nil {
		return err
	}
	if at.Revision != j.at.Revision {
		return fmt.Errorf("reset %s on %s: %w", j.origin, j.to.Name(), partition.ErrPositionMoved)
	}
	j.lane.enter(state, nil)
	err = j.to.whileLeased(ctx, func(ctx context.Context) error {
		return j.to.Reset(ctx, j.origin)
	})
	if err != nil {
		return fmt.Errorf("reset %s on %s: %w", j.origin, j.to.Name(), err)
	}
	j.at = partition.Position{Origin: j.origin}
	s.mu.Lock()
	defer s.mu.Unlock()
	j.to.stale, j.lane.newest = true, nil
	if state == Refilling {
		j.lane.Refills++
	}
	return nil
}

// doubt has the next pass read the source's positions.
func (j *job) doubt() {
	j.from.s.mu.Lock()
	defer j.from.s.mu.Unlock()
	j.from.stale = true
}

// apply makes one step under the target's lease.
func (s *Syncer) apply(ctx context.Context, j *job, c partition.Copy) error {
	fence, err := j.to.fence(ctx)
	if err != nil {
		return err
	}
	c.Fence = fence
	bound, cancel := context.WithTimeout(ctx, s.options.CopyTimeout)
	defer cancel()
	err = j.to.Apply(bound, c)
	if errors.Is(err, partition.ErrLeaseLost) {
		j.to.lease.lost(fence)
	}
	return err
}
