package console

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReplaceFileKeepsTheOldFileOnFailure(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := ReplaceFile(path, strings.NewReader("old")); err != nil {
		t.Fatal(err)
	}
	broken := io.MultiReader(strings.NewReader("new"), iotest.ErrReader(errors.New("broken")))
	if err := ReplaceFile(path, broken); err == nil {
		t.Error("a broken reader is no failure")
	}
	text, err := os.ReadFile(path)
	if err != nil || string(text) != "old" {
		t.Errorf("the file holds %q, %v", text, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the mode is %v, %v", info.Mode(), err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("%d files, %v", len(files), err)
	}
	if err := ReplaceFile(dir, strings.NewReader("x")); err == nil {
		t.Error("a directory was replaced")
	}
}

func TestInputEndsWithItsContext(t *testing.T) {
	in, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	input := (&Streams{In: in}).Input(ctx)
	cancel()
	if _, err := io.ReadAll(input); err == nil {
		t.Error("the end of the context looks like the end of the input")
	}
}

func TestOnlyYesIsConsent(t *testing.T) {
	for reply, want := range map[string]bool{"y\n": true, "YES\n": true, " yes ": true, "\n": false, "": false, "no\n": false, "yep\n": false} {
		var out strings.Builder
		s := &Streams{In: strings.NewReader(reply), Err: &out}
		if got := s.ConfirmKeys([]string{"a\x1b"}, "delete?"); got != want || out.String() != "  a\\u001b\ndelete? [y/N] " {
			t.Errorf("%q: %v, %q", reply, got, out.String())
		}
	}
}
