package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// quest is a read that looks for a member that may answer it.
type readRequest struct {
	s          *Store
	o          ReadOptions
	c          *clusterMap
	backends   []*backend
	origin     Origin // whose keys are read; of a listing, the first of all
	allOrigins bool   // a listing: of all origins
	strict     bool   // it asks more of whoever answers than Any does
	newerEpoch bool   // marks of the session are of an epoch that this process does not know yet

	failure error // of the last member that was asked
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

// errFarBehind: a member that was asked turned out not to be what is asked for.
var errTooFarBehind = errors.New("it is behind what the read asks for")

// seek asks members, until one answers: those that qualify, one after the
// other. If none is known to, and the read is of a session or bounded, it waits
// a little until one does, and asks the master then. ask returns nil when the
// member has answered.
func (s *Store) tryCandidates(ctx context.Context, q *readRequest, ask func(*backend, time.Duration) error) error {
	patient := min(readPatience, s.options.Timeout)
	if q.o.soleReader(q.origin) != "" {
		patient = s.options.Timeout // there is nobody else to ask
	}
	t := s.candidatesFor(q)
	if done, err := q.tryAll(ctx, &t, patient, ask); done {
		return err
	}
	if q.strict && q.o.soleReader(q.origin) == "" {
		if done, err := s.waitThenAskMaster(ctx, q, patient, ask); done {
			return err
		}
	}
	if left := s.options.Timeout - patient; q.slowest != nil && left > 0 { // nobody was faster
		if q.failure = ask(q.slowest, left); q.failure == nil {
			return nil
		}
	}
	return q.readError()
}

// goThrough asks the members of a turn.
func (q *readRequest) tryAll(ctx context.Context, t *candidates, wait time.Duration, ask func(*backend, time.Duration) error) (done bool, err error) {
	for m := t.next(); m != nil; m = t.next() {
		q.tried++
		err := q.s.ensureQualifies(ctx, m, q)
		if err == nil {
			err = ask(m, wait)
		}
		if err == nil {
			return true, nil
		}
		if ctx.Err() != nil {
			return true, ctx.Err()
		}
		q.failure = err
		if q.slowest == nil && errors.Is(err, context.DeadlineExceeded) {
			q.slowest = m
		}
	}
	return false, nil
}

// insist is the rest of a seek of which nobody asked so far was far enough.
func (s *Store) waitThenAskMaster(ctx context.Context, q *readRequest, wait time.Duration, ask func(*backend, time.Duration) error) (done bool, err error) {
	if s.waitForReplica(ctx, q) {
		t := s.candidatesFor(q)
		if done, err := q.tryAll(ctx, &t, wait, ask); done {
			return done, err
		}
	}
	if ctx.Err() != nil {
		return true, ctx.Err()
	}
	t := s.onlyCandidate(q, string(q.origin))
	return q.tryAll(ctx, &t, s.options.Timeout, ask)
}

// turn goes through the members that may answer a quest, in the order in which
// to ask them: those that are level, then those that are late, each beginning
// with the one that Options.Read prefers. It skips the master of a session's
// key, unless it comes first: it is spared what replicas can answer.
type candidates struct {
	q        *readRequest
	backends []*backend
	first    int
	asked    int  // of the members, in this round
	lagging  bool // the round of those that are late
	named    bool // one was asked for, whatever its state
}

// candidates begins a turn. It names one member at most if the options allow
// no other.
func (s *Store) candidatesFor(q *readRequest) candidates {
	if name := q.o.soleReader(q.origin); name != "" {
		return s.onlyCandidate(q, name)
	}
	return candidates{q: q, backends: q.backends, first: s.preferred(q)}
}

// only is the turn of one member, if it can be reached. A master that lacks
// writes of its own is asked only where the options name it.
func (s *Store) onlyCandidate(q *readRequest, name string) candidates {
	for i, m := range q.backends {
		if m.Name() == name && m.isReadable.Load() && (q.o.Partition != "" || m.isComplete(q.origin)) {
			return candidates{q: q, backends: q.backends[i : i+1], named: true}
		}
	}
	return candidates{}
}

// next is the next member to ask, nil when there is none left.
func (t *candidates) next() *backend {
	for {
		if t.asked == len(t.backends) {
			if t.lagging || t.named || len(t.backends) == 0 {
				return nil
			}
			t.lagging, t.asked = true, 0
		}
		first := t.asked == 0 && !t.lagging
		m := t.backends[(t.first+t.asked)%len(t.backends)]
		t.asked++
		if t.admits(m, first) {
			return m
		}
	}
}

func (t *candidates) admits(m *backend, first bool) bool {
	q := t.q
	switch {
	case t.named:
		return true
	case m.isLagging(q.origin) != t.lagging || !q.isComplete(m) || !m.isUp():
		return false
	case !q.strict:
		return true
	}
	return (first || !q.avoidsMaster(m)) && q.qualifies(m)
}

// whole reports whether the member has ever held everything that is read.
func (q *readRequest) isComplete(m *backend) bool {
	if q.allOrigins {
		return m.isCompleteFor(q.c)
	}
	return m.isComplete(q.origin)
}

// prefer is the place of the member to ask first.
func (s *Store) preferred(q *readRequest) int {
	first := rand.IntN(len(q.backends))
	if s.options.Read == ReadRandom {
		return first
	}
	best := -1
	for i := range q.backends {
		i = (first + i) % len(q.backends)
		m := q.backends[i]
		if m.isLagging(q.origin) || !q.isComplete(m) || !m.isUp() || q.strict && !q.qualifies(m) {
			continue
		}
		if s.options.Read == ReadLocal && m.Name() == s.options.Local {
			return i
		}
		if best < 0 || s.options.Read == ReadNearest && m.isFaster(q.backends[best]) {
			best = i
		}
	}
	return max(best, 0)
}

// nearer reports whether m answers faster than another member by so much that
// it is no accident: among those that are about as fast, chance decides.
func (m *backend) isFaster(than *backend) bool {
	return 5*m.latency.Load() < 4*than.latency.Load()
}

// only is the name of the one partition that may answer, or "".
func (o ReadOptions) soleReader(origin Origin) string {
	if o.Partition == "" && o.Consistency == FromMaster {
		return string(origin)
	}
	return o.Partition
}

// unreadable is the error of a read that nobody answered.
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

// masterAway is the error of a read that only the master could have answered.
func (s *Store) masterError(name string, failure error) error {
	if m := s.backend(name); m != nil {
		return m.unavailable(failure)
	}
	return &MasterError{Master: name, RetryAfter: s.options.Poll, Err: cmp.Or(failure, ErrUnknownPartition)}
}
