package sync

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/runnelkv/runnel/store/partition"
)

// stream is the copying of an origin to a target. Syncer.mu guards the fields.
type stream struct {
	to          *replica
	origin      partition.Origin
	busy        bool
	done        chan struct{} // closed when the running copy ends
	missed      int           // wakes, and passes, while the stream was busy or cooling down
	notBefore   time.Time     // end of the cooldown after the last copy; see pass_pacing.go
	movedDuring int64         // number of the last reading of the target's positions that began before the last copy ended
	retry       retryTimer
	state       State
	since       time.Time // when state began
	loggedState State
	newest      []partition.Entry  // keys and revisions of the entries that were applied last
	newestAt    partition.Revision // the target's position when newest was recorded
	err         error
	toGo        int64
	Totals
}

// setState sets the stream's state, and logs a change.
func (st *stream) setState(state State, err error) {
	s := st.to.s
	s.mu.Lock()
	defer s.mu.Unlock()
	st.setStateLocked(state, err)
}

// setStateLocked is setState with Syncer.mu held.
func (st *stream) setStateLocked(state State, err error) {
	if state == Level {
		st.toGo = 0
	}
	if st.state != state {
		st.since = time.Now()
	}
	st.state, st.err = state, err
	st.logState()
}

// catchUpLogAfter is how long a level stream must be catching up before the change
// is logged: under load short catch-ups happen several times a second.
const catchUpLogAfter = 5 * time.Second

// logState logs the state if it differs from the last logged state.
func (st *stream) logState() {
	if st.state == st.loggedState || st.state == CatchingUp && st.loggedState == Level && time.Since(st.since) < catchUpLogAfter {
		return
	}
	args := []any{"partition", st.to.Name(), "origin", string(st.origin), "state", string(st.state)}
	if st.err != nil {
		args = append(args, "error", st.err)
	}
	st.to.s.log.Log(context.Background(), st.state.logLevel(), "sync state changed", args...)
	st.loggedState = st.state
}

// setCopying sets the state of a stream in the middle of a copy of several chunks.
func (st *stream) setCopying(filling bool) {
	s := st.to.s
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !filling:
		st.setStateLocked(CatchingUp, nil)
	case st.state != Refilling:
		st.setStateLocked(Filling, nil)
	}
}

func (s State) logLevel() slog.Level {
	switch s {
	case Behind:
		return slog.LevelError
	case Refilling, Unreachable, Refused, Failed:
		return slog.LevelWarn
	default:
		return slog.LevelInfo
	}
}

// copyFailureState returns the state of a stream after a failed copy. A target that does not
// answer at all shows when its positions are read.
func copyFailureState(err error) State {
	if errors.Is(err, partition.ErrRefused) {
		return Refused
	}
	return Failed
}

// retryTimer is an exponentially growing delay after failures.
type retryTimer struct {
	backoff backoff.ExponentialBackOff
	until   time.Time
}

const backoffMin = 250 * time.Millisecond

// extend starts the next delay, of at most longest.
func (t *retryTimer) extend(longest time.Duration) {
	t.backoff.InitialInterval = min(backoffMin, longest)
	t.backoff.RandomizationFactor = backoff.DefaultRandomizationFactor
	t.backoff.Multiplier = 2
	t.backoff.MaxInterval = longest
	t.until = time.Now().Add(min(t.backoff.NextBackOff(), longest))
}

func (t *retryTimer) clear() { *t = retryTimer{} }

// expire clears a delay that is over, but keeps the length of the next delay.
func (t *retryTimer) expire(now time.Time) {
	if t.elapsed(now) {
		t.until = time.Time{}
	}
}

func (t *retryTimer) elapsed(now time.Time) bool { return !now.Before(t.until) }

// earlier returns the end of the delay, if that is before next, else next.
func (t *retryTimer) earlier(next time.Time) time.Time {
	if !t.until.IsZero() && t.until.Before(next) {
		return t.until
	}
	return next
}
