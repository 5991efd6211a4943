package sync

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

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
	// relays are not nil: the origin is away, and the target as far as anybody.
	// Only bring what these hold ahead of its turn.
	relays []*peer
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
	switch {
	case j.beat != 0:
		return Level, s.confirm(ctx, j)
	case j.relays != nil:
		return Level, s.gather(ctx, j)
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

// gather brings a target what others hold ahead of its turn, of an origin that is
// away: of a write that was placed on some partitions nobody else would hear
// before it returns. The position stays, as what lies between may be lost.
func (s *Syncer) gather(ctx context.Context, j *job) error {
	var errs []error
	for _, from := range j.relays {
		errs = append(errs, s.forward(ctx, j, from, j.at.Revision))
	}
	return errors.Join(errs...)
}

// forward brings the target what somebody holds of the origin after a revision, in
// steps to where the target is: they change nothing if it was moved or emptied. What
// is ahead of the target's position is newer than all it has collected, or it has to
// be filled afresh before it can get any further.
func (s *Syncer) forward(ctx context.Context, j *job, from *peer, after partition.Revision) error {
	bound, cancel := context.WithTimeout(ctx, s.options.CopyTimeout)
	defer cancel()
	snap, err := from.Snapshot(bound, j.origin, after)
	if err != nil {
		return &sourceError{from.Name(), err}
	}
	defer func() { _ = snap.Close() }() // of a view that was only read
	for {
		entries, err := snap.Next(bound, s.options.BatchEntries, s.options.BatchBytes)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return &sourceError{from.Name(), err}
		}
		at := j.at.Revision
		err = s.apply(ctx, j, partition.Copy{Origin: j.origin, From: at, To: at, Goal: max(at, j.at.Goal), Entries: entries})
		if err != nil {
			return err
		}
		s.count(j.lane, entries)
	}
}

// open opens the snapshot to copy from. A target that holds nothing is
// emptied first, as an earlier Reset may have been cut short; so is one
// that may have missed tombstones, but only if its origin is there: the target
// may hold placed entries that no other source has.
func (s *Syncer) open(ctx context.Context, j *job) (partition.Snapshot, error) {
	if j.at.Revision == 0 {
		if err := s.empty(ctx, j, Filling); err != nil {
			return nil, err
		}
		return s.snapshot(ctx, j)
	}
	snap, err := s.snapshot(ctx, j)
	if err != nil || snap.Position().Collected <= j.at.Revision {
		return snap, err
	}
	_ = snap.Close() // nothing was read of it
	j.share = nil
	if !j.direct() {
		return nil, j.fromSource(errTooOld)
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
	j.to.stale = true
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

// course is a copy under way: from a snapshot's entries to Applies.
type course struct {
	s      *Syncer
	j      *job
	snap   partition.Snapshot
	at     partition.Revision // the target's position
	head   partition.Revision // the snapshot's: where the target is at the end
	goal   partition.Revision // … and where it has to be to be whole: beyond head if the source is itself on its way
	synced partition.Instant  // of which moment the target is whole at the end; zero: it is not
	mark   partition.Revision // up to here the target must still note tombstones as collected; zero: nothing to note
}

func newCourse(s *Syncer, j *job, snap partition.Snapshot) *course {
	head := snap.Position()
	c := &course{s: s, j: j, snap: snap, at: j.at.Revision, head: head.Revision,
		goal: max(head.Revision, j.at.Goal)}
	if !j.direct() {
		c.goal = max(c.goal, head.Goal)
	}
	if c.goal == c.head {
		c.synced = head.SyncedAt
	}
	if j.at.SyncedAt == 0 && head.Collected > j.at.Collected {
		c.mark = head.Collected
	}
	return c
}

// tell makes known how far the target is now, so that reads, and the next
// pass, know at once. One that was being filled is asked.
func (c *course) tell(ctx context.Context) error {
	at := c.j.at
	if at.SyncedAt == 0 {
		_, err := c.j.to.learn(ctx)
		return err
	}
	at.Revision, at.Goal, at.SyncedAt = c.at, c.goal, max(at.SyncedAt, c.synced)
	c.j.to.advance(c.j.lane, at)
	return nil
}

// step is a batch on its way. last says that the snapshot holds no more.
type step struct {
	entries []partition.Entry
	last    bool
}

// run reads one batch ahead of the one that is applied.
func (c *course) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	steps := make(chan step)
	group.Go(func() error {
		defer close(steps)
		return c.read(ctx, steps)
	})
	group.Go(func() error { return c.applyAll(ctx, steps) })
	return group.Wait()
}

// read sends the snapshot's batches. One is held back until it is known
// whether another follows, as only the last makes the target whole.
func (c *course) read(ctx context.Context, steps chan<- step) error {
	var held []partition.Entry
	for {
		entries, err := c.next(ctx)
		if errors.Is(err, io.EOF) {
			return send(ctx, steps, step{held, true})
		}
		if err != nil {
			return c.j.fromSource(err)
		}
		if held != nil {
			if err := send(ctx, steps, step{held, false}); err != nil {
				return err
			}
		}
		held = entries
		if entries[len(entries)-1].Revision >= c.head {
			return send(ctx, steps, step{held, true})
		}
	}
}

// next is the snapshot's next batch, up to its head: what a relay holds beyond
// that was placed there, see ahead.
func (c *course) next(ctx context.Context) ([]partition.Entry, error) {
	bound, cancel := context.WithTimeout(ctx, c.s.options.CopyTimeout)
	defer cancel()
	entries, err := c.snap.Next(bound, c.s.options.BatchEntries, c.s.options.BatchBytes)
	for len(entries) > 0 && entries[len(entries)-1].Revision > c.head {
		entries = entries[:len(entries)-1]
	}
	if err == nil && len(entries) == 0 {
		return nil, io.EOF
	}
	return entries, err
}

func send(ctx context.Context, steps chan<- step, st step) error {
	select {
	case steps <- st:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// applyAll applies what is read, the origin's barrier before all else, or
// what a relay holds ahead of its turn.
func (c *course) applyAll(ctx context.Context, steps <-chan step) error {
	if c.j.direct() && c.s.cluster.Committed(c.j.from.Name()) >= c.head {
		// The commit that was answered is a barrier itself.
	} else if c.j.direct() {
		if err := c.j.gate.pass(ctx, c.j.from, c.head); err != nil {
			return c.j.fromSource(err)
		}
	} else if err := c.ahead(ctx); err != nil {
		return err
	}
	for st := range steps {
		if !st.last {
			c.j.lane.progress(c.j.at.SyncedAt == 0)
		}
		if err := c.apply(ctx, st); err != nil {
			return err
		}
	}
	return nil
}

// ahead brings the target, before all else, what its relay holds ahead of its
// turn. Such an entry may have replaced one that the target has to hold when
// it is at the relay's position, or at any before it: the next step may come from
// another relay, where it was not placed.
func (c *course) ahead(ctx context.Context) error {
	return c.s.forward(ctx, c.j, c.j.from, c.head)
}

// apply applies one batch and moves the position as far as it reaches.
func (c *course) apply(ctx context.Context, st step) error {
	to := c.head
	if !st.last {
		to = st.entries[len(st.entries)-1].Revision
	}
	next := partition.Copy{Origin: c.j.origin, From: c.at, To: to, Goal: c.goal, Entries: st.entries}
	if st.last && c.mark == 0 {
		next.SyncedAt = c.synced
	}
	if err := c.s.apply(ctx, c.j, next); err != nil {
		return err
	}
	c.at = to
	c.count(st.entries)
	if c.mark == 0 || c.mark > to {
		return nil
	}
	if err := c.note(ctx); err != nil || !st.last || c.synced == 0 {
		return err
	}
	next.From, next.Entries, next.SyncedAt = to, nil, c.synced
	return c.s.apply(ctx, c.j, next)
}

// note has the target record which tombstones its source did not have any
// more, before it is whole: it may be a source for others then.
func (c *course) note(ctx context.Context) error {
	bound, cancel := context.WithTimeout(ctx, c.s.options.CopyTimeout)
	defer cancel()
	if _, err := c.j.to.Collect(bound, c.j.origin, c.mark); err != nil {
		return fmt.Errorf("note what was collected of %s on %s: %w", c.j.origin, c.j.to.Name(), err)
	}
	c.mark = 0
	return nil
}

func (c *course) count(entries []partition.Entry) {
	c.s.count(c.j.lane, entries)
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.j.lane.toGo = distance(c.at, c.goal)
}

// count adds a batch to what the lane has copied.
func (s *Syncer) count(l *lane, entries []partition.Entry) {
	var bytes int64
	for i := range entries {
		bytes += entries[i].Size
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l.add(totals{Entries: int64(len(entries)), Bytes: bytes, Batches: 1})
}

// distance is how many revisions lie between two, those of older epochs than
// the later's left out.
func distance(from, to partition.Revision) int64 {
	return max(0, int64(to-max(from, partition.Floor(to.Epoch()))))
}
