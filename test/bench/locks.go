package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/runnelkv/runnel/test/bench/internal/report"
	"github.com/runnelkv/runnel/test/bench/internal/testbed"
)

// locks measures what held locks cost other writes, and how many locks are acquired and released beside etcd.
func (b *bench) locks(ctx context.Context) error {
	puts, lockers, err := b.testbed.StartLocks(ctx)
	if err != nil {
		return err
	}
	return b.measureLocks(ctx, puts, lockers)
}

func (b *bench) measureLocks(ctx context.Context, puts, lockers []*testbed.System) error {
	if err := b.fillSystems(ctx, puts, report.LockMany.ValueBytes); err != nil {
		return err
	}
	for _, s := range puts {
		var err error
		switch {
		case strings.HasSuffix(s.Name, report.ManyLocks):
			q := b.plan(s, report.LockMany)
			q.Keys = min(q.Keys, testbed.HeldLocks)
			_, err = b.runStrict(ctx, s, allKeysOnce(q))
		case strings.HasSuffix(s.Name, report.OneGuard):
			err = s.Guard(ctx)
		}
		if err = errors.Join(err, s.AwaitIdle(ctx)); err != nil {
			return err
		}
	}
	b.progress.step(fillExpected, "")
	if err := b.measureRounds(ctx, puts, report.LockPutPoints()); err != nil {
		return err
	}
	return b.measureRounds(ctx, lockers, []report.Point{report.LockMany})
}

// expectedLocks returns the approximate duration of the locks phase.
func (b *bench) expectedLocks() time.Duration {
	const puts, lockers = 6, 5
	var systems []*testbed.System
	for range puts {
		systems = append(systems, &testbed.System{Templates: testbed.HTTPTemplates()})
	}
	return fillExpected + b.expectedOf(systems, report.LockPutPoints()) + lockers*time.Duration(b.settings.rounds)*b.settings.duration
}
