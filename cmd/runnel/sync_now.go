package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// syncReport is the answer of POST /v1/sync.
type syncReport struct {
	Targets []struct {
		Name      string `json:"name"`
		State     string `json:"state"`
		Error     string `json:"error"`
		Copied    int64  `json:"copied"`
		Remaining int64  `json:"remaining"`
	} `json:"targets"`
}

// syncNow has a server make a pass, and prints what came of it.
func (p *program) syncNow(ctx context.Context) error {
	c, err := p.client()
	if err != nil {
		return err
	}
	resp, err := c.do(ctx, request{method: http.MethodPost, path: "/v1/sync", proof: "application/json", repeatable: true,
		header: http.Header{"Accept": {"application/json"}}})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var report syncReport
	if err := json.NewDecoder(resp.Body).Decode(&report); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	level := true
	for _, t := range report.Targets {
		level = level && t.State == "level"
		line := fmt.Sprintf("%s: %s, %d copied, %d remaining", t.Name, t.State, t.Copied, t.Remaining)
		if t.Error != "" {
			line += ": " + t.Error
		}
		if _, err := fmt.Fprintln(p.shown(), line); err != nil {
			return err
		}
	}
	if !level {
		return &exitError{code: exitFailed, err: errSilent}
	}
	return nil
}
