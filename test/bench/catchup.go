package main

import (
	"context"
	"fmt"
	"os/exec"
	"time"

	"github.com/runnelkv/runnel/test/bench/internal/report"
	"github.com/runnelkv/runnel/test/bench/internal/testbed"
)

// The entries to copy: a replica after an outage lacks missedKeys in each round, a new replica lacks freshKeys.
const (
	missedKeys     = 30_000
	missedKeysLong = 200_000
	freshKeys      = 1_000_000
	freshRounds    = 3 // at most: each takes long
)

// catchingUp compares a Runnel of two partitions, of which the second is on a replica's server, with MariaDB's
// replication to that server.
type catchingUp struct {
	*bench
	replicas *testbed.Replicas
	urls     []string
}

func (b *bench) missed() int {
	if b.long {
		return missedKeysLong
	}
	return missedKeys
}

// syncOnce runs "runnel sync --once", which levels all partitions or fails, and returns the duration of the
// process.
func (c *catchingUp) syncOnce(ctx context.Context, urls []string) (time.Duration, error) {
	file, err := c.testbed.Configure("catch-up", urls)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	out, err := exec.CommandContext(ctx, c.testbed.Runnel, "sync", "--once", "--config", file).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("runnel sync --once: %w\n%s", err, out)
	}
	return time.Since(began), nil
}

// run measures the missed entries and then the fresh replica.
func (c *catchingUp) run(ctx context.Context) error {
	if err := testbed.Statements(ctx, c.replicas.Read[1], "STOP SLAVE"); err != nil { // the second replica would compete for processors
		return err
	}
	c.urls = []string{c.testbed.Database.URL("copy_0"), c.replicas.Servers[0].URL("copy_1")}
	if _, err := c.syncOnce(ctx, c.urls); err != nil { // founds the cluster
		return err
	}
	if err := c.afterOutage(ctx); err != nil {
		return err
	}
	return c.freshReplica(ctx)
}

// afterOutage measures the rate at which a replica gets the writes of a time without sync.
func (c *catchingUp) afterOutage(ctx context.Context) error {
	n := c.missed()
	c.progress.begin("catching up on %d entries", n)
	from, to, err := c.replicas.Singles(ctx, "single-", n)
	if err != nil {
		return err
	}
	for round := range c.settings.rounds {
		took, err := c.catchUpOnce(ctx, fmt.Sprintf("missed-%d-", round), n)
		if err != nil {
			return err
		}
		c.addReport("runnel-mariadb", report.CatchUp, report.Report{PerSecond: float64(n) / took.Seconds()})
		for _, threads := range []int{0, 4} {
			took, err := c.replayWith(ctx, threads, from, to)
			if err != nil {
				return err
			}
			c.addReport(replicationName(threads), report.CatchUp, report.Report{PerSecond: float64(n) / took.Seconds()})
		}
		c.progress.step(c.expectedMissed(), "catching up: round %d", round+1)
	}
	return nil
}

func (b *bench) expectedMissed() time.Duration { return time.Duration(b.missed()) * time.Second / 3000 }

// catchUpOnce writes n entries to the master alone, and then syncs the second partition.
func (c *catchingUp) catchUpOnce(ctx context.Context, prefix string, n int) (time.Duration, error) {
	parts, err := testbed.OpenCluster(ctx, c.urls)
	if err != nil {
		return 0, err
	}
	defer parts.Close()
	last, err := parts.Load(ctx, prefix, n)
	if err != nil {
		return 0, err
	}
	took, err := c.syncOnce(ctx, c.urls)
	if err == nil {
		err = parts.Await(ctx, last) // verifies the exit status
	}
	return took, err
}

// replicationName returns the name of MariaDB's replication with the default of a single applying thread, or with
// more threads.
func replicationName(threads int) string {
	if threads == 0 {
		return "mariadb-replication"
	}
	return fmt.Sprintf("mariadb-replication-%d-threads", threads)
}

func (c *catchingUp) replayWith(ctx context.Context, threads int, from, to string) (time.Duration, error) {
	if err := testbed.Statements(ctx, c.replicas.Read[0], "STOP SLAVE", fmt.Sprintf("SET GLOBAL slave_parallel_threads = %d", threads)); err != nil {
		return 0, err
	}
	return c.replicas.Replay(ctx, 0, from, to)
}

// freshReplica measures how long an empty replica takes: Runnel's, MariaDB's with transactions of 1,000 rows, and
// a dump that is loaded.
func (c *catchingUp) freshReplica(ctx context.Context) error {
	c.progress.begin("a fresh replica of %d entries", freshKeys)
	from, to, err := c.replicas.Thousands(ctx, "fresh-", freshKeys)
	if err != nil {
		return err
	}
	if err := c.fillMaster(ctx); err != nil {
		return err
	}
	for round := range min(freshRounds, c.settings.rounds) {
		urls := []string{c.testbed.Database.URL("fresh_0"), c.replicas.Servers[0].URL(fmt.Sprintf("fresh_1_%d", round))}
		for name, measure := range map[string]func() (time.Duration, error){
			"runnel-mariadb":      func() (time.Duration, error) { return c.syncOnce(ctx, urls) },
			"mariadb-replication": func() (time.Duration, error) { return c.replayWith(ctx, 0, from, to) },
			"mariadb-dump":        func() (time.Duration, error) { return c.dump(ctx) },
		} {
			took, err := measure()
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			c.addReport(name, report.Fresh, report.Report{Value: took.Seconds(), PerSecond: freshKeys / took.Seconds()})
			c.progress.step(expectedFresh, "a fresh replica: round %d", round+1)
		}
	}
	return nil
}

const expectedFresh = 10 * time.Second

// fillMaster makes a Runnel of one partition with all entries.
func (c *catchingUp) fillMaster(ctx context.Context) error {
	urls := []string{c.testbed.Database.URL("fresh_0")}
	if _, err := c.syncOnce(ctx, urls); err != nil {
		return err
	}
	parts, err := testbed.OpenCluster(ctx, urls)
	if err != nil {
		return err
	}
	defer parts.Close()
	_, err = parts.Load(ctx, "fresh-", freshKeys)
	return err
}

// dump copies the primary's table as MariaDB's manual says into a database, which is dropped afterwards.
func (c *catchingUp) dump(ctx context.Context) (time.Duration, error) {
	replica := c.replicas.Read[0]
	if err := testbed.Statements(ctx, replica, "STOP SLAVE", "DROP DATABASE IF EXISTS dumped", "CREATE DATABASE dumped"); err != nil {
		return 0, err
	}
	const pipe = `mariadb-dump --no-defaults -h 127.0.0.1 -P "$1" -u root --single-transaction bench_plain plain | mariadb --no-defaults -h 127.0.0.1 -P "$2" -u root dumped`
	cmd := exec.CommandContext(ctx, "sh", "-c", pipe, "sh", testbed.PortOf(c.replicas.Primary.Address), testbed.PortOf(c.replicas.Servers[0].Address))
	cmd.Env = append(cmd.Environ(), "MYSQL_PWD="+testbed.DatabasePassword)
	began := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("mariadb-dump: %w\n%s", err, out)
	}
	took := time.Since(began)
	var n int
	if err := replica.QueryRowContext(ctx, "SELECT COUNT(*) FROM dumped.plain").Scan(&n); err != nil || n < freshKeys {
		return 0, fmt.Errorf("the dump has %d rows: %w", n, err)
	}
	return took, nil
}
