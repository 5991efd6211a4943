package runnel

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// WriteConfig writes a configuration file and returns the path. The file holds the preamble and a partition for
// each URL, named partition-0, partition-1, …
func WriteConfig(t testing.TB, preamble string, urls ...string) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(preamble + "\n")
	for i, url := range urls {
		fmt.Fprintf(&b, "[[partition]]\nname = \"partition-%d\"\nurl = %q\n", i, url)
	}
	path := filepath.Join(t.TempDir(), "runnel.toml")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// FreeAddress returns 127.0.0.1 with a port that is free at the time of the call.
func FreeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// ThreeFiles returns the URLs of three SQLite files in a directory of the test. The files do not exist yet.
func ThreeFiles(t testing.TB) []string {
	dir := t.TempDir()
	return []string{"sqlite:" + filepath.Join(dir, "0.db"), "sqlite:" + filepath.Join(dir, "1.db"), "sqlite:" + filepath.Join(dir, "2.db")}
}
