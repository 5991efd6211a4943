package sync

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
)

// replica is a configured partition and the syncer's knowledge of it. Syncer.mu
// guards the fields unless their comment names another lock.
type replica struct {
	partition.Partition
	s     *Syncer
	lease lease

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
	return &replica{Partition: n.Partition, s: s, streams: make(map[partition.Origin]*stream)}
}

// setFault records the store's verdict on the replica. A replica that has become
// usable is tried at once. Syncer.mu is held.
func (s *Syncer) setFault(r *replica, err error) {
	if r.fault != nil && err == nil {
		s.recovered(r)
	}
	if err != nil {
		r.stale = true
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
			at.Origins[o] = r.known.Origins[o]
		}
	}
	r.knownRead, r.known, r.read, r.stale = number, at, true, false
}

// notePosition records a position that a copy has just moved, and passes it to the store,
// so that no reading is necessary.
func (r *replica) notePosition(st *stream, at partition.Position) {
	r.s.mu.Lock()
	origins := maps.Clone(r.known.Origins) // surveys share the map
	origins[at.Origin] = at
	r.known.Origins = origins
	st.movedDuring = r.readsBegun
	r.s.mu.Unlock()
	r.s.cluster.Advance(r.Name(), at)
}

func (r *replica) noteFailure(err error) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if r.err == nil {
		r.s.log.Warn("sync cannot reach the partition", "partition", r.Name(), "error", err)
	}
	r.err, r.stale = err, true
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
