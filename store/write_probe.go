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

// A master is writable as far as its last commit has shown. One that answers reads and
// refuses commits, or lets them hang (a full disk, read_only, a lost privilege), is not:
// the status names the error until a commit succeeds again. Writes of clients are still
// tried, and prove it too.

// idleProof is how long a master without commits counts as writable before
// a barrier checks it. A barrier finds what stops every commit.
const idleProof = 10 * time.Second

// proof is what commits on a member have shown.
type proof struct {
	recent  atomic.Bool           // a commit has succeeded since the last check
	refusal atomic.Pointer[error] // of the last commit; nil when it succeeded
	check   chan struct{}         // buffered, 1: check now
}

// noteCommit takes the outcome of a commit, or of a barrier that failed.
func (m *backend) noteCommit(err error) {
	if err == nil {
		m.proof.recent.Store(true)
		if m.proof.refusal.Load() == nil {
			return
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.commitRefusal()
	if err == nil {
		m.proof.refusal.Store(nil)
	} else {
		refusal := err // escapes, but not on the path of each commit
		m.proof.refusal.Store(&refusal)
	}
	switch {
	case (before == nil) == (err == nil), m.err != nil, m.behind != nil: // no change, or told otherwise
	case err == nil:
		m.logOnce(slog.LevelInfo, logPartitionAnswers, nil)
	default:
		m.logOnce(slog.LevelWarn, "master takes no writes", err)
		m.requestWriteCheck()
	}
}

// refusal is the error of the last commit, nil when it succeeded.
func (m *backend) commitRefusal() error {
	if err := m.proof.refusal.Load(); err != nil {
		return *err
	}
	return nil
}

// checkWrites has proveWrites look now.
func (m *backend) requestWriteCheck() {
	select {
	case m.proof.check <- struct{}{}:
	default:
	}
}

// proveWrites checks, while m is a master, that it takes commits when clients do not show it.
func (s *Store) proveWritableLoop(ctx context.Context, m *backend) {
	timer := time.NewTimer(idleProof)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-m.proof.check:
		}
		err := s.proveWritable(ctx, m)
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

// proveWritesOnce makes a barrier on an idle master, and a commit on one that
// has refused one: a barrier may succeed where entries cannot be written.
func (s *Store) proveWritable(ctx context.Context, m *backend) error {
	if !m.isWritable.Load() || m.commitRefusal() == nil && m.proof.recent.Swap(false) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	idle := m.commitRefusal() == nil
	var err error
	if idle {
		err = m.Barrier(ctx)
	} else {
		err = s.commitProof(ctx, m)
	}
	if !errors.Is(err, context.Canceled) && !(idle && err == nil) {
		m.noteCommit(err)
	}
	return err
}

// commitProof writes the tombstone of a key that nothing else writes. It is copied,
// and collected like every other.
func (s *Store) commitProof(ctx context.Context, m *backend) error {
	c := s.cluster.Load()
	for i := range 64 * Slots {
		key := Space("sys").Key("writable/" + strconv.Itoa(i))
		if c.master(key) != m.Name() {
			continue
		}
		_, err := m.Commit(ctx, partition.Batch{Epoch: c.Epoch, AtLeast: Revision(m.newestSeen.Load()), Revisions: 1,
			Write: []Entry{{Key: key, Deleted: true, Checksum: partition.Checksum(nil)}}})
		return err
	}
	return m.Barrier(ctx) // it is the master of no slot
}
