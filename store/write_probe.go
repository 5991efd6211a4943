package store

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// A master counts as writable if its last commit succeeded. A master that answers reads
// but rejects commits or lets them hang (full disk, read_only, lost privilege) is not
// writable: the status shows the error until a commit succeeds. Writes of clients are
// still attempted, and their outcome counts too.

// idleProof is how long a master without commits counts as writable before a barrier checks
// it. A fault that makes every commit fail also makes a barrier fail.
const idleProof = 10 * time.Second

// proof is the outcome of recent commits on a backend.
type proof struct {
	recent  atomic.Bool           // a commit has succeeded since the last check
	refusal atomic.Pointer[error] // of the last commit; nil when it succeeded
	check   chan struct{}         // buffered, 1: check now
}

// noteCommit takes the outcome of a commit, or of a failed barrier.
func (b *backend) noteCommit(err error) {
	if err == nil {
		b.proof.recent.Store(true)
		if b.proof.refusal.Load() == nil {
			return
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.commitRefusal()
	if err == nil {
		b.proof.refusal.Store(nil)
	} else {
		refusal := err // a copy, so that err escapes only here and not on each commit
		b.proof.refusal.Store(&refusal)
	}
	switch {
	case b.err != nil, b.behind != nil: // another state was logged
	case err == nil:
		b.logOnce(slog.LevelInfo, logPartitionAnswers, nil)
	default:
		b.logRefusal(err)
		if before == nil {
			b.requestWriteCheck()
		}
	}
}

// refusalLogEvery is the least time between two log lines of refused commits. A disk that is nearly
// full refuses large values and takes small ones, so that the state may change with each commit.
const refusalLogEvery = 10 * time.Second

// logRefusal logs that commits are refused, unless this state is logged already, or was lately.
// b.mu is held.
func (b *backend) logRefusal(err error) {
	const text = "master takes no writes"
	if b.lastLogged == text || time.Since(b.refusalLogged) < refusalLogEvery {
		return
	}
	b.refusalLogged = time.Now()
	b.logOnce(slog.LevelWarn, text, err)
}

// commitRefusal is the error of the last commit, nil when it succeeded.
func (b *backend) commitRefusal() error {
	if err := b.proof.refusal.Load(); err != nil {
		return *err
	}
	return nil
}

// requestWriteCheck makes proveWritableLoop check at once.
func (b *backend) requestWriteCheck() {
	select {
	case b.proof.check <- struct{}{}:
	default:
	}
}

// proveWritableLoop checks until ctx ends that b takes commits, whenever b is a master
// without recent commits of clients.
func (s *Store) proveWritableLoop(ctx context.Context, b *backend) {
	timer := time.NewTimer(idleProof)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-b.proof.check:
		}
		err := s.proveWritable(ctx, b)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			timer.Reset(s.options.Poll)
		default:
			timer.Reset(idleProof)
		}
	}
}

// proveWritable makes a barrier on an idle master. On a master that has rejected a commit
// it makes a commit: a barrier may succeed where entries cannot be written.
func (s *Store) proveWritable(ctx context.Context, b *backend) error {
	idle := b.commitRefusal() == nil
	if !b.isWritable.Load() || idle && b.proof.recent.Swap(false) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	var err error
	if idle {
		err = b.Barrier(ctx)
	} else {
		err = s.commitProof(ctx, b)
	}
	if !errors.Is(err, context.Canceled) && !(idle && err == nil) {
		b.noteCommit(err)
	}
	return err
}

// commitProof writes the tombstone of a reserved key. The tombstone is copied and collected
// like any other.
func (s *Store) commitProof(ctx context.Context, b *backend) error {
	c := s.cluster.Load()
	for i := range 64 * Slots {
		key := Space("sys").Key("writable/" + strconv.Itoa(i))
		if c.master(key) != b.Name() {
			continue
		}
		_, err := b.Commit(ctx, partition.Batch{Epoch: c.Epoch, AtLeast: Revision(b.newestSeen.Load()), Revisions: 1,
			Write: []Entry{{Key: key, Deleted: true, Checksum: partition.Checksum(nil)}}})
		return err
	}
	return b.Barrier(ctx) // b is the master of no slot
}
