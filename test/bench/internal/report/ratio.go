package report

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
	phase       Phase  // that measures both
	ours, other string // systems; if other is empty, the figure of ours is the ratio
	ourPoint    Point
	otherPoint  Point
	metric      Metric
	target      float64 // zero: none
	atMost      bool    // the target is a ceiling, not a floor
	base        *ratio  // of the same rounds, to which this ratio is compared; nil to compare the figures themselves
}

// Metric is a figure of a report, with the name of its unit.
type Metric struct {
	name  string
	value func(Report) float64
}

// The metrics of a report. The rate is that of requests, or of their keys.
var (
	Rate      = Metric{"requests/s", func(r Report) float64 { return r.PerSecond }}
	p50       = Metric{"p50 ms", func(r Report) float64 { return milliseconds(r.P50) }}
	p95       = Metric{"p95 ms", func(r Report) float64 { return milliseconds(r.P95) }}
	p99       = Metric{"p99 ms", func(r Report) float64 { return milliseconds(r.P99) }}
	p999      = Metric{"p99.9 ms", func(r Report) float64 { return milliseconds(r.P999) }}
	cpu       = Metric{"server µs", func(r Report) float64 { return float64(r.ServerCPU) / 1e3 }}
	clientCPU = Metric{"client µs", func(r Report) float64 { return float64(r.ClientCPU) / 1e3 }}

	seconds   = Metric{"s", func(r Report) float64 { return r.Value }}
	mebibytes = Metric{"MiB", func(r Report) float64 { return r.Value }}
)

// rateOf returns the rate metric of a point, named by its unit.
func rateOf(p Point) Metric {
	m := Rate
	switch {
	case strings.HasPrefix(p.Case, "batch"):
		m.name = "keys/s"
	case p == CatchUp:
		m.name = "entries/s"
	case p == LockMany:
		m.name = "locks/s"
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

// SpreadOf returns the spread of a metric; of an even number of rounds the median is the mean of the middle two.
func SpreadOf(rounds []Report, m Metric) spread {
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
func (q ratio) outcome(all []*Measurement) outcome {
	o := outcome{Name: q.name, Metric: q.metric.name, Target: q.target, AtMost: q.atMost, Absolute: q.other == ""}
	ours, other := Find(all, q.ours, q.ourPoint), Find(all, q.other, q.otherPoint)
	if q.base != nil {
		o.Metric = "against " + q.base.name
		ours, other = q.quotients(all), q.base.quotients(all)
	}
	if ours == nil || Failures([]*Measurement{ours}) > 0 {
		return o
	}
	o.Ours = SpreadOf(ours.Rounds, q.metric)
	o.Ratio = o.Ours
	if o.Ours.Median == 0 {
		o.Why = "nothing was answered within the time of a measurement"
		return o
	}
	if !o.Absolute {
		var ok bool
		if o.Other, o.Ratio, ok = q.against(ours, other); !ok {
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

// quotients returns the ratio of each round in place of a rate, or nil if something was not measured.
func (q ratio) quotients(all []*Measurement) *Measurement {
	ours, other := Find(all, q.ours, q.ourPoint), Find(all, q.other, q.otherPoint)
	if ours == nil || other == nil {
		return nil
	}
	m := &Measurement{}
	for i := range min(len(ours.Rounds), len(other.Rounds)) {
		r := Report{Errors: ours.Rounds[i].Errors + other.Rounds[i].Errors}
		if base := q.metric.value(other.Rounds[i]); base > 0 {
			r.PerSecond = q.metric.value(ours.Rounds[i]) / base
		}
		m.Rounds = append(m.Rounds, r)
	}
	return m
}

// against returns the figure of other and the ratio, if both exist.
func (q ratio) against(ours, other *Measurement) (figure, quotient spread, ok bool) {
	if other == nil || Failures([]*Measurement{other}) > 0 {
		return figure, quotient, false
	}
	var each []Report // carriers of the ratios
	for i := range min(len(ours.Rounds), len(other.Rounds)) {
		if base := q.metric.value(other.Rounds[i]); base > 0 {
			each = append(each, Report{PerSecond: q.metric.value(ours.Rounds[i]) / base})
		}
	}
	return SpreadOf(other.Rounds, q.metric), SpreadOf(each, Rate), len(each) > 0
}

// Outcomes returns the outcomes of the phases that ran. reason returns why a case of a system has no figures.
func Outcomes(all []*Measurement, ran func(Phase) bool, long bool, reason func(system, name string) string) (list []outcome) {
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

// WriteRatios writes a line for each ratio: name, ours, other, ratio, spread and target.
func WriteRatios(w io.Writer, list []outcome) error {
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
