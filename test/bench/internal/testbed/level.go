package testbed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"
)

// settleTimeout bounds the wait for replicas to become better.
const settleTimeout = time.Minute

// level returns when no partition of the runnel at url is behind, or fails when they come no nearer for a minute.
func level(ctx context.Context, client *http.Client, url string) error {
	least, since := int64(math.MaxInt64), time.Now()
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		behind, err := lag(ctx, client, url)
		if err != nil || behind == 0 {
			return err
		}
		if behind < least {
			least, since = behind, time.Now()
		}
		if time.Since(since) > settleTimeout {
			return fmt.Errorf("replicas of %s stay %d revisions behind", url, behind)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("replicas of %s are %d revisions behind: %w", url, behind, ctx.Err())
		}
	}
}

// lag returns the number of revisions by which the partitions of a runnel are behind, added up.
func lag(ctx context.Context, client *http.Client, url string) (total int64, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/status", nil)
	if err != nil {
		return 0, err
	}
	resp, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var status struct {
		Partitions []struct {
			Origins []struct {
				LagRevisions *int64 `json:"lag_revisions"`
			} `json:"origins"`
		} `json:"partitions"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&status); err != nil {
		return 0, fmt.Errorf("the status of %s: %w", url, err)
	}
	if len(status.Partitions) == 0 {
		return 0, errors.New("the status of " + url + " names no partition")
	}
	for _, p := range status.Partitions {
		for _, o := range p.Origins {
			if o.LagRevisions != nil {
				total += *o.LagRevisions
			}
		}
	}
	return total, nil
}

// Pause waits for a time, or until ctx ends.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
