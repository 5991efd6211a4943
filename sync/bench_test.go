//go:build unix

package sync

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/store/partition/sqlite"
)

// fixed is a cluster of SQLite partitions, the first of which is the master.
type fixed []store.Replica

func (f fixed) Replicas() []store.Replica           { return f }
func (f fixed) Committed(string) store.Revision     { return 0 }
func (f fixed) Origins() []store.Origin             { return []store.Origin{store.Origin(f[0].Name())} }
func (f fixed) Observe(string, partition.Positions) {}
func (f fixed) Advance(string, partition.Position)  {}
func (f fixed) SetBack(string, string, error)       {}

func openFixed(b *testing.B, n int) fixed {
	var f fixed
	for i := range n {
		p, err := sqlite.Open(filepath.Join(b.TempDir(), "p.db"), sqlengine.Options{Name: fmt.Sprintf("p%d", i)})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = p.Close() })
		if err := p.Prepare(b.Context()); err != nil {
			b.Fatal(err)
		}
		if _, err := p.Join(b.Context(), partition.Cluster{ID: "c", Epoch: 1, Masters: []string{"p0"}, Slots: make([]uint16, store.Slots)}); err != nil {
			b.Fatal(err)
		}
		f = append(f, store.Replica{Partition: p})
	}
	return f
}

func cpuTime() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkWokenPass copies a commit to three SQLite replicas.
func BenchmarkWokenPass(b *testing.B) {
	for _, entries := range []int{1, 16, 256, 4096} {
		b.Run(fmt.Sprint(entries), func(b *testing.B) {
			f := openFixed(b, 4)
			s := New(f, Options{Logger: slog.New(slog.DiscardHandler)})
			if _, err := s.Pass(b.Context()); err != nil {
				b.Fatal(err)
			}
			ctx := context.Background()
			var spent time.Duration
			for i := range b.N {
				batch := partition.Batch{Epoch: 1, Revisions: entries}
				for j := range entries {
					batch.Write = append(batch.Write, partition.Entry{Key: partition.Key(fmt.Sprint("k/", (i*7919*entries+j*104729)%50000)), Revision: partition.Revision(j),
						Value: make([]byte, 100), Checksum: partition.Checksum(make([]byte, 100)), Size: 100})
				}
				if _, err := f[0].Commit(ctx, batch); err != nil {
					b.Fatal(err)
				}
				began := cpuTime()
				p := s.startPass(ctx, onCommit)
				if err := p.waitAll(ctx); err != nil {
					b.Fatal(err)
				}
				s.background.Wait()
				spent += cpuTime() - began
			}
			b.ReportMetric(float64(spent.Microseconds())/float64(b.N)/float64(entries), "cpu-us/entry")
		})
	}
}
