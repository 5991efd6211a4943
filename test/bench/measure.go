package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// A point is what is measured: a case with a number of clients and a size of values.
type point struct {
	Case       string `json:"case"`
	Clients    int    `json:"clients"`
	ValueBytes int    `json:"value_bytes"`
}

func (p point) String() string {
	return fmt.Sprintf("%s, %d clients, %d bytes", p.Case, p.Clients, p.ValueBytes)
}

// A measurement is a point on a system, over all rounds.
type measurement struct {
	System string `json:"system"`
	point
	Rounds []report `json:"rounds"`
}

// settings are the size of a run.
type settings struct {
	rounds   int
	duration time.Duration // of one measurement
	warmup   time.Duration
	keys     int // of 100 bytes
	seed     uint64
}

// bulk is about how many bytes of values there are of each size but the smallest.
const bulk = 64 << 20

// keysOf is how many keys there are with values of a size.
func (s settings) keysOf(valueBytes int) int { return max(512, min(s.keys, bulk/valueBytes)) }

// deleted is how many keys a DELETE measurement removes, which it first writes.
const deleted = 10_000

// A bench runs measurements on a stand.
type bench struct {
	stand    *stand
	client   client
	settings settings
	progress io.Writer
	results  []*measurement
}

// plan is the plan of a point on s.
func (b *bench) plan(s *system, p point) plan {
	shape := s.shapes[p.Case]
	q := plan{
		Address: s.address, Method: shape.method, Path: shape.path, Header: shape.header, Body: shape.body, Expect: shape.expect,
		BodyBytes: -1, Connections: p.Clients, Prefix: fmt.Sprintf("v%d-", p.ValueBytes), Keys: b.settings.keysOf(p.ValueBytes), Order: "random",
		ValueBytes: p.ValueBytes, Seed: b.settings.seed, WarmupMS: b.settings.warmup.Milliseconds(), DurationMS: b.settings.duration.Milliseconds(),
	}
	if shape.sized {
		q.BodyBytes = int64(p.ValueBytes)
	}
	return q
}

// once makes a plan that goes through all keys, however long that takes.
func once(p plan) plan {
	p.Order, p.WarmupMS, p.DurationMS = "once", 0, (20 * time.Minute).Milliseconds()
	return p
}

// fill writes every key of a size to every system, to all at the same time.
func (b *bench) fill(ctx context.Context, valueBytes int) error {
	fmt.Fprintf(b.progress, "writing %d keys of %d bytes to each system\n", b.settings.keysOf(valueBytes), valueBytes)
	errs := make([]error, len(b.stand.systems))
	var group sync.WaitGroup
	for i, s := range b.stand.systems {
		if s.direct != nil {
			continue
		}
		group.Go(func() {
			_, errs[i] = b.strict(ctx, s, once(b.plan(s, point{"put", 64, valueBytes})))
			if errs[i] == nil && s.settle != nil {
				errs[i] = s.settle(ctx)
			}
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// strict runs a plan, of which no request may fail.
func (b *bench) strict(ctx context.Context, s *system, p plan) (report, error) {
	r, err := b.client.run(ctx, s, p)
	if err == nil && r.Errors > 0 {
		err = fmt.Errorf("%s: %d requests failed: %v", s.name, r.Errors, r.Samples)
	}
	return r, err
}

// run measures every point on every system that has it: in each round each once.
func (b *bench) run(ctx context.Context, points []point) error {
	for _, size := range sizes(points) {
		if err := b.fill(ctx, size); err != nil {
			return err
		}
	}
	for round := range b.settings.rounds {
		fmt.Fprintf(b.progress, "round %d of %d\n", round+1, b.settings.rounds)
		for _, p := range points {
			if err := b.round(ctx, round, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// round measures a point on every system once, each time beginning with another.
func (b *bench) round(ctx context.Context, round int, p point) error {
	n := len(b.stand.systems)
	for i := range n {
		s := b.stand.systems[(i+round)%n]
		if !s.has(p) {
			continue
		}
		r, err := b.measure(ctx, s, p)
		if err != nil {
			return err
		}
		m := b.measurement(s.name, p)
		m.Rounds = append(m.Rounds, r)
	}
	return nil
}

// measure measures a point on s, and waits until what it began is done.
func (b *bench) measure(ctx context.Context, s *system, p point) (report, error) {
	if s.direct != nil {
		return b.measureDirect(ctx, s, p)
	}
	q := b.plan(s, p)
	if p.Case == "delete" {
		q.Prefix, q.Keys = "gone-", deleted
		put := b.plan(s, point{"put", 64, p.ValueBytes})
		put.Prefix, put.Keys = q.Prefix, q.Keys
		if _, err := b.strict(ctx, s, once(put)); err != nil {
			return report{}, err
		}
		q = once(q)
	}
	r, err := b.client.run(ctx, s, q)
	if err == nil && s.settle != nil && p.Case != "get" {
		err = s.settle(ctx)
	}
	return r, err
}

func (b *bench) measurement(system string, p point) *measurement {
	if m := find(b.results, system, p); m != nil {
		return m
	}
	m := &measurement{System: system, point: p}
	b.results = append(b.results, m)
	return m
}

func find(all []*measurement, system string, p point) *measurement {
	for _, m := range all {
		if m.System == system && m.point == p {
			return m
		}
	}
	return nil
}

// failures is how many requests failed in all measurements.
func failures(all []*measurement) (n int64) {
	for _, m := range all {
		for _, r := range m.Rounds {
			n += r.Errors
		}
	}
	return n
}

// sizes are the sizes of values in points, ascending.
func sizes(points []point) []int {
	var all []int
	for _, p := range points {
		all = append(all, p.ValueBytes)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// quickPoints are those that the main ratios need.
func quickPoints() []point {
	return []point{{"get", 64, 100}, {"put", 64, 100}, {"put-if-match", 64, 100}, {"put", 1, 100}}
}

// fullPoints are all cases with all numbers of clients, and reads and writes of larger values.
func fullPoints() []point {
	var points []point
	for _, clients := range []int{1, 8, 64, 256} {
		for _, c := range []string{"get", "get-master", "put", "put-if-match", "delete", "list"} {
			points = append(points, point{c, clients, 100})
		}
	}
	for _, size := range []int{1 << 10, 64 << 10} {
		points = append(points, point{"get", 64, size}, point{"put", 64, size})
	}
	return points
}
