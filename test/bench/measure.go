package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/runnelkv/runnel/test/bench/internal/report"
	"github.com/runnelkv/runnel/test/bench/internal/testbed"
)

// settings bound a run.
type settings struct {
	rounds   int
	duration time.Duration // of a measurement
	warmup   time.Duration
	// writeWarmup is the minimal warm-up of writes on systems that continue to work after their answers. By then
	// such a system does as much work as it postpones.
	writeWarmup time.Duration
	keys        int // of 100 bytes
	seed        uint64
}

// bulk is the approximate total of value bytes per size, except the smallest size.
const bulk = 64 << 20

// keysOf returns the number of keys with values of a size.
func (s settings) keysOf(valueBytes int) int { return max(512, min(s.keys, bulk/valueBytes)) }

// deletedKeys is the number of keys that a measurement of DELETE writes and deletes.
const deletedKeys = 10_000

// bench runs measurements on a testbed.
type bench struct {
	testbed  *testbed.Testbed
	client   client
	settings settings
	long     bool // include slow measurements
	progress *progress
	results  []*report.Measurement
	filled   map[int]bool // the sizes of values with which the main systems are filled
}

// plan returns the plan of a point on s.
func (b *bench) plan(s *testbed.System, p report.Point) plan {
	template := s.Templates[p.Case]
	keys := b.settings.keysOf(p.ValueBytes)
	if p.ValueBytes == 100 && s.Keys > 0 {
		keys = s.Keys
	}
	q := plan{
		Address: s.Address, HTTPS: s.CAFile != "", Method: template.Method, Path: template.Path, Header: slices.Concat(template.Header, s.Header), Body: template.Body, Expect: template.Expect,
		BodyBytes: -1, Connections: p.Clients, Prefix: fmt.Sprintf("v%d-", p.ValueBytes), Keys: keys, Order: "random",
		ValueBytes: p.ValueBytes, Seed: b.settings.seed, WarmupMS: b.warmup(s, p).Milliseconds(), DurationMS: b.settings.duration.Milliseconds(),
		Items: template.Items, Item: template.Item, Count: template.Count,
	}
	if template.Sized {
		q.BodyBytes = int64(p.ValueBytes)
	}
	return q
}

// warmup is the time for which a point runs on s before its measurement.
func (b *bench) warmup(s *testbed.System, p report.Point) time.Duration {
	if s.AwaitIdle != nil && p.Writes() {
		return max(b.settings.warmup, b.settings.writeWarmup)
	}
	return b.settings.warmup
}

// allKeysOnce returns p with a single request for each key, in 20 minutes at most.
func allKeysOnce(p plan) plan {
	p.Order, p.WarmupMS, p.DurationMS = "once", 0, (20 * time.Minute).Milliseconds()
	return p
}

// runStrict runs a plan in which no request may fail.
func (b *bench) runStrict(ctx context.Context, s *testbed.System, p plan) (report.Report, error) {
	r, err := b.client.run(ctx, s, p)
	if err == nil && r.Errors > 0 {
		err = fmt.Errorf("%s: %d requests failed: %v", s.Name, r.Errors, r.Samples)
	}
	return r, err
}

// measureMain fills the main systems and measures every point on every system that has the case. Sizes of values
// follow each other, so that no size drives another out of a cache.
func (b *bench) measureMain(ctx context.Context, points []report.Point) error {
	for _, size := range report.Sizes(points) {
		if err := b.fill(ctx, size); err != nil {
			return err
		}
		b.progress.step(fillExpected, "")
		others := func(p report.Point) bool { return p.ValueBytes != size }
		if err := b.readsFirst(ctx, b.testbed.Systems, slices.DeleteFunc(slices.Clone(points), others)); err != nil {
			return err
		}
	}
	return nil
}

// readsFirst measures points that only read in separate rounds, so that they do not pay for writes.
func (b *bench) readsFirst(ctx context.Context, systems []*testbed.System, points []report.Point) error {
	reads := slices.DeleteFunc(slices.Clone(points), report.Point.Writes)
	writes := slices.DeleteFunc(slices.Clone(points), func(p report.Point) bool { return !p.Writes() })
	if err := b.measureRounds(ctx, systems, reads); err != nil {
		return err
	}
	return b.measureRounds(ctx, systems, writes)
}

// expectedMain returns the approximate duration of the main phase.
func (b *bench) expectedMain(points []report.Point) time.Duration {
	return b.expectedOf(b.testbed.Systems, points) + fillExpected*time.Duration(len(report.Sizes(points)))
}

// reasons maps systems, and cases of systems ("runnel-mariadb get-session"), without figures to the reasons.
func (b *bench) reasons() map[string]string {
	all := map[string]string{}
	for name, err := range b.testbed.Missing {
		all[name], _, _ = strings.Cut(err.Error(), "\n")
	}
	for _, s := range b.testbed.Systems {
		for name, why := range s.Lacks {
			all[s.Name+" "+name] = why
		}
	}
	return all
}

// measureRounds measures each point on each system in every round.
func (b *bench) measureRounds(ctx context.Context, systems []*testbed.System, points []report.Point) error {
	for _, s := range systems {
		if err := b.probe(ctx, s, points); err != nil {
			return err
		}
	}
	for round := range b.settings.rounds {
		b.progress.begin("round %d of %d", round+1, b.settings.rounds)
		for _, p := range points {
			if err := b.measureRound(ctx, systems, round, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// measureRound measures a point on every system. The first system changes from round to round.
func (b *bench) measureRound(ctx context.Context, systems []*testbed.System, round int, p report.Point) error {
	for i := range systems {
		s := systems[(i+round)%len(systems)]
		if !s.Has(p) {
			continue
		}
		r, err := b.measure(ctx, s, p)
		if err != nil {
			return err
		}
		b.addReport(s.Name, p, r)
		b.progress.step(b.expected(s, p), "round %d of %d: %s", round+1, b.settings.rounds, p)
	}
	return nil
}

// expected returns the approximate duration of a measurement.
func (b *bench) expected(s *testbed.System, p report.Point) time.Duration {
	d := b.warmup(s, p) + b.settings.duration + 200*time.Millisecond
	switch {
	case p.Case == "delete":
		d = 2 * time.Second
	case strings.Contains(p.Case, "put"):
		d += 300 * time.Millisecond // until the replicas are level
	}
	return d
}

// expectedOf returns the approximate duration of all rounds of points on systems.
func (b *bench) expectedOf(systems []*testbed.System, points []report.Point) (total time.Duration) {
	for _, s := range systems {
		for _, p := range points {
			if s.Has(p) {
				total += b.expected(s, p) * time.Duration(b.settings.rounds)
			}
		}
	}
	return total
}

// probe sends a request for each optional case, to find the cases that s lacks.
func (b *bench) probe(ctx context.Context, s *testbed.System, points []report.Point) error {
	if s.Lacks == nil {
		s.Lacks = map[string]string{}
	}
	for _, p := range points {
		if !s.Has(p) || !s.Templates[p.Case].Optional || s.Lacks[p.Case] != "" {
			continue
		}
		q := b.plan(s, report.Point{Case: p.Case, Clients: 1, ValueBytes: p.ValueBytes})
		q.Requests, q.WarmupMS = 1, 0
		if err := q.addSession(ctx, s.Address); err != nil {
			s.Lacks[p.Case] = err.Error()
			continue
		}
		r, err := b.client.run(ctx, s, q)
		if err != nil {
			return err
		}
		for sample := range r.Samples {
			s.Lacks[p.Case] = fmt.Sprintf("%s %s: %s", q.Method, q.Path, sample)
		}
		if s.Lacks[p.Case] != "" {
			b.progress.begin("%s is not available on %s: %s", p.Case, s.Name, s.Lacks[p.Case])
		}
	}
	return nil
}

// measure measures a point on s and waits until s is idle.
func (b *bench) measure(ctx context.Context, s *testbed.System, p report.Point) (report.Report, error) {
	if s.Direct != nil {
		return b.measureDirect(ctx, s, p)
	}
	q := b.plan(s, p)
	if p.Case == "delete" {
		q.Prefix, q.Keys = "gone-", deletedKeys
		put := b.plan(s, report.Point{Case: "put", Clients: 64, ValueBytes: p.ValueBytes})
		put.Prefix, put.Keys = q.Prefix, q.Keys
		if _, err := b.runStrict(ctx, s, allKeysOnce(put)); err != nil {
			return report.Report{}, err
		}
		q = allKeysOnce(q)
	}
	if err := q.addSession(ctx, s.Address); err != nil {
		return report.Report{}, err
	}
	r, err := b.client.run(ctx, s, q)
	if err == nil && s.AwaitIdle != nil && !strings.HasPrefix(p.Case, "get") {
		err = s.AwaitIdle(ctx)
	}
	return r, err
}

// addReport adds the report of a round.
func (b *bench) addReport(system string, p report.Point, r report.Report) {
	m := report.Find(b.results, system, p)
	if m == nil {
		m = &report.Measurement{System: system, Point: p}
		b.results = append(b.results, m)
	}
	m.Rounds = append(m.Rounds, r)
}
