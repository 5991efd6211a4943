package report

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Markdown writes all tables, ready to become a lab book in docs/benchmarks.
func (r *Record) Markdown() []byte {
	var b bytes.Buffer
	b.WriteString("<!-- written by make bench; see test/bench -->\n\n```text\n")
	r.WriteHead(&b)
	b.Truncate(b.Len() - 1) // the empty line at the end
	b.WriteString("```\n")
	r.ratioTable(&b)
	r.rateTable(&b, "GET and PUT by clients", "values of 100 bytes", mainSystems, r.columns(100, "get", "put"))
	r.rateTable(&b, "Other cases", "64 clients unless another number stands there, values of 100 bytes; batches in keys/s, in requests of 1,000", mainSystems, r.columns(100,
		"get-stored", "get-session", "get-master", "put-if-match", "delete", "list", "batch-get", "batch-put"))
	r.rateTable(&b, "Larger values", "64 clients", mainSystems, append(r.columns(1<<10, "get", "put"), r.columns(64<<10, "get", "put")...))
	r.growthTable(&b)
	r.replicationTables(&b)
	r.rateTable(&b, "API keys and TLS", "64 clients, values of 100 bytes, embedded partitions", AccessSystems, AccessPoints())
	puts, locks := lockSystems()
	r.rateTable(&b, "PUT beside locks", "64 clients, values of 100 bytes", puts, LockPutPoints())
	r.rateTable(&b, "Locks acquired and released", "64 clients, in locks/s", locks, []Point{LockMany})
	r.memoryTable(&b)
	r.everything(&b)
	return b.Bytes()
}

// table writes a table in Markdown. The first column is text, the rest are numbers.
func table(b *bytes.Buffer, title, note string, head []string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(b, "\n### %s\n\n", title)
	if note != "" {
		fmt.Fprintf(b, "%s\n\n", note)
	}
	writeRow(b, head)
	b.WriteString("|---|" + strings.Repeat("---:|", len(head)-1) + "\n")
	for _, row := range rows {
		writeRow(b, row)
	}
}

func writeRow(b *bytes.Buffer, cells []string) {
	for i, c := range cells {
		cells[i] = strings.ReplaceAll(c, "|", `\|`)
	}
	fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
}

func (r *Record) ratioTable(b *bytes.Buffer) {
	var rows [][]string
	for _, o := range r.Ratios {
		if !o.Available {
			rows = append(rows, []string{o.Name, "not available: " + o.Why, "", "", "", ""})
			continue
		}
		row := []string{o.Name, figure(o.Ours.Median) + " " + o.Metric, "", "", o.verdict(), ""}
		if o.Absolute {
			row[3] = fmt.Sprintf("(%s–%s)", figure(o.Ours.Lowest), figure(o.Ours.Most))
		} else {
			row[2], row[3] = figure(o.Other.Median), fmt.Sprintf("**%.2f** (%.2f–%.2f)", o.Ratio.Median, o.Ratio.Lowest, o.Ratio.Most)
		}
		rows = append(rows, row[:5])
	}
	for i := range rows {
		rows[i] = rows[i][:5]
	}
	table(b, "Ratios and targets", "", []string{"figure", "ours", "other", "ratio (lowest–highest)", "target"}, rows)
}

// columns returns the measured points of cases with a size of values, ordered by the number of clients.
func (r *Record) columns(valueBytes int, cases ...string) (points []Point) {
	for _, name := range cases {
		var some []Point
		for _, m := range r.Measured {
			if m.Case == name && m.ValueBytes == valueBytes && !slices.Contains(some, m.Point) {
				some = append(some, m.Point)
			}
		}
		slices.SortFunc(some, func(a, b Point) int { return a.Clients - b.Clients })
		points = append(points, some...)
	}
	return points
}

// mainSystems is the order of the tables.
var mainSystems = []string{OurMariaDB, OurEmbedded, "ceiling", "plain-mariadb", "bare-mariadb", "redis-webdis", "etcd", "fsync"}

// rateTable has a row for each system and a column for each point.
func (r *Record) rateTable(b *bytes.Buffer, title, note string, systems []string, points []Point) {
	head := []string{"requests/s"}
	for _, p := range points {
		head = append(head, columnName(p))
	}
	var rows [][]string
	for _, system := range systems {
		row, any := []string{"`" + system + "`"}, false
		for _, p := range points {
			m := Find(r.Measured, system, p)
			if m == nil {
				row = append(row, "–")
				continue
			}
			any = true
			row = append(row, fmt.Sprintf("%.0f", SpreadOf(m.Rounds, Rate).Median))
		}
		if any {
			rows = append(rows, row)
		}
	}
	table(b, title, note, head, rows)
}

func columnName(p Point) string {
	name := strings.ToUpper(p.Case)
	switch {
	case p.ValueBytes >= 1<<10:
		return fmt.Sprintf("%s %d KiB", name, p.ValueBytes>>10)
	case p.Case == "get" || p.Case == "put" || p.Clients != 64:
		return fmt.Sprintf("%s %d", name, p.Clients)
	}
	return name
}

// growthTable has a row for each size and number of partitions.
func (r *Record) growthTable(b *bytes.Buffer) {
	var rows [][]string
	for _, kind := range []string{OnMariaDB, Embedded} {
		for _, g := range r.sizes(kind) {
			get, put := Find(r.Measured, g.system, GetMany), Find(r.Measured, g.system, putMany)
			row := []string{g.system, g.entries, g.partitions}
			for _, m := range []*Measurement{get, put} {
				if m == nil {
					row = append(row, "–", "–")
					continue
				}
				row = append(row, SpreadOf(m.Rounds, Rate).String(), figure(SpreadOf(m.Rounds, p99).Median))
			}
			rows = append(rows, row)
		}
	}
	table(b, "Growth", "64 clients, values of 100 bytes; all measured in the same rounds",
		[]string{"system", "entries", "partitions", "GET/s", "p99 ms", "PUT/s", "p99 ms"}, rows)
}

// size is a grown system and its size.
type size struct{ system, entries, partitions string }

// sizes returns the measured sizes of a kind, in the order of the tables.
func (r *Record) sizes(kind string) (all []size) {
	add := func(system, entries, partitions string) {
		if Find(r.Measured, system, GetMany) != nil {
			all = append(all, size{system, entries, partitions})
		}
	}
	for _, n := range []string{"1e4", "1e5", "1e6", "1e7"} {
		add("runnel-"+kind+"-"+n, n, "3")
	}
	for _, n := range GrowthPartitions {
		add(fmt.Sprintf("runnel-%s-p%d", kind, n), PowerOfTen(r.Keys), fmt.Sprint(n))
	}
	return all
}

// replicationTables tell of lag, of catching up, and of a fresh replica.
func (r *Record) replicationTables(b *bytes.Buffer) {
	var lags, rates, times [][]string
	for _, m := range r.Measured {
		switch m.Point {
		case LagIdle, LagBusy:
			beside := map[string]string{"lag": "no", "lag-busy": "1,000"}[m.Case]
			lags = append(lags, []string{m.System, beside, SpreadOf(m.Rounds, p50).String(), SpreadOf(m.Rounds, p99).String()})
		case CatchUp:
			rates = append(rates, []string{m.System, SpreadOf(m.Rounds, Rate).String()})
		case Fresh:
			times = append(times, []string{m.System, SpreadOf(m.Rounds, seconds).String()})
		}
	}
	table(b, "From a write's answer until every replica can read it", "two replicas, each on a server of its own",
		[]string{"replication", "other writes/s", "p50 ms", "p99 ms"}, lags)
	table(b, "Catching up after an outage", "one replica, entries of 100 bytes that were written one a transaction", []string{"replication", "entries/s"}, rates)
	table(b, "A fresh replica of 10^6 entries", "", []string{"replication", "seconds"}, times)
}

func (r *Record) memoryTable(b *bytes.Buffer) {
	var rows [][]string
	for _, name := range slices.Sorted(maps.Keys(r.Resident)) {
		rows = append(rows, []string{name, fmt.Sprintf("%.0f", float64(r.Resident[name])/(1<<20))})
	}
	for _, m := range r.Measured {
		if m.Point == ResidentFilled || m.Point == ResidentStarted {
			name := map[string]string{ResidentFilled.Case: "idle after 10^6 entries were written", ResidentStarted.Case: "idle after a start on 10^6 entries"}[m.Case]
			rows = append(rows, []string{m.System + ", " + name, fmt.Sprintf("%.0f", SpreadOf(m.Rounds, mebibytes).Median)})
		}
	}
	table(b, "Resident memory", "of each process, right after the measurements with 256 clients and large values, unless it says idle", []string{"process", "MiB"}, rows)
}

// everything writes the complete table of requests, collapsed.
func (r *Record) everything(b *bytes.Buffer) {
	if len(r.sorted()) == 0 {
		return
	}
	b.WriteString("\n<details><summary>Every measurement</summary>\n\n```text\n")
	r.WriteTable(b)
	b.WriteString("```\n\n</details>\n")
}
