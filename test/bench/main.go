package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
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
	phases := f.String("phases", "", "only these `PHASES` of main, growth, replication, separated by commas")
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
		o.phases = []string{string(mainPhase), string(growthPhase), string(replicationPhase)}
	}
	if o.quick {
		o.phases = []string{string(mainPhase)}
	}
}

func (o *options) check() error {
	for _, p := range o.phases {
		if !slices.Contains([]phase{mainPhase, growthPhase, replicationPhase}, phase(p)) {
			return fmt.Errorf("there is no phase %q", p)
		}
	}
	if o.settings.rounds < 1 || o.settings.keys < 1000 || o.settings.duration < 100*time.Millisecond {
		return errors.New("it takes a round, 1000 keys and 100ms at least")
	}
	return nil
}

// has reports whether the run includes a phase.
func (o *options) has(p phase) bool { return slices.Contains(o.phases, string(p)) }

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) >= 3 && args[0] == "serve" {
		return serve(ctx, args[1], args[2:])
	}
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "runnel-bench-")
	if err != nil {
		return err
	}
	s := &testbed{dir: dir, runnel: o.runnel, bufferPool: "1G"}
	if o.long {
		s.bufferPool = "8G"
	}
	r := &record{Command: "bench " + strings.Join(args, " "), Began: time.Now(), LoadFrom: load(), Machine: machine(), Versions: versions(o.runnel)}
	err = errors.Join(o.measure(ctx, s, r, stderr), s.close())
	r.Took, r.LoadTo = time.Since(r.Began).Round(time.Second).String(), load()
	return errors.Join(err, o.print(r, stdout))
}

// measure opens the testbed and runs the measurements of the options.
func (o options) measure(ctx context.Context, s *testbed, r *record, stderr io.Writer) error {
	b := &bench{testbed: s, client: client{o.runnel}, settings: o.settings, long: o.long, progress: newProgress(stderr)}
	fmt.Fprintf(stderr, "load before: %s\nstarting the servers\n", r.LoadFrom)
	if err := s.open(ctx); err != nil {
		return err
	}
	for name, err := range s.missing {
		fmt.Fprintf(stderr, "%s is not available: %v\n", name, err)
	}
	before := usageNow(s.started)
	err := o.runPhases(ctx, b, r)
	r.Keys, r.Rounds, r.Seconds, r.Seed = o.settings.keys, o.settings.rounds, o.settings.duration.Seconds(), o.settings.seed
	r.Others = before.otherShare(usageNow(s.started))
	r.Missing = b.reasons()
	r.Measured, r.Ratios = b.results, outcomes(b.results, o.has, o.long, r.reason)
	if n := failures(b.results); n > 0 {
		err = errors.Join(err, fmt.Errorf("%d requests failed; see the table", n))
	}
	return err
}

// runPhases runs the selected phases in order.
func (o options) runPhases(ctx context.Context, b *bench, r *record) error {
	points := fullPoints()
	if o.quick {
		points = quickPoints()
	}
	all := []struct {
		name     phase
		expected time.Duration
		run      func(context.Context) error
	}{
		{mainPhase, b.expectedMain(points), func(ctx context.Context) error { return b.measureMain(ctx, points) }},
		{growthPhase, b.expectedGrowth(o.has(mainPhase)), b.growth},
		{replicationPhase, b.expectedReplication(), b.replication},
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
		if p.name == mainPhase {
			r.Resident = b.testbed.resident()
		}
	}
	return nil
}

// print writes the results.
func (o options) print(r *record, stdout io.Writer) error {
	var err error
	if o.out != "" {
		err = r.writeFiles(o.out)
	}
	r.writeHead(stdout)
	if (!o.quick || failures(r.Measured) > 0) && len(r.Measured) > 0 {
		err = errors.Join(err, r.writeTable(stdout))
		fmt.Fprintln(stdout)
		r.writeOthers(stdout)
	}
	return errors.Join(err, writeRatios(stdout, r.Ratios))
}

// gcPercent is GOGC of "runnel serve" unless the environment sets GOGC. All servers in Go get the same.
const gcPercent = 400

// serve runs a server of the bench until ctx ends.
func serve(ctx context.Context, address string, args []string) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	handler := ceiling()
	if args[0] == "plain" && len(args) == 2 {
		p, err := newPlain(ctx, args[1])
		if err != nil {
			return err
		}
		handler = p.handler()
	}
	server := &http.Server{Addr: address, Handler: ready(handler), ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// ready answers /readyz before the handler next.
func ready(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			next.ServeHTTP(w, r)
		}
	})
}
