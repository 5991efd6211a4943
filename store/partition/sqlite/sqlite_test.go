package sqlite_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/partitiontest"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/store/partition/sqlite"
)

// openSQLite returns the prepared partition in a file.
func openSQLite(tb testing.TB, path string, o sqlengine.Options) *sqlengine.Engine {
	tb.Helper()
	p, err := sqlite.Open(path, o)
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
		partitiontest.Join(t, openSQLite(t, path, sqlengine.Options{Name: "a"}))
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if info, err := os.Stat(path + suffix); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s%s is %v and not %v (%v)", path, suffix, info.Mode(), want, err)
			}
		}
	}
}

func TestTablePrefixBeginsWithNoDigit(t *testing.T) {
	for _, prefix := range []string{"2_", "a-b", strings.Repeat("a", 33)} {
		if _, err := sqlite.Open(filepath.Join(t.TempDir(), "a.db"), sqlengine.Options{Name: "a", TablePrefix: prefix}); err == nil {
			t.Errorf("the prefix %q is taken", prefix)
		}
	}
}

func TestSQLiteMakesDirectories(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?c%20", "ü", "runnel.db")
	openSQLite(t, path, sqlengine.Options{Name: "a"})
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkSQLite(b *testing.B) {
	p := openSQLite(b, filepath.Join(b.TempDir(), "runnel.db"), sqlengine.Options{Name: "a"})
	partitiontest.Benchmark(b, p)
}

func TestSQLiteKeepsTheContract(t *testing.T) {
	partitiontest.Run(t, func(t *testing.T, name string) partitiontest.Database {
		path := filepath.Join(t.TempDir(), "runnel.db")
		return partitiontest.Database{Open: func(t *testing.T) partition.Partition {
			p, err := sqlite.Open(path, sqlengine.Options{Name: name})
			if err != nil {
				t.Fatal(err)
			}
			return p
		}}
	})
}
