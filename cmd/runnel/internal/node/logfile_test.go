package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRotatedLogFileIsOpenedAgain renames the file of a log, as logrotate does.
func TestRotatedLogFileIsOpenedAgain(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "access.log")
	files, err := openLogFiles(path, "")
	if err != nil {
		t.Fatal(err)
	}
	defer files.close()
	write := func(line string) {
		if _, err := files.access.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	write("first\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write("second\n")
	if err := files.reopen(); err != nil {
		t.Fatal(err)
	}
	write("third\n")
	for name, want := range map[string]string{path + ".1": "first\nsecond\n", path: "third\n"} {
		if got, err := os.ReadFile(name); string(got) != want || err != nil {
			t.Errorf("%s holds %q, %v", name, got, err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o027 != 0 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// TestLogFileThatCannotBeOpenedAgainStaysInUse removes the directory of a log.
func TestLogFileThatCannotBeOpenedAgainStaysInUse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	files, err := openLogFiles("", filepath.Join(dir, "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer files.close()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := files.reopen(); err == nil {
		t.Error("the file was opened in a removed directory")
	}
	if _, err := files.audit.Write([]byte("line\n")); err != nil {
		t.Error(err)
	}
	if _, err := openLogFiles(filepath.Join(dir, "x"), ""); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("missing directory: %v", err)
	}
}
