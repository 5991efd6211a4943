package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"time"
)

// plan is a measurement in the format of "runnel bench --plan", which docs/cli.md explains.
type plan struct {
	Address     string   `json:"address"`
	Method      string   `json:"method"`
	Path        string   `json:"path"`
	Header      []string `json:"header,omitempty"`
	Body        string   `json:"body,omitempty"`
	Expect      []int    `json:"expect"`
	BodyBytes   int64    `json:"body_bytes"`
	Connections int      `json:"connections"`
	Prefix      string   `json:"prefix"`
	Keys        int      `json:"keys"`
	Order       string   `json:"order"`
	ValueBytes  int      `json:"value_bytes"`
	Seed        uint64   `json:"seed"`
	WarmupMS    int64    `json:"warmup_ms"`
	DurationMS  int64    `json:"duration_ms"`
	Requests    int64    `json:"requests"`
	Items       int      `json:"items,omitempty"`
	Item        string   `json:"item,omitempty"`
	Count       string   `json:"count,omitempty"`
}

// report is the result of a plan or of another measurement in a round.
type report struct {
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

// client runs plans with the runnel binary at path.
type client struct{ path string }

// run runs p against the server of s.
func (c client) run(ctx context.Context, s *system, p plan) (report, error) {
	input, err := json.Marshal(p)
	if err != nil {
		return report{}, err
	}
	cmd := exec.CommandContext(ctx, c.path, "bench", "--plan")
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &out, &errs
	before := s.cpu()
	if err := cmd.Run(); err != nil {
		return report{}, fmt.Errorf("measure %s: %w: %s", s.name, err, errs.String())
	}
	used := s.cpu() - before
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return report{}, fmt.Errorf("measure %s: %w", s.name, err)
	}
	if r.Requests > 0 {
		share := float64(p.DurationMS) / float64(p.DurationMS+p.WarmupMS) / float64(r.Requests)
		r.ServerCPU = time.Duration(float64(used) * share)
		r.ClientCPU = time.Duration(float64(cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()) * share)
	}
	r.perItem(p.Items)
	return r, nil
}

// perItem divides the rate and the processor time of requests by the number of items. Latencies remain those of
// requests.
func (r *report) perItem(items int) {
	if items > 0 {
		r.PerSecond *= float64(items)
		r.ServerCPU /= time.Duration(items)
		r.ClientCPU /= time.Duration(items)
	}
}
