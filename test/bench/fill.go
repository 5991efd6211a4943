package main

import (
	"context"
	"errors"
	"sync"
	"time"
)

// fillExpected is the approximate time for writing the keys of a size.
const fillExpected = 15 * time.Second

// fill writes every key of a size to every system, to all at the same time.
func (b *bench) fill(ctx context.Context, valueBytes int) error {
	b.progress.begin("writing %d keys of %d bytes to each system", b.settings.keysOf(valueBytes), valueBytes)
	errs := make([]error, len(b.testbed.systems))
	var group sync.WaitGroup
	for i, s := range b.testbed.systems {
		if s.direct != nil {
			continue
		}
		group.Go(func() {
			_, errs[i] = b.runStrict(ctx, s, allKeysOnce(b.plan(s, point{"put", 64, valueBytes})))
			if errs[i] != nil || s.awaitIdle == nil {
				return
			}
			if errs[i] = s.awaitIdle(ctx); errs[i] == nil && valueBytes == getMany.ValueBytes {
				errs[i] = b.readThrough(ctx, s)
			}
		})
	}
	group.Wait()
	if b.filled == nil {
		b.filled = map[int]bool{}
	}
	b.filled[valueBytes] = true
	return errors.Join(errs...)
}

// readThrough reads the keys of 100 bytes of a Runnel twice, so that its cache is as full as after long use. All
// other systems hold the keys in memory after the writes.
func (b *bench) readThrough(ctx context.Context, s *system) error {
	read := allKeysOnce(b.plan(s, getMany))
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
