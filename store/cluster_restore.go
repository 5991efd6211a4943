package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// Restored is what a Restore has done.
type Restored struct {
	Epoch int64           // the one that began
	Ends  []partition.End // of each master: its revisions up to the cut count, those beyond it are lost
	Back  map[string]int  // of each master that was behind: entries taken back from others
}

// Restore begins a new epoch after databases were set back in time: every
// configured partition, which must be reachable, notes up to where the revisions
// of each master count. Sessions, change tokens and tags of what lies beyond are
// recognised from then on, and no revision is given out twice. A master that is
// behind is first brought level with the partition that holds most of it. It may
// be repeated after it was cut short. Run need not be running; other processes may
// be, but then a write may come between and Restore fails. It holds the sync
// leases, which are of that length.
func (s *Store) Restore(ctx context.Context, lease time.Duration) (Restored, error) {
	c, err := s.restorable(ctx)
	if err != nil {
		return Restored{}, err
	}
	r := restore{s: s, ttl: lease, at: make(map[*backend]partition.Positions), leases: make(map[*backend]partition.Lease)}
	defer r.releaseLeases(ctx)
	if err := r.survey(ctx, &c); err != nil {
		return Restored{}, err
	}
	done := Restored{Epoch: epochAfter(c.Epoch, time.Now()), Back: make(map[string]int)}
	below := partition.Floor(done.Epoch)
	for _, name := range c.Masters {
		m, o := s.backend(name), Origin(name)
		n, err := r.recoverWrites(ctx, m, o)
		if err != nil {
			return Restored{}, fmt.Errorf("bring %s level: %w", name, err)
		}
		if n > 0 {
			done.Back[name] = n
		}
		done.Ends = append(done.Ends, partition.End{Origin: o, Cut: r.at[m].Origins[o].Revision, Below: below})
	}
	c.Epoch, c.Ends = done.Epoch, append(c.Ends, done.Ends...)
	for _, m := range r.mastersFirst(c) {
		if _, err := m.Accept(ctx, c); err != nil {
			return Restored{}, fmt.Errorf("%s: %w; end every other runnel process, and run this again", m.Name(), err)
		}
	}
	return done, nil
}

// epochAfter is the epoch that a Restore begins after the one that its partitions
// know. A backup does not know the epochs that began since, and their revisions
// must not come twice: so an epoch is at least the number of days since 2026 began.
// (Numbers stay exact in JavaScript up to epoch 8191.)
func epochAfter(known int64, now time.Time) int64 {
	return max(known+1, int64(now.Sub(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))/(24*time.Hour)))
}

// restorable is the cluster as it is before a Restore: an error if the configured
// partitions have none, or it has begun its last epoch.
func (s *Store) restorable(ctx context.Context) (partition.Cluster, error) {
	belongs := false
	for _, m := range *s.backends.Load() {
		m.prepare(ctx)
		if _, err := m.Cluster(ctx); err == nil {
			belongs = true
		}
	}
	if !belongs {
		return partition.Cluster{}, errors.New("no configured partition that is reachable belongs to a cluster")
	}
	err := s.Connect(ctx)
	c := s.cluster.Load()
	switch {
	case c == nil:
		return partition.Cluster{}, err
	case c.Epoch >= maxEpoch:
		return partition.Cluster{}, fmt.Errorf("epoch %d is the last", c.Epoch)
	}
	return c.Cluster, nil
}

// restore is a Restore under way. It holds the leases of the partitions: no sync
// process copies meanwhile.
type restore struct {
	s      *Store
	ttl    time.Duration // of a lease, which is renewed with each step
	at     map[*backend]partition.Positions
	leases map[*backend]partition.Lease
}

// look takes the leases and reads all positions. Of c it drops the ends that their
// origin never accepted, in a Restore that was cut short: their cuts are worked
// out anew. It refuses partitions that an operator must empty first.
func (r *restore) survey(ctx context.Context, c *partition.Cluster) error {
	highest := make(map[Origin]Revision)
	for _, m := range *r.s.backends.Load() {
		row, err := m.Cluster(ctx)
		if err == nil && row.ID != c.ID {
			err = fmt.Errorf("%w: it belongs to another cluster", partition.ErrRefused)
		}
		if err == nil {
			err = r.acquireLease(ctx, m)
		}
		if err == nil {
			r.at[m], err = m.Positions(ctx)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", m.Name(), err)
		}
		for o, p := range r.at[m].Origins {
			highest[o] = max(highest[o], p.Revision)
		}
	}
	c.Ends = slices.DeleteFunc(slices.Clone(c.Ends), func(e partition.End) bool { return highest[e.Origin] < e.Below })
	for m, at := range r.at {
		for o, p := range at.Origins {
			if c.Lost(o, p.Revision) {
				return fmt.Errorf("%s: %w", m.Name(), c.CheckPosition(m.Name(), o, p.Revision))
			}
		}
	}
	return nil
}

// mastersFirst lists the partitions. If a master was written to meanwhile, it
// refuses before replicas have accepted anything.
func (r *restore) mastersFirst(c partition.Cluster) []*backend {
	members := slices.Clone(*r.s.backends.Load())
	slices.SortStableFunc(members, func(a, b *backend) int {
		isReplica := func(m *backend) int {
			if slices.Contains(c.Masters, m.Name()) {
				return 0
			}
			return 1
		}
		return isReplica(a) - isReplica(b)
	})
	return members
}

func (r *restore) acquireLease(ctx context.Context, m *backend) (err error) {
	r.leases[m], err = m.Acquire(ctx, "restore", r.ttl)
	if errors.Is(err, partition.ErrLeaseHeld) {
		delete(r.leases, m)
		return fmt.Errorf("%w: end every other runnel process; the lease of one that was killed ends within seconds", err)
	}
	return err
}

func (r *restore) releaseLeases(ctx context.Context) {
	for m, l := range r.leases {
		m.Release(context.WithoutCancel(ctx), l) // it ends by itself, if this fails
	}
}

// takeBack brings a master level with the partition that holds most of it, and
// says how many entries that took.
func (r *restore) recoverWrites(ctx context.Context, m *backend, o Origin) (n int, err error) {
	own := r.at[m].Origins[o]
	source, most := m, own
	for other, p := range r.at {
		if at := p.Origins[o]; at.Revision > most.Revision {
			source, most = other, at
		}
	}
	if source == m {
		return 0, nil
	}
	if err := r.checkContinues(ctx, m, source, o); err != nil {
		return 0, err
	}
	snap, err := source.Snapshot(ctx, o, own.Revision)
	if err != nil {
		return 0, err
	}
	defer snap.Close() // of a view that was only read
	head := snap.Position()
	for at := own.Revision; at < head.Revision; {
		step := partition.Copy{Origin: o, From: at, To: head.Revision, Goal: head.Revision, Collected: head.Collected}
		step.Entries, err = snap.Next(ctx, r.s.options.BatchEntries, r.s.options.BatchBytes)
		switch last := len(step.Entries) - 1; {
		case errors.Is(err, io.EOF):
		case err != nil:
			return n, err
		case step.Entries[last].Revision < head.Revision:
			step.To = step.Entries[last].Revision
		}
		if err := r.acquireLease(ctx, m); err != nil {
			return n, err
		}
		step.Fence = r.leases[m].Fence
		if err := m.Apply(ctx, step); err != nil {
			return n, err
		}
		at, n = step.To, n+len(step.Entries)
	}
	r.at[m].Origins[o] = head
	return n, nil
}

// checkContinues refuses a master that the source does not simply go on from:
// deletions that the master lacks are collected there, or the master's newest
// entry does not stand there.
func (r *restore) checkContinues(ctx context.Context, m, source *backend, o Origin) error {
	own, most := r.at[m].Origins[o], r.at[source].Origins[o]
	mine, err := newest(ctx, m, own)
	switch {
	case err != nil || mine == nil:
		return err
	case own.MissesTombstonesOf(most):
		return fmt.Errorf("%w: it is older than deletions that %s has collected; empty its database, and run this again: everything of it is then taken from %s",
			partition.ErrRefused, source.Name(), source.Name())
	}
	theirs, err := source.Get(ctx, []Key{mine.Key})
	switch {
	case err != nil:
		return err
	case mine.Revision <= most.Collected && len(theirs) == 0:
		return nil
	case len(theirs) == 0, theirs[0].Revision < mine.Revision:
		return fmt.Errorf("%w: it and %s hold different writes under the same revisions (%d of %s); export what is needed of one of them, empty it, and run this again",
			partition.ErrRefused, source.Name(), mine.Revision, mine.Key)
	}
	return nil
}

// newest is the newest entry that a master holds of its own origin; nil if there is none.
func newest(ctx context.Context, m *backend, own partition.Position) (newest *Entry, err error) {
	for far := Revision(1); newest == nil && far/2 < own.Revision; far *= 2 { // in ever longer stretches from the end
		snap, err := m.Snapshot(ctx, own.Origin, max(0, own.Revision-far))
		if err != nil {
			return nil, err
		}
		for err == nil {
			var entries []Entry
			if entries, err = snap.Next(ctx, 1000, 1<<20); len(entries) > 0 {
				newest = &entries[len(entries)-1]
			}
		}
		if err := errors.Join(snap.Close(), err); !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	return newest, nil
}
