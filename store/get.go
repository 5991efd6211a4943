package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/runnelkv/runnel/store/partition"
)

// patience is how long a partition may take to answer a read before the next
// one is asked. When nobody was faster, one gets the whole timeout.
const patience = time.Second

var errDamaged = errors.New("the stored value does not match its checksum")

// Get reads one entry. ErrNotFound when the partition that answered has no live
// entry of the key (the Read then says which one); ErrNoPartition when none can
// answer, or ErrMasterUnavailable when only the master was asked.
func (s *Store) Get(ctx context.Context, k Key, o ReadOptions) (Read, error) {
	c := s.cluster.Load()
	if c == nil {
		return Read{}, ErrNoPartition
	}
	origin := Origin(c.master(k))
	wait := min(patience, s.options.Timeout)
	if o.only(origin) != "" {
		wait = s.options.Timeout // there is nobody else to ask
	}
	tried, failure := 0, error(nil)
	var slow *member // the first that did not answer in time
	turn := s.candidates(o, origin)
	for m := turn.next(); m != nil; m = turn.next() {
		tried++
		r, err := s.getFrom(ctx, m, k, origin, wait)
		if err == nil || errors.Is(err, ErrNotFound) {
			return r, err
		}
		if ctx.Err() != nil {
			return Read{}, ctx.Err()
		}
		failure = err
		if slow == nil && errors.Is(err, context.DeadlineExceeded) {
			slow = m
		}
	}
	if left := s.options.Timeout - wait; slow != nil && left > 0 { // nobody was faster
		r, err := s.getFrom(ctx, slow, k, origin, left)
		if err == nil || errors.Is(err, ErrNotFound) {
			return r, err
		}
		failure = err
	}
	return Read{}, s.unreadable(o, origin, tried, failure)
}

// getFrom reads an entry from one member. ErrNotFound: it has no live one.
func (s *Store) getFrom(ctx context.Context, m *member, k Key, origin Origin, wait time.Duration) (Read, error) {
	e, found, err := m.lookUp(ctx, k, wait)
	if err != nil {
		return Read{}, err
	}
	r := Read{Partition: m.Name(), Staleness: s.staleness(m, origin)}
	if !found || e.Deleted || e.ExpiresAt != 0 && !e.Live(s.now(origin)) {
		return r, ErrNotFound
	}
	r.Entry = e
	return r, nil
}

// lookUp reads an entry through the member's reader and checks its value.
func (m *member) lookUp(ctx context.Context, k Key, wait time.Duration) (Entry, bool, error) {
	e, found, err := m.reader.get(ctx, k, wait)
	if err == nil && found && !e.Intact() {
		m.options.Logger.Error("damaged entry", "partition", m.Name(), "key", string(k), "revision", int64(e.Revision))
		return Entry{}, false, fmt.Errorf("%s of %s: %w", k, m.Name(), errDamaged)
	}
	return e, found, err
}

// turn goes through the members that may answer a read of an origin's keys, in
// the order in which to ask them: at random among those that are level, then
// at random those that are late.
type turn struct {
	members []*member
	origin  Origin
	first   int
	asked   int  // of the members, in this round
	late    bool // the round of those that are late
}

// candidates begins a turn. It names one member at most if o allows no other.
func (s *Store) candidates(o ReadOptions, origin Origin) turn {
	members := *s.members.Load()
	name := o.only(origin)
	if name == "" {
		return turn{members: members, origin: origin, first: rand.IntN(len(members))}
	}
	for i, m := range members {
		if m.Name() == name && m.reads.Load() {
			return turn{members: members[i : i+1]} // of no origin: whatever its state
		}
	}
	return turn{}
}

// next is the next member to ask, nil when there is none left.
func (t *turn) next() *member {
	for {
		if t.asked == len(t.members) {
			if t.late || t.origin == "" {
				return nil
			}
			t.late, t.asked = true, 0
		}
		m := t.members[(t.first+t.asked)%len(t.members)]
		t.asked++
		if t.origin == "" || m.late(t.origin) == t.late && m.whole(t.origin) && m.answers() {
			return m
		}
	}
}

// only is the name of the one partition that may answer, or "".
func (o ReadOptions) only(origin Origin) string {
	if o.Partition == "" && o.Consistency == FromMaster {
		return string(origin)
	}
	return o.Partition
}

// unreadable is the error of a read that nobody answered.
func (s *Store) unreadable(o ReadOptions, origin Origin, tried int, failure error) error {
	switch {
	case errors.Is(failure, ErrClosed):
		return ErrClosed
	case o.Partition != "" && s.member(o.Partition) == nil:
		return fmt.Errorf("%s: %w", o.Partition, ErrUnknownPartition)
	case o.Consistency == FromMaster:
		if m := s.member(string(origin)); failure == nil && m != nil {
			failure = m.fault()
		}
		return &MasterError{Master: string(origin), RetryAfter: s.options.Poll, Err: failure}
	case failure != nil:
		return fmt.Errorf("%w: the last of %d failed: %w", ErrNoPartition, tried, failure)
	}
	return ErrNoPartition
}

// now is the clock of an origin, the one clock that decides expiry; rather a
// little early, as nothing may expire before its time.
func (s *Store) now(o Origin) Instant {
	if m := s.member(string(o)); m != nil {
		now, _ := m.clock()
		return now
	}
	return partition.InstantOf(time.Now())
}

// staleness bounds how old what the member answers about an origin can be. It
// is zero for the origin itself, and negative while it is unknown.
func (s *Store) staleness(m *member, o Origin) time.Duration {
	if m.Name() == string(o) {
		return 0
	}
	at, ok := m.position(o)
	if !ok || at.SyncedAt == 0 {
		return -1
	}
	now := partition.InstantOf(time.Now())
	if origin := s.member(string(o)); origin != nil {
		_, now = origin.clock()
	}
	return max(0, now.Sub(at.SyncedAt))
}

func isBreakerError(err error) bool {
	return errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests)
}
