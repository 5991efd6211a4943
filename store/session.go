package store

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// How a session is kept. Its vector v says, per origin, the newest revision
// that its client has seen or written. A member whose position for an origin
// reaches v holds every change up to v of that origin, or a newer one of its
// key: what it answers is not older than what the client knows. Two things
// make a position less than that, and held counts neither. While a catch-up in
// several steps is under way (Revision < Goal), keys that changed twice are
// missing until its end: what was held before it began counts. And a member
// that is being emptied and filled afresh holds nothing.
//
// A read that finds an entry, or a tombstone, adds its revision to the session;
// one that finds no row adds nothing: a tombstone is collected only once every
// configured partition has passed it, so nobody can show what was before it.
// That is true only of a member that is whole, though, and positions are known
// from earlier. So when a session is answered by a replica that has no row, its
// position is read again before that is believed.

// outrun reports whether a session has marks of an epoch that c does not know:
// the master of a key may be another one by now.
func (c *cluster) outrun(v Vector) bool {
	for _, r := range v.All() {
		if r.Epoch() > c.Epoch {
			return true
		}
	}
	return false
}

// qualifies reports whether the member is known to be as far as a picky read
// asks for.
func (q *quest) qualifies(m *member) bool {
	return q.reached(m) && (q.o.Consistency != Bounded || !q.tooStale(q.staleness(m)))
}

// reached reports whether the member holds what the session has seen.
func (q *quest) reached(m *member) bool {
	v := q.o.Session
	if !q.every && q.c.Epoch == firstEpoch && !q.outran {
		return q.holds(m, Mark{q.origin, v.At(q.origin)}) // an entry of these keys has no other origin
	}
	if q.isMaster(m) { // it was given everything older when it became their master
		return q.holds(m, Mark{q.origin, v.At(q.origin)})
	}
	for o, r := range v.All() {
		if !q.holds(m, Mark{o, r}) {
			return false
		}
	}
	return true
}

// firstEpoch is that of a cluster in which no mastership has moved yet.
const firstEpoch = 1

// isMaster reports whether m is the master of what is read, for sure.
func (q *quest) isMaster(m *member) bool {
	return m.Name() == string(q.origin) && !q.every && !q.outran
}

// spares reports whether the member is asked only if no replica can answer.
func (q *quest) spares(m *member) bool {
	return m.Name() == string(q.origin) && q.o.Consistency != Bounded
}

func (q *quest) holds(m *member, mark Mark) bool {
	if mark.Revision <= 0 {
		return true
	}
	held := m.held(mark.Origin)
	return held >= mark.Revision && (m.Name() == string(mark.Origin) || held >= q.collected(mark.Origin))
}

// collected is up to where tombstones of an origin are known to be gone: who
// holds less is about to be emptied and filled afresh.
func (q *quest) collected(o Origin) (upTo Revision) {
	for _, m := range q.members {
		at, _ := m.position(o)
		upTo = max(upTo, at.Collected)
	}
	return upTo
}

// held is up to where the member holds everything of the origin, for sure.
func (m *member) held(o Origin) Revision {
	k := m.known.Load()
	if k == nil {
		return 0
	}
	if m.Name() == string(o) {
		return max(k.Origins[o].Revision, Revision(m.head.Load()))
	}
	return k.held[o]
}

// hold works out what is held, of positions that were read after old.
func (k *known) hold(old *known) {
	k.held = make(map[Origin]Revision, len(k.Origins))
	for o, p := range k.Origins {
		before := Revision(0)
		if old != nil {
			before = old.held[o]
		}
		k.held[o] = p.Held(before)
	}
}

// lookAgain decides whether a member that has no row of the key is to be
// believed. It is if, after it was read, its position still is what it was; if
// that has moved, another look tells.
func (s *Store) lookAgain(ctx context.Context, m *member, k Key, q *quest, wait time.Duration) (Entry, bool, error) {
	if m.Name() == string(q.origin) {
		return Entry{}, false, nil
	}
	before, _ := m.position(q.origin)
	if err := s.prove(ctx, m, q); err != nil {
		return Entry{}, false, err
	}
	if after, _ := m.position(q.origin); after.Revision == before.Revision {
		return Entry{}, false, nil
	}
	return m.lookUp(ctx, k, wait)
}

// confirm reads the positions of a member that is not known to qualify:
// errFarBehind if it does not.
func (s *Store) confirm(ctx context.Context, m *member, q *quest) error {
	if !q.picky || q.qualifies(m) {
		return nil
	}
	return s.prove(ctx, m, q)
}

// prove reads the member's positions: errFarBehind if it does not qualify, or
// is not whole any more.
func (s *Store) prove(ctx context.Context, m *member, q *quest) error {
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	p, err := m.learn(ctx)
	if err != nil {
		return err
	}
	own := m.Name() == string(q.origin)
	if !own && !p.Origins[q.origin].Filled() || !q.whole(m) || !q.qualifies(m) {
		return errFarBehind
	}
	return nil
}

// staleness bounds how old what the member answers can be.
func (q *quest) staleness(m *member) time.Duration {
	if q.every {
		return q.s.stalest(m, q.c)
	}
	return q.s.staleness(m, q.origin)
}

// tooStale reports whether an answer is staler than a bounded read allows.
func (q *quest) tooStale(d time.Duration) bool {
	return q.o.Consistency == Bounded && q.o.Partition == "" && (d < 0 || d > q.o.MaxStaleness)
}

// learn reads the member's positions, and notes them.
func (m *member) learn(ctx context.Context) (partition.Positions, error) {
	before, head := m.known.Load(), Revision(m.head.Load())
	asked := time.Now()
	p, err := m.Positions(ctx)
	if err != nil {
		return p, err
	}
	answered := time.Now()
	m.took(answered.Sub(asked))
	m.observe(knownOf(p, asked, answered))
	if p.Origins[Origin(m.Name())].Revision < head || wentBack(&p, before) {
		m.cache.end() // it may hold what was lost, or has come back
	}
	return p, nil
}

// wentBack reports whether a member holds less than it did before: it was emptied,
// or an older database has taken its place.
func wentBack(p *partition.Positions, before *known) bool {
	if before == nil {
		return false
	}
	for o, at := range before.Origins {
		if p.Origins[o].Revision < at.Revision {
			return true
		}
	}
	return false
}

// knownOf is what a reading of positions says that took from asked to answered.
func knownOf(p partition.Positions, asked, answered time.Time) *known {
	return &known{Positions: p, readAt: asked, clock: clockReading{now: p.Now, asked: asked, answered: answered}}
}

// Between two readings of positions that nobody has asked for, while a session waits.
const (
	firstPause   = 2 * time.Millisecond
	longestPause = 50 * time.Millisecond
)

// await waits until some member is known to qualify, at most Options.SessionWait:
// it hears of every position that anybody in this process reads, and has those
// of the replicas read meanwhile.
func (s *Store) await(outer context.Context, q *quest) (ok bool) {
	if s.options.SessionWait < 0 || !slices.ContainsFunc(q.members, q.mayCatchUp) {
		return false
	}
	before := q.furthest()
	if master := s.member(string(q.origin)); master != nil && master.answers() {
		if v := master.vain.Load(); v != nil && v.held == before && time.Since(v.at) < s.options.Poll {
			s.askAll(q)
			return false
		}
		defer func() {
			if !ok && outer.Err() == nil && q.furthest() == before {
				master.vain.Store(&vain{held: before, at: time.Now()})
			}
		}()
	}
	ctx, cancel := context.WithTimeout(outer, s.options.SessionWait)
	defer cancel()
	pause := firstPause
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		news := s.news.next()
		if slices.ContainsFunc(q.members, func(m *member) bool { return q.mayCatchUp(m) && q.qualifies(m) }) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-news:
		case <-tick.C:
			s.askAll(q)
			tick.Reset(pause)
			pause = min(2*pause, longestPause)
		}
	}
}

// mayCatchUp reports whether it is worth waiting for the member.
func (q *quest) mayCatchUp(m *member) bool {
	return m.Name() != string(q.origin) && q.whole(m) && m.answers()
}

// vain is a wait during which no replica came any further: until one does, or
// for Options.Poll, the master is asked at once.
type vain struct {
	held Revision // the furthest of them, of this origin
	at   time.Time
}

// furthest is up to where some replica holds everything of the origin.
func (q *quest) furthest() (r Revision) {
	for _, m := range q.members {
		if q.mayCatchUp(m) {
			r = max(r, m.held(q.origin))
		}
	}
	return r
}

func (s *Store) askAll(q *quest) {
	for _, m := range q.members {
		if q.mayCatchUp(m) {
			s.ask(m)
		}
	}
}

// ask has the member's positions read, unless somebody does so already.
func (s *Store) ask(m *member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.start == nil || !m.asking.CompareAndSwap(false, true) {
		return
	}
	s.work.Go(func() {
		defer m.asking.Store(false)
		ctx, cancel := context.WithTimeout(context.Background(), min(s.options.Timeout, 2*time.Second))
		defer cancel()
		_, _ = m.learn(ctx) // its health is the poll's concern
	})
}

// news tells everybody who waits that more is known of positions.
type news struct {
	waiting atomic.Bool
	mu      sync.Mutex
	ch      chan struct{}
}

// next is closed at the next news.
func (n *news) next() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch == nil {
		n.ch = make(chan struct{})
		n.waiting.Store(true)
	}
	return n.ch
}

func (n *news) tell() {
	if !n.waiting.Load() {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch != nil {
		close(n.ch)
		n.ch = nil
		n.waiting.Store(false)
	}
}
