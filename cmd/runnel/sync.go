package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/sync"
)

const syncLong = `Carry every change to every partition of a configuration: as a daemon on the configured schedule, or with --once for a
single pass, for a crontab. 'runnel serve' does this by itself unless it was started with --no-sync. Several sync
processes on the same partitions do no harm: one works, the others stand by.

With --now it asks a running server for a pass, and prints what came of it.

With --once it prints a line for each partition. Exit status: 0 every reachable partition is level; 1 some are not, or none
is reachable; 2 the configuration is wrong. With --strict a partition that is not reachable counts too. With --quiet nothing
is printed on exit status 0, so that cron sends no mail. Webhooks are not sent to by a single pass.`

// onceFlags are the flags of a single pass.
type onceFlags struct{ once, quiet, strict bool }

func newSync(p *program) *cobra.Command {
	var f configFlags
	var once onceFlags
	var now bool
	cmd := &cobra.Command{
		Use:     "sync",
		Short:   "Carry every change to every partition",
		Long:    syncLong,
		Example: "  runnel sync --config /etc/runnel.toml\n  * * * * * /usr/local/bin/runnel sync --once --config /etc/runnel.toml\n  runnel sync --now",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if now {
				return p.syncNow(cmd.Context())
			}
			c, err := f.load()
			if err == nil {
				err = f.checkData(c)
			}
			if err != nil {
				return err
			}
			if once.once {
				return p.syncOnce(cmd.Context(), c, once)
			}
			if once.quiet || once.strict {
				return console.UsageError("--quiet and --strict go with --once")
			}
			log := newLogger(p.Err, c.Log)
			return syncDaemon(cmd.Context(), c, log, f)
		},
	}
	f.define(cmd)
	cmd.Flags().BoolVar(&once.once, "once", false, "make one pass and exit")
	cmd.Flags().BoolVar(&once.quiet, "quiet", false, "with --once, print nothing when the exit status is 0")
	cmd.Flags().BoolVar(&once.strict, "strict", false, "with --once, exit with 1 when a partition is not reachable")
	cmd.Flags().BoolVar(&now, "now", false, "have the server that --server names make a pass, and print what came of it")
	for _, other := range []string{"once", "quiet", "strict", "config", "data"} {
		cmd.MarkFlagsMutuallyExclusive("now", other)
	}
	return cmd
}

// syncOnce makes one pass and prints how every partition stands.
func (p *program) syncOnce(ctx context.Context, c *config.Config, f onceFlags) error {
	if f.quiet {
		c.Log.Level = max(c.Log.Level, slog.LevelError)
	}
	log := newLogger(p.Err, c.Log)
	if len(c.Webhooks) > 0 {
		log.Warn("webhooks are not sent to by a single pass: run runnel serve, or runnel sync without --once")
	}
	s, err := openStore(c, log, store.Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Connect(ctx); err != nil && len(s.Origins()) == 0 {
		return fmt.Errorf("no partition can be used:\n%w", err)
	}
	c.Sync.TombstoneGrace = 0 // nobody would remember for how long
	syncer, err := newSyncer(c, s, log, nil)
	if err != nil {
		return err
	}
	report, err := syncer.Pass(ctx)
	if err != nil {
		return err
	}
	ok := report.Level() && !(f.strict && report.Away())
	if f.quiet && ok {
		return nil
	}
	if _, err := fmt.Fprint(p.Out, report); err != nil {
		return err
	}
	if !ok {
		return &console.ExitError{Code: console.ExitFailed, Err: console.ErrSilent}
	}
	return nil
}

// syncDaemon makes passes on the schedule until ctx ends.
func syncDaemon(ctx context.Context, c *config.Config, log *slog.Logger, f configFlags) error {
	n := &node{config: c, log: log}
	var err error
	if n.store, err = openStore(c, log, store.Options{OnReach: n.onReach}); err != nil {
		return err
	}
	if n.syncer, err = newSyncer(c, n.store, log, nil); err != nil {
		return errors.Join(err, n.store.Close())
	}
	n.webhooks = n.newWebhooks()
	storeCtx, stopStore := context.WithCancel(context.WithoutCancel(ctx))
	defer stopStore()
	running, failed := errgroup.WithContext(ctx)
	running.Go(func() error { return n.store.Run(storeCtx) })
	running.Go(func() error {
		defer stopStore()
		return n.runSync(failed)
	})
	if f.file != "" {
		reloads, stop := notifyReload()
		defer stop()
		running.Go(func() error { return n.reloadOn(failed, reloads, f) })
	}
	return errors.Join(running.Wait(), n.store.Close())
}

func newSyncer(c *config.Config, s *store.Store, log *slog.Logger, wake <-chan struct{}) (*sync.Syncer, error) {
	schedule, err := sync.ParseSchedule(c.Sync.Schedule)
	if err != nil {
		return nil, err
	}
	return sync.New(s, sync.Options{
		Schedule:     schedule,
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

// passes is the sync process as the API sees it.
type passes struct{ *sync.Syncer }

// Trigger implements api.Syncer.
func (p passes) Trigger(ctx context.Context) (wire.SyncReport, error) {
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
func (p passes) SyncStatus() api.SyncStatus {
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
