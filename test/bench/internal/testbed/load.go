package testbed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/mysql"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/store/partition/sqlite"
)

// Cluster is the partitions of a Runnel, opened by the bench in addition to the processes that serve them. The
// first is the master.
type Cluster []partition.Partition

const (
	loadBatch = 2000 // entries in a transaction
	// Master is the first partition of every Runnel.
	Master = partition.Origin("partition-0")
)

// OpenCluster opens the partitions at URLs, which a Runnel has made before.
func OpenCluster(ctx context.Context, urls []string) (c Cluster, err error) {
	for i, url := range urls {
		p, err := openPartition(url, fmt.Sprintf("partition-%d", i))
		if err == nil {
			c = append(c, p)
			err = p.Prepare(ctx)
		}
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

func openPartition(url, name string) (partition.Partition, error) {
	u, err := config.ParseURL(url)
	if err != nil {
		return nil, err
	}
	o := sqlengine.Options{Name: name, Timeout: time.Minute, MaxConns: 2}
	if u.Scheme == config.SQLite {
		return sqlite.Open(u.Path, o)
	}
	m := mysql.Config{Addr: net.JoinHostPort(u.Host, strconv.Itoa(u.Port)), User: u.User, Password: u.Password.Reveal(), Database: u.Database}
	return mysql.Open(m, o)
}

// Close closes the partitions; their processes go on.
func (c Cluster) Close() error {
	var errs []error
	for _, p := range c {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// Load commits n entries of 100 bytes to the master, like a second process on the master, and returns the last
// revision.
func (c Cluster) Load(ctx context.Context, prefix string, n int) (last partition.Revision, err error) {
	known, err := c[0].Cluster(ctx)
	if err != nil {
		return 0, err
	}
	for from := 0; from < n; from += loadBatch {
		entries := loaded(prefix, from, min(n, from+loadBatch))
		claim, err := c[0].Commit(ctx, partition.Batch{Epoch: known.Epoch, Revisions: len(entries), Write: entries})
		if err != nil {
			return 0, fmt.Errorf("load %s: %w", prefix, err)
		}
		last = claim.First + partition.Revision(len(entries)) - 1
	}
	return last, nil
}

// loaded returns the entries of some keys, equal to entries that the client writes.
func loaded(prefix string, from, to int) (entries []partition.Entry) {
	for i := from; i < to; i++ {
		value := []byte(strings.Repeat(fmt.Sprintf("%010d", i), 10))
		entries = append(entries, partition.Entry{Key: partition.Key(fmt.Sprintf("k/%s%08d", prefix, i)), Revision: partition.Revision(i - from),
			ContentType: "text/plain", Size: int64(len(value)), Checksum: partition.Checksum(value), Value: value})
	}
	return entries
}

// Await returns when every partition holds the master's writes up to a revision, or fails when none comes nearer for a minute.
func (c Cluster) Await(ctx context.Context, last partition.Revision) error {
	best, since := partition.Revision(0), time.Now()
	for {
		sum, level, err := c.held(ctx, last)
		if err != nil || level {
			return err
		}
		if sum > best {
			best, since = sum, time.Now()
		}
		if time.Since(since) > settleTimeout {
			return fmt.Errorf("the partitions do not come level with revision %d", last)
		}
		if err := Pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// held adds up how far the partitions are, and says whether all are at least at last and readable.
func (c Cluster) held(ctx context.Context, last partition.Revision) (sum partition.Revision, level bool, err error) {
	level = true
	for i, p := range c {
		all, err := p.Positions(ctx)
		if err != nil {
			return 0, false, err
		}
		at := all.Origins[Master]
		sum += at.Revision
		level = level && at.Revision >= last && (i == 0 || at.SyncedAt > 0)
	}
	return sum, level, nil
}
