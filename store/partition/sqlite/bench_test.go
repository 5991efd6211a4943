//go:build unix

package sqlite_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/partitiontest"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
)

// benchKeys is the number of entries in the partitions of the benchmarks.
const benchKeys = 100_000

// cpuTime returns the processor time of this process, which does not depend on the load of the
// machine.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// perEntry runs f, which handles n entries, and reports the processor time per entry and the 99th
// percentile of the calls.
func perEntry(b *testing.B, n int, f func() error) {
	b.ReportAllocs()
	var took []time.Duration
	start := cpuTime(b)
	for b.Loop() {
		begun := time.Now()
		if err := f(); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1e3, "p99-ms")
	b.ReportMetric(float64((cpuTime(b)-start).Nanoseconds())/float64(b.N*n)/1e3, "cpu-us/entry")
}

// filled returns the only master of a cluster, with benchKeys entries.
func filled(b *testing.B, valueBytes, keys int) *sqlengine.Engine {
	p := openSQLite(b, filepath.Join(b.TempDir(), "runnel.db"), sqlengine.Options{Name: "a"})
	partitiontest.Join(b, p)
	partitiontest.Finish(b, p)
	for i := 0; i < keys; i += 1000 {
		batch := batchOf(valueBytes, 1000, func(j int) int { return i + j })
		if _, err := p.Commit(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
	return p
}

func benchKey(i int) partition.Key { return partition.Key(fmt.Sprintf("k/%08d", i)) }

// batchOf returns a batch of n puts without a decision; key chooses the keys.
func batchOf(valueBytes, n int, key func(i int) int) partition.Batch {
	value := make([]byte, valueBytes)
	b := partition.Batch{Epoch: 1, Revisions: n, Write: make([]partition.Entry, n)}
	for i := range b.Write {
		b.Write[i] = partition.Entry{Key: benchKey(key(i)), Revision: partition.Revision(i), ContentType: "text/plain",
			Checksum: partition.Checksum(value), Size: int64(valueBytes), Value: value}
	}
	return b
}

// drawn draws n different keys.
func drawn(random *rand.Rand, n, keys int) func(int) int {
	seen, keysDrawn := make(map[int]bool, n), make([]int, 0, n)
	for len(keysDrawn) < n {
		if k := random.IntN(keys); !seen[k] {
			seen[k], keysDrawn = true, append(keysDrawn, k)
		}
	}
	return func(i int) int { return keysDrawn[i] }
}

func BenchmarkSQLiteGet(b *testing.B) {
	p := filled(b, 100, benchKeys)
	for _, n := range []int{1, 8, 32} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			random := rand.New(rand.NewPCG(1, 2))
			keys := make([]partition.Key, n)
			perEntry(b, n, func() error {
				key := drawn(random, n, benchKeys)
				for i := range keys {
					keys[i] = benchKey(key(i))
				}
				got, err := p.Get(context.Background(), keys)
				if err == nil && len(got) != n {
					err = fmt.Errorf("%d entries", len(got))
				}
				return err
			})
		})
	}
}

func BenchmarkSQLiteCommit(b *testing.B) {
	for _, size := range []struct{ bytes, keys int }{{100, benchKeys}, {1 << 10, benchKeys}, {64 << 10, 2000}} {
		b.Run(fmt.Sprintf("%dB", size.bytes), func(b *testing.B) {
			p := filled(b, size.bytes, size.keys)
			for _, n := range []int{1, 16, 64} {
				b.Run(fmt.Sprint(n), func(b *testing.B) {
					random := rand.New(rand.NewPCG(1, 2))
					perEntry(b, n, func() error {
						_, err := p.Commit(context.Background(), batchOf(size.bytes, n, drawn(random, n, size.keys)))
						return err
					})
				})
			}
		})
	}
}

func BenchmarkSQLiteApply(b *testing.B) {
	p := filled(b, 100, benchKeys)
	at := partition.Revision(0)
	for _, n := range []int{64, 1024, 8192} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			random := rand.New(rand.NewPCG(1, 2))
			perEntry(b, n, func() error {
				entries := batchOf(100, n, drawn(random, n, benchKeys)).Write
				for i := range entries {
					entries[i].Origin, entries[i].Revision = "z", at+partition.Revision(i)+1<<50
				}
				to := at + partition.Revision(n)
				c := partition.Copy{Origin: "z", From: positionOf(at), To: positionOf(to), Goal: positionOf(to), Entries: entries}
				at = to
				return p.Apply(context.Background(), c)
			})
		})
	}
}

// positionOf returns the position after n entries, beyond the revisions of the filled partition.
func positionOf(n partition.Revision) partition.Revision {
	if n == 0 {
		return 0
	}
	return n - 1 + 1<<50
}

func BenchmarkSQLiteSnapshot(b *testing.B) {
	p := filled(b, 100, benchKeys)
	perEntry(b, benchKeys, func() error {
		s, err := p.Snapshot(context.Background(), "a", 0)
		if err != nil {
			return err
		}
		defer s.Close()
		for n := 0; n < benchKeys; {
			got, err := s.Next(context.Background(), 1000, 1<<20)
			if err != nil {
				return err
			}
			n += len(got)
		}
		return nil
	})
}

func BenchmarkSQLiteList(b *testing.B) {
	p := filled(b, 100, benchKeys)
	perEntry(b, 1000, func() error {
		got, _, err := p.List(context.Background(), partition.Span{Limit: 1000, Values: true})
		if err == nil && len(got) != 1000 {
			err = fmt.Errorf("%d entries", len(got))
		}
		return err
	})
}
