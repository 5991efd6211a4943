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
type quest struct {
	s       *Store
	o       ReadOptions
	c       *cluster
	members []*member
	origin  Origin // whose keys are read; of a listing, the first of all
	every   bool   // a listing: of all origins
	picky   bool   // it asks more of whoever answers than Any does
	outran  bool   // marks of the session are of an epoch that this process does not know yet

	failure error // of the last member that was asked
	tried   int
	slow    *member // the first that did not answer in time
}

func (s *Store) quest(c *cluster, origin Origin, o ReadOptions) quest {
	q := quest{s: s, o: o, c: c, members: *s.members.Load(), origin: origin}
	if o.Partition == "" {
		q.picky = o.Consistency == Bounded || !o.Session.IsZero()
		q.outran = !o.Session.IsZero() && c.outrun(o.Session)
	}
	return q
}

// errFarBehind: a member that was asked turned out not to be what is asked for.
var errFarBehind = errors.New("it is behind what the read asks for")

// seek asks members, until one answers: those that qualify, one after the
// other. If none is known to, and the read is of a session or bounded, it waits
// a little until one does, and asks the master then. ask returns nil when the
// member has answered.
func (s *Store) seek(ctx context.Context, q *quest, ask func(*member, time.Duration) error) error {
	patient := min(patience, s.options.Timeout)
	if q.o.only(q.origin) != "" {
		patient = s.options.Timeout // there is nobody else to ask
	}
	t := s.candidates(q)
	if done, err := q.goThrough(ctx, &t, patient, ask); done {
		return err
	}
	if q.picky && q.o.only(q.origin) == "" {
		if done, err := s.insist(ctx, q, patient, ask); done {
			return err
		}
	}
	if left := s.options.Timeout - patient; q.slow != nil && left > 0 { // nobody was faster
		if q.failure = ask(q.slow, left); q.failure == nil {
			return nil
		}
	}
	return q.unreadable()
}

// goThrough asks the members of a turn.
func (q *quest) goThrough(ctx context.Context, t *turn, wait time.Duration, ask func(*member, time.Duration) error) (done bool, err error) {
	for m := t.next(); m != nil; m = t.next() {
		q.tried++
		err := q.s.confirm(ctx, m, q)
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
		if q.slow == nil && errors.Is(err, context.DeadlineExceeded) {
			q.slow = m
		}
	}
	return false, nil
}

// insist is the rest of a seek of which nobody asked so far was far enough.
func (s *Store) insist(ctx context.Context, q *quest, wait time.Duration, ask func(*member, time.Duration) error) (done bool, err error) {
	if s.await(ctx, q) {
		t := s.candidates(q)
		if done, err := q.goThrough(ctx, &t, wait, ask); done {
			return done, err
		}
	}
	if ctx.Err() != nil {
		return true, ctx.Err()
	}
	t := s.only(q, string(q.origin))
	return q.goThrough(ctx, &t, s.options.Timeout, ask)
}

// turn goes through the members that may answer a quest, in the order in which
// to ask them: those that are level, then those that are late, each beginning
// with the one that Options.Read prefers. It skips the master of a session's
// key, unless it comes first: it is spared what replicas can answer.
type turn struct {
	q       *quest
	members []*member
	first   int
	asked   int  // of the members, in this round
	late    bool // the round of those that are late
	named   bool // one was asked for, whatever its state
}

// candidates begins a turn. It names one member at most if the options allow
// no other.
func (s *Store) candidates(q *quest) turn {
	if name := q.o.only(q.origin); name != "" {
		return s.only(q, name)
	}
	return turn{q: q, members: q.members, first: s.prefer(q)}
}

// only is the turn of one member, if it can be reached. A master that lacks
// writes of its own is asked only where the options name it.
func (s *Store) only(q *quest, name string) turn {
	for i, m := range q.members {
		if m.Name() == name && m.reads.Load() && (q.o.Partition != "" || m.whole(q.origin)) {
			return turn{q: q, members: q.members[i : i+1], named: true}
		}
	}
	return turn{}
}

// next is the next member to ask, nil when there is none left.
func (t *turn) next() *member {
	for {
		if t.asked == len(t.members) {
			if t.late || t.named || len(t.members) == 0 {
				return nil
			}
			t.late, t.asked = true, 0
		}
		first := t.asked == 0 && !t.late
		m := t.members[(t.first+t.asked)%len(t.members)]
		t.asked++
		if t.admits(m, first) {
			return m
		}
	}
}

func (t *turn) admits(m *member, first bool) bool {
	q := t.q
	switch {
	case t.named:
		return true
	case m.catchingUp(q.origin) != t.late || !q.whole(m) || !m.answers():
		return false
	case !q.picky:
		return true
	}
	return (first || !q.spares(m)) && q.qualifies(m)
}

// whole reports whether the member has ever held everything that is read.
func (q *quest) whole(m *member) bool {
	if q.every {
		return m.wholeFor(q.c)
	}
	return m.whole(q.origin)
}

// prefer is the place of the member to ask first.
func (s *Store) prefer(q *quest) int {
	first := rand.IntN(len(q.members))
	if s.options.Read == ReadRandom {
		return first
	}
	best := -1
	for i := range q.members {
		i = (first + i) % len(q.members)
		m := q.members[i]
		if m.catchingUp(q.origin) || !q.whole(m) || !m.answers() || q.picky && !q.qualifies(m) {
			continue
		}
		if s.options.Read == ReadLocal && m.Name() == s.options.Local {
			return i
		}
		if best < 0 || s.options.Read == ReadNearest && m.nearer(q.members[best]) {
			best = i
		}
	}
	return max(best, 0)
}

// nearer reports whether m answers faster than another member by so much that
// it is no accident: among those that are about as fast, chance decides.
func (m *member) nearer(than *member) bool {
	return 5*m.latency.Load() < 4*than.latency.Load()
}

// only is the name of the one partition that may answer, or "".
func (o ReadOptions) only(origin Origin) string {
	if o.Partition == "" && o.Consistency == FromMaster {
		return string(origin)
	}
	return o.Partition
}

// unreadable is the error of a read that nobody answered.
func (q *quest) unreadable() error {
	s := q.s
	name, failure := string(q.origin), q.failure
	switch {
	case errors.Is(failure, ErrClosed):
		return ErrClosed
	case q.o.Partition != "" && s.member(q.o.Partition) == nil:
		return fmt.Errorf("%s: %w", q.o.Partition, ErrUnknownPartition)
	case q.o.Partition == "" && q.o.Consistency == FromMaster && !errors.Is(failure, errFarBehind):
		return s.masterAway(name, failure)
	case q.picky && !q.o.Session.IsZero():
		return &SessionError{Master: name, RetryAfter: s.options.Poll, Err: s.masterAway(name, failure)}
	case q.picky:
		return &StalenessError{Max: q.o.MaxStaleness, RetryAfter: s.options.Poll, Err: s.masterAway(name, failure)}
	case failure != nil:
		return fmt.Errorf("%w: the last of %d failed: %w", ErrNoPartition, q.tried, failure)
	}
	return ErrNoPartition
}

// masterAway is the error of a read that only the master could have answered.
func (s *Store) masterAway(name string, failure error) error {
	if m := s.member(name); m != nil {
		return m.unavailable(failure)
	}
	return &MasterError{Master: name, RetryAfter: s.options.Poll, Err: cmp.Or(failure, ErrUnknownPartition)}
}
