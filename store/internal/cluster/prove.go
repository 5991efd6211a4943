package cluster

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/partition"
)

// idleProof is how long a master without commits counts as writable before a barrier checks
// it. A fault that makes every commit fail also makes a barrier fail.
const idleProof = 10 * time.Second

// ProveWritableLoop checks until ctx ends that b takes commits, whenever b is a master
// without recent commits of clients.
func (r *Register) ProveWritableLoop(ctx context.Context, b *backend.Backend) {
	timer := time.NewTimer(idleProof)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-b.WriteChecks():
		}
		err := r.proveWritable(ctx, b)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			timer.Reset(r.options.Poll)
		default:
			timer.Reset(idleProof)
		}
	}
}

// proveWritable makes a barrier on an idle master. On a master that has rejected a commit
// it makes a commit: a barrier may succeed where entries cannot be written.
func (r *Register) proveWritable(ctx context.Context, b *backend.Backend) error {
	idle := b.CommitRefusal() == nil
	if !b.IsWritable() || idle && b.TakeRecentCommit() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.options.Timeout)
	defer cancel()
	var err error
	if idle {
		err = b.Barrier(ctx)
	} else {
		err = r.commitProof(ctx, b)
	}
	if !errors.Is(err, context.Canceled) && !(idle && err == nil) {
		b.NoteCommit(err)
	}
	return err
}

// commitProof writes the tombstone of a reserved key. The tombstone is copied and collected
// like any other.
func (r *Register) commitProof(ctx context.Context, b *backend.Backend) error {
	c := r.Map()
	for i := range 64 * Slots {
		key := partition.Key("sys/writable/" + strconv.Itoa(i))
		if c.Master(key) != b.Name() || c.IsMoving(key) {
			continue
		}
		_, err := b.Commit(ctx, partition.Batch{Epoch: c.EpochOf(b.Name()), AtLeast: b.NewestSeen(), Revisions: 1,
			Write: []partition.Entry{{Key: key, Deleted: true, Checksum: partition.Checksum(nil)}}})
		return err
	}
	return b.Barrier(ctx) // b is the master of no slot
}
