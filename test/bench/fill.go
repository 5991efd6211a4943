package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/runnelkv/runnel/test/bench/internal/report"
	"github.com/runnelkv/runnel/test/bench/internal/testbed"
)

// fillExpected is the approximate time for writing the keys of a size.
const fillExpected = 15 * time.Second

// fill writes every key of a size to every main system, to all at the same time.
func (b *bench) fill(ctx context.Context, valueBytes int) error {
	if b.filled == nil {
		b.filled = map[int]bool{}
	}
	b.filled[valueBytes] = true
	return b.fillSystems(ctx, b.testbed.Systems, valueBytes)
}

// fillSystems writes every key of a size to every system, to all at the same time.
func (b *bench) fillSystems(ctx context.Context, systems []*testbed.System, valueBytes int) error {
	b.progress.begin("writing %d keys of %d bytes to each system", b.settings.keysOf(valueBytes), valueBytes)
	errs := make([]error, len(systems))
	var group sync.WaitGroup
	for i, s := range systems {
		if s.Direct != nil {
			continue
		}
		group.Go(func() {
			_, errs[i] = b.runStrict(ctx, s, allKeysOnce(b.plan(s, report.Point{Case: "put", Clients: 64, ValueBytes: valueBytes})))
			if errs[i] != nil || s.AwaitIdle == nil {
				return
			}
			if errs[i] = s.AwaitIdle(ctx); errs[i] == nil && valueBytes == report.GetMany.ValueBytes {
				errs[i] = b.readThrough(ctx, s)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// readThrough reads the keys of 100 bytes of a Runnel twice, so that its cache is as full as after long use. All
// other systems hold the keys in memory after the writes.
func (b *bench) readThrough(ctx context.Context, s *testbed.System) error {
	read := allKeysOnce(b.plan(s, report.GetMany))
	read.Requests = roomForKeys
	for range 2 {
		if _, err := b.runStrict(ctx, s, read); err != nil {
			return err
		}
	}
	return nil
}

// readExpected is the approximate duration of readThrough.
const readExpected = 12 * time.Second

// roomForKeys exceeds the number of entries for which a cache has room.
const roomForKeys = 300_000
