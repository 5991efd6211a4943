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

	"pgregory.net/rapid"
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

// TestGuardTreatsTextAlikeHoweverItIsSplit writes random text in random pieces, also within a character.
func TestGuardTreatsTextAlikeHoweverItIsSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOf(rapid.SampledFrom([]string{"a", "é", "日", "🎉", "\n", "\x1b", "\u009b", "\u202e", "\xf0\x9f", "\x9b", "\xff"})).Draw(t, "text")
		text := strings.Join(parts, "")
		var whole, split strings.Builder
		one, many := NewGuard(&whole), NewGuard(&split)
		write := func(g *Guard, s string) {
			if n, err := io.WriteString(g, s); n != len(s) || err != nil {
				t.Fatalf("%d of %d bytes, %v", n, len(s), err)
			}
		}
		write(one, text)
		for rest := text; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "length")
			write(many, rest[:n])
			rest = rest[n:]
		}
		if err := errors.Join(one.Flush(), many.Flush()); err != nil {
			t.Fatal(err)
		}
		if whole.String() != split.String() || strings.ContainsFunc(whole.String(), IsHidden) {
			t.Errorf("%q is %q as a whole, and %q in pieces", text, whole.String(), split.String())
		}
		if plain := strings.ToValidUTF8(text, ""); !strings.ContainsFunc(text, IsHidden) && whole.String() != plain {
			t.Errorf("%q is changed to %q", text, whole.String())
		}
	})
}

func TestLineStaysInItsLine(t *testing.T) {
	for text, want := range map[string]string{"a\nb\tc": `a\u000ab\u0009c`, "é🎉": "é🎉", "\x1b": `\u001b`, "": ""} {
		if got := Line(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}
