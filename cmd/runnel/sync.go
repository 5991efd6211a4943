package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/cmd/runnel/internal/node"
	"github.com/runnelkv/runnel/cmd/runnel/internal/verification"
	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/verify"
)

const syncLong = `Copy every change to every partition of a configuration: as a daemon on the configured schedule, or with --once in a
single pass, for a crontab. 'runnel serve' runs the sync process itself unless it was started with --no-sync. You can run
several sync processes on the same partitions: one works, the rest stand by.

--now makes a running server run a pass, and prints the result.

--once prints a line for each partition. Exit status: 0 every reachable partition is level; 1 some are not, or none is
reachable; 2 the configuration is wrong. With --strict an unreachable partition is a failure as well. With --quiet nothing
is printed on exit status 0, so that cron sends no mail. A single pass does not send webhooks.`

// onceFlags are the flags of a single pass.
type onceFlags struct{ once, quiet, strict bool }

func newSync(p *program) *cobra.Command {
	var f configFlags
	var once onceFlags
	var now bool
	cmd := &cobra.Command{
		Use:     "sync",
		Short:   "Copy every change to every partition",
		Long:    syncLong,
		Example: "  runnel sync --config /etc/runnel.toml\n  * * * * * /usr/local/bin/runnel sync --once --config /etc/runnel.toml\n  runnel sync --now",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if now {
				return p.syncNow(cmd.Context())
			}
			c, err := f.readExisting()
			if err != nil {
				return err
			}
			if once.once {
				return p.syncOnce(cmd.Context(), c, once)
			}
			if once.quiet || once.strict {
				return console.UsageError("--quiet and --strict go with --once")
			}
			return node.RunSync(cmd.Context(), node.Options{Config: c, File: f.file, Logger: node.NewLogger(p.Err, c.Log)})
		},
	}
	f.addTo(cmd)
	cmd.Flags().BoolVar(&once.once, "once", false, "run a single pass and exit")
	cmd.Flags().BoolVar(&once.quiet, "quiet", false, "with --once, print nothing if the exit status is 0")
	cmd.Flags().BoolVar(&once.strict, "strict", false, "with --once, exit with 1 if a partition is unreachable")
	cmd.Flags().BoolVar(&now, "now", false, "make the server that --server names run a pass, and print the result")
	for _, other := range []string{"once", "quiet", "strict", "config", "data"} {
		cmd.MarkFlagsMutuallyExclusive("now", other)
	}
	return cmd
}

// syncOnce runs a single pass and prints the state of every partition.
func (p *program) syncOnce(ctx context.Context, c *config.Config, f onceFlags) error {
	if f.quiet {
		c.Log.Level = max(c.Log.Level, slog.LevelError)
	}
	log := node.NewLogger(p.Err, c.Log)
	if len(c.Webhooks) > 0 {
		log.Warn("a single pass sends no webhooks: run runnel serve, or runnel sync without --once")
	}
	s, err := connect(ctx, c, log)
	if err != nil {
		return err
	}
	defer s.Close()
	c.Sync.TombstoneGrace = 0 // a single pass cannot remember how long all partitions have had a tombstone
	syncer, err := node.NewSyncer(c, s, log, nil)
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
	for _, target := range report.Targets {
		if _, err := fmt.Fprintln(p.Out, console.Line(target.String())); err != nil {
			return err
		}
	}
	if !ok {
		return &console.ExitError{Code: console.ExitFailed, Err: console.ErrSilent}
	}
	return nil
}

// syncNow makes a server run a pass, and prints the result.
func (p *program) syncNow(ctx context.Context) error {
	c, err := p.client("", client.Options{})
	if err != nil {
		return err
	}
	report, err := c.Sync(ctx)
	if err != nil {
		return err
	}
	level := true
	for _, t := range report.Targets {
		level = level && t.State == "level"
		line := fmt.Sprintf("%s: %s, %d copied, %d remaining", t.Name, t.State, t.Copied, t.Remaining)
		if t.Error != "" {
			line += ": " + string(t.Error)
		}
		if _, err := fmt.Fprintln(p.Out, console.Line(line)); err != nil {
			return err
		}
	}
	if !level {
		return &console.ExitError{Code: console.ExitFailed, Err: console.ErrSilent}
	}
	return nil
}

// connect opens the store of a configuration, of which at least one partition must be usable. The caller closes the store.
func connect(ctx context.Context, c *config.Config, log *slog.Logger) (*store.Store, error) {
	s, err := node.OpenStore(c, log, store.Options{})
	if err != nil {
		return nil, err
	}
	if err := s.Connect(ctx); err != nil && len(s.Origins()) == 0 {
		return nil, errors.Join(fmt.Errorf("no partition can be used:\n%w", err), s.Close())
	}
	return s, nil
}

const verifyLong = `Compare the copies of every entry on all partitions, while servers run: digests of ranges of keys first, then the rows
of the ranges that differ. A row that matches its checksum is right, whichever partition has it. Each wrong copy is printed.

--deep reads every value too: without it, damage inside a value is not found.
--repair replaces wrong copies by right ones, also on a master. If no copy is right, or two right copies differ, nothing is
changed: write or delete the key, or restore it from a backup.

The command waits after each range as long as the range took, so that it takes at most half of the time. A command that is
interrupted goes on where it was, unless --afresh is given.

Exit status: 0 all copies were right; 1 some were wrong, also if they were repaired, or a partition was not verified; 2 the
configuration is wrong.`

func newVerify(p *program) *cobra.Command {
	var f configFlags
	var o verify.Options
	cmd := &cobra.Command{
		Use:     "verify",
		Short:   "Compare the copies of every entry, and repair damaged ones",
		Long:    verifyLong,
		Example: "  runnel verify --config /etc/runnel.toml\n  runnel verify --deep --repair --config /etc/runnel.toml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.readExisting()
			if err != nil {
				return err
			}
			o.Logger = node.NewLogger(p.Err, c.Log)
			s, err := connect(cmd.Context(), c, o.Logger)
			if err != nil {
				return err
			}
			return errors.Join(verification.Run(cmd.Context(), &p.Streams, s, o), s.Close())
		},
	}
	f.addTo(cmd)
	cmd.Flags().BoolVar(&o.Deep, "deep", false, "read the values too, and compare each row with its checksum")
	cmd.Flags().BoolVar(&o.Repair, "repair", false, "replace wrong copies by right ones")
	cmd.Flags().BoolVar(&o.Afresh, "afresh", false, "begin anew in place of continuing an interrupted command")
	return cmd
}
