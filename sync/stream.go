package sync

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
)

// peer is a configured partition with what the syncer knows of it. Its fields
// are guarded by Syncer.mu unless they say otherwise.
type peer struct {
	partition.Partition
	s     *Syncer
	lease lease // guards itself

	fault   error               // the store's reason not to use it
	setBack error               // the store's reason to copy nothing that it wrote
	err     error               // why its positions could not be read
	pause   pause               // after failures to read its positions
	reading bool                // its positions are being read
	asked   int64               // readings begun
	learned int64               // the reading that known is of
	known   partition.Positions // as last read
	read    bool                // known was read once
	stale   bool                // known may not be what it would be now
	lanes   map[partition.Origin]*lane

	collected int64 // tombstones removed
	swept     int64 // entries that had expired
}

// lane is the copying of one origin to one target. Its fields are guarded by
// Syncer.mu.
type lane struct {
	to        *peer
	origin    partition.Origin
	busy      bool
	done      chan struct{} // closed when the copy under way ends
	missed    int           // wakes, and passes, that came while the stream was busy or cooled down
	moved     int64         // the last reading of positions that had begun when it moved the target's
	notBefore time.Time     // when the cooldown after the last copy ends
	pause     pause
	state     State
	since     time.Time          // of the state
	said      State              // the last that was logged
	newest    []partition.Entry  // heads of what was applied last …
	newestAt  partition.Revision // … and where the target was then
	err       error
	toGo      int64
	totals
}

// pause is the time that something is left alone after it failed.
type pause struct {
	backoff backoff.ExponentialBackOff
	until   time.Time
}

const backoffMin = 250 * time.Millisecond

func (p *pause) extend(longest time.Duration) {
	p.backoff.InitialInterval = min(backoffMin, longest)
	p.backoff.RandomizationFactor = backoff.DefaultRandomizationFactor
	p.backoff.Multiplier = 2
	p.backoff.MaxInterval = longest
	p.until = time.Now().Add(min(p.backoff.NextBackOff(), longest))
}

func (p *pause) reset() { *p = pause{} }

// end forgets a pause that is over, but not how long the next one has to be.
func (p *pause) end(now time.Time) {
	if p.over(now) {
		p.until = time.Time{}
	}
}

func (p *pause) over(now time.Time) bool { return !now.Before(p.until) }

// earlier is the end of the pause if there is one and it is before t.
func (p *pause) earlier(t time.Time) time.Time {
	if !p.until.IsZero() && p.until.Before(t) {
		return p.until
	}
	return t
}

// usable reports whether a copy could involve the peer. Syncer.mu is held.
func (p *peer) usable(now time.Time) bool {
	return p.fault == nil && p.err == nil && p.read && p.pause.over(now)
}

// lane returns the lane of an origin, making it at first. Syncer.mu is held.
func (p *peer) lane(o partition.Origin) *lane {
	l, ok := p.lanes[o]
	if !ok {
		l = &lane{to: p, origin: o, state: Pending}
		p.lanes[o] = l
	}
	return l
}

// roll takes the store's peers over, keeping what is known of those that stay.
func (s *Syncer) roll() []*peer {
	now := s.cluster.Replicas()
	s.mu.Lock()
	defer s.mu.Unlock()
	peers := make([]*peer, len(now))
	for i, n := range now {
		peers[i] = s.peerOf(n)
		s.setFault(peers[i], n.Err)
		peers[i].setBack = n.SetBack
	}
	s.peers = peers
	return peers
}

func (s *Syncer) peerOf(n store.Replica) *peer {
	for _, p := range s.peers {
		if p.Partition == n.Partition {
			return p
		}
	}
	return &peer{Partition: n.Partition, s: s, lanes: make(map[partition.Origin]*lane)}
}

// setFault notes what the store says of the peer. One that is usable again is
// tried right away. Syncer.mu is held.
func (s *Syncer) setFault(p *peer, err error) {
	if p.fault != nil && err == nil {
		s.recovered(p)
	}
	if err != nil {
		p.stale = true
	}
	p.fault = err
}

// recovered ends every pause that the peer can have been the cause of.
// Syncer.mu is held.
func (s *Syncer) recovered(p *peer) {
	p.err = nil
	p.pause.reset()
	for _, l := range p.lanes {
		l.pause.reset()
	}
	for _, other := range s.peers {
		if l, ok := other.lanes[partition.Origin(p.Name())]; ok {
			l.pause.reset()
		}
	}
}

// learn reads the peer's positions, remembers them, and tells the store.
func (p *peer) learn(ctx context.Context) (partition.Positions, error) {
	p.s.mu.Lock()
	p.asked++
	ticket := p.asked
	p.s.mu.Unlock()

	bound, cancel := context.WithTimeout(ctx, p.s.options.Timeout)
	defer cancel()
	at, err := p.Positions(bound)
	if err != nil {
		err = fmt.Errorf("read positions of %s: %w", p.Name(), err)
		if ctx.Err() == nil {
			p.failed(err)
		}
		return at, err
	}
	p.learnt(ticket, at)
	p.s.cluster.Observe(p.Name(), at)
	return at, nil
}

func (p *peer) learnt(ticket int64, at partition.Positions) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if p.err != nil {
		p.s.recovered(p)
		p.s.log.Info("sync reaches the partition again", "partition", p.Name())
	}
	if ticket > p.learned {
		p.keepMoved(ticket, at)
		p.learned, p.known, p.read, p.stale = ticket, at, true, false
	}
}

// keepMoved corrects what was read where lanes have moved on since the reading
// began. Syncer.mu is held, and at is nobody else's yet.
func (p *peer) keepMoved(ticket int64, at partition.Positions) {
	for o, l := range p.lanes {
		if l.moved >= ticket {
			at.Origins[o] = p.known.Origins[o]
		}
	}
}

// advance notes a position that was just moved, and tells the store: nobody
// needs to read it.
func (p *peer) advance(l *lane, at partition.Position) {
	p.s.mu.Lock()
	origins := maps.Clone(p.known.Origins) // others may be reading it
	origins[at.Origin] = at
	p.known.Origins = origins
	l.moved = p.asked
	p.s.mu.Unlock()
	p.s.cluster.Advance(p.Name(), at)
}

func (p *peer) failed(err error) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if p.err == nil {
		p.s.log.Warn("sync cannot reach the partition", "partition", p.Name(), "error", err)
	}
	p.err, p.stale = err, true
	p.pause.extend(p.s.options.BackoffMax)
}

// enter notes the lane's state and logs it if it is worth saying.
func (l *lane) enter(state State, err error) {
	s := l.to.s
	s.mu.Lock()
	defer s.mu.Unlock()
	l.set(state, err)
}

// set is enter with Syncer.mu held.
func (l *lane) set(state State, err error) {
	if state == Level {
		l.toGo = 0
	}
	if l.state != state {
		l.since = time.Now()
	}
	l.state, l.err = state, err
	l.say()
}

// worthSaying is how long a lane that was level must be catching up before that
// is logged: beside a flood it happens several times a second.
const worthSaying = 5 * time.Second

// say logs the state if it is not the one that was logged last.
func (l *lane) say() {
	if l.state == l.said || l.state == CatchingUp && l.said == Level && time.Since(l.since) < worthSaying {
		return
	}
	args := []any{"partition", l.to.Name(), "origin", string(l.origin), "state", string(l.state)}
	if l.err != nil {
		args = append(args, "error", l.err)
	}
	l.to.s.log.Log(context.Background(), l.state.logLevel(), "sync state changed", args...)
	l.said = l.state
}

// progress notes that the lane is amid a copy in several steps.
func (l *lane) progress(filling bool) {
	s := l.to.s
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !filling:
		l.set(CatchingUp, nil)
	case l.state != Refilling:
		l.set(Filling, nil)
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

// failedState is the state of a lane whose copy failed. That its target does not
// answer at all is found out by reading its positions.
func failedState(err error) State {
	if errors.Is(err, partition.ErrRefused) {
		return Refused
	}
	return Failed
}

// stateOf is the state of a target whose positions cannot be read.
func stateOf(err error) State {
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
