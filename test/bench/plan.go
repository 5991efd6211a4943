package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/runnelkv/runnel/test/bench/internal/report"
	"github.com/runnelkv/runnel/test/bench/internal/testbed"
)

// plan is a measurement in the format of "runnel bench --plan", which docs/cli.md explains.
type plan struct {
	Address     string   `json:"address"`
	HTTPS       bool     `json:"https"`
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

// client runs plans with the runnel binary at path.
type client struct{ path string }

// run runs p against the server of s.
func (c client) run(ctx context.Context, s *testbed.System, p plan) (report.Report, error) {
	input, err := json.Marshal(p)
	if err != nil {
		return report.Report{}, err
	}
	cmd := exec.CommandContext(ctx, c.path, "bench", "--plan")
	if s.CAFile != "" {
		cmd.Args = append(cmd.Args, "--cacert", s.CAFile)
	}
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &out, &errs
	before := s.CPU()
	if err := cmd.Run(); err != nil {
		return report.Report{}, fmt.Errorf("measure %s: %w: %s", s.Name, err, errs.String())
	}
	used := s.CPU() - before
	var r report.Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return report.Report{}, fmt.Errorf("measure %s: %w", s.Name, err)
	}
	if r.Requests > 0 {
		share := float64(p.DurationMS) / float64(p.DurationMS+p.WarmupMS) / float64(r.Requests)
		r.ServerCPU = time.Duration(float64(used) * share)
		r.ClientCPU = time.Duration(float64(cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()) * share)
	}
	r.PerItem(p.Items)
	return r, nil
}

// addSession replaces {session} in the header by the token of a new write to the server.
func (q *plan) addSession(ctx context.Context, address string) error {
	const hole = "{session}"
	if !slices.ContainsFunc(q.Header, func(h string) bool { return strings.Contains(h, hole) }) {
		return nil
	}
	header, err := put(ctx, "http://"+address+"/v1/keys/"+q.Prefix+"session")
	if err != nil {
		return err
	}
	token := header.Get("Runnel-Session")
	if token == "" {
		return errors.New("a PUT is answered without the header Runnel-Session")
	}
	q.Header = slices.Clone(q.Header)
	for i, h := range q.Header {
		q.Header[i] = strings.ReplaceAll(h, hole, token)
	}
	return nil
}
