package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// A ratio compares two measurements of one run. Its target is from the issue that asked for this bench.
type ratio struct {
	name        string
	ours, other string // systems
	ourPoint    point
	otherPoint  point
	metric      metric
	target      float64
	atMost      bool // the target is a ceiling, not a floor
}

type metric struct {
	name  string
	value func(report) float64
}

var (
	rate = metric{"requests/s", func(r report) float64 { return r.PerSecond }}
	p50  = metric{"p50 ms", func(r report) float64 { return milliseconds(r.P50) }}
	p95  = metric{"p95 ms", func(r report) float64 { return milliseconds(r.P95) }}
	p99  = metric{"p99 ms", func(r report) float64 { return milliseconds(r.P99) }}
	p999 = metric{"p99.9 ms", func(r report) float64 { return milliseconds(r.P999) }}
	cpu  = metric{"server µs", func(r report) float64 { return float64(r.ServerCPU) / 1e3 }}
)

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// A spread is a figure over all rounds.
type spread struct {
	Median float64 `json:"median"`
	Lowest float64 `json:"lowest"`
	Most   float64 `json:"highest"`
}

// spreadOf returns the spread of a metric; of an even number of rounds the median is the mean of the middle two.
func spreadOf(rounds []report, m metric) spread {
	if len(rounds) == 0 {
		return spread{}
	}
	var all []float64
	for _, r := range rounds {
		all = append(all, m.value(r))
	}
	slices.Sort(all)
	n := len(all)
	return spread{(all[(n-1)/2] + all[n/2]) / 2, all[0], all[n-1]}
}

// An outcome is what came of a ratio.
type outcome struct {
	Name      string  `json:"name"`
	Metric    string  `json:"metric"`
	Ours      spread  `json:"ours"`
	Other     spread  `json:"other"`
	Ratio     spread  `json:"ratio"` // the median of the rounds' own ratios, the lowest and the highest
	Target    float64 `json:"target"`
	AtMost    bool    `json:"at_most"`
	Met       bool    `json:"met"`
	Available bool    `json:"available"`
}

// outcome compares round with round: what disturbs a round disturbs both.
func (q ratio) outcome(all []*measurement) outcome {
	o := outcome{Name: q.name, Metric: q.metric.name, Target: q.target, AtMost: q.atMost}
	ours, other := find(all, q.ours, q.ourPoint), find(all, q.other, q.otherPoint)
	if ours == nil || other == nil || failures([]*measurement{ours, other}) > 0 {
		return o
	}
	o.Ours, o.Other = spreadOf(ours.Rounds, q.metric), spreadOf(other.Rounds, q.metric)
	var each []report // carriers of the ratios
	for i := range min(len(ours.Rounds), len(other.Rounds)) {
		if base := q.metric.value(other.Rounds[i]); base > 0 {
			each = append(each, report{PerSecond: q.metric.value(ours.Rounds[i]) / base})
		}
	}
	if len(each) == 0 {
		return o
	}
	o.Available = true
	o.Ratio = spreadOf(each, rate)
	o.Met = o.Ratio.Median >= o.Target
	if o.AtMost {
		o.Met = o.Ratio.Median <= o.Target
	}
	return o
}

// ratios are the ones with a target that this bench measures.
func ratios() []ratio {
	get, put, match := point{"get", 64, 100}, point{"put", 64, 100}, point{"put-if-match", 64, 100}
	alone := point{"put", 1, 100}
	const mariadb, embedded = "runnel-mariadb", "runnel-embedded"
	at := func(name, ours, other string, p point, target float64) ratio {
		return ratio{name: name, ours: ours, other: other, ourPoint: p, otherPoint: p, metric: rate, target: target}
	}
	tail := func(name, ours string, p point) ratio {
		return ratio{name: name, ours: ours, other: "ceiling", ourPoint: p, otherPoint: p, metric: p99, target: 2, atMost: true}
	}
	return []ratio{
		at("get-mariadb/ceiling", mariadb, "ceiling", get, 0.75),
		at("get-embedded/ceiling", embedded, "ceiling", get, 0.80),
		at("get-mariadb/plain", mariadb, "plain-mariadb", get, 2.2),
		at("put-mariadb/ceiling", mariadb, "ceiling", put, 0.55),
		at("put-embedded/ceiling", embedded, "ceiling", put, 0.55),
		at("put-mariadb/plain", mariadb, "plain-mariadb", put, 2.0),
		{"put-if-match/put-mariadb", mariadb, mariadb, match, put, rate, 0.75, false},
		at("get-mariadb/etcd", mariadb, "etcd", get, 3),
		at("put-mariadb/etcd", mariadb, "etcd", put, 3),
		at("get-embedded/etcd", embedded, "etcd", get, 3),
		at("put-embedded/etcd", embedded, "etcd", put, 3),
		at("get-embedded/redis-webdis", embedded, "redis-webdis", get, 0.85),
		at("put-embedded/redis-webdis", embedded, "redis-webdis", put, 0.80),
		tail("get-p99-mariadb/ceiling", mariadb, get),
		tail("get-p99-embedded/ceiling", embedded, get),
		tail("put-p99-mariadb/ceiling", mariadb, put),
		tail("put-p99-embedded/ceiling", embedded, put),
		{"put-p50-alone-mariadb/bare-upsert", mariadb, "bare-mariadb", alone, alone, p50, 1.5, true},
	}
}

func outcomes(all []*measurement) (list []outcome) {
	for _, q := range ratios() {
		list = append(list, q.outcome(all))
	}
	return list
}

// writeRatios writes one ratio a line: name ours other ratio, and beside it its spread and its target.
func writeRatios(w io.Writer, list []outcome) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, o := range list {
		if !o.Available {
			fmt.Fprintf(t, "%s\tnot available\t\t\t\n", o.Name)
			continue
		}
		sign, verdict := "≥", "met"
		if o.AtMost {
			sign = "≤"
		}
		if !o.Met {
			verdict = "missed"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%.2f\t(%.2f–%.2f; target %s %.2f: %s; %s)\n", o.Name, figure(o.Ours.Median), figure(o.Other.Median),
			o.Ratio.Median, o.Ratio.Lowest, o.Ratio.Most, sign, o.Target, verdict, o.Metric)
	}
	return t.Flush()
}

// figure writes a number with three digits or all those before the point.
func figure(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
