package report

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Record holds the results of a run.
type Record struct {
	Command  string            `json:"command"`
	Began    time.Time         `json:"began"`
	Took     string            `json:"took"`
	LoadFrom string            `json:"load_before"` // of the machine: 1, 5, 15 minutes
	LoadTo   string            `json:"load_after"`
	Others   float64           `json:"other_programs"` // their share of the processors meanwhile, as far as known
	Machine  string            `json:"machine"`
	Versions map[string]string `json:"versions"`
	Missing  map[string]string `json:"not_available,omitempty"`
	Resident map[string]int64  `json:"resident_bytes,omitempty"` // by process, after the main phase
	Keys     int               `json:"keys"`
	Rounds   int               `json:"rounds"`
	Seconds  float64           `json:"seconds_each"`
	Seed     uint64            `json:"seed"`
	Ratios   []outcome         `json:"ratios"`
	Measured []*Measurement    `json:"measurements"`
}

// Reason returns why a case of a system has no figures, as far as known.
func (r *Record) Reason(system, name string) string {
	return cmp.Or(r.Missing[system], r.Missing[system+" "+name])
}

// WriteFiles writes JSON, Markdown, and an SVG of the measurements that have a chart.
func (r *Record) WriteFiles(path string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	drawing, err := r.SVG()
	return errors.Join(err, os.WriteFile(path+".json", append(text, '\n'), 0o644),
		os.WriteFile(path+".md", r.Markdown(), 0o644), os.WriteFile(path+".svg", drawing, 0o644))
}

// WriteHead writes the machine, the time and the versions.
func (r *Record) WriteHead(w io.Writer) {
	fmt.Fprintf(w, "%s\n%s; load %s before, %s after; %s\n", r.Command, r.Machine, r.LoadFrom, r.LoadTo, r.Began.Format(time.RFC3339))
	fmt.Fprintf(w, "%d keys, %d rounds of %.1f s, seed %d; took %s\n", r.Keys, r.Rounds, r.Seconds, r.Seed, r.Took)
	fmt.Fprintf(w, "other programs and the kernel on its own account used %.0f %% of the processors\n", 100*r.Others)
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		fmt.Fprintf(w, "  %s: %s\n", name, r.Versions[name])
	}
	for _, name := range slices.Sorted(maps.Keys(r.Missing)) {
		fmt.Fprintf(w, "  %s: NOT AVAILABLE: %s\n", name, r.Missing[name])
	}
	fmt.Fprintln(w)
}

// requests reports whether m measured requests, of which the table tells everything.
func (m *Measurement) requests() bool {
	return m.Clients > 0 && m.Point != LagIdle && m.Point != LagBusy && m.Point != CatchUp && m.Point != Fresh
}

// sorted returns the measurements of requests by size, case and number of clients.
func (r *Record) sorted() []*Measurement {
	all := slices.DeleteFunc(slices.Clone(r.Measured), func(m *Measurement) bool { return !m.requests() })
	slices.SortStableFunc(all, func(a, b *Measurement) int {
		return cmp.Or(cmp.Compare(a.ValueBytes, b.ValueBytes), strings.Compare(a.Case, b.Case), cmp.Compare(a.Clients, b.Clients))
	})
	return all
}

// tableMetrics are the columns beside the rate: latencies, and processor time per request or key.
var tableMetrics = []Metric{p50, p95, p99, p999, cpu, clientCPU}

// WriteTable writes a line for each point and system.
func (r *Record) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CASE\tCLIENTS\tBYTES\tSYSTEM\tPER SECOND\tLOWEST–HIGHEST\tP50 MS\tP95\tP99\tP99.9\tSERVER µs\tCLIENT µs\tERRORS")
	for _, m := range r.sorted() {
		s := SpreadOf(m.Rounds, Rate)
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%.0f\t%.0f–%.0f", m.Case, m.Clients, m.ValueBytes, m.System, s.Median, s.Lowest, s.Most)
		for _, x := range tableMetrics {
			fmt.Fprintf(t, "\t%s", figure(SpreadOf(m.Rounds, x).Median))
		}
		fmt.Fprintf(t, "\t%d\n", Failures([]*Measurement{m}))
	}
	return t.Flush()
}

// WriteOthers writes memory and replication, which are no requests.
func (r *Record) WriteOthers(w io.Writer) {
	for _, name := range slices.Sorted(maps.Keys(r.Resident)) {
		fmt.Fprintf(w, "resident after the main phase: %s: %.0f MiB\n", name, float64(r.Resident[name])/(1<<20))
	}
	for _, m := range r.Measured {
		switch m.Point {
		case ResidentFilled, ResidentStarted:
			fmt.Fprintf(w, "%s: %s: %s MiB\n", m.Case, m.System, SpreadOf(m.Rounds, mebibytes))
		case LagIdle, LagBusy:
			fmt.Fprintf(w, "%s: %s: p50 %s ms, p99 %s ms\n", m.Case, m.System, SpreadOf(m.Rounds, p50), SpreadOf(m.Rounds, p99))
		case CatchUp:
			fmt.Fprintf(w, "%s: %s: %s entries/s\n", m.Case, m.System, SpreadOf(m.Rounds, Rate))
		case Fresh:
			fmt.Fprintf(w, "%s: %s: %s s\n", m.Case, m.System, SpreadOf(m.Rounds, seconds))
		}
	}
	fmt.Fprintln(w)
}

// String writes the median with the lowest and the highest.
func (s spread) String() string {
	return fmt.Sprintf("%s (%s–%s)", figure(s.Median), figure(s.Lowest), figure(s.Most))
}
