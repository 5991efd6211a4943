package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// readRequest is a read in search of a backend that may answer it.
type readRequest struct {
	s          *Store
	o          ReadOptions
	c          *clusterMap
	backends   []*backend
	origin     Origin // the master of the keys; of a listing, the first master
	allOrigins bool   // a listing: it needs every origin
	strict     bool   // bounded or of a session: a backend must qualify
	newerEpoch bool   // the session has marks of an epoch that this process does not know yet

	failure error // of the last backend that was asked
	tried   int
	slowest *backend // the first that did not answer in time
}

func (s *Store) newReadRequest(c *clusterMap, origin Origin, o ReadOptions) readRequest {
	q := readRequest{s: s, o: o, c: c, backends: *s.backends.Load(), origin: origin}
	if o.Partition == "" {
		q.strict = o.Consistency == Bounded || !o.Session.IsZero()
		q.newerEpoch = !o.Session.IsZero() && c.isOlderThan(o.Session)
	}
	return q
}

// errTooFarBehind: the backend does not satisfy the read.
var errTooFarBehind = errors.New("it is behind what the read asks for")

// readPatience is how long a backend may take to answer a read before the next candidate
// is asked. If no other answers, the first slow one gets the rest of the timeout.
const readPatience = time.Second

// tryCandidates calls ask for candidates, one after the other, until ask returns nil. If no
// backend is known to qualify for a strict read, tryCandidates waits shortly for a replica
// and then asks the master. ask gets the time that the backend may take.
func (s *Store) tryCandidates(ctx context.Context, q *readRequest, ask func(*backend, time.Duration) error) error {
	wait := min(readPatience, s.options.Timeout)
	sole := q.o.soleReader(q.origin) != ""
	if sole {
		wait = s.options.Timeout // there is no other backend to ask
	}
	if done, err := q.tryAll(ctx, s.candidatesFor(q), wait, ask); done {
		return err
	}
	if q.strict && !sole {
		if done, err := s.waitThenAskMaster(ctx, q, wait, ask); done {
			return err
		}
	}
	if left := s.options.Timeout - wait; q.slowest != nil && left > 0 {
		if q.failure = ask(q.slowest, left); q.failure == nil {
			return nil
		}
	}
	return q.readError()
}

// tryAll asks the candidates in their order. done: one has answered, or ctx has ended.
func (q *readRequest) tryAll(ctx context.Context, cs candidates, wait time.Duration, ask func(*backend, time.Duration) error) (done bool, err error) {
	for b := cs.nextBackend(); b != nil; b = cs.nextBackend() {
		q.tried++
		err := q.s.ensureQualifies(ctx, b, q)
		if err == nil {
			err = ask(b, wait)
		}
		if err == nil {
			return true, nil
		}
		if ctx.Err() != nil {
			return true, ctx.Err()
		}
		q.failure = err
		if q.slowest == nil && errors.Is(err, context.DeadlineExceeded) {
			q.slowest = b
		}
	}
	return false, nil
}

// waitThenAskMaster continues a strict read for which no candidate qualified.
func (s *Store) waitThenAskMaster(ctx context.Context, q *readRequest, wait time.Duration, ask func(*backend, time.Duration) error) (done bool, err error) {
	if s.waitForReplica(ctx, q) {
		if done, err := q.tryAll(ctx, s.candidatesFor(q), wait, ask); done {
			return done, err
		}
	}
	if ctx.Err() != nil {
		return true, ctx.Err()
	}
	return q.tryAll(ctx, s.onlyCandidate(q, string(q.origin)), s.options.Timeout, ask)
}

// candidates iterates over the backends that may answer a read: first those that are not
// in a multi-step catch-up, then those that are, each round starting at the preferred one.
// For a read of a session the master of the key is a candidate only if it is preferred;
// otherwise replicas spare it the load.
type candidates struct {
	q        *readRequest
	backends []*backend
	first    int
	asked    int  // backends visited in this round
	lagging  bool // the second round
	named    bool // a single backend was chosen, in any state
}

// candidatesFor returns the candidates of a read; at most one if the options name it.
func (s *Store) candidatesFor(q *readRequest) candidates {
	if name := q.o.soleReader(q.origin); name != "" {
		return s.onlyCandidate(q, name)
	}
	return candidates{q: q, backends: q.backends, first: s.preferred(q)}
}

// onlyCandidate has the named backend alone, or none if that is unreachable. A master that
// may lack writes answers only reads with its partition in the options.
func (s *Store) onlyCandidate(q *readRequest, name string) candidates {
	for i, b := range q.backends {
		if b.Name() == name && b.isReadable.Load() && (q.o.Partition != "" || b.isComplete(q.origin)) {
			return candidates{q: q, backends: q.backends[i : i+1], named: true}
		}
	}
	return candidates{}
}

// nextBackend is the next backend to ask, nil when there is none left.
func (cs *candidates) nextBackend() *backend {
	for {
		if cs.asked == len(cs.backends) {
			if cs.lagging || cs.named || len(cs.backends) == 0 {
				return nil
			}
			cs.lagging, cs.asked = true, 0
		}
		first := cs.asked == 0 && !cs.lagging
		b := cs.backends[(cs.first+cs.asked)%len(cs.backends)]
		cs.asked++
		if cs.admits(b, first) {
			return b
		}
	}
}

func (cs *candidates) admits(b *backend, first bool) bool {
	q := cs.q
	switch {
	case cs.named:
		return true
	case b.isLagging(q.origin) != cs.lagging || !q.isComplete(b) || !b.isUp():
		return false
	case !q.strict:
		return true
	}
	return (first || !q.avoidsMaster(b)) && q.qualifies(b)
}

// isComplete reports whether the backend is complete for every origin that is read.
func (q *readRequest) isComplete(b *backend) bool {
	if q.allOrigins {
		return b.isCompleteFor(q.c)
	}
	return b.isComplete(q.origin)
}

// preferred is the index of the backend to ask first, by Options.Read.
func (s *Store) preferred(q *readRequest) int {
	first := rand.IntN(len(q.backends))
	if s.options.Read == ReadRandom {
		return first
	}
	best := -1
	for i := range q.backends {
		i = (first + i) % len(q.backends)
		b := q.backends[i]
		if b.isLagging(q.origin) || !q.isComplete(b) || !b.isUp() || q.strict && !q.qualifies(b) {
			continue
		}
		if s.options.Read == ReadLocal && b.Name() == s.options.Local {
			return i
		}
		if best < 0 || s.options.Read == ReadNearest && b.isFaster(q.backends[best]) {
			best = i
		}
	}
	return max(best, 0)
}

// isFaster reports whether b is faster than another backend by more than chance explains.
// Among backends of about equal latency the choice stays random.
func (b *backend) isFaster(than *backend) bool {
	return 5*b.latency.Load() < 4*than.latency.Load()
}

// soleReader is the name of the only partition that may answer, or "".
func (o ReadOptions) soleReader(origin Origin) string {
	if o.Partition == "" && o.Consistency == FromMaster {
		return string(origin)
	}
	return o.Partition
}

// readError is the error of a read that no backend has answered.
func (q *readRequest) readError() error {
	s := q.s
	name, failure := string(q.origin), q.failure
	switch {
	case errors.Is(failure, ErrClosed):
		return ErrClosed
	case q.o.Partition != "" && s.backend(q.o.Partition) == nil:
		return fmt.Errorf("%s: %w", q.o.Partition, ErrUnknownPartition)
	case q.o.Partition == "" && q.o.Consistency == FromMaster && !errors.Is(failure, errTooFarBehind):
		return s.masterError(name, failure)
	case q.strict && !q.o.Session.IsZero():
		return &SessionError{Master: name, RetryAfter: s.options.Poll, Err: s.masterError(name, failure)}
	case q.strict:
		return &StalenessError{Max: q.o.MaxStaleness, RetryAfter: s.options.Poll, Err: s.masterError(name, failure)}
	case failure != nil:
		return fmt.Errorf("%w: the last of %d failed: %w", ErrNoPartition, q.tried, failure)
	}
	return ErrNoPartition
}

// masterError is the error of a read that only the master could have answered.
func (s *Store) masterError(name string, failure error) error {
	if b := s.backend(name); b != nil {
		return b.unavailable(failure)
	}
	return &MasterError{Master: name, RetryAfter: s.options.Poll, Err: cmp.Or(failure, ErrUnknownPartition)}
}
