package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// startRedis starts redis-server, which syncs every write before the answer, and webdis. Rewriting of the
// append-only file is off: with large values, rewriting would block writes for seconds and compete for the disk.
func (s *testbed) startRedis(ctx context.Context) (*system, error) {
	for _, program := range []string{"redis-server", "webdis"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, err
		}
	}
	redis, err := freeAddress()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(s.dir, "redis")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	store, err := s.start("redis", exec.Command("redis-server", "--bind", "127.0.0.1", "--port", portOf(redis), "--dir", dir,
		"--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0", "--save", "", "--daemonize", "no"))
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(s.dir, "webdis.json")
	if err := os.WriteFile(file, webdisConfig(portOf(redis), portOf(address)), 0o600); err != nil {
		return nil, err
	}
	gateway, err := s.start("webdis", exec.Command("webdis", file))
	if err != nil {
		return nil, err
	}
	return &system{address: address, processes: []*process{store, gateway}, templates: webdisTemplates},
		gateway.await(ctx, answers("http://"+address+"/PING"))
}

// webdisConfig is the package's configuration with a thread for each processor and without a log.
func webdisConfig(redis, port string) []byte {
	redisPort, _ := strconv.Atoi(redis)
	httpPort, _ := strconv.Atoi(port)
	text, err := json.Marshal(map[string]any{
		"redis_host": "127.0.0.1", "redis_port": redisPort, "http_host": "127.0.0.1", "http_port": httpPort,
		"threads": 2, "daemonize": false, "database": 0, "verbosity": 0, "logfile": os.DevNull,
	})
	if err != nil {
		panic(err) // all fields are numbers and strings
	}
	return text
}

// startEtcd starts a cluster of a single member.
func (s *testbed) startEtcd(ctx context.Context) (*system, error) {
	if _, err := exec.LookPath("etcd"); err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	peer, err := freeAddress()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("etcd", "--data-dir", filepath.Join(s.dir, "etcd"), "--name", "bench",
		"--listen-client-urls", "http://"+address, "--advertise-client-urls", "http://"+address,
		"--listen-peer-urls", "http://"+peer, "--initial-advertise-peer-urls", "http://"+peer, "--initial-cluster", "bench=http://"+peer,
		"--quota-backend-bytes", strconv.Itoa(8<<30), "--log-level", "error")
	cmd.Env = append([]string{fmt.Sprintf("GOGC=%d", gcPercent)}, os.Environ()...) // the environment's GOGC overrides
	p, err := s.start("etcd", cmd)
	if err != nil {
		return nil, err
	}
	return &system{address: address, processes: []*process{p}, templates: etcdTemplates}, p.await(ctx, answers("http://"+address+"/health"))
}

// settleTimeout bounds the wait for replicas to become better.
const settleTimeout = time.Minute

// level returns when no partition of the runnel at url is behind, or fails when they come no nearer for a minute.
func level(ctx context.Context, url string) error {
	least, since := int64(math.MaxInt64), time.Now()
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		behind, err := lag(ctx, url)
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
func lag(ctx context.Context, url string) (total int64, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/status", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(r)
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
