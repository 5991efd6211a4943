package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
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

// options are the command line.
type options struct {
	quick       bool
	replication bool
	runnel      string
	json        string
	settings    settings
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.BoolVar(&o.quick, "quick", false, "only the main ratios, in under three minutes")
	f.BoolVar(&o.replication, "replication", false, "measure replication only")
	f.StringVar(&o.runnel, "runnel", "bin/runnel", "the `PATH` of the binary to measure")
	f.StringVar(&o.json, "json", "", "also write everything to `FILE`")
	f.IntVar(&o.settings.rounds, "rounds", 0, "how many rounds (default 5, with -quick 3)")
	f.IntVar(&o.settings.keys, "keys", 100_000, "how many keys each system holds")
	f.DurationVar(&o.settings.duration, "duration", 0, "how long each measurement is (default 2s, with -quick 1.2s)")
	f.DurationVar(&o.settings.warmup, "warmup", 300*time.Millisecond, "how long each runs before that")
	f.Uint64Var(&o.settings.seed, "seed", 1, "chooses keys and values")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("%q is too much", f.Args())
	}
	rounds, duration := 5, 2*time.Second
	if o.quick {
		rounds, duration = 3, 1200*time.Millisecond
	}
	if o.settings.rounds == 0 {
		o.settings.rounds = rounds
	}
	if o.settings.duration == 0 {
		o.settings.duration = duration
	}
	if o.settings.rounds < 1 || o.settings.keys < 1000 || o.settings.duration < 100*time.Millisecond {
		return o, errors.New("it takes a round, 1000 keys and 100ms at least")
	}
	return o, nil
}

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
	s := &stand{dir: dir, runnel: o.runnel}
	r := &record{Command: "bench " + strings.Join(args, " "), Began: time.Now(), LoadFrom: load(), Machine: machine(), Versions: versions(o.runnel)}
	err = errors.Join(o.measure(ctx, s, r, stderr), s.close())
	r.Took, r.LoadTo = time.Since(r.Began).Round(time.Second).String(), load()
	return errors.Join(err, o.print(r, stdout))
}

// measure opens the stand and measures what the options ask for.
func (o options) measure(ctx context.Context, s *stand, r *record, progress io.Writer) error {
	fmt.Fprintf(progress, "load before: %s\nstarting the servers\n", r.LoadFrom)
	if err := s.open(ctx); err != nil {
		return err
	}
	before := usageNow(s.started)
	r.Missing, r.Resident = map[string]string{}, map[string]int64{}
	for name, err := range s.missing {
		r.Missing[name] = err.Error()
		fmt.Fprintf(progress, "%s is not available: %v\n", name, err)
	}
	b := &bench{stand: s, client: client{o.runnel}, settings: o.settings, progress: progress}
	points := fullPoints()
	if o.quick {
		points = quickPoints()
	}
	r.Keys, r.Rounds, r.Seconds, r.Seed = o.settings.keys, o.settings.rounds, o.settings.duration.Seconds(), o.settings.seed
	var err error
	if !o.replication {
		err = b.run(ctx, points)
	}
	if err == nil && (o.replication || !o.quick) {
		r.Replicate, err = b.replication(ctx)
	}
	for _, system := range s.systems {
		r.Resident[system.name] = system.resident()
	}
	r.Others = before.others(usageNow(s.started))
	r.Measured, r.Ratios = b.results, outcomes(b.results)
	if n := failures(b.results); n > 0 {
		err = errors.Join(err, fmt.Errorf("%d requests failed; see the table", n))
	}
	return err
}

// print writes what was found out.
func (o options) print(r *record, stdout io.Writer) error {
	var err error
	if o.json != "" {
		err = r.writeJSON(o.json)
	}
	r.writeHead(stdout)
	if (!o.quick || failures(r.Measured) > 0) && len(r.Measured) > 0 {
		err = errors.Join(err, r.writeTable(stdout))
		fmt.Fprintln(stdout)
	}
	writeReplication(stdout, r.Replicate)
	if len(r.Measured) == 0 {
		return err
	}
	return errors.Join(err, writeRatios(stdout, r.Ratios))
}

// gcPercent is what "runnel serve" sets for itself where GOGC does not say otherwise. The others in Go get the same.
const gcPercent = 400

// serve runs one of the bench's own servers until ctx ends.
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

// ready answers /readyz before anything else sees it.
func ready(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			next.ServeHTTP(w, r)
		}
	})
}
