package sync

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/verify"
)

// transfer is a running copy: it reads a snapshot in chunks and applies them.
type transfer struct {
	s        *Syncer
	j        *job
	snap     partition.Snapshot
	at       partition.Revision // the target's position
	head     partition.Revision // the snapshot's position, which the target has at the end
	goal     partition.Revision // the position from which the target is complete: above head if the source is catching up itself
	syncedAt partition.Instant  // the moment as of which the target is complete at the end; zero: it is not
	// collected is the revision up to which the source has collected tombstones. The first chunk of
	// a fill records it, so that an interrupted fill continues unless more were collected since.
	collected partition.Revision
	// goals are positions of further origins that the target needs, because their entries may have replaced, at the source,
	// entries that the target lacks. The first chunk records them.
	goals   map[partition.Origin]partition.Revision
	isJoint bool  // there are goals
	epoch   int64 // of the source's cluster map
}

func newTransfer(s *Syncer, j *job, snap partition.Snapshot) *transfer {
	head := snap.Position()
	t := &transfer{s: s, j: j, snap: snap, at: j.at.Revision, head: head.Revision,
		goal: max(head.Revision, j.at.Goal)}
	if !j.isDirect() {
		t.goal = max(t.goal, head.Goal)
	}
	if t.goal == t.head {
		t.syncedAt = head.SyncedAt
	}
	if !j.at.Filled() && head.Collected > j.at.Collected {
		t.collected = head.Collected
	}
	t.epoch, _ = snap.Heads()
	t.goals = j.jointGoals(snap)
	t.isJoint = len(t.goals) > 0
	return t
}

// jointGoals returns the heads of the other origins at the source, if the target is below the revision up to which the
// job's origin has given slots away: later masters may have written keys of these slots. Above, nil.
func (j *job) jointGoals(snap partition.Snapshot) map[partition.Origin]partition.Revision {
	if j.at.Revision >= j.row.GaveAway(j.origin) {
		return nil
	}
	goals := make(map[partition.Origin]partition.Revision)
	_, heads := snap.Heads()
	for o, at := range heads {
		if o != j.origin && string(o) != j.to.Name() && at.Seen() > 0 {
			goals[o] = at.Seen()
		}
	}
	return goals
}

// publish passes the target's new position to reads and to the next pass. After a
// fill, and if goals were raised, the positions are read from the target.
func (t *transfer) publish(ctx context.Context) error {
	at := t.j.at
	if !at.Filled() || t.isJoint {
		_, err := t.j.to.readPositions(ctx)
		return err
	}
	t.j.to.notePosition(t.j.stream, at.Follow(partition.Copy{Origin: t.j.origin, To: t.at, Goal: t.goal, SyncedAt: t.syncedAt}))
	return nil
}

// chunk is a batch of entries on its way from the snapshot to an Apply.
type chunk struct {
	entries []partition.Entry
	last    bool // of the snapshot
}

// copyAll applies each chunk while the next is read.
func (t *transfer) copyAll(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	chunks := make(chan chunk)
	group.Go(func() error {
		defer close(chunks)
		return t.readChunks(ctx, chunks)
	})
	group.Go(func() error { return t.applyChunks(ctx, chunks) })
	return group.Wait()
}

// readChunks sends the snapshot's chunks. Each is held back until the end of the
// snapshot is known, because only the last chunk makes the target complete.
func (t *transfer) readChunks(ctx context.Context, chunks chan<- chunk) error {
	var held []partition.Entry
	for {
		entries, err := t.nextEntries(ctx)
		if errors.Is(err, io.EOF) {
			return send(ctx, chunks, chunk{held, true})
		}
		if err != nil {
			return t.j.sourceError(err)
		}
		if err := t.mend(ctx, entries); err != nil {
			return err
		}
		if held != nil {
			if err := send(ctx, chunks, chunk{held, false}); err != nil {
				return err
			}
		}
		held = entries
		if entries[len(entries)-1].Revision >= t.head {
			return send(ctx, chunks, chunk{held, true})
		}
	}
}

func (t *transfer) nextEntries(ctx context.Context) ([]partition.Entry, error) {
	bound, cancel := context.WithTimeout(ctx, t.s.options.CopyTimeout)
	defer cancel()
	return t.snap.Next(bound, t.s.options.BatchEntries, t.s.options.BatchBytes)
}

func send(ctx context.Context, chunks chan<- chunk, c chunk) error {
	select {
	case chunks <- c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// applyChunks checks the lineage, waits until everything that the source itself has written is durable, and applies the
// chunks.
func (t *transfer) applyChunks(ctx context.Context, chunks <-chan chunk) error {
	if err := t.s.checkLineage(ctx, t.j, t.snap.Position()); err != nil {
		return err
	}
	own := t.goals[partition.Origin(t.j.from.Name())]
	if t.j.isDirect() {
		own = t.head
	}
	if own > 0 && t.s.cluster.Committed(t.j.from.Name()) < own { // an answered commit is a barrier itself
		if err := t.j.durability.Ensure(ctx, t.j.from, own); err != nil {
			return t.j.sourceError(err)
		}
	}
	for c := range chunks {
		if !c.last {
			t.j.stream.setCopying(!t.j.at.Filled())
		}
		if err := t.applyChunk(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// applyChunk applies a chunk and moves the position to the chunk's end.
func (t *transfer) applyChunk(ctx context.Context, c chunk) error {
	to := t.head
	if !c.last {
		to = c.entries[len(c.entries)-1].Revision
	}
	next := partition.Copy{Origin: t.j.origin, From: t.at, To: to, Goal: t.goal, Goals: t.goals, Collected: t.collected, Entries: c.entries, Epoch: t.epoch, Ballot: t.j.row.Accepted}
	if c.last {
		next.SyncedAt = t.syncedAt
	}
	if err := t.s.applyLeased(ctx, t.j, next); err != nil {
		return err
	}
	t.noteApplied(c.entries, to)
	t.at, t.collected, t.goals = to, 0, nil
	return nil
}

// noteApplied counts a chunk that moved the target to a position.
func (t *transfer) noteApplied(entries []partition.Entry, to partition.Revision) {
	var bytes int64
	for i := range entries {
		bytes += entries[i].Size
	}
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.j.stream.addTotals(Totals{Entries: int64(len(entries)), Bytes: bytes, Batches: 1})
	t.j.stream.noteNewest(entries, t.at, to)
	t.j.stream.toGo = distance(to, t.goal)
}

// errDamaged: the source's copy of an entry is damaged, and no right copy was found.
var errDamaged = errors.New("a damaged entry is not copied")

// mend replaces damaged entries of a snapshot by right copies of the same revision, after the source was repaired. Damage is
// never copied: without a right copy the stream stops before the entry.
func (t *transfer) mend(ctx context.Context, entries []partition.Entry) error {
	for i := range entries {
		e := &entries[i]
		if e.Intact() {
			continue
		}
		right, err := t.s.repairSource(ctx, t.j.from, e)
		if err != nil {
			return t.j.sourceError(err)
		}
		*e = right
	}
	return nil
}

// repairSource repairs a row of a source from the other partitions, and returns the right row.
func (s *Syncer) repairSource(ctx context.Context, from *replica, damaged *partition.Entry) (right partition.Entry, err error) {
	bound, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	findings, err := verify.Row(bound, s.usable(), damaged.Key, true)
	for _, f := range findings {
		s.logFinding(f)
	}
	if err != nil {
		return right, fmt.Errorf("%w: %q: %w", errDamaged, damaged.Key, err)
	}
	rows, err := from.Get(bound, []partition.Key{damaged.Key})
	switch {
	case err != nil:
		return right, err
	case len(rows) == 1 && rows[0].Intact() && rows[0].Origin == damaged.Origin && rows[0].Revision == damaged.Revision:
		return rows[0], nil
	case len(rows) == 0 || rows[0].Intact(): // renamed, or written meanwhile
		return right, fmt.Errorf("%w: the row of %q has changed", partition.ErrPositionMoved, damaged.Key)
	}
	return right, fmt.Errorf("%w: %q, revision %d: write or delete the key, or restore it, and the copy goes on", errDamaged, damaged.Key, damaged.Revision)
}
