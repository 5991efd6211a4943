package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/store"
)

func TestUnreachableServerIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	o := cli{}.run(t, nil, "get", "k", "--server", "http://"+address, "--retry", "0")
	if o.code != console.ExitFailed || !strings.Contains(o.stderr, "the server cannot be reached") || !strings.Contains(o.stderr, address) {
		t.Errorf("%+v", o)
	}
}

func TestBearerKeyIsSentAndNotFollowedElsewhere(t *testing.T) {
	other, f := newFake(t), newFake(t)
	f.before = func(w http.ResponseWriter, r *http.Request, _ string) bool {
		if got := r.Header.Get("Authorization"); got != "Bearer secret" {
			t.Errorf("Authorization: %q", got)
		}
		http.Redirect(w, r, other.url, http.StatusTemporaryRedirect)
		return true
	}
	o := cli{env: map[string]string{"RUNNEL_KEY": "secret"}}.run(t, f, "get", "k")
	if o.code != console.ExitFailed || !strings.Contains(o.stderr, "307") || len(other.requests) > 0 {
		t.Errorf("%+v; %d requests reached the other server", o, len(other.requests))
	}
}

func TestCommandsRepeatOnlyUnconditionalWrites(t *testing.T) {
	for _, tt := range []struct {
		args  string
		again bool
	}{
		{"get k", true}, {"put k v", true}, {"put k v --if-match *", false}, {"put new v --if-none-match *", false},
		{"delete k", true}, {"delete k --if-match *", false},
	} {
		f := newFake(t)
		f.set("k", "v")
		var seen atomic.Int64
		f.before = func(w http.ResponseWriter, _ *http.Request, _ string) bool {
			if seen.Add(1) > 1 {
				return false
			}
			w.Header().Set("Retry-After", "0")
			refuse(w, 503, "outcome-unknown", "the connection was lost")
			return true
		}
		o := cli{}.run(t, f, strings.Fields(tt.args)...)
		if again := seen.Load() == 2; again != tt.again || (o.code == console.ExitOK) != tt.again {
			t.Errorf("%s: %d requests, %+v; want it repeated: %v", tt.args, seen.Load(), o, tt.again)
		}
	}
}

// TestSessionFileIsSentAndKept: each command sends the token of the file, and writes the token of the response, merged with
// the token of a concurrent command.
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

// TestSessionFollowsAStream: the token in the trailer of a batch or a streamed list is kept, and a list with a limit is not
// streamed.
func TestSessionFollowsAStream(t *testing.T) {
	f := newFake(t)
	f.trailer = store.VectorOf(store.Mark{Origin: "p", Revision: 9}).Token(store.SessionToken, 1)
	dir := t.TempDir()
	for i := range 300 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), []byte("v"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lines := filepath.Join(t.TempDir(), "lines")
	if err := os.WriteFile(lines, []byte(strings.Repeat(`{"key":"a","value":"1"}`+"\n", 3000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"import", "-j", "1", dir}, {"import", "-j", "1", lines}, {"list"}, {"list", "--long"}, {"export", filepath.Join(t.TempDir(), "out")}, {"export"}} {
		file := filepath.Join(t.TempDir(), "session")
		f.ok(t, append(args, "--session", file)...)
		if kept, err := os.ReadFile(file); err != nil || string(kept) != f.trailer+"\n" {
			t.Errorf("%v: kept %q, %v; want %q", args, kept, err, f.trailer)
		}
		f.requests = nil
		f.ok(t, append(args, "--session", file)...)
		if got := f.requests[0].Header.Get("Runnel-Session"); got != f.trailer {
			t.Errorf("%v: sent %q", args, got)
		}
	}
	f.requests = nil
	if out := f.ok(t, "list", "--limit", "2", "--session", filepath.Join(t.TempDir(), "session")); strings.Count(out, "\n") != 2 || f.requests[0].Header.Get("Accept") != "application/json" {
		t.Errorf("%d requests: %s %v", len(f.requests), out, f.requests[0].Header)
	}
}

// TestBusySessionIsKeptAtTheEnd: many responses cause few writes of the file, and the last write covers all of them.
func TestBusySessionIsKeptAtTheEnd(t *testing.T) {
	f := newFake(t)
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "session")
	for i := range 20 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), make([]byte, 100<<10), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	n, versions := 0, map[string]bool{}
	f.before = func(w http.ResponseWriter, _ *http.Request, key string) bool {
		mu.Lock()
		defer mu.Unlock()
		n++
		text, _ := os.ReadFile(file)
		versions[string(text)] = true
		w.Header().Set("Runnel-Session", store.VectorOf(store.Mark{Origin: "p", Revision: store.Revision(n)}).Token(store.SessionToken, 1))
		if key == "7" {
			refuse(w, 413, "too-large", "too large")
			return true
		}
		return false
	}
	if o := (cli{}).run(t, f, "import", dir, "--session", file); o.code != console.ExitFailed {
		t.Fatalf("%+v", o)
	}
	want := store.VectorOf(store.Mark{Origin: "p", Revision: store.Revision(n)}).Token(store.SessionToken, 1)
	if kept, err := os.ReadFile(file); err != nil || string(kept) != want+"\n" {
		t.Errorf("kept %q, %v; want %q", kept, err, want)
	}
	if len(versions) > 5 {
		t.Errorf("the file was written %d times for %d answers", len(versions), n)
	}
}

// TestRefusedSessionBeginsAnew: a session file must not lock commands out for ever.
func TestRefusedSessionBeginsAnew(t *testing.T) {
	f := newFake(t)
	f.set("a", "1")
	file := filepath.Join(t.TempDir(), "session")
	lost := store.VectorOf(store.Mark{Origin: "p", Revision: 9}).Token(store.SessionToken, 7)
	fresh := store.VectorOf(store.Mark{Origin: "p", Revision: 3}).Token(store.SessionToken, 7)
	f.before = func(w http.ResponseWriter, r *http.Request, _ string) bool {
		if r.Header.Get("Runnel-Session") == lost {
			refuse(w, 410, "session-lost", "Drop it.")
			return true
		}
		w.Header().Set("Runnel-Session", fresh)
		return false
	}
	for _, args := range [][]string{{"get", "a"}, {"put", "a", "1"}, {"list"}} {
		if err := os.WriteFile(file, []byte(lost+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		o := cli{}.run(t, f, append(args, "--session", file)...)
		if kept, err := os.ReadFile(file); o.code != console.ExitOK || !strings.Contains(o.stderr, "a new session begins") || err != nil || string(kept) != fresh+"\n" {
			t.Errorf("%v: %+v, kept %q %v", args, o, kept, err)
		}
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

// TestKeyComesFromAFile, and is refused where it would travel unencrypted.
func TestKeyComesFromAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("secret\nmore\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		env  map[string]string
		args string
		want string
	}{
		{nil, "--key-file " + file, "Bearer secret"},
		{map[string]string{"RUNNEL_KEY_FILE": file}, "", "Bearer secret"},
		{map[string]string{"RUNNEL_KEY_FILE": file, "RUNNEL_KEY": "mine"}, "", "Bearer mine"},
		{map[string]string{"RUNNEL_KEY": "mine"}, "--key-file " + file, "Bearer secret"},
		{map[string]string{"RUNNEL_KEY_FILE": "absent"}, "--key given", "Bearer given"},
	} {
		f := newFake(t)
		got := ""
		f.before = func(_ http.ResponseWriter, r *http.Request, _ string) bool {
			got = r.Header.Get("Authorization")
			return false
		}
		(cli{env: test.env}).run(t, f, strings.Fields("get k "+test.args)...)
		if got != test.want {
			t.Errorf("%v %s: %q, want %q", test.env, test.args, got, test.want)
		}
	}
	for _, args := range []string{
		"--key-file absent", "--key k --server http://runnel.example.org", "--cert-key " + file, "--cacert " + file, "--cert " + file,
	} {
		if o := (cli{}).run(t, newFake(t), strings.Fields("get k "+args)...); o.code != console.ExitUsage || strings.Contains(o.stderr, "secret") {
			t.Errorf("%s: %+v", args, o)
		}
	}
}
