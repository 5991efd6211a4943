package main

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// markdown writes all tables, ready to become a lab book in docs/benchmarks.
func (r *record) markdown() []byte {
	var b bytes.Buffer
	b.WriteString("<!-- written by make bench; see test/bench -->\n\n```text\n")
	r.writeHead(&b)
	b.Truncate(b.Len() - 1) // the empty line at the end
	b.WriteString("```\n")
	r.ratioTable(&b)
	r.rateTable(&b, "GET and PUT by clients", "values of 100 bytes", r.columns(100, "get", "put"))
	r.rateTable(&b, "Other cases", "64 clients unless another number stands there, values of 100 bytes; batches in keys/s, in requests of 1,000", r.columns(100,
		"get-stored", "get-session", "get-master", "put-if-match", "delete", "list", "batch-get", "batch-put"))
	r.rateTable(&b, "Larger values", "64 clients", append(r.columns(1<<10, "get", "put"), r.columns(64<<10, "get", "put")...))
	r.growthTable(&b)
	r.replicationTables(&b)
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

func (r *record) ratioTable(b *bytes.Buffer) {
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
func (r *record) columns(valueBytes int, cases ...string) (points []point) {
	for _, name := range cases {
		var some []point
		for _, m := range r.Measured {
			if m.Case == name && m.ValueBytes == valueBytes && !slices.Contains(some, m.point) {
				some = append(some, m.point)
			}
		}
		slices.SortFunc(some, func(a, b point) int { return a.Clients - b.Clients })
		points = append(points, some...)
	}
	return points
}

// mainSystems is the order of the tables.
var mainSystems = []string{ourMariaDB, ourEmbedded, "ceiling", "plain-mariadb", "bare-mariadb", "redis-webdis", "etcd", "fsync"}

// rateTable has a row for each system and a column for each point.
func (r *record) rateTable(b *bytes.Buffer, title, note string, points []point) {
	head := []string{"requests/s"}
	for _, p := range points {
		head = append(head, columnName(p))
	}
	var rows [][]string
	for _, system := range mainSystems {
		row, any := []string{"`" + system + "`"}, false
		for _, p := range points {
			m := find(r.Measured, system, p)
			if m == nil {
				row = append(row, "–")
				continue
			}
			any = true
			row = append(row, fmt.Sprintf("%.0f", spreadOf(m.Rounds, rate).Median))
		}
		if any {
			rows = append(rows, row)
		}
	}
	table(b, title, note, head, rows)
}

func columnName(p point) string {
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
func (r *record) growthTable(b *bytes.Buffer) {
	var rows [][]string
	for _, kind := range []string{onMariaDB, embedded} {
		for _, g := range r.sizes(kind) {
			get, put := find(r.Measured, g.system, getMany), find(r.Measured, g.system, putMany)
			row := []string{g.system, g.entries, g.partitions}
			for _, m := range []*measurement{get, put} {
				if m == nil {
					row = append(row, "–", "–")
					continue
				}
				row = append(row, spreadOf(m.Rounds, rate).String(), figure(spreadOf(m.Rounds, p99).Median))
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
func (r *record) sizes(kind string) (all []size) {
	add := func(system, entries, partitions string) {
		if find(r.Measured, system, getMany) != nil {
			all = append(all, size{system, entries, partitions})
		}
	}
	for _, n := range []string{"1e4", "1e5", "1e6", "1e7"} {
		add("runnel-"+kind+"-"+n, n, "3")
	}
	for _, n := range growthPartitions {
		add(fmt.Sprintf("runnel-%s-p%d", kind, n), powerOfTen(r.Keys), fmt.Sprint(n))
	}
	return all
}

// replicationTables tell of lag, of catching up, and of a fresh replica.
func (r *record) replicationTables(b *bytes.Buffer) {
	var lags, rates, times [][]string
	for _, m := range r.Measured {
		switch m.point {
		case lagIdle, lagBusy:
			beside := map[string]string{"lag": "no", "lag-busy": "1,000"}[m.Case]
			lags = append(lags, []string{m.System, beside, spreadOf(m.Rounds, p50).String(), spreadOf(m.Rounds, p99).String()})
		case catchUp:
			rates = append(rates, []string{m.System, spreadOf(m.Rounds, rate).String()})
		case fresh:
			times = append(times, []string{m.System, spreadOf(m.Rounds, seconds).String()})
		}
	}
	table(b, "From a write's answer until every replica can read it", "two replicas, each on a server of its own",
		[]string{"replication", "other writes/s", "p50 ms", "p99 ms"}, lags)
	table(b, "Catching up after an outage", "one replica, entries of 100 bytes that were written one a transaction", []string{"replication", "entries/s"}, rates)
	table(b, "A fresh replica of 10^6 entries", "", []string{"replication", "seconds"}, times)
}

func (r *record) memoryTable(b *bytes.Buffer) {
	var rows [][]string
	for _, name := range slices.Sorted(maps.Keys(r.Resident)) {
		rows = append(rows, []string{name, fmt.Sprintf("%.0f", float64(r.Resident[name])/(1<<20))})
	}
	for _, m := range r.Measured {
		if m.point == residentFilled || m.point == residentStarted {
			name := map[string]string{residentFilled.Case: "idle after 10^6 entries were written", residentStarted.Case: "idle after a start on 10^6 entries"}[m.Case]
			rows = append(rows, []string{m.System + ", " + name, fmt.Sprintf("%.0f", spreadOf(m.Rounds, mebibytes).Median)})
		}
	}
	table(b, "Resident memory", "of each process, right after the measurements with 256 clients and large values, unless it says idle", []string{"process", "MiB"}, rows)
}

// everything writes the complete table of requests, collapsed.
func (r *record) everything(b *bytes.Buffer) {
	if len(r.sorted()) == 0 {
		return
	}
	b.WriteString("\n<details><summary>Every measurement</summary>\n\n```text\n")
	r.writeTable(b)
	b.WriteString("```\n\n</details>\n")
}
