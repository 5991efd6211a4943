package main

import (
	"context"
	"fmt"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

// syncNow has a server make a pass, and prints what came of it.
func (p *program) syncNow(ctx context.Context) error {
	c, err := p.client("", client.Options{})
	if err != nil {
		return err
	}
	report, err := c.Sync(ctx)
	if err != nil {
		return err
	}
	level := true
	for _, t := range report.Targets {
		level = level && t.State == "level"
		line := fmt.Sprintf("%s: %s, %d copied, %d remaining", t.Name, t.State, t.Copied, t.Remaining)
		if t.Error != "" {
			line += ": " + string(t.Error)
		}
		if _, err := fmt.Fprintln(p.Display(), line); err != nil {
			return err
		}
	}
	if !level {
		return &console.ExitError{Code: console.ExitFailed, Err: console.ErrSilent}
	}
	return nil
}
