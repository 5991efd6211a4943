package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// point is a case with a number of clients and a size of values.
type point struct {
	Case       string `json:"case"`
	Clients    int    `json:"clients"`
	ValueBytes int    `json:"value_bytes"`
}

func (p point) writes() bool { return p.Case == "delete" || strings.Contains(p.Case, "put") }

func (p point) String() string {
	return fmt.Sprintf("%s, %d clients, %d bytes", p.Case, p.Clients, p.ValueBytes)
}

// measurement holds the reports of a point on a system in all rounds.
type measurement struct {
	System string `json:"system"`
	point
	Rounds []report `json:"rounds"`
}

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
	testbed  *testbed
	client   client
	settings settings
	long     bool // include slow measurements
	progress *progress
	results  []*measurement
	filled   map[int]bool // the sizes of values with which the main systems are filled
}

// plan returns the plan of a point on s.
func (b *bench) plan(s *system, p point) plan {
	template := s.templates[p.Case]
	keys := b.settings.keysOf(p.ValueBytes)
	if p.ValueBytes == 100 && s.keys > 0 {
		keys = s.keys
	}
	q := plan{
		Address: s.address, Method: template.method, Path: template.path, Header: template.header, Body: template.body, Expect: template.expect,
		BodyBytes: -1, Connections: p.Clients, Prefix: fmt.Sprintf("v%d-", p.ValueBytes), Keys: keys, Order: "random",
		ValueBytes: p.ValueBytes, Seed: b.settings.seed, WarmupMS: b.warmup(s, p).Milliseconds(), DurationMS: b.settings.duration.Milliseconds(),
		Items: template.items, Item: template.item, Count: template.count,
	}
	if template.sized {
		q.BodyBytes = int64(p.ValueBytes)
	}
	return q
}

// warmup is the time for which a point runs on s before its measurement.
func (b *bench) warmup(s *system, p point) time.Duration {
	if s.awaitIdle != nil && p.writes() {
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
func (b *bench) runStrict(ctx context.Context, s *system, p plan) (report, error) {
	r, err := b.client.run(ctx, s, p)
	if err == nil && r.Errors > 0 {
		err = fmt.Errorf("%s: %d requests failed: %v", s.name, r.Errors, r.Samples)
	}
	return r, err
}

// measureMain fills the main systems and measures every point on every system that has the case. Sizes of values
// follow each other, so that no size drives another out of a cache.
func (b *bench) measureMain(ctx context.Context, points []point) error {
	for _, size := range sizes(points) {
		if err := b.fill(ctx, size); err != nil {
			return err
		}
		b.progress.step(fillExpected, "")
		others := func(p point) bool { return p.ValueBytes != size }
		if err := b.readsFirst(ctx, b.testbed.systems, slices.DeleteFunc(slices.Clone(points), others)); err != nil {
			return err
		}
	}
	return nil
}

// readsFirst measures points that only read in separate rounds, so that they do not pay for writes.
func (b *bench) readsFirst(ctx context.Context, systems []*system, points []point) error {
	reads := slices.DeleteFunc(slices.Clone(points), point.writes)
	writes := slices.DeleteFunc(slices.Clone(points), func(p point) bool { return !p.writes() })
	if err := b.measureRounds(ctx, systems, reads); err != nil {
		return err
	}
	return b.measureRounds(ctx, systems, writes)
}

// expectedMain returns the approximate duration of the main phase.
func (b *bench) expectedMain(points []point) time.Duration {
	return b.expectedOf(b.testbed.systems, points) + fillExpected*time.Duration(len(sizes(points)))
}

// reasons maps systems, and cases of systems ("runnel-mariadb get-session"), without figures to the reasons.
func (b *bench) reasons() map[string]string {
	all := map[string]string{}
	for name, err := range b.testbed.missing {
		all[name], _, _ = strings.Cut(err.Error(), "\n")
	}
	for _, s := range b.testbed.systems {
		for name, why := range s.lacks {
			all[s.name+" "+name] = why
		}
	}
	return all
}

// measureRounds measures each point on each system in every round.
func (b *bench) measureRounds(ctx context.Context, systems []*system, points []point) error {
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
func (b *bench) measureRound(ctx context.Context, systems []*system, round int, p point) error {
	for i := range systems {
		s := systems[(i+round)%len(systems)]
		if !s.has(p) {
			continue
		}
		r, err := b.measure(ctx, s, p)
		if err != nil {
			return err
		}
		b.addReport(s.name, p, r)
		b.progress.step(b.expected(s, p), "round %d of %d: %s", round+1, b.settings.rounds, p)
	}
	return nil
}

// expected returns the approximate duration of a measurement.
func (b *bench) expected(s *system, p point) time.Duration {
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
func (b *bench) expectedOf(systems []*system, points []point) (total time.Duration) {
	for _, s := range systems {
		for _, p := range points {
			if s.has(p) {
				total += b.expected(s, p) * time.Duration(b.settings.rounds)
			}
		}
	}
	return total
}

// probe sends a request for each optional case, to find the cases that s lacks.
func (b *bench) probe(ctx context.Context, s *system, points []point) error {
	if s.lacks == nil {
		s.lacks = map[string]string{}
	}
	for _, p := range points {
		if !s.has(p) || !s.templates[p.Case].optional || s.lacks[p.Case] != "" {
			continue
		}
		q := b.plan(s, point{p.Case, 1, p.ValueBytes})
		q.Requests, q.WarmupMS = 1, 0
		if err := s.addSession(ctx, &q); err != nil {
			s.lacks[p.Case] = err.Error()
			continue
		}
		r, err := b.client.run(ctx, s, q)
		if err != nil {
			return err
		}
		for sample := range r.Samples {
			s.lacks[p.Case] = fmt.Sprintf("%s %s: %s", q.Method, q.Path, sample)
		}
		if s.lacks[p.Case] != "" {
			b.progress.begin("%s is not available on %s: %s", p.Case, s.name, s.lacks[p.Case])
		}
	}
	return nil
}

// addSession replaces {session} in the plan's header by the token of a new write.
func (s *system) addSession(ctx context.Context, q *plan) error {
	const hole = "{session}"
	if !slices.ContainsFunc(q.Header, func(h string) bool { return strings.Contains(h, hole) }) {
		return nil
	}
	header, err := put(ctx, "http://"+s.address+"/v1/keys/"+q.Prefix+"session")
	if err != nil {
		return err
	}
	token := header.Get("Runnel-Session")
	if token == "" {
		return errors.New("a PUT is answered without the header Runnel-Session")
	}
	q.Header = slices.Clone(q.Header)
	for i, h := range q.Header {
		q.Header[i] = strings.ReplaceAll(h, hole, token)
	}
	return nil
}

// measure measures a point on s and waits until s is idle.
func (b *bench) measure(ctx context.Context, s *system, p point) (report, error) {
	if s.direct != nil {
		return b.measureDirect(ctx, s, p)
	}
	q := b.plan(s, p)
	if p.Case == "delete" {
		q.Prefix, q.Keys = "gone-", deletedKeys
		put := b.plan(s, point{"put", 64, p.ValueBytes})
		put.Prefix, put.Keys = q.Prefix, q.Keys
		if _, err := b.runStrict(ctx, s, allKeysOnce(put)); err != nil {
			return report{}, err
		}
		q = allKeysOnce(q)
	}
	if err := s.addSession(ctx, &q); err != nil {
		return report{}, err
	}
	r, err := b.client.run(ctx, s, q)
	if err == nil && s.awaitIdle != nil && !strings.HasPrefix(p.Case, "get") {
		err = s.awaitIdle(ctx)
	}
	return r, err
}

// addReport adds the report of a round.
func (b *bench) addReport(system string, p point, r report) {
	m := find(b.results, system, p)
	if m == nil {
		m = &measurement{System: system, point: p}
		b.results = append(b.results, m)
	}
	m.Rounds = append(m.Rounds, r)
}

func find(all []*measurement, system string, p point) *measurement {
	for _, m := range all {
		if m.System == system && m.point == p {
			return m
		}
	}
	return nil
}

// failures counts the failed requests of all measurements.
func failures(all []*measurement) (n int64) {
	for _, m := range all {
		for _, r := range m.Rounds {
			n += r.Errors
		}
	}
	return n
}

// sizes returns the sizes of values in points, ascending.
func sizes(points []point) []int {
	var all []int
	for _, p := range points {
		all = append(all, p.ValueBytes)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// batchClients is the number of clients that send batches. With 64 clients a second of work would be queued, and
// few answers would fall in a measurement.
const batchClients = 8

var batchGet = point{"batch-get", batchClients, 100}

// quickPoints returns the points of the main ratios.
func quickPoints() []point {
	return []point{{"get", 64, 100}, {"get-stored", 64, 100}, {"put", 64, 100}, {"put-if-match", 64, 100}, batchGet, {"put", 1, 100}}
}

// fullPoints returns reads and writes with all numbers of clients and all sizes of values, and the rest with 64
// clients and small values. The whole cross product would take hours and add little.
func fullPoints() []point {
	var points []point
	for _, clients := range []int{1, 8, 64, 256} {
		points = append(points, point{"get", clients, 100}, point{"put", clients, 100})
	}
	for _, c := range []string{"get-stored", "get-session", "get-master", "put-if-match", "delete", "list"} {
		points = append(points, point{c, 64, 100})
	}
	for _, clients := range []int{1, batchClients} {
		points = append(points, point{"batch-get", clients, 100}, point{"batch-put", clients, 100})
	}
	for _, size := range []int{1 << 10, 64 << 10} {
		points = append(points, point{"get", 64, size}, point{"put", 64, size})
	}
	return points
}
