package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/store/partition/sqlite"
)

const (
	benchClients = 64
	benchKeys    = 10_000
)

// BenchmarkGet and BenchmarkPut run 64 goroutines on a partition. On a busy machine only
// cpu-us/op and allocs/op are meaningful.
func BenchmarkGet(b *testing.B) { benchmarkOver(b, benchGet) }

func BenchmarkPut(b *testing.B) { benchmarkOver(b, benchPut) }

func benchmarkOver(b *testing.B, op func(*store.Store, store.Key) error) {
	for name, open := range map[string]func(*testing.B) *store.Store{"memory": benchMemory, "sqlite": benchSQLite} {
		b.Run(name, func(b *testing.B) {
			s := open(b)
			keys := make([]store.Key, benchKeys)
			for i := range keys {
				keys[i] = store.User.Key(fmt.Sprintf("users/%d", i))
			}
			each(b, benchClients, benchKeys, func(i int) error { return benchPut(s, keys[i]) })
			b.ReportAllocs()
			b.ResetTimer()
			began := cpu(b)
			each(b, benchClients, b.N, func(int) error { return op(s, keys[rand.IntN(benchKeys)]) })
			b.ReportMetric(float64((cpu(b)-began).Nanoseconds())/1e3/float64(b.N), "cpu-us/op")
		})
	}
}

func benchGet(s *store.Store, k store.Key) error {
	_, err := s.Get(context.Background(), k, store.ReadOptions{Consistency: store.FromMaster})
	return err
}

var benchValue = make([]byte, 100)

func benchPut(s *store.Store, k store.Key) error {
	_, err := s.Put(context.Background(), store.Entry{Key: k, Value: benchValue})
	return err
}

// each calls f with 0..n-1 from several goroutines.
func each(b *testing.B, goroutines, n int, f func(int) error) {
	var next atomic.Int64
	var group sync.WaitGroup
	for range goroutines {
		group.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				if err := f(int(i - 1)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
}

// cpu is the processor time of this process.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchMemory is a partition that delays every operation.
func benchMemory(b *testing.B) *store.Store {
	p := memory.New("p0")
	p.Fail(func(op string) error {
		if op == memory.OpGet || op == memory.OpCommit {
			<-time.After(100 * time.Microsecond)
		}
		return nil
	})
	return benchStore(b, p)
}

func benchSQLite(b *testing.B) *store.Store {
	p, err := sqlite.Open(filepath.Join(b.TempDir(), "p0.db"), sqlengine.Options{Name: "p0"})
	if err != nil {
		b.Fatal(err)
	}
	return benchStore(b, p)
}

func benchStore(b *testing.B, ps ...partition.Partition) *store.Store {
	o := storetest.Options()
	o.Poll, o.Partitions = time.Second, ps
	s, err := store.Open(o)
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Connect(b.Context()); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}
