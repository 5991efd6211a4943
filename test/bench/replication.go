package main

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/runnelkv/runnel/test/bench/internal/report"
	"github.com/runnelkv/runnel/test/bench/internal/testbed"
)

// replication measures how fast writes reach replicas beside MariaDB's own replication, and how fast these catch up.
func (b *bench) replication(ctx context.Context) error {
	if err := b.needs(report.OnMariaDB); err != nil {
		b.testbed.Missing["mariadb-replication"] = err
		return nil
	}
	b.progress.begin("starting a primary and two replicas")
	r, err := b.testbed.StartReplicas(ctx)
	if err != nil {
		return err
	}
	followers, err := b.followers(ctx, r)
	if err == nil {
		err = b.lags(ctx, followers)
	}
	if err != nil {
		return err
	}
	return (&catchingUp{bench: b, replicas: r}).run(ctx)
}

// followers returns three followers: a Runnel written through the process that also syncs, so that each commit
// wakes the sync; the same Runnel written through a second process, whose writes the sync finds by its schedule,
// "@every 1s"; and MariaDB's replication.
func (b *bench) followers(ctx context.Context, r *testbed.Replicas) ([]*follower, error) {
	urls := []string{b.testbed.Database.URL("lag_0"), r.Servers[0].URL("lag_1"), r.Servers[1].URL("lag_2")}
	woken, err := b.testbed.StartRunnel(ctx, "runnel-woken", urls)
	if err != nil {
		return nil, err
	}
	polled, err := b.testbed.StartRunnel(ctx, "runnel-polled", urls, "--no-sync")
	if err != nil {
		return nil, err
	}
	var copies []*sql.DB
	for i, name := range []string{"lag_1", "lag_2"} {
		db, err := b.testbed.OpenDatabase(ctx, r.Servers[i], name)
		if err != nil {
			return nil, err
		}
		copies = append(copies, db)
	}
	return []*follower{throughRunnel("runnel-woken", woken, copies, false), throughRunnel("runnel-polled", polled, copies, true), throughMariaDB(r)}, nil
}

// lags measures every follower in every round, without load and during writes.
func (b *bench) lags(ctx context.Context, followers []*follower) error {
	for round := range b.settings.rounds {
		b.progress.begin("replication: round %d of %d", round+1, b.settings.rounds)
		for _, p := range []report.Point{report.LagIdle, report.LagBusy} {
			for i := range followers {
				f := followers[(i+round)%len(followers)]
				r, err := f.lag(ctx, p)
				if err != nil {
					return errors.Join(err, ctx.Err())
				}
				b.addReport(f.name, p, r)
				b.progress.step(f.expected(), "replication: round %d of %d", round+1, b.settings.rounds)
			}
		}
	}
	return nil
}

// expectedReplication returns the approximate duration of the replication phase.
func (b *bench) expectedReplication() time.Duration {
	fast, slow := (&follower{}).expected(), (&follower{slow: true}).expected()
	rounds := time.Duration(b.settings.rounds)
	return rounds*2*(2*fast+slow) + rounds*b.expectedMissed() + 3*min(rounds, freshRounds)*expectedFresh
}
