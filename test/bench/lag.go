package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/runnelkv/runnel/test/bench/internal/report"
	"github.com/runnelkv/runnel/test/bench/internal/testbed"
	"golang.org/x/sync/errgroup"
)

// follower is a kind of replication with a measurable lag: the time from a write's answer until every replica can
// read the write.
type follower struct {
	name     string
	write    func(ctx context.Context, key string) (mark string, err error)
	replicas []*sql.DB
	readable string // reads on a replica whether the entry of args exists
	args     func(key, mark string) []any
	// slow followers take concurrent samples and poll less often
	slow bool
}

const (
	lagSamples     = 200
	lagSamplesSlow = 60
	lagPatience    = 10 * time.Second
	lagOthers      = 1000 // writes a second
)

// intervals returns the pause between samples, the pause between polls of a replica, and the number of samples.
func (f *follower) intervals() (every, poll time.Duration, samples int) {
	if f.slow {
		return 50 * time.Millisecond, 5 * time.Millisecond, lagSamplesSlow
	}
	return 5 * time.Millisecond, 100 * time.Microsecond, lagSamples
}

func (f *follower) expected() time.Duration {
	every, _, samples := f.intervals()
	return time.Duration(samples)*every + 2*time.Second
}

// lag measures f once, in the second case during writes.
func (f *follower) lag(ctx context.Context, p report.Point) (report.Report, error) {
	others, stop := context.WithCancel(ctx)
	group, others := errgroup.WithContext(others)
	if p == report.LagBusy {
		for i := range p.Clients {
			group.Go(func() error { return f.writeSteadily(others, fmt.Sprintf("other-%02d-", i), lagOthers/p.Clients) })
		}
	}
	times, err := f.samples(others)
	stop()
	if groupErr := group.Wait(); groupErr != nil && !errors.Is(groupErr, context.Canceled) {
		err = errors.Join(err, groupErr)
	}
	r := reportDirect(times, time.Second)
	r.PerSecond = 0 // samples are no load
	return r, err
}

// samples returns the times from writes' answers until every replica can read them.
func (f *follower) samples(ctx context.Context) (times []time.Duration, err error) {
	every, _, n := f.intervals()
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	if !f.slow {
		group.SetLimit(1)
	}
	for i := range n {
		group.Go(func() error {
			d, err := f.sample(ctx, fmt.Sprintf("sample-%04d", i))
			mu.Lock()
			defer mu.Unlock()
			times = append(times, d)
			return err
		})
		if err := testbed.Pause(ctx, every); err != nil {
			break // group.Wait returns the reason
		}
	}
	return times, group.Wait()
}

// sample writes a key and returns the time from the answer until the last replica can read the key.
func (f *follower) sample(ctx context.Context, key string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, lagPatience)
	defer cancel()
	mark, err := f.write(ctx, key)
	if err != nil {
		return 0, err
	}
	answered := time.Now()
	_, poll, _ := f.intervals()
	for _, db := range f.replicas {
		for {
			var n int
			if err := db.QueryRowContext(ctx, f.readable, f.args(key, mark)...).Scan(&n); err != nil {
				return 0, fmt.Errorf("%s: wait for %s: %w", f.name, key, err)
			}
			if n > 0 {
				break
			}
			if err := testbed.Pause(ctx, poll); err != nil {
				return 0, fmt.Errorf("%s: wait for %s: %w", f.name, key, err)
			}
		}
	}
	return time.Since(answered), nil
}

// writeSteadily writes perSecond keys per second until ctx ends. Missed ticks are not made up for.
func (f *follower) writeSteadily(ctx context.Context, prefix string, perSecond int) error {
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if _, err := f.write(ctx, fmt.Sprintf("%s%05d", prefix, i%10_000)); err != nil {
			return err
		}
	}
}

// throughRunnel follows a Runnel with its master on the first partition.
func throughRunnel(name string, s *testbed.System, replicas []*sql.DB, slow bool) *follower {
	return &follower{name: name, replicas: replicas, slow: slow,
		write: func(ctx context.Context, key string) (string, error) {
			header, err := put(ctx, "http://"+s.Address+"/v1/keys/"+name+"-"+key)
			return strings.Trim(header.Get("ETag"), `"`), err
		},
		readable: "SELECT COUNT(*) FROM entries WHERE origin = ? AND revision = ?",
		args:     func(_, revision string) []any { return []any{string(testbed.Master), revision} },
	}
}

// throughMariaDB follows MariaDB's own replication.
func throughMariaDB(r *testbed.Replicas) *follower {
	return &follower{name: "mariadb-replication", replicas: r.Read[:],
		write: func(ctx context.Context, key string) (string, error) {
			value := fmt.Sprintf("%0100d", time.Now().UnixNano())
			_, err := r.Write.ExecContext(ctx, testbed.PlainPut, key, value)
			return value, err
		},
		readable: "SELECT COUNT(*) FROM plain WHERE name = ? AND value = ?",
		args:     func(key, value string) []any { return []any{key, value} },
	}
}

// put writes 100 bytes and returns the answer's header.
func put(ctx context.Context, url string) (http.Header, error) {
	value := fmt.Sprintf("%0100d", time.Now().UnixNano())
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, url, strings.NewReader(value))
	if err != nil {
		return nil, err
	}
	resp, err := steady.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 || resp.Header.Get("ETag") == "" {
		return nil, fmt.Errorf("PUT %s: %s", url, resp.Status)
	}
	return resp.Header, nil
}

// steady keeps a connection for each writer.
var steady = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: report.LagBusy.Clients + lagSamplesSlow}}
