package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/test/runnel"
	"github.com/runnelkv/runnel/test/servers"
)

// TestGoSourceTreeReachesEveryPartition imports the source tree of Go, or src/net alone unless RUNNEL_TEST_LONG=1, into a master on MariaDB and syncs to
// replicas on MySQL and SQLite. A second round deletes a directory and changes and adds files. After each round
// every partition, read directly, must hold the files byte for byte.
func TestGoSourceTreeReachesEveryPartition(t *testing.T) {
	tree, prefix, least := goSourceTree(t), "src/", 8000
	if runnel.Rounds(0, 1) == 0 {
		tree, prefix, least = filepath.Join(tree, "net"), "src/net/", 400
	}
	urls := mixedDatabases(t)
	file := runnel.WriteConfig(t, "", urls...)
	node := runnel.Serve(t, "--config", file, "--no-sync")

	want := filesBelow(t, tree, prefix)
	if len(want) < least {
		t.Fatalf("%s holds %d files, not a whole source tree", tree, len(want))
	}
	timed(t, "import", func() { mustRun(t, "import", tree, "--prefix", prefix, "--server", node.URL) })
	timed(t, "sync", func() { syncLevel(t, file) })
	parts := openMixed(t, urls)
	timed(t, "compare", func() { allHoldFiles(t, parts, want) })
	t.Logf("%d files are in every partition", len(want))

	change(t, node.URL, want)
	timed(t, "sync of the changes", func() { syncLevel(t, file) })
	timed(t, "compare again", func() { allHoldFiles(t, parts, want); holdSameEntries(t, parts) })
	exportedIsImported(t, node.URL, prefix, want)
}

// change imports a changed copy of src/net with deleted, changed, emptied and new files, and updates want.
func change(t *testing.T, server string, want map[string]string) {
	t.Helper()
	const prefix = "src/net/"
	before := len(want)
	work := t.TempDir()
	if err := os.CopyFS(work, os.DirFS(filepath.Dir(want[prefix+"net.go"]))); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(work, "http")); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"net.go":               "package net // changed\n",
		"dial.go":              "",                                          // emptied
		"url/url.go":           strings.Repeat("\x00\xff\r\n binary ", 1e5), // grown, and no text
		"new/added.go":         "package added\n",
		"new/a name with + %?": "odd",
	} {
		path := filepath.Join(work, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	maps.DeleteFunc(want, func(key, _ string) bool { return strings.HasPrefix(key, prefix) })
	maps.Copy(want, filesBelow(t, work, prefix))
	if gone := before - len(want); gone < 100 {
		t.Fatalf("the change takes away %d files, too few to be src/net/http", gone)
	}
	mustRun(t, "import", work, "--prefix", prefix, "--delete", "--yes", "--server", server)
}

// exportedIsImported exports to a file, imports the file into a new embedded store, and compares the master with
// the files.
func exportedIsImported(t *testing.T, server, prefix string, want map[string]string) {
	t.Helper()
	t.Logf("%d files below %s are exported", len(want), prefix)
	file, data := filepath.Join(t.TempDir(), "export.ndjson"), t.TempDir()
	timed(t, "export", func() { mustRun(t, "export", file, "--prefix", prefix, "--server", server) })
	fresh := runnel.Serve(t, "--data", data, "--no-sync")
	timed(t, "import of the export", func() { mustRun(t, "import", file, "--server", fresh.URL) })
	holdsFiles(t, openPartition(t, "partition-0", "sqlite:"+filepath.Join(data, "partition-0.db")), want)
}

// holdSameEntries compares all entries of the partitions, tombstones included.
func holdSameEntries(t testing.TB, parts []partition.Partition) {
	t.Helper()
	first := contentOf(t, parts[0], "partition-0")
	for _, p := range parts[1:] {
		if other := contentOf(t, p, "partition-0"); !slices.Equal(first, other) {
			t.Errorf("%s (%s) holds %d entries, %s (%s) %d, and they differ", parts[0].Name(), parts[0].Kind(), len(first), p.Name(), p.Kind(), len(other))
		}
	}
}

// allHoldFiles compares every partition with the files.
func allHoldFiles(t *testing.T, parts []partition.Partition, want map[string]string) {
	t.Helper()
	for _, p := range parts {
		holdsFiles(t, p, want)
	}
}

// holdsFiles compares the list of a partition with the files in want, by key: the same keys and the same bytes.
func holdsFiles(t *testing.T, p partition.Partition, want map[string]string) {
	t.Helper()
	span := partition.Span{From: "k/", To: "k0", Limit: 1000, Values: true}
	seen, wrong := 0, 0
	for more := true; more && wrong < 10; {
		var entries []partition.Entry
		var err error
		if entries, more, err = p.List(t.Context(), span); err != nil {
			t.Fatalf("list %s: %v", p.Name(), err)
		}
		for i := range entries {
			if err := isFile(&entries[i], want); err != nil {
				t.Errorf("%s (%s): %v", p.Name(), p.Kind(), err)
				wrong++
			}
			span.From = entries[i].Key + "\x00"
		}
		seen += len(entries)
	}
	if seen != len(want) {
		t.Errorf("%s (%s) holds %d live entries, the tree %d files", p.Name(), p.Kind(), seen, len(want))
	}
}

func isFile(e *partition.Entry, want map[string]string) error {
	path, ok := want[store.Name(e.Key)]
	if !ok {
		return fmt.Errorf("%q is no file", e.Key)
	}
	content, err := os.ReadFile(path)
	switch {
	case err != nil:
		return err
	case !bytes.Equal(content, e.Value):
		return fmt.Errorf("%q holds %d bytes that are not the %d of %s", e.Key, len(e.Value), len(content), path)
	case !e.Intact():
		return fmt.Errorf("%q has a wrong checksum or size", e.Key)
	}
	return nil
}

// fact holds the fields of an entry that must agree in all partitions.
type fact struct {
	key       partition.Key
	origin    partition.Origin
	revision  partition.Revision
	deleted   bool
	kind      string
	size      int64
	checksum  uint64
	modified  partition.Instant
	expiresAt partition.Instant
}

// contentOf reads all entries of an origin from a partition, tombstones included, sorted by revision. Values are
// represented by checksums, which are computed here.
func contentOf(t testing.TB, p partition.Partition, origin partition.Origin) (facts []fact) {
	t.Helper()
	s, err := p.Snapshot(t.Context(), origin, 0)
	if err != nil {
		t.Fatalf("snapshot of %s: %v", p.Name(), err)
	}
	defer s.Close()
	for {
		entries, err := s.Next(t.Context(), 1000, 8<<20)
		if errors.Is(err, io.EOF) {
			return facts
		}
		if err != nil {
			t.Fatalf("read the snapshot of %s: %v", p.Name(), err)
		}
		for _, e := range entries {
			facts = append(facts, fact{e.Key, e.Origin, e.Revision, e.Deleted, e.ContentType,
				int64(len(e.Value)), partition.Checksum(e.Value), e.ModifiedAt, e.ExpiresAt})
		}
	}
}

// goSourceTree is the source of the Go that runs the tests.
func goSourceTree(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatalf("go env GOROOT: %v", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "src")
}

// filesBelow maps keys to the paths of the regular files below dir.
func filesBelow(t *testing.T, dir, prefix string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		files[prefix+filepath.ToSlash(name)] = path
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// mixedDatabases returns a database of each kind. The first is for the master.
func mixedDatabases(t testing.TB) []string {
	t.Helper()
	return []string{
		servers.MariaDB(t).Database(t),
		servers.MySQL(t).Database(t),
		"sqlite:" + filepath.Join(t.TempDir(), "partition-2.db"),
	}
}

// openMixed opens the databases of mixedDatabases past the server.
func openMixed(t testing.TB, urls []string) (parts []partition.Partition) {
	t.Helper()
	for i, kind := range []string{"mariadb", "mysql", "sqlite"} {
		p := openPartition(t, fmt.Sprintf("partition-%d", i), urls[i])
		if p.Kind() != kind {
			t.Fatalf("%s is a %s, not a %s", p.Name(), p.Kind(), kind)
		}
		parts = append(parts, p)
	}
	return parts
}

// openPartition opens a partition's database directly, past any server.
func openPartition(t testing.TB, name, url string) partition.Partition {
	t.Helper()
	u, err := config.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	p, err := runnel.OpenPartition(config.Partition{Name: name, URL: u})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	if err := p.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

// syncLevel runs "runnel sync --once", as a crontab would, until every
// partition is level.
func syncLevel(t testing.TB, file string) {
	t.Helper()
	runnel.Eventually(t, 3*time.Minute, "runnel sync --once says that all is level", func() error {
		out, err := runnel.Run(t, "sync", "--once", "--config", file)
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
}

// mustRun runs a command that must succeed and returns its output.
func mustRun(t testing.TB, args ...string) string {
	t.Helper()
	out, err := runnel.Run(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func timed(t *testing.T, what string, f func()) {
	t.Helper()
	began := time.Now()
	f()
	t.Logf("%s: %v", what, time.Since(began).Round(time.Millisecond))
}

// reply is an answer, read whole.
type reply struct {
	status int
	header http.Header
	body   string
}

// exchange sends a request and returns the answer without following redirects. Headers have the form "Name:
// value".
func exchange(t testing.TB, method, url, body string, headers ...string) reply {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return reply{resp.StatusCode, resp.Header, string(text)}
}
