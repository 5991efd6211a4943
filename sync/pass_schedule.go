package sync

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/robfig/cron/v3"
)

// ParseSchedule reads a cron spec of five fields, or a descriptor such as
// "@every 1s" (whole seconds) or "@hourly".
func ParseSchedule(spec string) (cron.Schedule, error) {
	schedule, err := cron.ParseStandard(spec)
	if err != nil {
		return nil, fmt.Errorf("schedule %q: %w", spec, err)
	}
	return schedule, nil
}

// occasion is why a pass is made.
type occasion int

const (
	scheduled occasion = iota // reads everything, tells level targets so
	woken                     // copies what changed, and nothing else
	asked                     // as scheduled, and tries what is backing off
	alone                     // as asked, and waits for everybody
)

var errRunning = errors.New("sync runs already")

// Run makes passes until ctx ends: one at once, then by the schedule, when
// woken or asked, and when something that failed is due again. It returns once
// everything under way has ended and the leases are given up.
func (s *Syncer) Run(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	default:
		return errRunning
	}
	defer s.release(ctx)
	defer s.work.Wait()

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
				s.start(ctx, woken)
			}
		case <-s.freed: // the timer has to be set anew
		case <-s.kick:
			s.start(ctx, woken)
		case <-s.trigger:
			s.start(ctx, asked)
		case answer := <-s.requests:
			answer <- s.start(ctx, asked)
		}
		timer.Stop()
	}
}

// onTimer makes the pass that is due and returns when the schedule is next.
func (s *Syncer) onTimer(ctx context.Context, next time.Time) time.Time {
	now := time.Now()
	if next.IsZero() || now.Before(next) {
		s.start(ctx, woken) // only what is due again after a failure
		return next
	}
	v := s.start(ctx, scheduled).view
	s.sweepSometimes(ctx, v)
	s.collectSometimes(ctx, v)
	return following(s.options.Schedule, time.Now())
}

// following is the schedule's next time after t, as elapsed time: setting the host's
// clock meanwhile neither delays a pass nor makes one look late. Zero: there is none.
func following(schedule cron.Schedule, t time.Time) time.Time {
	wall := t.Round(0)
	next := schedule.Next(wall)
	if next.IsZero() {
		return next
	}
	return t.Add(next.Sub(wall))
}

// never is when a schedule that has no next time starts.
const never = 100 * 365 * 24 * time.Hour

// nextTime is next or, if earlier, when something that failed is due again.
func (s *Syncer) nextTime(next time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if next.IsZero() {
		next = time.Now().Add(never)
	}
	for _, p := range s.peers {
		if p.fault == nil {
			next = p.pause.earlier(next)
		}
		for _, l := range p.lanes {
			if l.busy || !p.usable(time.Now()) {
				continue
			}
			next = l.pause.earlier(next)
			if at := s.cooledDown(l); l.missed > 0 && at.Before(next) {
				next = at
			}
		}
	}
	return next
}
