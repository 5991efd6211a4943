package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/sync/internal/lease"
)

// replica is a configured partition and the syncer's knowledge of it. Syncer.mu
// guards the fields unless their comment names another lock.
type replica struct {
	partition.Partition
	s     *Syncer
	lease *lease.Lease

	fault      error               // the store's reason not to use the partition
	setBack    error               // the store's reason not to copy the partition's own changes
	err        error               // of the last reading of positions
	retry      retryTimer          // for reading the positions
	reading    bool                // a survey is reading the positions
	readsBegun int64               // number of readings of positions
	known      partition.Positions // as last read, and as moved since
	knownRead  int64               // number of the reading that returned known
	read       bool                // known was read at least once
	stale      bool                // known may be outdated
	streams    map[partition.Origin]*stream
	row        partition.Cluster // as last read; the epoch only grows. Zero: not read

	collected int64 // tombstones removed
	swept     int64 // expired entries replaced by tombstones
}

// isUsable reports whether a copy could involve the replica. Syncer.mu is held.
func (r *replica) isUsable(now time.Time) bool {
	return r.fault == nil && r.err == nil && r.read && r.retry.elapsed(now)
}

// stream returns the stream of an origin, creating it on first use. Syncer.mu is held.
func (r *replica) stream(o partition.Origin) *stream {
	st, ok := r.streams[o]
	if !ok {
		st = &stream{to: r, origin: o, state: Pending}
		r.streams[o] = st
	}
	return st
}

// entries returns how many entries were copied to the replica. Syncer.mu is held.
func (r *replica) entries() (sum int64) {
	for _, st := range r.streams {
		sum += st.Entries
	}
	return sum
}

// status summarizes the replica's streams. Syncer.mu is held.
func (r *replica) status() TargetStatus {
	t := TargetStatus{Name: r.Name(), State: Level, Collected: r.collected, Swept: r.swept, Standby: r.lease.IsStandby()}
	for o, st := range r.streams {
		t.addTotals(st.Totals)
		t.ToGo += st.toGo
		t.Origins = append(t.Origins, OriginStatus{o, st.state, r.known.Origins[o].Revision, st.toGo})
		if worse[st.state] > worse[t.State] {
			t.State, t.Err, t.NextTry = st.state, st.err, st.retry.until
		}
	}
	slices.SortFunc(t.Origins, func(a, b OriginStatus) int { return cmp.Compare(a.Origin, b.Origin) })
	switch {
	case r.fault != nil:
		t.State, t.Err, t.NextTry = readFailureState(r.fault), r.fault, time.Time{}
	case r.err != nil:
		t.State, t.Err, t.NextTry = readFailureState(r.err), r.err, r.retry.until
	case !r.read:
		t.State = Pending
	}
	return t
}

// refreshReplicas adopts the store's list of partitions, keeping the state of those that stay.
func (s *Syncer) refreshReplicas() []*replica {
	now := s.cluster.Replicas()
	s.mu.Lock()
	defer s.mu.Unlock()
	replicas := make([]*replica, len(now))
	for i, n := range now {
		replicas[i] = s.replicaOf(n)
		s.setFault(replicas[i], n.Err)
		replicas[i].setBack = n.SetBack
	}
	s.replicas = replicas
	return replicas
}

func (s *Syncer) replicaOf(n store.Replica) *replica {
	for _, r := range s.replicas {
		if r.Partition == n.Partition {
			return r
		}
	}
	right := lease.New(n.Partition, lease.Options{Holder: s.options.Holder, TTL: s.options.LeaseTTL, Timeout: s.options.Timeout})
	return &replica{Partition: n.Partition, s: s, lease: right, streams: make(map[partition.Origin]*stream)}
}

// setFault records the store's verdict on the replica. A replica that has become
// usable is tried at once. Syncer.mu is held.
func (s *Syncer) setFault(r *replica, err error) {
	if r.fault != nil && err == nil {
		s.recovered(r)
	}
	if err != nil { // an empty database may take the place of this one
		r.stale, r.row = true, partition.Cluster{}
	}
	r.fault = err
}

// recovered ends every retry delay of which the replica may have been the cause.
// Syncer.mu is held.
func (s *Syncer) recovered(r *replica) {
	r.err = nil
	r.retry.clear()
	for _, st := range r.streams {
		st.retry.clear()
	}
	for _, other := range s.replicas {
		if st, ok := other.streams[partition.Origin(r.Name())]; ok {
			st.retry.clear()
		}
	}
}

// markStale makes the next pass read the replica's positions.
func (s *Syncer) markStale(r *replica) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.stale = true
}

// readPositions reads the replica's positions, remembers them, and passes them to the store.
func (r *replica) readPositions(ctx context.Context) (partition.Positions, error) {
	r.s.mu.Lock()
	r.readsBegun++
	number := r.readsBegun
	r.s.mu.Unlock()

	bound, cancel := context.WithTimeout(ctx, r.s.options.Timeout)
	defer cancel()
	at, err := r.Positions(bound)
	if err != nil {
		err = fmt.Errorf("read positions of %s: %w", r.Name(), err)
		if ctx.Err() == nil {
			r.noteFailure(err)
		}
		return at, err
	}
	r.notePositions(number, at)
	r.s.cluster.Observe(r.Name(), at)
	return at, nil
}

// notePositions remembers the result of a reading, unless a later reading has ended before.
// Where a copy has moved a position since the reading began, at receives that position.
func (r *replica) notePositions(number int64, at partition.Positions) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if r.err != nil {
		r.s.recovered(r)
		r.s.log.Info("sync reaches the partition again", "partition", r.Name())
	}
	if number <= r.knownRead {
		return
	}
	for o, st := range r.streams {
		if st.movedDuring >= number {
			at.Origins[o] = withGoalOf(r.known.Origins[o], at.Origins[o])
		}
	}
	r.knownRead, r.known, r.read, r.stale = number, at, true, false
}

// notePosition records a position that a copy has just moved, and passes it to the store,
// so that no reading is necessary.
func (r *replica) notePosition(st *stream, at partition.Position) {
	r.s.mu.Lock()
	origins := maps.Clone(r.known.Origins) // surveys share the map
	at = withGoalOf(at, origins[at.Origin])
	origins[at.Origin] = at
	r.known.Origins = origins
	st.movedDuring = r.readsBegun
	r.s.mu.Unlock()
	r.s.cluster.Advance(r.Name(), at)
}

// withGoalOf returns a position with the higher of two goals: copies of other origins raise a goal, and nothing lowers one.
func withGoalOf(p, other partition.Position) partition.Position {
	p.Goal = max(p.Goal, other.Goal)
	return p
}

// clusterRow returns the replica's cluster row, which is read again if it may be of an earlier epoch than needed. In the
// first epoch nothing is read.
func (r *replica) clusterRow(ctx context.Context, needed int64) (partition.Cluster, error) {
	r.s.mu.Lock()
	row := r.row
	r.s.mu.Unlock()
	if needed <= max(row.Epoch, 1) {
		row.Epoch = max(row.Epoch, needed)
		return row, nil
	}
	bound, cancel := context.WithTimeout(ctx, r.s.options.Timeout)
	defer cancel()
	row, err := r.Cluster(bound)
	if err != nil {
		return row, fmt.Errorf("read the cluster map of %s: %w", r.Name(), err)
	}
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.row = row
	return row, nil
}

// forgetRow lets the replica's cluster row be read again: the row may have changed within an epoch.
func (r *replica) forgetRow() {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.row = partition.Cluster{}
}

func (r *replica) noteFailure(err error) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if r.err == nil {
		r.s.log.Warn("sync cannot reach the partition", "partition", r.Name(), "error", err)
	}
	r.err, r.stale, r.row = err, true, partition.Cluster{}
	r.retry.extend(r.s.options.BackoffMax)
}

// readFailureState returns the state of a target after a failed reading of positions.
func readFailureState(err error) State {
	switch {
	case errors.Is(err, partition.ErrRefused):
		return Refused
	case errors.Is(err, partition.ErrUnavailable), errors.Is(err, partition.ErrOutcomeUnknown),
		errors.Is(err, context.DeadlineExceeded):
		return Unreachable
	default:
		return Failed
	}
}

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
