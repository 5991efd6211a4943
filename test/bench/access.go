package main

import (
	"context"
	"time"

	"github.com/runnelkv/runnel/test/bench/internal/report"
	"github.com/runnelkv/runnel/test/bench/internal/testbed"
)

// access measures what API keys and TLS cost: the same requests without a key, with a key, and with a key over TLS, beside
// the ceiling with and without TLS.
func (b *bench) access(ctx context.Context) error {
	systems, err := b.testbed.StartAccess(ctx)
	if err != nil {
		return err
	}
	return b.measureAccess(ctx, systems)
}

func (b *bench) measureAccess(ctx context.Context, systems []*testbed.System) error {
	if err := b.fillSystems(ctx, systems, report.GetMany.ValueBytes); err != nil {
		return err
	}
	b.progress.step(fillExpected, "")
	return b.readsFirst(ctx, systems, report.AccessPoints())
}

// expectedAccess returns the approximate duration of the access phase.
func (b *bench) expectedAccess() time.Duration {
	var systems []*testbed.System
	for range report.AccessSystems {
		systems = append(systems, &testbed.System{Templates: testbed.HTTPTemplates()})
	}
	return fillExpected + b.expectedOf(systems, report.AccessPoints())
}
