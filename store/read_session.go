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
func (c *clusterMap) isOlderThan(v Vector) bool {
	for _, r := range v.All() {
		if r.Epoch() > c.Epoch {
			return true
		}
	}
	return false
}

// qualifies reports whether the member is known to be as far as a picky read
// asks for.
func (q *readRequest) qualifies(m *backend) bool {
	return q.hasReached(m) && (q.o.Consistency != Bounded || !q.tooStale(q.staleness(m)))
}

// reached reports whether the member holds what the session has seen.
func (q *readRequest) hasReached(m *backend) bool {
	v := q.o.Session
	if !q.allOrigins && q.c.Epoch == firstEpoch && !q.newerEpoch {
		return q.isCompleteUpTo(m, Mark{q.origin, v.At(q.origin)}) // an entry of these keys has no other origin
	}
	if q.isMaster(m) { // it was given everything older when it became their master
		return q.isCompleteUpTo(m, Mark{q.origin, v.At(q.origin)})
	}
	for o, r := range v.All() {
		if !q.isCompleteUpTo(m, Mark{o, r}) {
			return false
		}
	}
	return true
}

// firstEpoch is that of a cluster in which no mastership has moved yet.
const firstEpoch = 1

// isMaster reports whether m is the master of what is read, for sure.
func (q *readRequest) isMaster(m *backend) bool {
	return m.Name() == string(q.origin) && !q.allOrigins && !q.newerEpoch
}

// spares reports whether the member is asked only if no replica can answer.
func (q *readRequest) avoidsMaster(m *backend) bool {
	return m.Name() == string(q.origin) && q.o.Consistency != Bounded
}

func (q *readRequest) isCompleteUpTo(m *backend, mark Mark) bool {
	if mark.Revision <= 0 {
		return true
	}
	held := m.completeUpTo(mark.Origin)
	return held >= mark.Revision && (m.Name() == string(mark.Origin) || held >= q.collectedUpTo(mark.Origin))
}

// collected is up to where tombstones of an origin are known to be gone: who
// holds less is about to be emptied and filled afresh.
func (q *readRequest) collectedUpTo(o Origin) (upTo Revision) {
	for _, m := range q.backends {
		at, _ := m.position(o)
		upTo = max(upTo, at.Collected)
	}
	return upTo
}

// held is up to where the member holds everything of the origin, for sure.
func (m *backend) completeUpTo(o Origin) Revision {
	k := m.observed.Load()
	if k == nil {
		return 0
	}
	if m.Name() == string(o) {
		return max(k.Origins[o].Revision, Revision(m.newestCommitted.Load()))
	}
	return k.completeUpTo[o]
}

// hold works out what is held, of positions that were read after old.
func (k *observedPositions) computeComplete(old *observedPositions) {
	k.completeUpTo = make(map[Origin]Revision, len(k.Origins))
	for o, p := range k.Origins {
		before := Revision(0)
		if old != nil {
			before = old.completeUpTo[o]
		}
		k.completeUpTo[o] = p.Held(before)
	}
}

// lookAgain decides whether a member that has no row of the key is to be
// believed. It is if, after it was read, its position still is what it was; if
// that has moved, another look tells.
func (s *Store) verifyAbsent(ctx context.Context, m *backend, k Key, q *readRequest, wait time.Duration) (Entry, bool, error) {
	if m.Name() == string(q.origin) {
		return Entry{}, false, nil
	}
	before, _ := m.position(q.origin)
	if err := s.recheck(ctx, m, q); err != nil {
		return Entry{}, false, err
	}
	if after, _ := m.position(q.origin); after.Revision == before.Revision {
		return Entry{}, false, nil
	}
	return m.getIntact(ctx, k, wait)
}

// confirm reads the positions of a member that is not known to qualify:
// errFarBehind if it does not.
func (s *Store) ensureQualifies(ctx context.Context, m *backend, q *readRequest) error {
	if !q.strict || q.qualifies(m) {
		return nil
	}
	return s.recheck(ctx, m, q)
}

// prove reads the member's positions: errFarBehind if it does not qualify, or
// is not whole any more.
func (s *Store) recheck(ctx context.Context, m *backend, q *readRequest) error {
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	p, err := m.readPositions(ctx)
	if err != nil {
		return err
	}
	own := m.Name() == string(q.origin)
	if !own && !p.Origins[q.origin].Filled() || !q.isComplete(m) || !q.qualifies(m) {
		return errTooFarBehind
	}
	return nil
}

// staleness bounds how old what the member answers can be.
func (q *readRequest) staleness(m *backend) time.Duration {
	if q.allOrigins {
		return q.s.stalest(m, q.c)
	}
	return q.s.staleness(m, q.origin)
}

// tooStale reports whether an answer is staler than a bounded read allows.
func (q *readRequest) tooStale(d time.Duration) bool {
	return q.o.Consistency == Bounded && q.o.Partition == "" && (d < 0 || d > q.o.MaxStaleness)
}

// learn reads the member's positions, and notes them.
func (m *backend) readPositions(ctx context.Context) (partition.Positions, error) {
	before, head := m.observed.Load(), Revision(m.newestCommitted.Load())
	asked := time.Now()
	p, err := m.Positions(ctx)
	if err != nil {
		return p, err
	}
	answered := time.Now()
	m.observeLatency(answered.Sub(asked))
	m.observe(newObservation(p, asked, answered))
	if p.Origins[Origin(m.Name())].Revision < head || wentBack(&p, before) {
		m.cache.invalidate() // it may hold what was lost, or has come back
	}
	return p, nil
}

// wentBack reports whether a member holds less than it did before: it was emptied,
// or an older database has taken its place.
func wentBack(p *partition.Positions, before *observedPositions) bool {
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
func newObservation(p partition.Positions, asked, answered time.Time) *observedPositions {
	return &observedPositions{Positions: p, readAt: asked, clock: clockReading{now: p.Now, asked: asked, answered: answered}}
}

// Between two readings of positions that nobody has asked for, while a session waits.
const (
	firstPause   = 2 * time.Millisecond
	longestPause = 50 * time.Millisecond
)

// await waits until some member is known to qualify, at most Options.SessionWait:
// it hears of every position that anybody in this process reads, and has those
// of the replicas read meanwhile.
func (s *Store) waitForReplica(outer context.Context, q *readRequest) (ok bool) {
	if s.options.SessionWait < 0 || !slices.ContainsFunc(q.backends, q.mayCatchUp) {
		return false
	}
	before := q.mostAdvanced()
	if master := s.backend(string(q.origin)); master != nil && master.isUp() {
		if v := master.failedWait.Load(); v != nil && v.mostAdvanced == before && time.Since(v.at) < s.options.Poll {
			s.readReplicaPositions(q)
			return false
		}
		defer func() {
			if !ok && outer.Err() == nil && q.mostAdvanced() == before {
				master.failedWait.Store(&failedWait{mostAdvanced: before, at: time.Now()})
			}
		}()
	}
	ctx, cancel := context.WithTimeout(outer, s.options.SessionWait)
	defer cancel()
	pause := firstPause
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		news := s.positionsRead.wait()
		if slices.ContainsFunc(q.backends, func(m *backend) bool { return q.mayCatchUp(m) && q.qualifies(m) }) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-news:
		case <-tick.C:
			s.readReplicaPositions(q)
			tick.Reset(pause)
			pause = min(2*pause, longestPause)
		}
	}
}

// mayCatchUp reports whether it is worth waiting for the member.
func (q *readRequest) mayCatchUp(m *backend) bool {
	return m.Name() != string(q.origin) && q.isComplete(m) && m.isUp()
}

// vain is a wait during which no replica came any further: until one does, or
// for Options.Poll, the master is asked at once.
type failedWait struct {
	mostAdvanced Revision // the furthest of them, of this origin
	at           time.Time
}

// furthest is up to where some replica holds everything of the origin.
func (q *readRequest) mostAdvanced() (r Revision) {
	for _, m := range q.backends {
		if q.mayCatchUp(m) {
			r = max(r, m.completeUpTo(q.origin))
		}
	}
	return r
}

func (s *Store) readReplicaPositions(q *readRequest) {
	for _, m := range q.backends {
		if q.mayCatchUp(m) {
			s.readPositionsAsync(m)
		}
	}
}

// ask has the member's positions read, unless somebody does so already.
func (s *Store) readPositionsAsync(m *backend) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.start == nil || !m.isReadingPositions.CompareAndSwap(false, true) {
		return
	}
	s.work.Go(func() {
		defer m.isReadingPositions.Store(false)
		ctx, cancel := context.WithTimeout(context.Background(), min(s.options.Timeout, 2*time.Second))
		defer cancel()
		_, _ = m.readPositions(ctx) // its health is the poll's concern
	})
}

// news tells everybody who waits that more is known of positions.
type notifier struct {
	waiting atomic.Bool
	mu      sync.Mutex
	ch      chan struct{}
}

// next is closed at the next news.
func (n *notifier) wait() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch == nil {
		n.ch = make(chan struct{})
		n.waiting.Store(true)
	}
	return n.ch
}

func (n *notifier) broadcast() {
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
