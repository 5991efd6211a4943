package report

import (
	"fmt"
	"strings"
	"time"
)

// Point is a case with a number of clients and a size of values.
type Point struct {
	Case       string `json:"case"`
	Clients    int    `json:"clients"`
	ValueBytes int    `json:"value_bytes"`
}

// Writes reports whether the requests of the point write.
func (p Point) Writes() bool { return p.Case == "delete" || strings.Contains(p.Case, "put") }

// String formats the point for a log.
func (p Point) String() string {
	return fmt.Sprintf("%s, %d clients, %d bytes", p.Case, p.Clients, p.ValueBytes)
}

// Measurement holds the reports of a point on a system in all rounds.
type Measurement struct {
	System string `json:"system"`
	Point
	Rounds []Report `json:"rounds"`
}

// Report is the result of a plan or of another measurement in a round.
type Report struct {
	Requests  int64            `json:"requests"`
	Errors    int64            `json:"errors"`
	Samples   map[string]int64 `json:"samples,omitempty"`
	PerSecond float64          `json:"per_second"`
	P50       time.Duration    `json:"p50_ns"`
	P95       time.Duration    `json:"p95_ns"`
	P99       time.Duration    `json:"p99_ns"`
	P999      time.Duration    `json:"p999_ns"`
	// Value is the figure of a measurement without a rate, in seconds or MiB.
	Value float64 `json:"value,omitempty"`
	// ServerCPU and ClientCPU are the processor times of the system's processes and of the client, per request, or
	// per key of a batch. Both are totals of the run, scaled to its measured part.
	ServerCPU time.Duration `json:"server_cpu_ns"`
	ClientCPU time.Duration `json:"client_cpu_ns"`
}

// PerItem divides the rate and the processor time of requests by the number of items. Latencies remain those of
// requests.
func (r *Report) PerItem(items int) {
	if items > 0 {
		r.PerSecond *= float64(items)
		r.ServerCPU /= time.Duration(items)
		r.ClientCPU /= time.Duration(items)
	}
}

// Find returns the measurement of a point on a system, or nil.
func Find(all []*Measurement, system string, p Point) *Measurement {
	for _, m := range all {
		if m.System == system && m.Point == p {
			return m
		}
	}
	return nil
}

// Failures counts the failed requests of all measurements.
func Failures(all []*Measurement) (n int64) {
	for _, m := range all {
		for _, r := range m.Rounds {
			n += r.Errors
		}
	}
	return n
}
