package sync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/sync/internal/durability"
	"github.com/runnelkv/runnel/sync/internal/snapshot"
)

// passReason is the occasion of a pass. Later reasons include the work of onSchedule.
type passReason int

const (
	onSchedule passReason = iota // reads all positions and confirms level targets
	onCommit                     // copies new changes, nothing else
	onRequest                    // as onSchedule; also retries streams during their retry delay
	standalone                   // as onRequest; waits for all partitions
)

// pass is a run over all partitions.
type pass struct {
	survey  *survey
	began   time.Time
	before  map[*replica]int64 // entries copied before the pass
	pending []<-chan struct{}  // copies and readings of which the pass waits for the end
	joined  bool               // some of pending were running before the pass
	left    int                // running copies that the pass started; guarded by Syncer.mu
	shared  map[sharedKey]*snapshot.Shared
}

// waitAll returns once everything that the pass started or joined has ended.
func (p *pass) waitAll(ctx context.Context) error {
	for _, done := range p.pending {
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (p *pass) joinRunning(done <-chan struct{}) {
	p.pending, p.joined = append(p.pending, done), true
}

// startPass reads the positions and starts the necessary copies.
func (s *Syncer) startPass(ctx context.Context, reason passReason) *pass {
	began := time.Now()
	v := s.survey(ctx, reason)
	p := &pass{survey: v, began: began, before: make(map[*replica]int64), shared: make(map[sharedKey]*snapshot.Shared)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.passes++
	s.lastPass = began
	s.expireRetries(began)
	if v.late != nil {
		p.joinRunning(v.late)
	}
	var jobs []*job
	for i := range v.observations {
		to := &v.observations[i]
		p.before[to.replica] = to.replica.entries()
		for _, origin := range v.origins {
			if j := s.claimStream(p, to, origin, reason); j != nil {
				jobs = append(jobs, j)
			}
		}
	}
	for _, j := range jobs { // all users of a shared snapshot are known now
		s.background.Go(func() { s.runJob(ctx, p, j) })
	}
	if p.left == 0 {
		s.lastTook = time.Since(began)
	}
	return p
}

// expireRetries ends the retry delays that are over; the calling pass considers
// the streams again. Syncer.mu is held.
func (s *Syncer) expireRetries(now time.Time) {
	for _, r := range s.replicas {
		r.retry.expire(now)
		for _, st := range r.streams {
			st.retry.expire(now)
		}
	}
}

// claimStream claims an idle stream that has work, and returns the job to run. Syncer.mu is held.
func (s *Syncer) claimStream(p *pass, to *observation, origin partition.Origin, reason passReason) *job {
	own := to.replica.Name() == string(origin)
	if !to.ok && (own || to.replica.streams[origin] == nil) {
		return nil
	}
	st := to.replica.stream(origin)
	if st.busy {
		st.missed = max(st.missed, 1)
		p.joinRunning(st.done)
		return nil
	}
	defer func() { st.toGo = p.survey.toGo(to, origin) }()
	st.missed = 0
	switch {
	case !to.ok || (reason < onRequest && !st.retry.elapsed(p.began)):
		return nil
	case reason == onCommit && st.state == Standby:
		return nil
	case reason == onCommit && p.began.Before(s.cooledDown(st)):
		st.missed = 1
		return nil
	}
	j, state, err := p.survey.plan(to, origin, reason)
	if j == nil {
		st.setStateLocked(state, err)
		return nil
	}
	j.stream, j.durability, j.shared = st, s.durabilityOf(partition.Origin(j.from.Name())), p.shareSnapshot(j, s.options.BatchEntries)
	j.copiedBefore = st.Entries
	p.left++
	st.busy, st.notBefore, st.done = true, time.Time{}, make(chan struct{})
	p.pending = append(p.pending, st.done)
	return j
}

// durabilityOf returns the durability of an origin, creating it on first use.
func (s *Syncer) durabilityOf(o partition.Origin) *durability.Tracker {
	d, ok := s.durabilities[o]
	if !ok {
		d = durability.New(s.options.Timeout)
		s.durabilities[o] = d
	}
	return d
}

// sharedKey identifies copies that can share a snapshot.
type sharedKey struct {
	from   *replica
	origin partition.Origin
}

// shareSnapshot returns the snapshot that a job can share with the jobs of the pass at
// most maxDistance revisions away; nil if there is none.
func (p *pass) shareSnapshot(j *job, maxDistance int) *snapshot.Shared {
	if j.confirmAt != 0 || j.at.Revision == 0 {
		return nil
	}
	key := sharedKey{j.from, j.origin}
	shared, ok := p.shared[key]
	if !ok {
		shared = snapshot.NewShared(j.from, j.origin, j.at.Revision)
		p.shared[key] = shared
	}
	if !shared.Admit(j.at.Revision, maxDistance) {
		return nil
	}
	return shared
}

// runJob runs a job on its stream and records the outcome.
func (s *Syncer) runJob(ctx context.Context, p *pass, j *job) {
	began := time.Now()
	state, err := s.copyWithRetries(ctx, j)
	s.mu.Lock()
	defer s.mu.Unlock()
	st := j.stream
	st.busy = false
	close(st.done)
	if p.left--; p.left == 0 {
		s.lastTook = time.Since(p.began)
	}
	s.coolDown(st, st.Entries-j.copiedBefore, time.Since(began))
	notify(s.streamDone)
	switch {
	case ctx.Err() != nil:
	case err == nil:
		st.retry.clear()
		st.setStateLocked(state, nil)
	case errors.Is(err, errByMap): // the store teaches the map at the next poll
		st.retry.extend(backoffMin)
		st.setStateLocked(state, err)
	default:
		j.to.stale = true
		st.Errors++
		st.retry.extend(s.options.BackoffMax)
		st.setStateLocked(state, err)
	}
}

// copyWithRetries copies until the target is level with its source, and returns
// the stream's state. If another process moved the position, or the target was too slow for
// its shared snapshot, the position is read again and the copy repeated, up to three times.
func (s *Syncer) copyWithRetries(ctx context.Context, j *job) (State, error) {
	state, err := s.copy(ctx, j)
	for tries := 0; (errors.Is(err, partition.ErrPositionMoved) || errors.Is(err, snapshot.ErrDetached)) && tries < 3; tries++ {
		if j.at, err = j.rereadPosition(ctx); err == nil {
			j.confirmAt, j.shared = 0, nil
			state, err = s.copy(ctx, j)
		}
	}
	switch {
	case errors.Is(err, partition.ErrLeaseHeld), errors.Is(err, partition.ErrLeaseLost), errors.Is(err, partition.ErrPositionMoved):
		return s.standbyState(j), nil
	case errors.Is(err, errByMap), err != nil && errors.As(err, new(*sourceError)):
		return Waiting, err
	case err != nil:
		return copyFailureState(err), err
	}
	return state, nil
}

// standbyState returns the state of a stream on which another process works.
func (s *Syncer) standbyState(j *job) State {
	if j.confirmAt != 0 {
		return Level
	}
	s.markStale(j.to)
	return Standby
}

// report describes all targets at the end of a pass.
func (s *Syncer) report(p *pass) Report {
	report := Report{Began: p.began, Took: time.Since(p.began)}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.replicas {
		report.Targets = append(report.Targets, TargetReport{r.status(), r.entries() - p.before[r]})
	}
	return report
}

// plan returns the job for a target and an origin or, if there is nothing to do,
// nil and the stream's state.
func (v *survey) plan(to *observation, o partition.Origin, reason passReason) (*job, State, error) {
	lost := v.behind[o]
	switch own := to.replica.Name() == string(o) && slices.Contains(v.masters, o); {
	case own && lost != nil:
		return nil, Behind, lost
	case own:
		return nil, Level, nil
	case lost != nil:
		return nil, Waiting, fmt.Errorf("%s has lost writes: %w", o, lost)
	}
	at := to.positionOf(o)
	from := v.source(to, o)
	if from == nil && at.Whole() {
		return nil, Level, nil
	}
	if from == nil {
		return nil, Waiting, fmt.Errorf("%s cannot be reached, and no other partition holds any of its changes", o)
	}
	j := &job{to: to.replica, from: from.replica, origin: o, at: at}
	head := from.positionOf(o)
	if j.isDirect() {
		j.originHead = head.Revision
	}
	switch whole := at.Whole(); {
	case head.Revision > at.Revision:
		return j, "", nil
	case head.Revision < at.Revision && whole:
		return nil, Level, nil // no reachable partition has more
	case !whole:
		if head.Revision == at.Revision && !at.CatchingUp() && j.mayConfirm(head) {
			return j, "", nil
		}
		return nil, Waiting, fmt.Errorf("no reachable partition holds the missing changes of %s", o)
	}
	if reason != onCommit {
		if j.confirmAt = head.SyncedAt; j.isDirect() {
			j.confirmAt = from.at.Now
		}
	}
	if j.confirmAt <= at.SyncedAt {
		return nil, Level, nil
	}
	return j, "", nil
}

// mayConfirm reports whether the source can declare a target at the source's own
// position complete.
func (j *job) mayConfirm(head partition.Position) bool {
	return head.Revision > 0 && (j.isDirect() || head.Whole())
}
