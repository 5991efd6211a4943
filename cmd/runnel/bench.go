package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/cmd/runnel/internal/bank"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/cmd/runnel/internal/load"
)

const benchLong = `Measure the throughput and the latency of a running server.

The command writes keys below a prefix of its own, measures each case for --duration on --connections connections, and
deletes the keys, also after an interrupt. Each connection sends its next request after the last response. During the
measurement the server is slower for its users.

Every response is checked: an unexpected status or length counts as an error; errors are printed, and the exit status is
then 1.

The cases are get (from any partition), get-master, put, put-if-match, batch-get and batch-put (1,000 keys a request, or
as many as make 1 MiB, on an eighth of the connections), list (pages of 100) and delete.`

type benchFlags struct {
	connections int
	duration    time.Duration
	warmup      time.Duration
	requests    int64
	keys        int
	valueBytes  int
	prefix      string
	seed        uint64
	cases       []string
	json        bool
	plan        bool
}

func newBench(p *program) *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure a running server",
		Long:  benchLong,
		Example: `  runnel bench
  runnel bench --server https://127.0.0.1:9000 --cacert ca.pem --connections 256 --duration 30s
  runnel bench --cases get,put --value-bytes 1024 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.plan {
				return p.benchPlan(cmd.Context())
			}
			return p.bench(cmd.Context(), f)
		},
	}
	fs := cmd.Flags()
	fs.IntVarP(&f.connections, "connections", "n", 64, "the number of connections")
	fs.DurationVarP(&f.duration, "duration", "d", 5*time.Second, "measure each case for at most this long")
	fs.DurationVar(&f.warmup, "warmup", 500*time.Millisecond, "run each case for this long before the measurement")
	fs.Int64Var(&f.requests, "requests", 0, "send at most this many requests in each case; 0 for any number")
	fs.IntVar(&f.keys, "keys", 10_000, "the number of keys")
	fs.IntVar(&f.valueBytes, "value-bytes", 100, "the size of each value in bytes")
	fs.StringVar(&f.prefix, "prefix", "runnel-bench/", "the beginning of the keys, before a random part")
	fs.Uint64Var(&f.seed, "seed", 1, "determines keys and values")
	fs.StringSliceVar(&f.cases, "cases", nil, "measure only these `CASES`, separated by commas")
	fs.BoolVar(&f.json, "json", false, "print the results as JSON")
	fs.BoolVar(&f.plan, "plan", false, "run the measurement that standard input describes in JSON, and print the result")
	cmd.AddCommand(bank.New(&p.Streams, func() (*client.Client, error) { return p.client("", client.Options{}) }))
	return cmd
}

// benchPlan runs the plan on standard input, for test/bench.
func (p *program) benchPlan(ctx context.Context) error {
	var plan load.Plan
	decoder := json.NewDecoder(p.In)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&plan); err != nil {
		return console.UsageError("the plan on standard input: %v", err)
	}
	if err := plan.Check(); err != nil {
		return console.UsageError("the plan on standard input: %v", err)
	}
	var err error
	if plan.TLS, err = p.tls(); err != nil {
		return err
	}
	report, err := load.Run(ctx, plan)
	if err != nil {
		return err
	}
	return json.NewEncoder(p.Out).Encode(report)
}

// benchResult is the report of a case.
type benchResult struct {
	Case string `json:"case"`
	load.Report
}

// bench writes the keys, measures the cases, removes the keys and prints the results.
func (p *program) bench(ctx context.Context, f benchFlags) error {
	base, err := p.benchBase(f)
	if err != nil {
		return err
	}
	cases := load.Cases(base)
	if err := checkBenchCases(cases, f.cases); err != nil {
		return err
	}
	results, err := p.runBenchCases(ctx, cases, f.cases)
	// The keys are removed after an interrupt as well.
	removed, removeErr := load.Run(context.WithoutCancel(ctx), cases[len(cases)-1].Plan)
	if removeErr == nil && wantedBenchCase(f.cases, "delete") {
		results = append(results, benchResult{"delete", *removed})
	}
	if removeErr == nil && removed.Errors > 0 {
		removeErr = fmt.Errorf("%d keys below %s may be left: %v", removed.Errors, base.Prefix, removed.Samples)
	}
	return errors.Join(err, removeErr, p.printBench(results, f.json), benchErrors(results))
}

// runBenchCases writes the keys and measures each wanted case except the last, which removes the keys.
func (p *program) runBenchCases(ctx context.Context, cases []load.Case, wanted []string) ([]benchResult, error) {
	var results []benchResult
	for i, c := range cases[:len(cases)-1] {
		if i > 0 && !wantedBenchCase(wanted, c.Name) {
			continue
		}
		fmt.Fprintf(p.Err, "%s…\n", c.Name)
		report, err := load.Run(ctx, c.Plan)
		if err != nil {
			return results, fmt.Errorf("%s: %w", c.Name, err)
		}
		results = append(results, benchResult{c.Name, *report})
		if i == 0 && report.Errors > 0 {
			return results, errors.New("the keys could not be written")
		}
		if i > 0 {
			continue
		}
		if err := p.awaitLevel(ctx, benchLevelFor, benchLevelMost); err != nil {
			return results, err
		}
	}
	return results, nil
}

// benchBase returns the common part of all plans.
func (p *program) benchBase(f benchFlags) (load.Plan, error) {
	c, err := p.client("", client.Options{})
	if err != nil {
		return load.Plan{}, err
	}
	u, err := url.Parse(p.server())
	if err != nil || strings.Trim(u.Path, "/") != "" {
		return load.Plan{}, console.UsageError("bench measures a server at http://HOST:PORT or https://HOST:PORT, not %s", c.Server())
	}
	if !regexp.MustCompile(`^[A-Za-z0-9/_-]{0,64}$`).MatchString(f.prefix) {
		return load.Plan{}, console.UsageError("--prefix %q is not made of at most 64 of A-Z a-z 0-9 / _ -", f.prefix)
	}
	settings, err := p.tls()
	if err != nil {
		return load.Plan{}, err
	}
	port := cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	base := load.Plan{
		Address: net.JoinHostPort(u.Hostname(), port), HTTPS: u.Scheme == "https", TLS: settings, Connections: f.connections,
		Prefix: f.prefix + strings.ToLower(rand.Text()[:10]) + "/", Keys: f.keys, Order: "random", ValueBytes: f.valueBytes, Seed: f.seed,
		WarmupMS: int(f.warmup.Milliseconds()), DurationMS: int(f.duration.Milliseconds()), Requests: f.requests,
	}
	if key, err := p.apiKey(); err != nil {
		return load.Plan{}, err
	} else if key != "" {
		base.Header = []string{"Authorization: Bearer " + key}
	}
	return base, nil
}

// checkBenchCases rejects invalid plans and unknown names of cases.
func checkBenchCases(cases []load.Case, wanted []string) error {
	for _, name := range wanted {
		if !slices.ContainsFunc(cases, func(c load.Case) bool { return c.Name == name }) {
			return console.UsageError("there is no case %q; see 'runnel bench --help'", name)
		}
	}
	for _, c := range cases {
		if err := c.Plan.Check(); err != nil {
			return console.UsageError("%v", err)
		}
	}
	return nil
}

func wantedBenchCase(wanted []string, name string) bool {
	return len(wanted) == 0 || slices.Contains(wanted, name)
}

func (p *program) printBench(results []benchResult, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(p.Out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(results)
	}
	return writeBenchTable(p.Out, results)
}

func writeBenchTable(w io.Writer, results []benchResult) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "CASE\tREQUESTS/S\tP50 MS\tP95 MS\tP99 MS\tP99.9 MS\tMAX MS\tREQUESTS\tERRORS\t")
	for _, r := range results {
		fmt.Fprintf(t, "%s\t%.0f\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t\n", r.Case, r.PerSecond, benchMS(r.P50), benchMS(r.P95),
			benchMS(r.P99), benchMS(r.P999), benchMS(r.Max), r.Requests, r.Errors)
	}
	return t.Flush()
}

func benchMS(d time.Duration) string {
	return fmt.Sprintf("%.2f", float64(d)/float64(time.Millisecond))
}

// benchErrors returns the failures of all cases as an error, or nil.
func benchErrors(results []benchResult) error {
	var errs []error
	for _, r := range results {
		for text, n := range r.Samples {
			errs = append(errs, fmt.Errorf("%s: %d times: %s", r.Case, n, text))
		}
	}
	return errors.Join(errs...)
}

// The server must report level partitions for benchLevelFor, which is longer than a server uses its last knowledge of a
// master. The partitions have benchLevelMost to become level.
const (
	benchLevelFor  = 1500 * time.Millisecond
	benchLevelMost = 2 * time.Minute
)

// awaitLevel waits until every healthy partition has every write, so that reads from any partition succeed. If that takes
// longer than most, awaitLevel prints a warning and returns: missing keys then count as errors of the reads.
func (p *program) awaitLevel(ctx context.Context, level, most time.Duration) error {
	c, err := p.client("", client.Options{})
	if err != nil {
		return err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for began, since := time.Now(), time.Now(); time.Since(since) < level; {
		s, err := c.Status(ctx)
		if err != nil {
			return fmt.Errorf("wait for the replicas: %w", err)
		}
		if n := behind(s); n > 0 {
			since = time.Now()
			if time.Since(began) > most {
				fmt.Fprintf(p.Err, "the replicas are still %d revisions behind; missing keys will count as errors\n", n)
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// behind returns the sum of the lags of the healthy partitions, in revisions.
func behind(s *client.Status) (total int64) {
	for _, part := range s.Partitions {
		if !client.Healthy(part) {
			continue
		}
		for _, o := range part.Origins {
			total += o.LagRevisions
		}
	}
	return total
}
