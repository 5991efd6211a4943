package mysql_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/mysqltest"
	"github.com/runnelkv/runnel/store/partition/partitiontest"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/test/servers"
)

// The benchmarks of this file report the processor time of an entry, in the client (client-µs) and
// in the server (server-µs). On a busy machine processor time is more precise than elapsed time.
// Server time requires that the process of the server is visible:
//
//	RUNNEL_BENCH_MYSQL=mysql://root:PASSWORD@HOST:PORT RUNNEL_BENCH_MYSQL_PID=… \
//		go test ./store/partition/mysql -run '^$' -bench MySQL
//
// Without the first variable the benchmarks use the MariaDB server that the tests share.

const mysqlBenchKeys = 100_000

// benchPartition returns an empty partition on the server of the benchmarks.
func benchPartition(b *testing.B, name string) *sqlengine.Engine {
	b.Helper()
	address := os.Getenv("RUNNEL_BENCH_MYSQL")
	if address == "" {
		return mysqltest.Prepared(b, mysqltest.Config(b, servers.MariaDB(b).Database(b)), sqlengine.Options{Name: name})
	}
	c := mysqltest.Config(b, address)
	c.Database = fmt.Sprintf("runnel_bench_%d_%s", os.Getpid(), name)
	db := servers.Open(b, address+"/")
	drop := func() { _, _ = db.ExecContext(context.Background(), "DROP DATABASE IF EXISTS "+c.Database) }
	drop()
	b.Cleanup(drop)
	p := mysqltest.Prepared(b, c, sqlengine.Options{Name: name})
	b.Cleanup(func() { _ = p.Close() })
	return p
}

// fullPartition returns a partition with mysqlBenchKeys entries of its own.
func fullPartition(b *testing.B) *sqlengine.Engine {
	p := benchPartition(b, "a")
	partitiontest.Join(b, p)
	partitiontest.Finish(b, p)
	for i := range mysqlBenchKeys / 1000 {
		if _, err := p.Commit(b.Context(), partitiontest.Blind(1000, i)); err != nil {
			b.Fatal(err)
		}
	}
	return p
}

// someEntries returns n entries of a service's usual size, with distinct random keys.
func someEntries(n int) []partition.Entry {
	entries := make([]partition.Entry, 0, n)
	taken := make(map[int]bool, n)
	for len(entries) < n {
		k := rand.IntN(mysqlBenchKeys)
		if taken[k] {
			continue
		}
		taken[k] = true
		value := []byte(strings.Repeat("v", 100))
		entries = append(entries, partition.Entry{Key: partition.Key(fmt.Sprintf("k/%d", k)), Revision: partition.Revision(len(entries)),
			ContentType: "text/plain", Size: 100, Checksum: partition.Checksum(value), Value: value, ModifiedAt: 1_700_000_000_000_000})
	}
	return entries
}

// measured runs work, which handles n entries per call, and reports the cost per entry. prepare
// runs before each call and is not measured.
func measured(b *testing.B, n int, prepare, work func(i int)) {
	b.ReportAllocs()
	b.ResetTimer()
	b.StopTimer()
	var client, server time.Duration
	for i := range b.N {
		prepare(i)
		s := serverCPU(b)
		c := clientCPU()
		b.StartTimer()
		work(i)
		b.StopTimer()
		client += clientCPU() - c
		server += serverCPU(b) - s
	}
	each := 1e3 * float64(n) * float64(b.N)
	b.ReportMetric(float64(client)/each, "client-µs/entry")
	b.ReportMetric(float64(server)/each, "server-µs/entry")
	b.ReportMetric(float64(b.Elapsed())/each, "µs/entry")
}

func clientCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// serverCPU returns the processor time of all threads of the server.
func serverCPU(b *testing.B) (total time.Duration) {
	pid := os.Getenv("RUNNEL_BENCH_MYSQL_PID")
	if pid == "" {
		return 0
	}
	files, _ := filepath.Glob("/proc/" + pid + "/task/*/schedstat")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		var ns int64
		if _, err := fmt.Sscan(string(text), &ns); err != nil {
			b.Fatal(err)
		}
		total += time.Duration(ns)
	}
	return total
}

func BenchmarkMySQLCommit(b *testing.B) {
	p := fullPartition(b)
	for _, n := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			batch := partition.Batch{Epoch: 1, Revisions: n}
			measured(b, n, func(int) { batch.Write = someEntries(n) }, func(int) {
				if _, err := p.Commit(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

func BenchmarkMySQLGet(b *testing.B) {
	p := fullPartition(b)
	for _, n := range []int{1, 8, 32, 128} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			keys := make([]partition.Key, n)
			again := max(1, 256/n) // so that the cost of measuring is negligible
			measured(b, n*again, func(int) {
				for i, e := range someEntries(n) {
					keys[i] = e.Key
				}
			}, func(int) {
				for range again {
					if got, err := p.Get(b.Context(), keys); err != nil || len(got) != n {
						b.Fatal(len(got), err)
					}
				}
			})
		})
	}
}

// BenchmarkMySQLApply measures a replica that follows: each step replaces entries.
func BenchmarkMySQLApply(b *testing.B) {
	p := benchPartition(b, "b")
	c := partition.Copy{Origin: "a"}
	step := func(entries []partition.Entry) {
		c.From, c.To = c.To, c.To+partition.Revision(len(entries))
		c.Goal, c.SyncedAt, c.Entries = c.To, c.SyncedAt+1, entries
		for i := range entries {
			entries[i].Origin, entries[i].Revision = "a", c.From+1+partition.Revision(i)
		}
	}
	apply := func(b *testing.B) {
		if err := p.Apply(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
	for range mysqlBenchKeys / 5000 {
		step(someEntries(10_000))
		apply(b)
	}
	for _, n := range []int{0, 1, 16, 64, 1024, 8192} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			measured(b, max(n, 1), func(int) { step(someEntries(n)) }, func(int) { apply(b) })
		})
	}
}

// BenchmarkMySQLFill measures a replica that is empty at the start.
func BenchmarkMySQLFill(b *testing.B) {
	p := benchPartition(b, "b")
	c := partition.Copy{Origin: "a"}
	for _, n := range []int{2000, 8192} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			measured(b, n, func(int) {
				c.From, c.To = c.To, c.To+partition.Revision(n)
				c.Goal, c.Entries = c.To+1, someEntries(n)
				for i := range c.Entries {
					e := &c.Entries[i]
					e.Origin, e.Revision = "a", c.From+1+partition.Revision(i)
					e.Key = partition.Key(fmt.Sprintf("k/%016x", rand.Int64()))
				}
			}, func(int) {
				if err := p.Apply(b.Context(), c); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

func BenchmarkMySQLSnapshot(b *testing.B) {
	p := fullPartition(b)
	positions, err := p.Positions(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	head := positions.Origins["a"].Revision
	for _, n := range []int{0, 64, mysqlBenchKeys} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			measured(b, max(n, 1), func(int) {}, func(int) { readSnapshot(b, p, head-partition.Revision(n), n) })
		})
	}
}

func readSnapshot(b *testing.B, p partition.Partition, after partition.Revision, want int) {
	s, err := p.Snapshot(b.Context(), "a", after)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	read := 0
	for {
		entries, err := s.Next(b.Context(), 2000, 8<<20)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			b.Fatal(err)
		}
		read += len(entries)
	}
	if read != want {
		b.Fatalf("%d entries were read, want %d", read, want)
	}
}
