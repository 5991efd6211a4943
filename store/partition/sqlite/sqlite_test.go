package sqlite_test

import (
	"database/sql"
	"errors"
	"io/fs"
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

// TestSQLiteFilesAreTheirOwnersAlone: log and shared memory too. Existing files keep their mode.
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

// TestSQLiteFileThatIsReplacedIsNotWritten: what was answered as stored is in the file that
// the next process opens. Prepare goes over to the file that is at the path by then.
func TestSQLiteFileThatIsReplacedIsNotWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	p := openSQLite(t, path, sqlengine.Options{Name: "a"})
	partitiontest.Join(t, p)
	rename := func(from, to string) {
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if err := os.Rename(from+suffix, to+suffix); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
		}
	}
	refused := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, partition.ErrUnavailable) || !errors.Is(err, partition.ErrNotPrepared) {
			t.Errorf("%s after the file was moved: %v", what, err)
		}
	}
	first := partitiontest.Blind(1, 1)
	if _, err := p.Commit(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	rename(path, path+".old")
	_, err := p.Commit(t.Context(), partitiontest.Blind(1, 2))
	refused("a commit", err)
	_, err = p.Positions(t.Context())
	refused("reading positions", err)

	if err := p.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Cluster(t.Context()); !errors.Is(err, partition.ErrNoCluster) {
		t.Errorf("a new file belongs to a cluster: %v", err)
	}
	partitiontest.Join(t, p)
	if _, err := p.Commit(t.Context(), partitiontest.Blind(1, 3)); err != nil {
		t.Errorf("a commit to the new file: %v", err)
	}

	rename(path, path+".new")
	rename(path+".old", path)
	_, err = p.Commit(t.Context(), partitiontest.Blind(1, 4))
	refused("a commit", err)
	if err := p.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := p.Get(t.Context(), []partition.Key{first.Write[0].Key})
	if err != nil || len(got) != 1 {
		t.Errorf("the old file has %v, %v in place of what was written to it", got, err)
	}
}

// TestLookAtTheSchemaCreatesNoFile: neither a plan nor a migration creates a file.
func TestLookAtTheSchemaCreatesNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runnel.db")
	p, err := sqlite.Open(path, sqlengine.Options{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	_, err = p.Schema(t.Context())
	partitiontest.RequireError(t, err, partition.ErrNotPrepared)
	partitiontest.RequireError(t, p.Migrate(t.Context(), func(partition.Step) {}), partition.ErrNotPrepared)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file exists (%v)", err)
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
		}, PlantSchema: func(t *testing.T, s partition.Schema) {
			onFile(t, path, func(db *sql.DB) { partitiontest.PlantSchema(t, db, s) })
		}, Damage: func(t *testing.T, k partition.Key, e partition.Entry) {
			onFile(t, path, func(db *sql.DB) { partitiontest.DamageSQL(t, db, k, e) })
		}}
	})
}

// onFile calls f with a connection to an SQLite file.
func onFile(t *testing.T, path string, f func(*sql.DB)) {
	t.Helper()
	db, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	f(db)
}
