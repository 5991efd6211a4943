package partition_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/partitiontest"
)

// openSQLite returns the prepared partition in a file.
func openSQLite(tb testing.TB, path string, o partition.Options) *partition.SQL {
	tb.Helper()
	p, err := partition.OpenSQLite(path, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = p.Close() })
	if err := p.Prepare(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return p
}

// TestSQLiteFilesAreTheirOwnersAlone: the log and the shared memory too. Files that exist keep their mode.
func TestSQLiteFilesAreTheirOwnersAlone(t *testing.T) {
	old := syscall.Umask(0o022)
	t.Cleanup(func() { syscall.Umask(old) })
	given := filepath.Join(t.TempDir(), "given.db")
	if err := os.WriteFile(given, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{filepath.Join(t.TempDir(), "new.db"): 0o600, given: 0o640} {
		partitiontest.Join(t, openSQLite(t, path, partition.Options{Name: "a"}))
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if info, err := os.Stat(path + suffix); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s%s is %v and not %v (%v)", path, suffix, info.Mode(), want, err)
			}
		}
	}
}

func TestTablePrefixBeginsWithNoDigit(t *testing.T) {
	for _, prefix := range []string{"2_", "a-b", strings.Repeat("a", 33)} {
		if _, err := partition.OpenSQLite(filepath.Join(t.TempDir(), "a.db"), partition.Options{Name: "a", TablePrefix: prefix}); err == nil {
			t.Errorf("the prefix %q is taken", prefix)
		}
	}
}

func TestSQLiteMakesDirectories(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?c%20", "ü", "runnel.db")
	openSQLite(t, path, partition.Options{Name: "a"})
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkSQLite(b *testing.B) {
	p := openSQLite(b, filepath.Join(b.TempDir(), "runnel.db"), partition.Options{Name: "a"})
	benchmark(b, p)
}

func benchmark(b *testing.B, p partition.Partition) {
	partitiontest.Join(b, p)
	ctx := context.Background()
	b.Run("Commit64", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := p.Commit(ctx, partitiontest.Blind(64, i)); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(64*b.N)/b.Elapsed().Seconds(), "writes/s")
	})
	keys := make([]partition.Key, 64)
	for i := range keys {
		keys[i] = partition.Key(fmt.Sprintf("k/%d", i))
	}
	b.Run("Get64", func(b *testing.B) {
		for b.Loop() {
			if got, err := p.Get(ctx, keys); err != nil || len(got) != len(keys) {
				b.Fatal(len(got), err)
			}
		}
		b.ReportMetric(float64(64*b.N)/b.Elapsed().Seconds(), "reads/s")
	})
	b.Run("Apply2000", func(b *testing.B) {
		c := partition.Copy{Origin: "z"}
		for i := 0; b.Loop(); i++ {
			c.From, c.To, c.Goal = partition.Revision(i*2000), partition.Revision((i+1)*2000), partition.Revision((i+1)*2000)
			c.Entries = partitiontest.Blind(2000, i).Write
			for j := range c.Entries {
				e := &c.Entries[j]
				e.Origin, e.Revision = "z", c.From+partition.Revision(j)+1
				e.Key = partition.Key(fmt.Sprintf("k/z/%d", e.Revision))
			}
			if err := p.Apply(ctx, c); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(2000*b.N)/b.Elapsed().Seconds(), "entries/s")
	})
	b.Run("Get1", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if got, err := p.Get(ctx, keys[:1]); err != nil || len(got) != 1 {
					b.Fatal(len(got), err)
				}
			}
		})
	})
}
