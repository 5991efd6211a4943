package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// A replication is the time from a write's answer until every replica can read it.
type replication struct {
	System  string        `json:"system"`
	Writes  int           `json:"other_writes_per_second"` // that went on meanwhile
	Samples int           `json:"samples"`
	P50     time.Duration `json:"p50_ns"`
	P99     time.Duration `json:"p99_ns"`
	Max     time.Duration `json:"max_ns"`
}

const (
	replicationSamples  = 500
	replicationEvery    = 10 * time.Millisecond
	replicationPatience = 10 * time.Second
	replicationPoll     = 100 * time.Microsecond
	replicationOthers   = 1000 // writes a second
	replicationWriters  = 20
)

// readable asks a replica itself, beside Runnel, for a write.
const readable = "SELECT COUNT(*) FROM entries WHERE origin = ? AND revision = ?"

// replication measures how fast writes reach MariaDB's replicas, alone and beside 1,000 others a second.
func (b *bench) replication(ctx context.Context) ([]replication, error) {
	s := b.stand.find("runnel-mariadb")
	if s == nil {
		return nil, nil // the record says why
	}
	var replicas []*sql.DB
	for i := 1; i < 3; i++ {
		db, err := sql.Open("mysql", fmt.Sprintf("root:%s@tcp(%s)/bench_%d?interpolateParams=true", databasePassword, b.stand.address, i))
		if err != nil {
			return nil, err
		}
		defer db.Close()
		replicas = append(replicas, db)
	}
	var all []replication
	for _, writes := range []int{0, replicationOthers} {
		fmt.Fprintf(b.progress, "replication beside %d writes/s\n", writes)
		r, err := b.replicate(ctx, s, replicas, writes)
		if err != nil {
			return all, err
		}
		all = append(all, r)
	}
	return all, nil
}

// replicate takes samples while writes others a second go on.
func (b *bench) replicate(ctx context.Context, s *system, replicas []*sql.DB, writes int) (replication, error) {
	others, stop := context.WithCancel(ctx)
	url := "http://" + s.address + "/v1/keys/"
	group, others := errgroup.WithContext(others)
	for i := range min(writes, replicationWriters) {
		group.Go(func() error {
			return writeSteadily(others, fmt.Sprintf("%sother-%02d-", url, i), writes/replicationWriters)
		})
	}
	times, err := samples(others, url, replicas)
	stop()
	if groupErr := group.Wait(); groupErr != nil && !errors.Is(groupErr, context.Canceled) {
		err = errors.Join(err, groupErr)
	}
	return summarize(s.name, writes, times), err
}

// samples are the times that some writes took to every replica.
func samples(ctx context.Context, url string, replicas []*sql.DB) (times []time.Duration, err error) {
	for i := range replicationSamples {
		d, err := sample(ctx, fmt.Sprintf("%ssample-%04d", url, i), replicas)
		if err != nil {
			return times, err
		}
		times = append(times, d)
		if err := pause(ctx, replicationEvery); err != nil {
			return times, err
		}
	}
	return times, nil
}

// sample writes one key and returns how long after the answer the last replica can read it.
func sample(ctx context.Context, url string, replicas []*sql.DB) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, replicationPatience)
	defer cancel()
	etag, err := put(ctx, url)
	if err != nil {
		return 0, err
	}
	answered := time.Now()
	for _, db := range replicas {
		for {
			var n int
			if err := db.QueryRowContext(ctx, readable, "partition-0", strings.Trim(etag, `"`)).Scan(&n); err != nil {
				return 0, fmt.Errorf("wait for revision %s: %w", etag, err)
			}
			if n > 0 {
				break
			}
			if err := pause(ctx, replicationPoll); err != nil {
				return 0, fmt.Errorf("wait for revision %s: %w", etag, err)
			}
		}
	}
	return time.Since(answered), nil
}

// writeSteadily writes so many keys a second until ctx ends. It does not catch up on what it could not write in time.
func writeSteadily(ctx context.Context, url string, perSecond int) error {
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if _, err := put(ctx, fmt.Sprintf("%s%05d", url, i%10_000)); err != nil {
			return err
		}
	}
}

// put writes 100 bytes and returns the ETag.
func put(ctx context.Context, url string) (etag string, err error) {
	value := fmt.Sprintf("%0100d", time.Now().UnixNano())
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, url, strings.NewReader(value))
	if err != nil {
		return "", err
	}
	resp, err := steady.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return "", err
	}
	if resp.StatusCode/100 != 2 || resp.Header.Get("ETag") == "" {
		return "", fmt.Errorf("PUT %s: %s", url, resp.Status)
	}
	return resp.Header.Get("ETag"), nil
}

// steady keeps a connection for each writer.
var steady = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: replicationWriters + 1}}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func summarize(system string, writes int, times []time.Duration) replication {
	r := replication{System: system, Writes: writes, Samples: len(times)}
	if len(times) == 0 {
		return r
	}
	slices.Sort(times)
	at := func(q float64) time.Duration { return times[min(len(times)-1, int(q*float64(len(times))))] }
	r.P50, r.P99, r.Max = at(.5), at(.99), times[len(times)-1]
	return r
}

// writeReplication writes a line for each measurement.
func writeReplication(w io.Writer, all []replication) {
	for _, r := range all {
		fmt.Fprintf(w, "write to readable on both replicas, %s beside %d writes/s: p50 %.2f ms, p99 %.2f ms, longest %.2f ms (%d samples)\n",
			r.System, r.Writes, milliseconds(r.P50), milliseconds(r.P99), milliseconds(r.Max), r.Samples)
	}
	if len(all) > 0 {
		fmt.Fprintln(w)
	}
}
