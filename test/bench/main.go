package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/runnelkv/runnel/test/bench/internal/report"
	"github.com/runnelkv/runnel/test/bench/internal/testbed"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// options hold the command line.
type options struct {
	quick    bool
	long     bool
	phases   []string
	runnel   string
	out      string // where everything is written to, without the ending
	settings settings
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.BoolVar(&o.quick, "quick", false, "only the main ratios, in under three minutes")
	f.BoolVar(&o.long, "long", false, "everything, 10^7 entries too, each measurement longer")
	phases := f.String("phases", "", "only these `PHASES` of main, growth, replication, access, locks, ledger, files, separated by commas")
	f.StringVar(&o.runnel, "runnel", "bin/runnel", "the `PATH` of the binary to measure")
	f.StringVar(&o.out, "out", "", "also write `FILE`.json, FILE.md and FILE.svg")
	f.IntVar(&o.settings.rounds, "rounds", 0, "how many rounds (default 5, with -quick 3)")
	f.IntVar(&o.settings.keys, "keys", 100_000, "how many keys each system holds")
	f.DurationVar(&o.settings.duration, "duration", 0, "how long each measurement is (default 1s, with -long 3s)")
	f.DurationVar(&o.settings.warmup, "warmup", 200*time.Millisecond, "how long each runs before that")
	f.Uint64Var(&o.settings.seed, "seed", 1, "chooses keys and values")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 || o.quick && o.long {
		return o, fmt.Errorf("%q is too much", args)
	}
	if *phases != "" {
		o.phases = strings.Split(*phases, ",")
	}
	o.defaults()
	return o, o.check()
}

// defaults sets the options that the command line omits.
func (o *options) defaults() {
	rounds, duration := 5, time.Second
	switch {
	case o.quick:
		rounds = 3
	case o.long:
		duration = 3 * time.Second
	}
	o.settings.rounds = cmp.Or(o.settings.rounds, rounds)
	o.settings.duration = cmp.Or(o.settings.duration, duration)
	o.settings.writeWarmup = time.Second
	if o.phases == nil {
		for _, p := range report.Phases {
			o.phases = append(o.phases, string(p))
		}
	}
	if o.quick {
		o.phases = []string{string(report.MainPhase)}
	}
}

func (o *options) check() error {
	for _, p := range o.phases {
		if !slices.Contains(report.Phases, report.Phase(p)) {
			return fmt.Errorf("there is no phase %q", p)
		}
	}
	if o.settings.rounds < 1 || o.settings.keys < 1000 || o.settings.duration < 100*time.Millisecond {
		return errors.New("it takes a round, 1000 keys and 100ms at least")
	}
	return nil
}

// has reports whether the run includes a phase.
func (o *options) has(p report.Phase) bool { return slices.Contains(o.phases, string(p)) }

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 && args[0] == "serve" {
		return testbed.Serve(ctx, args[1:])
	}
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "runnel-bench-")
	if err != nil {
		return err
	}
	s := &testbed.Testbed{Dir: dir, Runnel: o.runnel, BufferPool: "1G"}
	if o.long {
		s.BufferPool = "8G"
	}
	r := &report.Record{Command: "bench " + strings.Join(args, " "), Began: time.Now(), LoadFrom: load(), Machine: machine(), Versions: versions(o.runnel)}
	err = errors.Join(o.measure(ctx, s, r, stderr), s.Close())
	r.Took, r.LoadTo = time.Since(r.Began).Round(time.Second).String(), load()
	return errors.Join(err, o.print(r, stdout))
}

// measure opens the testbed and runs the measurements of the options.
func (o options) measure(ctx context.Context, s *testbed.Testbed, r *report.Record, stderr io.Writer) error {
	b := &bench{testbed: s, client: client{o.runnel}, settings: o.settings, long: o.long, progress: newProgress(stderr)}
	fmt.Fprintf(stderr, "load before: %s\nstarting the servers\n", r.LoadFrom)
	if err := s.Open(ctx); err != nil {
		return err
	}
	for name, err := range s.Missing {
		fmt.Fprintf(stderr, "%s is not available: %v\n", name, err)
	}
	before := testbed.UsageNow(s.Started)
	err := o.runPhases(ctx, b, r)
	r.Keys, r.Rounds, r.Seconds, r.Seed = o.settings.keys, o.settings.rounds, o.settings.duration.Seconds(), o.settings.seed
	r.Others = before.OtherShare(testbed.UsageNow(s.Started))
	r.Missing = b.reasons()
	r.Measured, r.Ratios = b.results, report.Outcomes(b.results, o.has, o.long, r.Reason)
	if n := report.Failures(b.results); n > 0 {
		err = errors.Join(err, fmt.Errorf("%d requests failed; see the table", n))
	}
	return err
}

// runPhases runs the selected phases in order.
func (o options) runPhases(ctx context.Context, b *bench, r *report.Record) error {
	points := report.FullPoints()
	if o.quick {
		points = report.QuickPoints()
	}
	all := []struct {
		name     report.Phase
		expected time.Duration
		run      func(context.Context) error
	}{
		{report.MainPhase, b.expectedMain(points), func(ctx context.Context) error { return b.measureMain(ctx, points) }},
		{report.GrowthPhase, b.expectedGrowth(o.has(report.MainPhase)), b.growth},
		{report.ReplicationPhase, b.expectedReplication(), b.replication},
		{report.AccessPhase, b.expectedAccess(), b.access},
		{report.LocksPhase, b.expectedLocks(), b.locks},
		{report.LedgerPhase, b.expectedLedger(), b.ledger},
		{report.FilesPhase, b.expectedFiles(), b.files},
	}
	for _, p := range all {
		if o.has(p.name) {
			b.progress.total += p.expected
		}
	}
	for _, p := range all {
		if !o.has(p.name) {
			continue
		}
		if err := p.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if p.name == report.MainPhase {
			r.Resident = b.testbed.Resident()
		}
	}
	return nil
}

// print writes the results.
func (o options) print(r *report.Record, stdout io.Writer) error {
	var err error
	if o.out != "" {
		err = r.WriteFiles(o.out)
	}
	r.WriteHead(stdout)
	if (!o.quick || report.Failures(r.Measured) > 0) && len(r.Measured) > 0 {
		err = errors.Join(err, r.WriteTable(stdout))
		fmt.Fprintln(stdout)
		r.WriteOthers(stdout)
	}
	return errors.Join(err, report.WriteRatios(stdout, r.Ratios))
}
