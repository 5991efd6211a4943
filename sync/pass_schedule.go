package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/runnelkv/runnel/store/verify"
)

// ParseSchedule parses a cron spec of five fields, or a descriptor such as
// "@every 1s" (whole seconds) or "@hourly".
func ParseSchedule(spec string) (cron.Schedule, error) {
	schedule, err := cron.ParseStandard(spec)
	if err != nil {
		return nil, fmt.Errorf("schedule %q: %w", spec, err)
	}
	return schedule, nil
}

var errRunning = errors.New("the syncer is already running")

// Run makes passes until ctx ends: at once, by the schedule, after a wake or a
// request, and when the retry delay of a failed operation ends. Run returns once all
// its work has ended and the leases are released. A second Run at the same
// time returns an error.
func (s *Syncer) Run(ctx context.Context) error {
	select {
	case s.running <- struct{}{}:
		defer func() { <-s.running }()
	default:
		return errRunning
	}
	defer s.releaseLeases(ctx)
	defer s.background.Wait()
	if s.options.Verify != nil {
		s.background.Go(func() { s.verifyLoop(ctx) })
	}

	next, wake := time.Now(), s.options.Wake
	for {
		timer := time.NewTimer(time.Until(s.nextTime(next)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
			next = s.onTimer(ctx, next)
		case _, ok := <-wake:
			if !ok {
				wake = nil
				break
			}
			if s.noteWake() {
				s.startPass(ctx, onCommit)
			}
		case <-s.streamDone: // computes the timer again
		case <-s.retryCh:
			s.startPass(ctx, onCommit)
		case <-s.triggerCh:
			s.startPass(ctx, onRequest)
		case answer := <-s.passRequests:
			answer <- s.startPass(ctx, onRequest)
		}
		timer.Stop()
	}
}

// onTimer makes the pass that is due and returns the schedule's next time.
func (s *Syncer) onTimer(ctx context.Context, next time.Time) time.Time {
	now := time.Now()
	if next.IsZero() || now.Before(next) {
		s.startPass(ctx, onCommit) // a retry delay or cooldown has ended
		return next
	}
	v := s.startPass(ctx, onSchedule).survey
	s.startUpkeep(&s.sweeping, s.options.SweepEvery, func() {
		if s.sweep(ctx, v) > 0 {
			notify(s.retryCh) // to copy the tombstones
		}
	})
	s.startUpkeep(&s.collecting, s.options.CollectEvery, func() { s.collect(ctx, v) })
	return following(s.options.Schedule, time.Now())
}

// upkeep is a periodic background task. Syncer.mu guards the fields.
type upkeep struct {
	running bool
	last    time.Time // of the last start
}

// startUpkeep starts work in the background unless work is running, or started less than
// an interval ago. A negative interval disables the task.
func (s *Syncer) startUpkeep(u *upkeep, every time.Duration, work func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if every < 0 || u.running || time.Since(u.last) < every {
		return
	}
	u.running, u.last = true, time.Now()
	s.background.Go(func() {
		work()
		s.mu.Lock()
		defer s.mu.Unlock()
		u.running = false
	})
}

// verifyLoop verifies all partitions by the schedule, while this process holds a lease. A verification that ctx ends goes on
// at the schedule's next time.
func (s *Syncer) verifyLoop(ctx context.Context) {
	for {
		next := following(s.options.Verify, time.Now())
		if next.IsZero() {
			return
		}
		timer := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		if !s.Status().Active {
			continue
		}
		r, err := verify.Run(ctx, s.usable(), verify.Options{Deep: true, Repair: true, Found: s.logFinding, Logger: s.log})
		if err != nil {
			s.log.Warn("the verification was not completed", "error", err)
			continue
		}
		s.log.Info("verified", "partitions", r.Verified, "entries", r.Compared, "wrong", r.Found+r.Before, "repaired", r.Repaired)
	}
}

func (s *Syncer) logFinding(f verify.Finding) {
	s.log.Error("wrong copy of an entry", "kind", f.Kind, "partition", f.Partition, "key", string(f.Key), "revision", int64(f.Revision),
		"repaired", f.Repaired, "from", f.From, "reason", f.Why)
}

// following returns the schedule's next time after t, on the monotonic clock: setting the
// host's clock neither delays a pass nor makes a pass look late. Zero: there is no next time.
func following(schedule cron.Schedule, t time.Time) time.Time {
	wall := t.Round(0)
	next := schedule.Next(wall)
	if next.IsZero() {
		return next
	}
	return t.Add(next.Sub(wall))
}

// never is the delay of a schedule that has no next time.
const never = 100 * 365 * 24 * time.Hour

// nextTime returns next or, if earlier, the end of a retry delay, or of the cooldown of a
// stream that has missed a commit.
func (s *Syncer) nextTime(next time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if next.IsZero() {
		next = time.Now().Add(never)
	}
	for _, r := range s.replicas {
		if r.fault == nil {
			next = r.retry.earlier(next)
		}
		for _, st := range r.streams {
			if st.busy || !r.isUsable(time.Now()) {
				continue
			}
			next = st.retry.earlier(next)
			if at := s.cooledDown(st); st.missed > 0 && at.Before(next) {
				next = at
			}
		}
	}
	return next
}

// Trigger requests a pass from a running Run and returns at once.
func (s *Syncer) Trigger() { notify(s.triggerCh) }

// Pass makes a pass over all partitions, waits until every copy has ended or
// failed, and reports the state of each target. While Run is active, Run makes
// the pass, and copies that were already running are waited for too. Otherwise Pass also sweeps
// expired entries, collects tombstones, and releases the leases at the end.
// The error is ctx's.
func (s *Syncer) Pass(ctx context.Context) (Report, error) {
	answer := make(chan *pass, 1)
	var first *pass
	for range 2 { // a copy that was already running may read an older snapshot
		select {
		case s.running <- struct{}{}:
			defer func() { <-s.running }()
			return s.standalonePass(ctx)
		case s.passRequests <- answer:
		case <-ctx.Done():
			return Report{}, ctx.Err()
		}
		p := <-answer
		if err := p.waitAll(ctx); err != nil {
			return Report{}, err
		}
		first = cmp.Or(first, p)
		if !p.joined {
			break
		}
	}
	return s.report(first), nil
}

func (s *Syncer) standalonePass(ctx context.Context) (Report, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer s.releaseLeases(ctx)
	defer s.background.Wait()
	defer cancel()
	p := s.startPass(ctx, standalone)
	s.startMark(p.survey)
	if err := p.waitAll(ctx); err != nil {
		return Report{}, err
	}
	if s.options.SweepEvery >= 0 && s.sweep(ctx, p.survey) > 0 {
		if err := s.startPass(ctx, standalone).waitAll(ctx); err != nil { // copies the tombstones
			return Report{}, err
		}
	}
	if v := s.survey(ctx, standalone); s.options.CollectEvery >= 0 {
		s.collect(ctx, v)
	}
	return s.report(p), ctx.Err()
}

// releaseLeases releases all leases, so that another process need not wait until
// they expire. The end of ctx does not stop it.
func (s *Syncer) releaseLeases(ctx context.Context) {
	s.mu.Lock()
	replicas := s.replicas
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(s.options.Timeout, 2*time.Second))
	defer cancel()
	var group sync.WaitGroup
	for _, r := range replicas {
		group.Go(func() {
			if err := r.lease.Release(ctx); err != nil {
				s.log.Info("lease not released, it expires", "partition", r.Name(), "error", err)
			}
		})
	}
	group.Wait()
}
