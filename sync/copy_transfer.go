package sync

import (
	"context"
	"errors"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/runnelkv/runnel/store/partition"
)

// course is a copy under way: from a snapshot's entries to Applies.
type course struct {
	s      *Syncer
	j      *job
	snap   partition.Snapshot
	at     partition.Revision // the target's position
	head   partition.Revision // the snapshot's: where the target is at the end
	goal   partition.Revision // … and where it has to be to be whole: beyond head if the source is itself on its way
	synced partition.Instant  // of which moment the target is whole at the end; zero: it is not
	// collected is up to where the source has no tombstones any more, for a target that is being filled: the
	// first step notes it. So a fill that was interrupted goes on unless more were collected since.
	collected partition.Revision
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
	if !j.at.Filled() && head.Collected > j.at.Collected {
		c.collected = head.Collected
	}
	return c
}

// tell makes known how far the target is now, so that reads, and the next
// pass, know at once. One that was being filled is asked.
func (c *course) tell(ctx context.Context) error {
	at := c.j.at
	if !at.Filled() {
		_, err := c.j.to.learn(ctx)
		return err
	}
	c.j.to.advance(c.j.lane, at.Follow(partition.Copy{Origin: c.j.origin, To: c.at, Goal: c.goal, SyncedAt: c.synced}))
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

// next is the snapshot's next batch.
func (c *course) next(ctx context.Context) ([]partition.Entry, error) {
	bound, cancel := context.WithTimeout(ctx, c.s.options.CopyTimeout)
	defer cancel()
	return c.snap.Next(bound, c.s.options.BatchEntries, c.s.options.BatchBytes)
}

func send(ctx context.Context, steps chan<- step, st step) error {
	select {
	case steps <- st:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// applyAll applies what is read, once the lineage is checked and the origin's barrier made.
func (c *course) applyAll(ctx context.Context, steps <-chan step) error {
	if err := c.s.checkLineage(ctx, c.j, c.snap.Position()); err != nil {
		return err
	}
	if c.j.direct() && c.s.cluster.Committed(c.j.from.Name()) < c.head { // a commit that was answered is a barrier itself
		if err := c.j.gate.pass(ctx, c.j.from, c.head); err != nil {
			return c.j.fromSource(err)
		}
	}
	for st := range steps {
		if !st.last {
			c.j.lane.progress(!c.j.at.Filled())
		}
		if err := c.apply(ctx, st); err != nil {
			return err
		}
	}
	return nil
}

// apply applies one batch and moves the position as far as it reaches.
func (c *course) apply(ctx context.Context, st step) error {
	to := c.head
	if !st.last {
		to = st.entries[len(st.entries)-1].Revision
	}
	next := partition.Copy{Origin: c.j.origin, From: c.at, To: to, Goal: c.goal, Collected: c.collected, Entries: st.entries}
	if st.last {
		next.SyncedAt = c.synced
	}
	if err := c.s.apply(ctx, c.j, next); err != nil {
		return err
	}
	c.count(st.entries, to)
	c.at, c.collected = to, 0
	return nil
}

// count notes a step that took the target to a position.
func (c *course) count(entries []partition.Entry, to partition.Revision) {
	c.s.count(c.j.lane, entries)
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.j.lane.remember(entries, c.at, to)
	c.j.lane.toGo = distance(to, c.goal)
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
