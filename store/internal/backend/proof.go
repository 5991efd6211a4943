package backend

import (
	"log/slog"
	"sync/atomic"
	"time"
)

// A master counts as writable if its last commit succeeded. A master that answers reads
// but rejects commits or lets them hang (full disk, read_only, lost privilege) is not
// writable: the status shows the error until a commit succeeds. Writes of clients are
// still attempted, and their outcome counts too.

// proof is the outcome of recent commits on a backend.
type proof struct {
	recent  atomic.Bool           // a commit has succeeded since the last check
	refusal atomic.Pointer[error] // of the last commit; nil when it succeeded
	check   chan struct{}         // buffered, 1: check now
}

// NoteCommit takes the outcome of a commit, or of a failed barrier.
func (b *Backend) NoteCommit(err error) {
	if err == nil {
		b.proof.recent.Store(true)
		if b.proof.refusal.Load() == nil {
			return
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.CommitRefusal()
	if err == nil {
		b.proof.refusal.Store(nil)
	} else {
		refusal := err // a copy, so that err escapes only here and not on each commit
		b.proof.refusal.Store(&refusal)
	}
	switch {
	case b.current.Err != nil, b.current.Behind != nil: // another state was logged
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
func (b *Backend) logRefusal(err error) {
	const text = "master takes no writes"
	if b.lastLogged == text || time.Since(b.refusalLogged) < refusalLogEvery {
		return
	}
	b.refusalLogged = time.Now()
	b.logOnce(slog.LevelWarn, text, err)
}

// CommitRefusal is the error of the last commit, nil when it succeeded.
func (b *Backend) CommitRefusal() error {
	if err := b.proof.refusal.Load(); err != nil {
		return *err
	}
	return nil
}

// TakeRecentCommit reports whether a commit has succeeded since the last call.
func (b *Backend) TakeRecentCommit() bool { return b.proof.recent.Swap(false) }

// WriteChecks receives a token when the backend is to be checked for commits at once.
func (b *Backend) WriteChecks() <-chan struct{} { return b.proof.check }

// requestWriteCheck asks for a check at once.
func (b *Backend) requestWriteCheck() {
	select {
	case b.proof.check <- struct{}{}:
	default:
	}
}
