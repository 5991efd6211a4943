package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// record holds the results of a run.
type record struct {
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
	Measured []*measurement    `json:"measurements"`
}

// reason returns why a case of a system has no figures, as far as known.
func (r *record) reason(system, name string) string {
	return cmp.Or(r.Missing[system], r.Missing[system+" "+name])
}

// writeFiles writes JSON, Markdown, and an SVG of the measurements that have a chart.
func (r *record) writeFiles(path string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	drawing, err := r.svg()
	return errors.Join(err, os.WriteFile(path+".json", append(text, '\n'), 0o644),
		os.WriteFile(path+".md", r.markdown(), 0o644), os.WriteFile(path+".svg", drawing, 0o644))
}

// writeHead writes the machine, the time and the versions.
func (r *record) writeHead(w io.Writer) {
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
func (m *measurement) requests() bool {
	return m.Clients > 0 && m.point != lagIdle && m.point != lagBusy && m.point != catchUp && m.point != fresh
}

// sorted returns the measurements of requests by size, case and number of clients.
func (r *record) sorted() []*measurement {
	all := slices.DeleteFunc(slices.Clone(r.Measured), func(m *measurement) bool { return !m.requests() })
	slices.SortStableFunc(all, func(a, b *measurement) int {
		return cmp.Or(cmp.Compare(a.ValueBytes, b.ValueBytes), strings.Compare(a.Case, b.Case), cmp.Compare(a.Clients, b.Clients))
	})
	return all
}

// tableMetrics are the columns beside the rate: latencies, and processor time per request or key.
var tableMetrics = []metric{p50, p95, p99, p999, cpu, clientCPU}

// writeTable writes a line for each point and system.
func (r *record) writeTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CASE\tCLIENTS\tBYTES\tSYSTEM\tPER SECOND\tLOWEST–HIGHEST\tP50 MS\tP95\tP99\tP99.9\tSERVER µs\tCLIENT µs\tERRORS")
	for _, m := range r.sorted() {
		s := spreadOf(m.Rounds, rate)
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%.0f\t%.0f–%.0f", m.Case, m.Clients, m.ValueBytes, m.System, s.Median, s.Lowest, s.Most)
		for _, x := range tableMetrics {
			fmt.Fprintf(t, "\t%s", figure(spreadOf(m.Rounds, x).Median))
		}
		fmt.Fprintf(t, "\t%d\n", failures([]*measurement{m}))
	}
	return t.Flush()
}

// writeOthers writes memory and replication, which are no requests.
func (r *record) writeOthers(w io.Writer) {
	for _, name := range slices.Sorted(maps.Keys(r.Resident)) {
		fmt.Fprintf(w, "resident after the main phase: %s: %.0f MiB\n", name, float64(r.Resident[name])/(1<<20))
	}
	for _, m := range r.Measured {
		switch m.point {
		case residentFilled, residentStarted:
			fmt.Fprintf(w, "%s: %s: %s MiB\n", m.Case, m.System, spreadOf(m.Rounds, mebibytes))
		case lagIdle, lagBusy:
			fmt.Fprintf(w, "%s: %s: p50 %s ms, p99 %s ms\n", m.Case, m.System, spreadOf(m.Rounds, p50), spreadOf(m.Rounds, p99))
		case catchUp:
			fmt.Fprintf(w, "%s: %s: %s entries/s\n", m.Case, m.System, spreadOf(m.Rounds, rate))
		case fresh:
			fmt.Fprintf(w, "%s: %s: %s s\n", m.Case, m.System, spreadOf(m.Rounds, seconds))
		}
	}
	fmt.Fprintln(w)
}

// String writes the median with the lowest and the highest.
func (s spread) String() string {
	return fmt.Sprintf("%s (%s–%s)", figure(s.Median), figure(s.Lowest), figure(s.Most))
}

// load returns the machine's load average.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

// machine describes the processors and the memory.
func machine() string {
	model, memory := "unknown processor", ""
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if m := regexp.MustCompile(`(?m)^model name\s*: (.*)$`).FindSubmatch(text); m != nil {
			model = string(m[1])
		}
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		line, _, _ := bytes.Cut(text, []byte("\n"))
		memory = ", " + strings.Join(strings.Fields(string(line))[1:], " ")
	}
	return fmt.Sprintf("%d × %s%s, %s/%s", runtime.NumCPU(), model, memory, runtime.GOOS, runtime.GOARCH)
}

// versions returns the version of every program.
func versions(runnel string) map[string]string {
	gogc := cmp.Or(os.Getenv("GOGC"), fmt.Sprintf("%d", gcPercent))
	all := map[string]string{"go": runtime.Version() + ", GOGC " + gogc}
	for name, command := range map[string][]string{
		"runnel":   {runnel, "version"},
		"mariadbd": {"mariadbd", "--version"},
		"redis":    {"redis-server", "--version"},
		"webdis":   {"dpkg-query", "-W", "-f", "${Version}", "webdis"},
		"etcd":     {"etcd", "--version"},
	} {
		out, err := exec.Command(command[0], command[1:]...).Output()
		if err == nil {
			line, _, _ := strings.Cut(string(out), "\n")
			all[name] = strings.TrimSpace(line)
		}
	}
	return all
}
