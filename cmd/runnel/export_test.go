package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

// leaveQuery writes the query of an export of every key beside the unfinished file of name.
func leaveQuery(t *testing.T, f *fakeServer, name string) {
	t.Helper()
	text := fmt.Appendf(nil, `{"format":1,"server":%q,"prefix":"","consistency":"","max_staleness":""}`, f.url)
	if err := os.WriteFile(name+".partial.json", text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// breakStreams makes every list fail until undo is called.
func breakStreams(f *fakeServer) (undo func()) {
	f.before = func(w http.ResponseWriter, r *http.Request, _ string) bool {
		if r.URL.Path == "/v1/keys" {
			refuse(w, 500, "internal", "broken")
			return true
		}
		return false
	}
	return func() { f.before = nil }
}

// TestFilesAreNotWrittenThroughLinks plants a link to a file of somebody else wherever a command writes.
func TestFilesAreNotWrittenThroughLinks(t *testing.T) {
	for name, args := range map[string][]string{
		"get":        {"get", "k", "-o", "FILE"},
		"export":     {"export", "FILE"},
		"resumed":    {"export", "FILE", "--resume"},
		"session":    {"get", "k", "--session", "FILE"},
		"checkpoint": {"import", "lines", "--resume", "FILE"},
	} {
		for _, planted := range []string{".partial", ".partial.json"} {
			t.Run(name+planted, func(t *testing.T) {
				t.Chdir(t.TempDir())
				f := newFake(t)
				f.set("k", "v")
				f.before = func(w http.ResponseWriter, r *http.Request, _ string) bool {
					w.Header().Set("Runnel-Session", "s9token")
					if r.Method == http.MethodPut {
						refuse(w, 500, "internal", "so that the checkpoint stays")
					}
					return r.Method == http.MethodPut
				}
				for file, text := range map[string]string{"victim": "precious", "lines": `{"key":"a","value":"1"}`} {
					if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				if err := os.Symlink("victim", "FILE"+planted); err != nil {
					t.Fatal(err)
				}
				o := cli{}.run(t, f, args...)
				if text, err := os.ReadFile("victim"); string(text) != "precious" {
					t.Errorf("the link's target holds %q, %v", text, err)
				}
				info, err := os.Lstat("FILE")
				if o.code == console.ExitOK && (err != nil || !info.Mode().IsRegular() || info.Mode().Perm() != 0o600) {
					t.Errorf("%+v, and the file is %v, %v", o, info, err)
				}
			})
		}
	}
}

func TestExportIsReadableByItsOwnerAlone(t *testing.T) {
	f := newFake(t)
	f.set("k", "v")
	name := filepath.Join(t.TempDir(), "out")
	for _, resume := range []bool{false, true} {
		leaveQuery(t, f, name)
		prepared, err := os.OpenFile(name+".partial", os.O_CREATE|os.O_RDWR, 0o666)
		if err != nil {
			t.Fatal(err)
		}
		defer prepared.Close()
		if err := prepared.Chmod(0o666); err != nil {
			t.Fatal(err)
		}
		args := []string{"export", name}
		if resume {
			args = append(args, "--resume")
		}
		f.ok(t, args...)
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("resume %v: %v, %v", resume, info, err)
		}
		if left, err := filepath.Glob(name + ".*"); err != nil || len(left) > 0 {
			t.Errorf("left %v, %v", left, err)
		}
	}
}

func TestExportResumesOnlyTheSameQuery(t *testing.T) {
	f, other := newFake(t), newFake(t)
	for _, key := range []string{"x/a", "x/b", "x/m1", "x/m2", "x/z"} {
		f.set(key, "v")
	}
	name := filepath.Join(t.TempDir(), "out")
	undo := breakStreams(f)
	if o := (cli{}).run(t, f, "export", name, "--prefix", "x/m"); o.code != console.ExitFailed {
		t.Fatalf("%+v", o)
	}
	undo()
	first := `{"key":"x/m1","value":"v"}` + "\n"
	if err := os.WriteFile(name+".partial", []byte(first), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"--prefix", "x/"},
		{"--prefix", "x/m1"},
		{},
		{"--prefix", "x/m", "--consistency", "master"},
		{"--prefix", "x/m", "--max-staleness", "5s"},
		{"--prefix", "x/m", "--server", other.url},
	} {
		o := cli{}.run(t, f, append([]string{"export", name, "--resume"}, args...)...)
		if o.code != console.ExitFailed || !strings.Contains(o.stderr, "the file is of another export") {
			t.Errorf("%v: %+v", args, o)
		}
		if _, err := os.Stat(name); err == nil {
			t.Fatalf("%v: the file is there", args)
		}
		if text, err := os.ReadFile(name + ".partial"); string(text) != first {
			t.Fatalf("%v: the partial holds %q, %v", args, text, err)
		}
	}
	f.ok(t, "export", name, "--resume", "--prefix", "x/m")
	text, err := os.ReadFile(name)
	if rest, ok := strings.CutPrefix(string(text), first); err != nil || !ok || strings.Count(rest, "\n") != 1 || !strings.Contains(rest, `"x/m2"`) {
		t.Errorf("%s, %v", text, err)
	}
	if err := os.WriteFile(name+".partial", []byte(first), 0o600); err != nil {
		t.Fatal(err)
	}
	if o := (cli{}).run(t, f, "export", name, "--resume"); o.code != console.ExitFailed || !strings.Contains(o.stderr, "does not describe an export") {
		t.Errorf("a partial without its query: %+v", o)
	}
}

func TestExportRefusesASecondOneToTheSameFile(t *testing.T) {
	f := newFake(t)
	f.set("k", "v")
	name := filepath.Join(t.TempDir(), "out")
	var during outcome
	f.before = func(http.ResponseWriter, *http.Request, string) bool {
		f.before = nil
		during = cli{}.run(t, f, "export", name)
		return false
	}
	f.ok(t, "export", name)
	if during.code != console.ExitFailed || !strings.Contains(during.stderr, "another export holds") {
		t.Errorf("%+v", during)
	}
	if text, err := os.ReadFile(name); err != nil || strings.Count(string(text), "\n") != 1 {
		t.Errorf("%q, %v", text, err)
	}
}

func TestOutputIsRefusedWhereNoFileCanStand(t *testing.T) {
	f := newFake(t)
	f.set("k", "v")
	dir := filepath.Join(t.TempDir(), "dir")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"get", "k", "-o", dir}, {"export", dir}, {"get", "k", "-o", os.DevNull}, {"export", os.DevNull}} {
		if o := (cli{}).run(t, f, args...); o.code != console.ExitFailed || !strings.Contains(o.stderr, "is not a regular file") {
			t.Errorf("%v: %+v", args, o)
		}
	}
	if left, err := filepath.Glob(dir + "?*"); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestPasswordOfTheServerStaysOutOfFilesAndMessages(t *testing.T) {
	f := newFake(t)
	server := strings.Replace(f.url, "http://", "http://user:hunter2@", 1)
	dir := t.TempDir()
	lines := filepath.Join(dir, "lines")
	if err := os.WriteFile(lines, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	breakStreams(f)
	for _, args := range [][]string{
		{"import", lines, "--resume", filepath.Join(dir, "checkpoint")},
		{"export", filepath.Join(dir, "out")},
		{"bench", "--server", server + "/below"},
		{"status", "--server", strings.Replace(server, "http:", "hppt:", 1)},
		{"status", "--server", strings.Replace(server, "127", "%zz", 1)},
		{"status", "--server", strings.Replace(server, "127.0.0.1", "127.0.0.1:1", 1)},
		{"get", "k", "-v"},
	} {
		o := cli{env: map[string]string{"RUNNEL_SERVER": server}}.run(t, f, args...)
		if o.code == console.ExitOK || strings.Contains(o.stdout+o.stderr, "hunter2") {
			t.Errorf("%v: %+v", args, o)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) < 4 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		if text, err := os.ReadFile(file); err != nil || strings.Contains(string(text), "hunter2") {
			t.Errorf("%s: %s, %v", file, text, err)
		}
	}
}
