package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/runnelkv/runnel/store/partition"
)

// ErrNotEmpty: the target of a restore holds data.
var ErrNotEmpty = errors.New("the database is not empty")

// Restore copies a chain of backups to an empty partition: a full backup and the incremental backups
// that follow it. The readers are at their first blocks. progress is called after each block with the
// number of its entries, and may be nil.
//
// The partition gets an identity of its own. A replica then belongs to the cluster of the backup. A
// master belongs to no epoch until Store.Restore has begun a new one; Restored reports which.
//
// After a failure or a crash no store uses the database, and Restore of the same chain continues.
// *DamageError: a backup is damaged. ErrBase: see CheckChain. ErrNotEmpty: the partition holds data of
// another origin than an interrupted Restore of this chain. ErrIncomplete: the backup is of a
// partition amid a catch-up, which cannot become a master. Other errors are those of p.
func Restore(ctx context.Context, p partition.Partition, chain []*Reader, progress func(added int)) (Restored, error) {
	headers := make([]*Header, len(chain))
	for i, b := range chain {
		headers[i] = &b.Header
	}
	if err := CheckChain(headers); err != nil {
		return Restored{}, err
	}
	r := restoring{p: p, last: headers[len(headers)-1], progress: progress}
	done, err := r.markTarget(ctx)
	if err != nil || done {
		return r.restored(), err
	}
	for _, b := range chain {
		if err := r.applyAll(ctx, b); err != nil {
			return Restored{}, err
		}
	}
	return r.restored(), r.finish(ctx)
}

// Restored is the result of a Restore.
type Restored struct {
	Header         // of the last backup
	IsMaster  bool // Store.Restore must begin a new epoch
	Entries   int64
	Continued bool // an interrupted Restore was continued
}

// restoring is a Restore in progress.
type restoring struct {
	p         partition.Partition
	last      *Header // of the chain
	progress  func(int)
	at        map[partition.Origin]partition.Position // of the target
	resumed   map[partition.Origin]partition.Entry    // newest entries that an interrupted Restore has applied and that were not met again
	entries   int64
	continued bool
}

func (r *restoring) restored() Restored {
	return Restored{Header: *r.last, IsMaster: r.isMaster(), Entries: r.entries, Continued: r.continued}
}

func (r *restoring) isMaster() bool { return slices.Contains(r.last.Masters, r.p.Name()) }

// finalEpoch is the epoch of the cluster row after the restore.
func (r *restoring) finalEpoch() int64 {
	if r.isMaster() {
		return -r.last.Epoch
	}
	return r.last.Epoch
}

// markTarget marks the target as being restored. done: the chain was restored before.
func (r *restoring) markTarget(ctx context.Context) (done bool, err error) {
	if r.isMaster() {
		if err := r.last.checkWhole(); err != nil {
			return false, fmt.Errorf("%w, and %s is a master", err, r.p.Name())
		}
	}
	at, err := r.p.Positions(ctx)
	if err != nil {
		return false, err
	}
	r.at = at.Origins
	row, err := r.p.Cluster(ctx)
	switch {
	case errors.Is(err, partition.ErrNoCluster):
		return false, r.beginEmpty(ctx)
	case err != nil:
		return false, err
	case row.ID != r.last.ClusterID || row.Epoch >= 0 || row.Epoch != partition.RestoringEpoch && row.Epoch != r.finalEpoch():
		return false, fmt.Errorf("%w: %s belongs to cluster %s, in epoch %d", ErrNotEmpty, r.p.Name(), row.ID, row.Epoch)
	case row.Epoch == partition.RestoringEpoch:
		r.continued = true
		return false, r.resume(ctx)
	}
	r.continued = true
	if !r.arrived() {
		return false, fmt.Errorf("%w: %s holds something else than the backup", ErrNotEmpty, r.p.Name())
	}
	return true, nil
}

// beginEmpty writes the cluster row of a partition that must be empty. Without masters no counter is
// created. The moves shut out binaries that would ignore the moves.
func (r *restoring) beginEmpty(ctx context.Context) error {
	entries, _, err := r.p.List(ctx, partition.Span{Limit: 1})
	if err != nil {
		return err
	}
	if len(entries) > 0 || len(r.at) > 0 {
		return fmt.Errorf("%w: %s has entries or positions", ErrNotEmpty, r.p.Name())
	}
	c := r.last.cluster()
	c.Epoch, c.Masters = partition.RestoringEpoch, nil
	row, err := r.p.Join(ctx, c)
	if err == nil && (row.ID != r.last.ClusterID || row.Epoch != partition.RestoringEpoch) {
		err = fmt.Errorf("%w: a running process has just taken %s: stop it, or remove the partition from its configuration", ErrNotEmpty, r.p.Name())
	}
	return err
}

// resume checks that an interrupted Restore was of the same chain: it was heading for the same
// revisions, and its newest entries must be met again.
func (r *restoring) resume(ctx context.Context) error {
	r.resumed = make(map[partition.Origin]partition.Entry)
	for name, p := range r.at {
		o, found := r.last.origin(name)
		if !found || p.Goal != o.Goal {
			return fmt.Errorf("%w: the interrupted restore of %s was of another backup: repeat that, or empty the database", ErrNotEmpty, r.p.Name())
		}
		newest, err := r.p.Newest(ctx, name, 1)
		if err != nil {
			return err
		}
		if len(newest) > 0 {
			r.resumed[name] = newest[0]
		}
	}
	return nil
}

// arrived reports whether the target is at the positions of the last backup.
func (r *restoring) arrived() bool {
	for _, o := range r.last.Origins {
		if r.at[o.Name].Revision != o.Revision {
			return false
		}
	}
	return len(r.at) == len(r.last.Origins)
}

// applyAll applies a backup, and then the positions of all its origins.
func (r *restoring) applyAll(ctx context.Context, b *Reader) error {
	for {
		k, err := b.next()
		switch {
		case errors.Is(err, io.EOF):
			return r.applyPositions(ctx, b)
		case err == nil && k.chunk != nil:
			err = r.p.PutChunk(ctx, partition.HashChunk(k.chunk), k.chunk)
		case err == nil:
			err = r.applyBlock(ctx, k.block)
		}
		if err != nil {
			return err
		}
		if r.progress != nil {
			r.progress(len(k.entries))
		}
	}
}

// applyPositions applies the positions of a backup, whose pieces were applied.
func (r *restoring) applyPositions(ctx context.Context, b *Reader) error {
	for _, o := range b.Origins {
		if r.at[o.Name].Revision <= o.Revision {
			if err := r.apply(ctx, o.Name, o.Revision, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// applyBlock applies the entries of a block that an interrupted Restore has not applied.
func (r *restoring) applyBlock(ctx context.Context, k block) error {
	r.entries += int64(len(k.entries))
	at, pending := r.at[k.origin].Revision, k.entries
	for len(pending) > 0 && pending[0].Revision <= at {
		e := &pending[0]
		if was, found := r.resumed[k.origin]; found && was.Revision == e.Revision {
			if was.Key != e.Key || was.ModifiedAt != e.ModifiedAt {
				break
			}
			delete(r.resumed, k.origin)
		}
		pending = pending[1:]
	}
	switch {
	case len(pending) == 0:
		return nil
	case pending[0].Revision <= at || r.resumed[k.origin].Key != "":
		return fmt.Errorf("%w: the interrupted restore of %s was of another backup, with other entries of %s: empty the database", ErrNotEmpty, r.p.Name(), k.origin)
	}
	return r.apply(ctx, k.origin, pending[len(pending)-1].Revision, pending)
}

// apply moves the position of an origin. A position that the last backup has is final.
func (r *restoring) apply(ctx context.Context, name partition.Origin, to partition.Revision, entries []partition.Entry) error {
	o, found := r.last.origin(name)
	if !found || to > o.Revision {
		return fmt.Errorf("%w: the backups of the chain contradict each other about %s", ErrBase, name)
	}
	c := partition.Copy{Origin: name, From: r.at[name].Revision, To: to, Goal: o.Goal, Collected: o.Collected, Entries: entries}
	if len(entries) == 0 && to == o.Revision {
		c.SyncedAt = o.SyncedAt
	}
	if err := r.p.Apply(ctx, c); err != nil {
		return err
	}
	r.at[name] = r.at[name].Follow(c)
	return nil
}

// finish gives the partition its place in the cluster.
func (r *restoring) finish(ctx context.Context) error {
	if len(r.resumed) > 0 {
		return fmt.Errorf("%w: the interrupted restore of %s was of another backup: empty the database", ErrNotEmpty, r.p.Name())
	}
	if !r.arrived() {
		return fmt.Errorf("%w: %s has not arrived at the positions of the backup", ErrBase, r.p.Name())
	}
	c := r.last.cluster()
	c.Epoch = r.finalEpoch()
	_, err := r.p.Accept(ctx, c)
	return err
}
