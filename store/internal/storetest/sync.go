package storetest

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/robfig/cron/v3"

	runnelsync "github.com/runnelkv/runnel/sync"
)

// RunSync copies every change of a store to every partition at once, until stop is called or the test ends. Tombstones are
// not collected, and expired entries not replaced.
func RunSync(t *testing.T, r *Rig) (stop func()) {
	t.Helper()
	return RunSyncEach(t, r, 2*time.Millisecond)
}

// RunSyncEach is RunSync with a pass in each interval.
func RunSyncEach(t *testing.T, r *Rig, interval time.Duration) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	s := runnelsync.New(r.Store, runnelsync.Options{Schedule: cron.Every(time.Second), Logger: slog.New(slog.DiscardHandler), CollectEvery: -1, SweepEvery: -1})
	group.Go(func() { _ = s.Run(ctx) })
	group.Go(func() {
		for ctx.Err() == nil {
			s.Trigger()
			time.Sleep(interval)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); group.Wait() })
	t.Cleanup(stop)
	return stop
}
