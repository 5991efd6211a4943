package sync

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/sync/internal/durability"
	"github.com/runnelkv/runnel/sync/internal/snapshot"
)

// job is a copy of an origin to a target.
type job struct {
	stream       *stream
	durability   *durability.Tracker // of the source's own changes
	shared       *snapshot.Shared    // nil: the job opens a snapshot of its own
	to           *replica
	from         *replica
	origin       partition.Origin
	at           partition.Position // the target's
	row          partition.Cluster  // the target's cluster row, of the epoch of the snapshot or later
	confirmAt    partition.Instant  // not zero: only confirm that the target was level at this moment
	originHead   partition.Revision // the origin's head in the survey, which no replica exceeds; zero: the source is a replica
	copiedBefore int64              // entries that the stream had copied before the job
}

// isDirect reports whether the source is the origin itself.
func (j *job) isDirect() bool { return j.from.Name() == string(j.origin) }

// sourceError is a failure of the source, not of the target.
type sourceError struct {
	name string
	err  error
}

func (e *sourceError) Error() string { return fmt.Sprintf("copy from %s: %v", e.name, e.err) }
func (e *sourceError) Unwrap() error { return e.err }

func (j *job) sourceError(err error) error {
	if err == nil {
		return nil
	}
	return &sourceError{j.from.Name(), err}
}

// rereadPosition reads the target's position from the target.
func (j *job) rereadPosition(ctx context.Context) (partition.Position, error) {
	all, err := j.to.readPositions(ctx)
	at := all.Origins[j.origin]
	at.Origin = j.origin
	return at, err
}

// copy moves the target from its position to the source's, and returns the stream's
// new state.
func (s *Syncer) copy(ctx context.Context, j *job) (State, error) {
	if j.confirmAt != 0 {
		return Level, s.confirmLevel(ctx, j)
	}
	if _, err := j.to.lease.Fence(ctx); err != nil {
		return "", err
	}
	snap, err := s.openForCopy(ctx, j)
	if err != nil {
		return "", err
	}
	defer func() { _ = snap.Close() }() // read-only

	t := newTransfer(s, j, snap)
	if t.head < max(j.at.Revision, j.originHead) {
		s.markStale(j.from) // the source has lost changes since the survey: the next pass finds out
		return Waiting, nil
	}
	if err := t.copyAll(ctx); err != nil {
		return "", err
	}
	if err := t.publish(ctx); err != nil {
		return "", err
	}
	if t.goal > t.head || t.syncedAt == 0 {
		return Waiting, nil
	}
	return Level, nil
}

// confirmLevel records on a level target that the target was still level at j.confirmAt.
func (s *Syncer) confirmLevel(ctx context.Context, j *job) error {
	return s.applyLeased(ctx, j, partition.Copy{
		Origin: j.origin, From: j.at.Revision, To: j.at.Revision,
		Goal: max(j.at.Revision, j.at.Goal), SyncedAt: j.confirmAt,
	})
}

// openForCopy opens the snapshot to copy from. Two kinds of target are emptied before: a target
// at position zero, because an earlier Reset may have been interrupted, and a target that may
// have missed tombstones, but only if the origin is the source. An interrupted fill
// continues if its source has collected no more tombstones since: every entry on the
// target still exists, or its tombstone follows.
func (s *Syncer) openForCopy(ctx context.Context, j *job) (partition.Snapshot, error) {
	switch own := string(j.origin) == j.to.Name(); {
	case own && j.at.Revision <= partition.Floor(1): // a former master with an emptied database
		return s.openSnapshot(ctx, j)
	case j.at.Revision == 0:
		if err := s.resetTarget(ctx, j, Filling); err != nil {
			return nil, err
		}
		return s.openSnapshot(ctx, j)
	}
	snap, err := s.openSnapshot(ctx, j)
	if err != nil || !j.at.MissesTombstonesOf(snap.Position()) {
		return snap, err
	}
	_ = snap.Close() // nothing was read from it
	j.shared = nil
	if !j.isDirect() {
		return nil, j.sourceError(errTooOld)
	}
	if err := s.checkLineage(ctx, j, snap.Position()); err != nil {
		return nil, err
	}
	if err := s.emptyTarget(ctx, j); err != nil {
		return nil, err
	}
	return s.openSnapshot(ctx, j)
}

// errByMap: by the target's cluster map the copy has to wait.
var errByMap = errors.New("the copy waits for a cluster map")

// openSnapshot opens a snapshot whose epoch the target knows. So no partition holds entries of an epoch that
// its cluster row does not show.
func (s *Syncer) openSnapshot(ctx context.Context, j *job) (partition.Snapshot, error) {
	snap, err := s.openAny(ctx, j)
	if err != nil {
		return nil, err
	}
	epoch, _ := snap.Heads()
	if j.row, err = j.to.clusterRow(ctx, epoch); err == nil && j.row.Epoch < epoch {
		err = fmt.Errorf("%w: epoch %d of %s, and epoch %d here", errByMap, epoch, j.from.Name(), j.row.Epoch)
	}
	if err == nil {
		if replaced := j.row.CheckTarget(j.to.Name(), j.origin); replaced != nil {
			err = fmt.Errorf("%w: %w", errByMap, replaced)
		}
	}
	if err != nil {
		_ = snap.Close() // nothing was read from it
		return nil, err
	}
	return snap, nil
}

func (s *Syncer) openAny(ctx context.Context, j *job) (partition.Snapshot, error) {
	bound, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	if j.shared != nil {
		snap, err := j.shared.Open(bound, j.at.Revision)
		if !errors.Is(err, snapshot.ErrDetached) {
			return snap, j.sourceError(err)
		}
		j.shared = nil
	}
	snap, err := j.from.Snapshot(bound, j.origin, j.at.Revision)
	return snap, j.sourceError(err)
}

var errTooOld = errors.New("the target is older than the collected tombstones; it can be refilled once the origin is reachable")

// emptyTarget resets a target that has missed collected tombstones of the job's origin. Once slots have moved, every
// origin's entries go, except the target's own: the tombstones may have been those of another origin's keys. The job's
// origin is the last, so that an interruption is noticed.
func (s *Syncer) emptyTarget(ctx context.Context, j *job) error {
	if len(j.row.Moves) == 0 {
		return s.resetTarget(ctx, j, Refilling)
	}
	own := partition.Origin(j.to.Name())
	if j.row.GaveAway(own) > 0 {
		return fmt.Errorf("%w: it missed collected deletions, perhaps of its own entries, whose slots other masters own by now: empty it, and it is filled afresh", partition.ErrRefused)
	}
	if slices.Contains(j.row.Masters, j.to.Name()) {
		return fmt.Errorf("%w: it missed collected deletions, and is the master of keys that former masters have written: let 'runnel move' take its slots, then empty it", partition.ErrRefused)
	}
	all, err := j.to.readPositions(ctx)
	if err != nil {
		return err
	}
	for o := range all.Origins {
		if o == own || o == j.origin {
			continue
		}
		err := j.to.lease.While(ctx, func(ctx context.Context) error { return j.to.Reset(ctx, o) })
		if err != nil && !errors.Is(err, partition.ErrPositionMoved) { // if moved, a new fill has begun
			return fmt.Errorf("reset %s on %s: %w", o, j.to.Name(), err)
		}
	}
	return s.resetTarget(ctx, j, Refilling)
}

// resetTarget removes all entries of the origin from the target, unless the target's position,
// read under the lease, has moved.
func (s *Syncer) resetTarget(ctx context.Context, j *job, state State) error {
	at, err := j.rereadPosition(ctx)
	if err != nil {
		return err
	}
	if at.Revision != j.at.Revision {
		return fmt.Errorf("reset %s on %s: %w", j.origin, j.to.Name(), partition.ErrPositionMoved)
	}
	j.stream.setState(state, nil)
	err = j.to.lease.While(ctx, func(ctx context.Context) error {
		return j.to.Reset(ctx, j.origin)
	})
	if err != nil {
		return fmt.Errorf("reset %s on %s: %w", j.origin, j.to.Name(), err)
	}
	j.at = partition.Position{Origin: j.origin, Goal: at.Goal}
	s.mu.Lock()
	defer s.mu.Unlock()
	j.to.stale, j.stream.newest = true, nil
	if state == Refilling {
		j.stream.Refills++
	}
	return nil
}

// applyLeased applies a chunk under the target's lease.
func (s *Syncer) applyLeased(ctx context.Context, j *job, c partition.Copy) error {
	fence, err := j.to.lease.Fence(ctx)
	if err != nil {
		return err
	}
	c.Fence = fence
	bound, cancel := context.WithTimeout(ctx, s.options.CopyTimeout)
	defer cancel()
	err = j.to.Apply(bound, c)
	if errors.Is(err, partition.ErrLeaseLost) {
		j.to.lease.Forget(fence)
	}
	if errors.Is(err, partition.ErrPositionMoved) {
		j.to.forgetRow()
	}
	return err
}

// checkLineage checks that the source holds the newest entries that the target has copied
// from the origin, and reports an origin that does not to the store. A source in a
// multi-step catch-up is not checked: it may hold an older entry of a key that changed twice.
func (s *Syncer) checkLineage(ctx context.Context, j *job, source partition.Position) error {
	if j.at.Revision == 0 || !j.isDirect() && !source.Whole() {
		return nil
	}
	bound, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	newest, err := s.newestEntries(bound, j)
	if err != nil {
		return err
	}
	err = partition.CheckLineage(bound, j.from, j.origin, newest)
	if errors.Is(err, partition.ErrSetBack) && j.isDirect() {
		s.cluster.SetBack(string(j.origin), j.to.Name(), err)
	}
	return j.sourceError(err)
}

// newestEntries returns the target's newest entries of the origin: as remembered
// from the last copy, if the target has not moved since.
func (s *Syncer) newestEntries(ctx context.Context, j *job) ([]partition.Entry, error) {
	s.mu.Lock()
	newest, at := j.stream.newest, j.stream.newestAt
	s.mu.Unlock()
	if at == j.at.Revision && len(newest) > 0 {
		return newest, nil
	}
	return j.to.Newest(ctx, j.origin, partition.LineageEntries)
}

// noteNewest remembers the newest of the entries that moved the target from one position to
// another. Syncer.mu is held.
func (st *stream) noteNewest(entries []partition.Entry, from, to partition.Revision) {
	newest := make([]partition.Entry, 0, partition.LineageEntries)
	for i := len(entries) - 1; i >= 0 && len(newest) < cap(newest); i-- {
		e := &entries[i]
		newest = append(newest, partition.Entry{Key: e.Key, Origin: e.Origin, Revision: e.Revision, ModifiedAt: e.ModifiedAt})
	}
	if st.newestAt == from {
		newest = append(newest, st.newest[:min(len(st.newest), cap(newest)-len(newest))]...)
	}
	st.newest, st.newestAt = newest, to
}
