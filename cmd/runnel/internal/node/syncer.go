package node

import (
	"context"
	"errors"
	"log/slog"

	"github.com/robfig/cron/v3"
	"golang.org/x/sync/errgroup"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/ledger"
	"github.com/runnelkv/runnel/sync"
)

// RunSync runs the sync process alone, on the configured schedule, until ctx ends. RunSync ignores o.Version, o.NoSync and
// o.OnListen.
func RunSync(ctx context.Context, o Options) error {
	n := &node{file: o.File, config: o.Config, log: o.Logger}
	var err error
	if n.store, err = OpenStore(o.Config, o.Logger, store.Options{Promotes: true, OnReach: n.onReach}); err != nil {
		return err
	}
	if n.syncer, err = NewSyncer(o.Config, n.store, o.Logger, nil); err != nil {
		return errors.Join(err, n.store.Close())
	}
	if n.webhooks, err = n.newWebhooks(); err != nil {
		return errors.Join(err, n.store.Close())
	}
	if n.files, err = openFiles(o.Config, n.store, o.Logger); err != nil {
		return errors.Join(err, n.store.Close())
	}
	n.keeper = newKeeper(o.Config, n.store, n.files, o.Logger)
	storeCtx, stopStore := context.WithCancel(context.WithoutCancel(ctx))
	defer stopStore()
	running, failed := errgroup.WithContext(ctx)
	running.Go(func() error { return n.store.Run(storeCtx) })
	running.Go(func() error { return ledger.New(n.store, ledger.Options{Logger: o.Logger}).Run(failed) })
	running.Go(func() error {
		defer stopStore()
		return n.sync(failed)
	})
	if n.file != "" {
		running.Go(func() error { return n.reloadOnSignals(failed) })
	}
	return errors.Join(running.Wait(), n.store.Close())
}

// NewSyncer returns the sync process of a store. A receive from wake asks for a pass; nil for none.
func NewSyncer(c *config.Config, s *store.Store, log *slog.Logger, wake <-chan struct{}) (*sync.Syncer, error) {
	schedule, err := sync.ParseSchedule(c.Sync.Schedule)
	if err != nil {
		return nil, err
	}
	var verify cron.Schedule
	if c.Sync.Verify != "" {
		if verify, err = sync.ParseSchedule(c.Sync.Verify); err != nil {
			return nil, err
		}
	}
	return sync.New(s, sync.Options{
		Schedule:     schedule,
		Verify:       verify,
		BatchEntries: c.Sync.BatchEntries,
		BatchBytes:   int64(c.Sync.BatchBytes),
		Timeout:      c.Store.Timeout,
		CopyTimeout:  c.Sync.Timeout,
		BackoffMax:   c.Sync.BackoffMax,
		LeaseTTL:     c.Sync.Lease,

		TombstoneGrace: c.Sync.TombstoneGrace,
		Wake:           wake,
		Logger:         log,
	}), nil
}

// syncAdapter adapts the sync process to the interface of the API.
type syncAdapter struct{ *sync.Syncer }

// Trigger implements api.Syncer.
func (p syncAdapter) Trigger(ctx context.Context) (wire.SyncReport, error) {
	report, err := p.Pass(ctx)
	if err != nil {
		return wire.SyncReport{}, err
	}
	r := wire.SyncReport{TookMS: float64(report.Took.Microseconds()) / 1000, Targets: []wire.SyncTarget{}}
	for _, t := range report.Targets {
		target := syncTarget(t.TargetStatus)
		target.Copied = t.Copied
		r.Targets = append(r.Targets, target)
	}
	return r, nil
}

// SyncStatus implements api.Syncer.
func (p syncAdapter) SyncStatus() api.SyncStatus {
	st := p.Status()
	s := api.SyncStatus{
		Running:  st.Passes > 0,
		LastPass: st.LastPass,
		NextPass: st.NextPass,
		Took:     st.LastTook,
		Passes:   st.Passes,
	}
	standby := 0
	for _, t := range st.Targets {
		s.Targets = append(s.Targets, syncTarget(t))
		if t.Standby {
			standby++
		}
	}
	s.Standby = !st.Active && standby > 0
	return s
}

func syncTarget(t sync.TargetStatus) wire.SyncTarget {
	target := wire.SyncTarget{Name: wire.Text(t.Name), State: string(t.State), Copied: t.Entries, Remaining: t.ToGo, Swept: t.Swept, Collected: t.Collected}
	if t.Err != nil {
		target.Error = wire.Text(t.Err.Error())
	}
	return target
}
