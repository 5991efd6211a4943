package routing

import (
	"context"
	"slices"
	"time"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/partition"
)

// Interval between two readings of the replicas' positions while a session waits: it
// doubles from firstPause to longestPause.
const (
	firstPause   = 2 * time.Millisecond
	longestPause = 50 * time.Millisecond
)

// waitForReplica waits until some replica is known to qualify, at most Options.SessionWait.
// Positions that any part of this process reads count; the replicas' positions are also
// read in the meantime.
func (q *Request) waitForReplica(outer context.Context) (ok bool) {
	r := q.router
	if r.options.SessionWait < 0 || !slices.ContainsFunc(q.backends, q.mayCatchUp) {
		return false
	}
	before := q.mostAdvanced()
	if master := r.backends.Named(string(q.origin)); master != nil && master.IsUp() {
		if r.hasFailed(q.origin, before) {
			q.readReplicaPositions()
			return false
		}
		defer func() {
			if !ok && outer.Err() == nil && q.mostAdvanced() == before {
				r.noteFailed(q.origin, before)
			}
		}()
	}
	ctx, cancel := context.WithTimeout(outer, r.options.SessionWait)
	defer cancel()
	pause := firstPause
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		changed := r.backends.PositionsChanged()
		if slices.ContainsFunc(q.backends, func(b *backend.Backend) bool { return q.mayCatchUp(b) && q.qualifies(b) }) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-changed:
		case <-tick.C:
			q.readReplicaPositions()
			tick.Reset(pause)
			pause = min(2*pause, longestPause)
		}
	}
}

// mayCatchUp reports whether the backend is a replica worth waiting for.
func (q *Request) mayCatchUp(b *backend.Backend) bool {
	return b.Name() != string(q.origin) && q.IsComplete(b) && b.IsUp()
}

// failedWait is a wait during which no replica advanced. Until a replica does, or for
// the poll interval, sessions ask the master without waiting.
type failedWait struct {
	mostAdvanced partition.Revision // of the origin, among the replicas
	at           time.Time
}

// hasFailed reports whether a wait for the replicas of an origin, which were this advanced, has failed lately.
func (r *Router) hasFailed(o partition.Origin, mostAdvanced partition.Revision) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, ok := r.failedWaits[o]
	return ok && f.mostAdvanced == mostAdvanced && time.Since(f.at) < r.options.Poll
}

func (r *Router) noteFailed(o partition.Origin, mostAdvanced partition.Revision) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failedWaits[o] = failedWait{mostAdvanced: mostAdvanced, at: time.Now()}
}

// mostAdvanced is the highest sum of revisions, of the origins that are read, up to which some replica is complete.
func (q *Request) mostAdvanced() (r partition.Revision) {
	for _, b := range q.backends {
		if q.mayCatchUp(b) {
			sum := partition.Revision(0)
			for o := range q.origins {
				sum += b.CompleteUpTo(o)
			}
			r = max(r, sum)
		}
	}
	return r
}

// readReplicaPositions starts readings of the replicas' positions, never two of a replica at a
// time, and does not wait for them.
func (q *Request) readReplicaPositions() {
	for _, b := range q.backends {
		if q.mayCatchUp(b) {
			q.router.readPositionsOf(b)
		}
	}
}

// readPositionsOf starts a reading of a backend's positions, unless a reading is in progress.
func (r *Router) readPositionsOf(b *backend.Backend) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reading[b] {
		return
	}
	r.reading[b] = r.options.Background(func() {
		ctx, cancel := context.WithTimeout(context.Background(), min(r.options.Timeout, 2*time.Second))
		defer cancel()
		_, _ = b.ReadPositions(ctx) // PollPositions reports errors
		r.mu.Lock()
		defer r.mu.Unlock()
		r.reading[b] = false
	})
}
