package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/runnelkv/runnel/store"
)

// TestSessionFileIsSentAndKept: each command sends what the file holds and
// leaves in it what the server answered, merged with what others put there.
func TestSessionFileIsSentAndKept(t *testing.T) {
	f := newFake(t)
	answer := ""
	f.before = func(w http.ResponseWriter, _ *http.Request, _ string) bool {
		w.Header().Set("Runnel-Session", answer)
		return false
	}
	file := filepath.Join(t.TempDir(), "session")
	token := func(n int) string {
		return store.VectorOf(store.Mark{Origin: "p", Revision: store.Revision(n)}).Token(store.SessionToken, 1)
	}
	for i, args := range [][]string{{"put", "a", "1"}, {"get", "a"}, {"get", "a", "--json"}, {"list"}, {"list", "--long"}, {"delete", "a"}, {"put", "b", "1"}, {"delete", "--prefix", "b", "--yes"}} {
		answer = token(i + 1)
		f.requests = nil
		f.ok(t, append(args, "--session", file)...)
		want := ""
		if i > 0 {
			want = token(i)
		}
		if got := f.requests[0].Header.Get("Runnel-Session"); got != want {
			t.Errorf("%v: sent %q, want %q", args, got, want)
		}
		if kept, err := os.ReadFile(file); err != nil || string(kept) != answer+"\n" {
			t.Errorf("%v: kept %q, %v; want %q", args, kept, err, answer)
		}
	}
	f.requests = nil
	f.ok(t, "put", "a", "2")
	if got := f.requests[0].Header.Get("Runnel-Session"); got != "" {
		t.Errorf("without the flag %q was sent", got)
	}
	other := store.Mark{Origin: "q", Revision: 7}
	answer = token(100)
	f.before = func(w http.ResponseWriter, _ *http.Request, _ string) bool { // another command is done meanwhile
		if err := os.WriteFile(file, []byte(store.VectorOf(other).Token(store.SessionToken, 1)), 0o600); err != nil {
			t.Error(err)
		}
		w.Header().Set("Runnel-Session", answer)
		return false
	}
	f.ok(t, "put", "a", "3", "--session", file)
	want := store.VectorOf(other, store.Mark{Origin: "p", Revision: 100}).Token(store.SessionToken, 1)
	if kept, err := os.ReadFile(file); err != nil || string(kept) != want+"\n" {
		t.Errorf("kept %q, %v; want both sessions, %q", kept, err, want)
	}
	answer = store.VectorOf(other).Token(store.SessionToken, 2)
	f.before = func(w http.ResponseWriter, _ *http.Request, _ string) bool {
		w.Header().Set("Runnel-Session", answer)
		return false
	}
	f.ok(t, "put", "a", "4", "--session", file)
	if kept, err := os.ReadFile(file); err != nil || string(kept) != answer+"\n" {
		t.Errorf("kept %q, %v; want the session of another cluster alone, %q", kept, err, answer)
	}
	answer = "s9something-newer"
	f.before = func(w http.ResponseWriter, _ *http.Request, _ string) bool {
		w.Header().Set("Runnel-Session", answer)
		return false
	}
	f.ok(t, "get", "a", "--session", file)
	if kept, err := os.ReadFile(file); err != nil || string(kept) != answer+"\n" {
		t.Errorf("kept %q, %v; want a form of token that is not known here as it is", kept, err)
	}
}

func TestFileThatHoldsNoSessionIsRefused(t *testing.T) {
	f := newFake(t)
	f.set("a", "1")
	dir := t.TempDir()
	for name, text := range map[string]string{"prose": "no token at all", "long": fmt.Sprintf("%*d", 20<<10, 1)} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f.requests = nil
		if r := (cli{}).run(t, f, "get", "a", "--session", file); r.code == 0 || len(f.requests) > 0 {
			t.Errorf("%s: exit status %d after %d requests", name, r.code, len(f.requests))
		}
	}
	if r := (cli{}).run(t, f, "get", "a", "--session", dir); r.code == 0 {
		t.Error("a directory was taken for a session")
	}
}
