package main

import (
	"context"
	"fmt"
	"time"

	"github.com/runnelkv/runnel/api/client"
)

// How long the server must say that its partitions are level: longer than it goes on by what it knew of a master before.
// And how long they may take.
const (
	benchLevelFor  = 1500 * time.Millisecond
	benchLevelMost = 2 * time.Minute
)

// awaitLevel waits until every partition that works has what was written, so that reads from any of them find it. It tells
// when that takes too long, and goes on: then the reads show it.
func (p *program) awaitLevel(ctx context.Context, level, most time.Duration) error {
	c, err := p.client("", client.Options{})
	if err != nil {
		return err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for began, since := time.Now(), time.Now(); time.Since(since) < level; {
		s, err := c.Status(ctx)
		if err != nil {
			return fmt.Errorf("wait for the replicas: %w", err)
		}
		if n := behind(s); n > 0 {
			since = time.Now()
			if time.Since(began) > most {
				fmt.Fprintf(p.Err, "the replicas are still %d revisions behind; what is not there yet is an error\n", n)
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// behind is how many revisions the partitions that work are behind, all together.
func behind(s *client.Status) (total int64) {
	for _, part := range s.Partitions {
		if !client.Healthy(part) {
			continue
		}
		for _, o := range part.Origins {
			total += o.LagRevisions
		}
	}
	return total
}
