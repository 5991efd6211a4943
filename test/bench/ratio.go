package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// ratio compares two measurements of a run, or a measurement with a limit. Targets are the project's goals.
type ratio struct {
	name        string
	phase       phase  // that measures both
	ours, other string // systems; if other is empty, the figure of ours is the ratio
	ourPoint    point
	otherPoint  point
	metric      metric
	target      float64 // zero: none
	atMost      bool    // the target is a ceiling, not a floor
}

type metric struct {
	name  string
	value func(report) float64
}

var (
	rate      = metric{"requests/s", func(r report) float64 { return r.PerSecond }}
	p50       = metric{"p50 ms", func(r report) float64 { return milliseconds(r.P50) }}
	p95       = metric{"p95 ms", func(r report) float64 { return milliseconds(r.P95) }}
	p99       = metric{"p99 ms", func(r report) float64 { return milliseconds(r.P99) }}
	p999      = metric{"p99.9 ms", func(r report) float64 { return milliseconds(r.P999) }}
	cpu       = metric{"server µs", func(r report) float64 { return float64(r.ServerCPU) / 1e3 }}
	clientCPU = metric{"client µs", func(r report) float64 { return float64(r.ClientCPU) / 1e3 }}

	seconds   = metric{"s", func(r report) float64 { return r.Value }}
	mebibytes = metric{"MiB", func(r report) float64 { return r.Value }}
)

// rateOf returns the rate metric of a point, named by its unit.
func rateOf(p point) metric {
	m := rate
	switch {
	case strings.HasPrefix(p.Case, "batch"):
		m.name = "keys/s"
	case p == catchUp:
		m.name = "entries/s"
	}
	return m
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// spread summarizes a figure over all rounds.
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

// outcome is the result of a ratio.
type outcome struct {
	Name      string  `json:"name"`
	Metric    string  `json:"metric"`
	Ours      spread  `json:"ours"`
	Other     spread  `json:"other"`
	Ratio     spread  `json:"ratio"`    // the median of the rounds' own ratios, the lowest and the highest
	Absolute  bool    `json:"absolute"` // the target bounds ours itself
	Target    float64 `json:"target"`   // zero: none
	AtMost    bool    `json:"at_most"`
	Met       bool    `json:"met"`
	Available bool    `json:"available"`
	Why       string  `json:"why,omitempty"` // if not available
}

// outcome compares the systems round by round, because noise in a round affects both.
func (q ratio) outcome(all []*measurement) outcome {
	o := outcome{Name: q.name, Metric: q.metric.name, Target: q.target, AtMost: q.atMost, Absolute: q.other == ""}
	ours := find(all, q.ours, q.ourPoint)
	if ours == nil || failures([]*measurement{ours}) > 0 {
		return o
	}
	o.Ours = spreadOf(ours.Rounds, q.metric)
	o.Ratio = o.Ours
	if o.Ours.Median == 0 {
		o.Why = "nothing was answered within the time of a measurement"
		return o
	}
	if !o.Absolute {
		var ok bool
		if o.Other, o.Ratio, ok = q.against(ours, find(all, q.other, q.otherPoint)); !ok {
			return o
		}
	}
	o.Available = true
	o.Met = q.target == 0 || o.Ratio.Median >= o.Target
	if o.AtMost && q.target > 0 {
		o.Met = o.Ratio.Median <= o.Target
	}
	return o
}

// against returns the figure of other and the ratio, if both exist.
func (q ratio) against(ours, other *measurement) (figure, quotient spread, ok bool) {
	if other == nil || failures([]*measurement{other}) > 0 {
		return figure, quotient, false
	}
	var each []report // carriers of the ratios
	for i := range min(len(ours.Rounds), len(other.Rounds)) {
		if base := q.metric.value(other.Rounds[i]); base > 0 {
			each = append(each, report{PerSecond: q.metric.value(ours.Rounds[i]) / base})
		}
	}
	return spreadOf(other.Rounds, q.metric), spreadOf(each, rate), len(each) > 0
}

// outcomes returns the outcomes of the phases that ran. reason returns why a case of a system has no figures.
func outcomes(all []*measurement, ran func(phase) bool, long bool, reason func(system, name string) string) (list []outcome) {
	for _, q := range ratios(long) {
		if !ran(q.phase) {
			continue
		}
		o := q.outcome(all)
		if !o.Available {
			o.Why = cmp.Or(o.Why, reason(q.ours, q.ourPoint.Case), reason(q.other, q.otherPoint.Case), "not measured")
		}
		list = append(list, o)
	}
	return list
}

// writeRatios writes a line for each ratio: name, ours, other, ratio, spread and target.
func writeRatios(w io.Writer, list []outcome) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, o := range list {
		if !o.Available {
			fmt.Fprintf(t, "%s\tnot available\t\t\t(%s)\n", o.Name, o.Why)
			continue
		}
		if o.Absolute {
			fmt.Fprintf(t, "%s\t%s\t\t\t(%s–%s; %s; %s)\n", o.Name, figure(o.Ours.Median), figure(o.Ours.Lowest), figure(o.Ours.Most), o.verdict(), o.Metric)
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%.2f\t(%.2f–%.2f; %s; %s)\n", o.Name, figure(o.Ours.Median), figure(o.Other.Median),
			o.Ratio.Median, o.Ratio.Lowest, o.Ratio.Most, o.verdict(), o.Metric)
	}
	return t.Flush()
}

// verdict formats the target and whether it is met.
func (o outcome) verdict() string {
	switch {
	case o.Target == 0:
		return "no target"
	case o.Met:
		return fmt.Sprintf("target %s %s: met", o.sign(), o.target())
	}
	return fmt.Sprintf("target %s %s: missed", o.sign(), o.target())
}

func (o outcome) sign() string {
	if o.AtMost {
		return "≤"
	}
	return "≥"
}

// target formats a ratio with two digits, and a limit in full.
func (o outcome) target() string {
	if o.Absolute {
		return strconv.FormatFloat(o.Target, 'f', -1, 64)
	}
	return fmt.Sprintf("%.2f", o.Target)
}

// figure formats a number with three significant digits, and all digits before the point.
func figure(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
