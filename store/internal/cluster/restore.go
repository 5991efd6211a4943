package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/partition"
)

// Restored is the result of a Restore.
type Restored struct {
	Epoch int64           // the epoch that began
	Ends  []partition.End // for each present and former master: revisions up to the cut are valid, later ones are lost
	Back  map[string]int  // for each of them that was behind: number of entries taken back from further partitions
}

// Restore begins a new epoch after databases were set back in time. Every configured
// partition must be reachable; each records up to which revision the writes of each master
// are valid. From then on sessions, change tokens and tags of later revisions are
// recognised, and no revision is issued twice. A master that is behind first catches up
// with the partition that holds most of it.
//
// Restore holds the sync leases, which it takes for the given duration and renews. A Restore may be
// repeated after an interruption. Run need not be running. Further processes may be, but if
// they write meanwhile, Restore fails.
func (reg *Register) Restore(ctx context.Context, lease time.Duration) (Restored, error) {
	c, err := reg.restorable(ctx)
	if err != nil {
		return Restored{}, err
	}
	r := restore{register: reg, ttl: lease, at: make(map[*backend.Backend]partition.Positions), leases: make(map[*backend.Backend]partition.Lease)}
	defer r.releaseLeases(ctx)
	if err := r.survey(ctx, &c); err != nil {
		return Restored{}, err
	}
	done := Restored{Epoch: epochAfter(c.Epoch, time.Now()), Back: make(map[string]int)}
	below := partition.Floor(done.Epoch)
	for _, o := range c.Origins() {
		b := reg.backends.Named(string(o))
		if b == nil && !slices.Contains(c.Masters, string(o)) {
			continue // a former master that was removed: the rest hold its entries as far as they are known
		}
		n, err := r.recoverWrites(ctx, b, o)
		if err != nil {
			return Restored{}, fmt.Errorf("bring %s level: %w", o, err)
		}
		if n > 0 {
			done.Back[string(o)] = n
		}
		done.Ends = append(done.Ends, partition.End{Origin: o, Cut: r.at[b].Origins[o].Revision, Below: below})
	}
	c.Epoch, c.Epochs, c.Ends = done.Epoch, nil, append(c.Ends, done.Ends...)
	isReplica := func(b *backend.Backend) bool { return !slices.Contains(c.Masters, b.Name()) }
	// Masters first: a master that was written to meanwhile rejects the map before any
	// replica has accepted it.
	for _, replicas := range [...]bool{false, true} {
		for _, b := range reg.backends.All() {
			if isReplica(b) != replicas {
				continue
			}
			row, err := b.Accept(ctx, c)
			if err == nil && (row.Epoch != c.Epoch || row.Accepted != c.Accepted) {
				err = fmt.Errorf("%w: another map was proposed meanwhile", partition.ErrOutvoted)
			}
			if err != nil {
				return Restored{}, fmt.Errorf("%s: %w; end every other runnel process, and run this again", b.Name(), err)
			}
		}
	}
	return done, nil
}

// epochAfter is the epoch that a Restore begins. A backup does not know the epochs that
// began after the backup, and the revisions of these must not be issued again. An epoch is therefore at least
// the number of days since the start of 2026. (Revisions are exact in JavaScript up to
// epoch 8191.)
func epochAfter(known int64, now time.Time) int64 {
	return max(known+1, int64(now.Sub(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))/(24*time.Hour)))
}

// restorable is the cluster row before a Restore. The result is an error if no configured partition
// has a row, a backup is being restored to some partition, or the last epoch has begun.
func (r *Register) restorable(ctx context.Context) (partition.Cluster, error) {
	belongs := false
	var restored partition.Cluster // of the latest backup that was restored to a master
	for _, b := range r.backends.All() {
		b.EnsurePrepared(ctx)
		row, err := b.Cluster(ctx)
		if err != nil {
			continue
		}
		belongs = true
		if row.Epoch == partition.RestoringEpoch {
			return partition.Cluster{}, fmt.Errorf("%s: %w", b.Name(), checkMap(row))
		}
		if -row.Epoch > restored.Epoch {
			restored, restored.Epoch = row, -row.Epoch
		}
	}
	if !belongs {
		return partition.Cluster{}, errors.New("no configured partition that is reachable belongs to a cluster")
	}
	if restored.ID != "" { // every remaining partition may be empty
		if err := checkMap(restored); err != nil {
			return partition.Cluster{}, err
		}
		r.warnOfMasters(restored)
		r.current.Store(newMapOf(restored))
	}
	err := r.Connect(ctx)
	c := r.Map()
	switch {
	case c == nil:
		return partition.Cluster{}, err
	case c.Epoch >= maxEpoch:
		return partition.Cluster{}, fmt.Errorf("epoch %d is the last", c.Epoch)
	}
	return c.Cluster, nil
}

// restore is a Restore in progress. The restore holds the leases of all partitions, so that no sync
// process copies meanwhile.
type restore struct {
	register *Register
	ttl      time.Duration // of a lease
	at       map[*backend.Backend]partition.Positions
	leases   map[*backend.Backend]partition.Lease
}

// survey takes the leases and reads all positions. If c or any row has ballots, c then has a ballot
// above all of them, as a chosen map. Then survey drops from c the ends that their
// origin never accepted, in an interrupted Restore: their cuts are computed again, and
// rejects partitions that an operator must empty first.
func (r *restore) survey(ctx context.Context, c *partition.Cluster) error {
	highest, promised := make(map[partition.Origin]partition.Revision), c.Promised
	for _, b := range r.register.backends.All() {
		row, err := b.Cluster(ctx)
		if err == nil && row.ID != c.ID {
			err = fmt.Errorf("%w: it belongs to another cluster", partition.ErrRefused)
		}
		if err == nil {
			err = r.acquireLease(ctx, b)
		}
		if err == nil {
			r.at[b], err = b.Positions(ctx)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", b.Name(), err)
		}
		promised = max(promised, row.Promised)
		for o, p := range r.at[b].Origins {
			highest[o] = max(highest[o], p.Revision)
		}
	}
	if promised > 0 {
		c.Accepted, c.Chosen = promised+1, promised+1
	}
	c.Ends = slices.DeleteFunc(slices.Clone(c.Ends), func(e partition.End) bool { return highest[e.Origin] < e.Below })
	for b, at := range r.at {
		for o, p := range at.Origins {
			if c.Lost(o, p.Revision) {
				return fmt.Errorf("%s: %w", b.Name(), c.CheckPosition(b.Name(), o, p.Revision))
			}
		}
	}
	return nil
}

// acquireLease takes or renews the lease of a partition.
func (r *restore) acquireLease(ctx context.Context, b *backend.Backend) (err error) {
	r.leases[b], err = b.Acquire(ctx, "restore", r.ttl)
	if errors.Is(err, partition.ErrLeaseHeld) {
		delete(r.leases, b)
		return fmt.Errorf("%w: end every other runnel process; the lease of one that was killed ends within seconds", err)
	}
	return err
}

func (r *restore) releaseLeases(ctx context.Context) {
	for b, l := range r.leases {
		b.Release(context.WithoutCancel(ctx), l) // if this fails the lease expires
	}
}

// recoverWrites brings a master up to the partition that holds most of it, and returns the
// number of entries applied.
func (r *restore) recoverWrites(ctx context.Context, b *backend.Backend, o partition.Origin) (n int, err error) {
	own := r.at[b].Origins[o]
	source, most := b, own
	for other, p := range r.at {
		if at := p.Origins[o]; at.Revision > most.Revision {
			source, most = other, at
		}
	}
	if source == b {
		return 0, nil
	}
	if err := r.checkContinues(ctx, b, source, o); err != nil {
		return 0, err
	}
	snap, err := source.Snapshot(ctx, o, own.Revision)
	if err != nil {
		return 0, err
	}
	defer snap.Close() // nothing was written
	head := snap.Position()
	for at := own.Revision; at < head.Revision; {
		step := partition.Copy{Origin: o, From: at, To: head.Revision, Goal: head.Revision, Collected: head.Collected}
		step.Entries, err = snap.Next(ctx, r.register.options.BatchEntries, r.register.options.BatchBytes)
		switch last := len(step.Entries) - 1; {
		case errors.Is(err, io.EOF):
		case err != nil:
			return n, err
		case step.Entries[last].Revision < head.Revision:
			step.To = step.Entries[last].Revision
		}
		if err := r.acquireLease(ctx, b); err != nil {
			return n, err
		}
		step.Fence = r.leases[b].Fence
		if err := b.Apply(ctx, step); err != nil {
			return n, err
		}
		at, n = step.To, n+len(step.Entries)
	}
	r.at[b].Origins[o] = head
	return n, nil
}

// checkContinues rejects a master if the source does not continue the master's history: the source
// has collected tombstones that the master lacks, or does not hold the master's newest
// entry.
func (r *restore) checkContinues(ctx context.Context, master, source *backend.Backend, o partition.Origin) error {
	own, most := r.at[master].Origins[o], r.at[source].Origins[o]
	newest, err := master.Newest(ctx, o, 1)
	switch {
	case err != nil || len(newest) == 0:
		return err
	case own.MissesTombstonesOf(most):
		return fmt.Errorf("%w: it is older than deletions that %s has collected; empty its database, and run this again: everything of it is then taken from %s",
			partition.ErrRefused, source.Name(), source.Name())
	}
	mine := newest[0]
	theirs, err := source.Get(ctx, []partition.Key{mine.Key})
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
