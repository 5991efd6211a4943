package sync

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// pass is one run over all partitions: what it saw, and what it started.
type pass struct {
	view   *view
	began  time.Time
	before map[*peer]int64   // entries copied before it
	ended  []<-chan struct{} // copies it started
	joined []<-chan struct{} // copies and readings that were under way already
	left   int               // copies it started that go on; guarded by Syncer.mu
	shares map[shareKey]*share
}

// wait returns once everything that the pass started or joined has ended.
func (p *pass) wait(ctx context.Context) error {
	for _, list := range [][]<-chan struct{}{p.ended, p.joined} {
		for _, done := range list {
			select {
			case <-done:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// start reads the positions and starts the copies they call for.
func (s *Syncer) start(ctx context.Context, o occasion) *pass {
	began := time.Now()
	v := s.look(ctx, o)
	p := &pass{view: v, began: began, before: make(map[*peer]int64), shares: make(map[shareKey]*share)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.passes++
	s.lastPass = began
	s.endPauses(began)
	if v.late != nil {
		p.joined = append(p.joined, v.late)
	}
	var jobs []*job
	for i := range v.sights {
		to := &v.sights[i]
		p.before[to.peer] = to.peer.entries()
		for _, origin := range v.origins {
			if j := s.consider(p, to, origin, o); j != nil {
				jobs = append(jobs, j)
			}
		}
	}
	for _, j := range jobs { // their shares are complete
		s.work.Go(func() { s.run(ctx, p, j) })
	}
	if p.left == 0 {
		s.lastTook = time.Since(began)
	}
	return p
}

// endPauses forgets the pauses that are over; what they delayed is
// looked at by the pass that calls this. Syncer.mu is held.
func (s *Syncer) endPauses(now time.Time) {
	for _, p := range s.peers {
		p.pause.end(now)
		for _, l := range p.lanes {
			l.pause.end(now)
		}
	}
}

// consider takes a lane if it is free and has something to do, and returns the
// job to run on it. Syncer.mu is held.
func (s *Syncer) consider(p *pass, to *sight, origin partition.Origin, o occasion) *job {
	own := to.peer.Name() == string(origin)
	if !to.ok && (own || to.peer.lanes[origin] == nil) {
		return nil
	}
	l := to.peer.lane(origin)
	if l.busy {
		l.missed = max(l.missed, 1)
		p.joined = append(p.joined, l.done)
		return nil
	}
	defer func() { l.toGo = p.view.toGo(to, origin) }()
	l.missed = 0
	switch {
	case !to.ok || (o < asked && !l.pause.over(p.began)):
		return nil
	case o == woken && l.state == Standby:
		return nil
	case o == woken && p.began.Before(s.cooledDown(l)):
		l.missed = 1
		return nil
	}
	j, state, err := p.view.plan(to, origin, o)
	if j == nil {
		l.set(state, err)
		return nil
	}
	j.lane, j.gate, j.share = l, s.gate(origin), p.shareFor(j, s.options.BatchEntries)
	p.left++
	l.busy, l.notBefore, l.done = true, time.Time{}, make(chan struct{})
	p.ended = append(p.ended, l.done)
	return j
}

// run does a job on its lane and notes how it went.
func (s *Syncer) run(ctx context.Context, p *pass, j *job) {
	began, before := time.Now(), s.copied(j.lane)
	state, err := s.do(ctx, j)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := j.lane
	l.busy = false
	close(l.done)
	if p.left--; p.left == 0 {
		s.lastTook = time.Since(p.began)
	}
	s.coolDown(l, l.Entries-before, time.Since(began))
	signal(s.freed)
	switch {
	case ctx.Err() != nil:
	case err == nil:
		l.pause.reset()
		l.set(state, nil)
	default:
		j.to.stale = true
		l.Errors++
		l.pause.extend(s.options.BackoffMax)
		l.set(state, err)
	}
}

func (s *Syncer) copied(l *lane) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return l.Entries
}

// do copies until the target is level with what its source has, and returns
// the lane's state. A position that somebody else moved is read again; so is that
// of a target that was too slow for its share.
func (s *Syncer) do(ctx context.Context, j *job) (State, error) {
	state, err := s.copy(ctx, j)
	for tries := 0; (errors.Is(err, partition.ErrPositionMoved) || errors.Is(err, errAlone)) && tries < 3; tries++ {
		if j.at, err = j.reread(ctx); err == nil {
			j.beat, j.share = 0, nil
			state, err = s.copy(ctx, j)
		}
	}
	switch {
	case errors.Is(err, partition.ErrLeaseHeld), errors.Is(err, partition.ErrLeaseLost):
		return j.standby(), nil
	case errors.Is(err, partition.ErrPositionMoved):
		return j.standby(), nil // somebody else is faster
	case err != nil && errors.As(err, new(*sourceError)):
		return Waiting, err
	case err != nil:
		return failedState(err), err
	}
	return state, nil
}

// standby is the state of a lane that another process is at work on.
func (j *job) standby() State {
	if j.beat != 0 {
		return Level
	}
	j.to.s.mu.Lock()
	defer j.to.s.mu.Unlock()
	j.to.stale = true
	return Standby
}

// report says how everything stands, the pass being over.
func (s *Syncer) report(p *pass) Report {
	r := Report{Began: p.began, Took: time.Since(p.began)}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, peer := range s.peers {
		r.Targets = append(r.Targets, TargetReport{peer.status(), peer.entries() - p.before[peer]})
	}
	return r
}

// entries is how many were copied to the peer. Syncer.mu is held.
func (p *peer) entries() (sum int64) {
	for _, l := range p.lanes {
		sum += l.Entries
	}
	return sum
}

// plan says what there is to do for a target and an origin, or the state that
// it is in when there is nothing.
func (v *view) plan(to *sight, o partition.Origin, why occasion) (*job, State, error) {
	lost := v.behind[o]
	switch own := to.peer.Name() == string(o); {
	case own && lost != nil:
		return nil, Behind, lost
	case own:
		return nil, Level, nil
	case lost != nil:
		return nil, Waiting, fmt.Errorf("%s has lost writes: %w", o, lost)
	}
	at := to.position(o)
	from := v.source(to, o)
	if from == nil && at.Whole() {
		return nil, Level, nil
	}
	if from == nil {
		return nil, Waiting, fmt.Errorf("%s cannot be reached, and nobody else has anything of it", o)
	}
	j := &job{to: to.peer, from: from.peer, origin: o, at: at}
	head := from.position(o)
	if j.direct() {
		j.seen = head.Revision
	}
	switch whole := at.Whole(); {
	case head.Revision > at.Revision:
		return j, "", nil
	case head.Revision < at.Revision && whole:
		return nil, Level, nil // nobody reachable has more
	case !whole:
		if head.Revision == at.Revision && !at.CatchingUp() && j.mayConfirm(head) {
			return j, "", nil
		}
		return nil, Waiting, fmt.Errorf("what it lacks of %s, nobody reachable has", o)
	}
	if why != woken {
		if j.beat = head.SyncedAt; j.direct() {
			j.beat = from.at.Now
		}
	}
	if j.beat <= at.SyncedAt {
		return nil, Level, nil
	}
	return j, "", nil
}

// mayConfirm reports whether the source can say that a target that holds as
// much as itself holds everything of some moment.
func (j *job) mayConfirm(head partition.Position) bool {
	return head.Revision > 0 && (j.direct() || head.Whole())
}
