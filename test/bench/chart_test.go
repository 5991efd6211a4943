package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/bench/internal/report"
)

// sampleRecord returns a record with an invented value for every figure.
func sampleRecord() *report.Record {
	random := rand.New(rand.NewPCG(5, 5))
	all := everyMeasurement(report.FullPoints(), true)
	rates := map[string]float64{"ceiling": 64000, report.OurMariaDB: 44000, report.OurEmbedded: 52000, "plain-mariadb": 21000, "redis-webdis": 60000, "etcd": 11000}
	for _, m := range all {
		base := rates[m.System]
		if base == 0 {
			base = 40_000
		}
		if strings.HasPrefix(m.Case, "put") {
			base /= 2
		}
		for i := range m.Rounds {
			m.Rounds[i] = report.Report{Requests: 10, PerSecond: base, P50: time.Millisecond, P99: 4 * time.Millisecond, Value: 90}
		}
		for range 4 {
			r := m.Rounds[0]
			r.PerSecond *= 0.85 + 0.3*random.Float64()
			r.P99 = time.Duration(float64(r.P99) * (0.8 + random.Float64()))
			m.Rounds = append(m.Rounds, r)
		}
	}
	r := &report.Record{Measured: all, Rounds: 5, Seconds: 1, Keys: 100_000, Machine: "2 × Processor <&>", Began: time.Now(),
		Resident: map[string]int64{"etcd": 100 << 20}, Missing: map[string]string{"etcd": "no etcd | here"}}
	r.Ratios = report.Outcomes(all, func(report.Phase) bool { return true }, true, r.Reason)
	return r
}

// without drops the measurements of a system.
func without(system string, r *report.Record) *report.Record {
	r.Measured = slices.DeleteFunc(r.Measured, func(m *report.Measurement) bool { return m.System == system })
	r.Ratios = report.Outcomes(r.Measured, func(report.Phase) bool { return true }, true, r.Reason)
	return r
}

func TestChartIsWholeXMLAndSaysWhatIsMissing(t *testing.T) {
	for name, r := range map[string]*report.Record{"all": sampleRecord(), "no etcd": without("etcd", sampleRecord()), "nothing": {}} {
		svg, err := r.SVG()
		if err != nil {
			t.Fatal(err)
		}
		for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		missing := strings.Contains(string(svg), "not available")
		if missing != (name == "no etcd") || name == "all" && !strings.Contains(string(svg), "put-p99-embedded/ceiling") {
			t.Errorf("%s: says not available: %v", name, missing)
		}
		if bytes.Contains(svg, []byte("NaN")) || bytes.Contains(svg, []byte("Inf")) || bytes.Contains(svg, []byte("ZgotmplZ")) {
			t.Errorf("%s: a number is none", name)
		}
	}
}

func TestMarkdownHoldsEveryTable(t *testing.T) {
	text := string(without("etcd", sampleRecord()).Markdown())
	for _, want := range []string{"### Ratios and targets", "### GET and PUT by clients", "### Other cases", "### Larger values", "### Growth",
		"### From a write's answer until every replica can read it", "### Catching up after an outage", "### A fresh replica", "### Resident memory",
		"| get-mariadb/etcd | not available: no etcd \\| here |", "GET 64 KiB", "BATCH-PUT", "| runnel-embedded-1e7 | 1e7 | 3 |", "| runnel-mariadb-p8 | 1e5 | 8 |"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not there", want)
		}
	}
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "| ") && strings.HasSuffix(line, "| |") {
			t.Errorf("an empty cell ends %q", line)
		}
	}
}
