package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

// writeTree makes files below a new directory.
func writeTree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// writeLines makes a file of n entries, k0000 and so on.
func writeLines(t *testing.T, n int) (path string, want map[string]string) {
	t.Helper()
	var b strings.Builder
	want = map[string]string{}
	for i := range n {
		key := fmt.Sprintf("k%04d", i)
		want[key] = strings.Repeat(key, i%7)
		fmt.Fprintf(&b, "{\"key\":%q,\"value\":%q}\n", key, want[key])
	}
	path = filepath.Join(t.TempDir(), "in.ndjson")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, want
}

func TestExportImportRoundTrip(t *testing.T) {
	from, to := newFake(t), newFake(t)
	for i, key := range awkwardKeys {
		from.ok(t, "put", "--meta", "note=n "+strconv.Itoa(i), "--ttl", "1h", "--", key, "v\x00\xff"+key)
	}
	from.set("empty", "")
	from.set("large", strings.Repeat("0123456789", 300_000))
	from.set("html", "<a href=\"x\">&</a>\u2028\n")
	text := from.ok(t, "export")
	if o := (cli{stdin: text}).run(t, to, "import", "-"); o.code != console.ExitOK {
		t.Fatalf("%+v", o)
	}
	content := func(f *fakeServer) map[string]fakeEntry {
		all := map[string]fakeEntry{}
		for k, e := range f.entries {
			all[k] = fakeEntry{value: e.value, contentType: e.contentType, metadata: e.metadata}
			if ttl := e.ttl; ttl != "" && ttl != "1h0m0s" {
				t.Errorf("%q: ttl %s", k, ttl)
			}
		}
		return all
	}
	if diff := cmp.Diff(content(from), content(to), cmp.AllowUnexported(fakeEntry{})); diff != "" {
		t.Error(diff)
	}
}

// TestImportRefusesWhatABatchRefuses imports lines that the server would refuse as operations of a batch.
func TestImportRefusesWhatABatchRefuses(t *testing.T) {
	for line, want := range map[string]string{
		"{\"key\":\"k\",\"value\":\"ab\xff\xfe\"}":                               "malformed",
		"{\"key\":\"k\xff\",\"value\":\"x\"}":                                    "malformed",
		`{"key":"k","value":"\ud800x"}`:                                          "malformed",
		`{"key":"\udc00","value":"x"}`:                                           "malformed",
		`{"key":"k","value":"1","value":"2"}`:                                    "A member is given twice",
		`{"key":"k","value":"1","v\u0061lue":"2"}`:                               "A member is given twice",
		`{"KEY":"k","Value":"case"}`:                                             `no member "KEY"`,
		`{"key":"k","value":"x","contenttype":"text/plain"}`:                     `no member "contenttype"`,
		`{"key":"k","value":"x","op":"delete"}`:                                  "a put, not a delete",
		`{"op":"delete","key":"k"}`:                                              "a put, not a delete",
		`{"op":"get","key":"k"}`:                                                 "a put, not a get",
		`{"op":"copy","key":"k","value":"x"}`:                                    "put, get or delete",
		`{"key":"k","value_base64":"!!!"}`:                                       "not base64",
		`{"key":"k","value":"x","value_base64":"eA=="}`:                          "either value or value_base64",
		`{"key":"k","value":7}`:                                                  "The member value is a string",
		`{"key":"k","value":"x"} garbage`:                                        "Something follows",
		`{"key":"k","value":"x"`:                                                 "malformed",
		`{"key":"k","value":"x","metadata":{"a b":"c"}}`:                         "Metadata have names",
		`{"key":"k","value":"x","metadata":{"n":"line\nbreak"}}`:                 "Metadata have names",
		`{"key":"k","value":"x","metadata":["n"]}`:                               "object of strings",
		`{"key":"k","value":"x","ttl":5}`:                                        "The member ttl is a string",
		`{"key":"k","value":"x","ttl":"5s","expires_at":"2027-01-01T00:00:00Z"}`: "either ttl or expires_at",
		`{"key":"k","value":"x","expires_at":"tomorrow"}`:                        "a time like",
		`{"key":"","value":"x"}`:                                                 "needs the member key",
		`[]`:                                                                     "An operation is an object",
		"\uFEFF" + `{"key":"k","value":"x"}`:                                     "malformed",
	} {
		f := newFake(t)
		o := cli{stdin: `{"key":"first","value":"1"}` + "\n" + line}.run(t, f, "import", "-")
		if o.code != console.ExitFailed || !strings.Contains(o.stderr, "not stored: line 2: not an entry: ") || !strings.Contains(o.stderr, want) {
			t.Errorf("%s: %+v", line, o)
		}
		if diff := cmp.Diff(map[string]string{"first": "1"}, f.values()); diff != "" {
			t.Errorf("%s: %s", line, diff)
		}
	}
}

func TestImportKeepsTTLAndConditions(t *testing.T) {
	f := newFake(t)
	f.set("stands", "precious")
	o := cli{stdin: strings.Join([]string{
		`{"key":"ttl","value":"x","ttl":"90m"}`,
		`{"key":"stands","value":"overwritten","if_none_match":"*"}`,
		`{"key":"new","value":"x","if_none_match":"*"}`,
		`{"key":"away","value":"x","if_match":"\"1\""}`,
		`{"op":"put","key":"null","value":null,"value_base64":"eA==","size":1,"etag":"\"1\"","revision":1,"origin":"o","modified_at":"2026-01-01T00:00:00Z"}`,
	}, "\n")}.run(t, f, "import", "-")
	if diff := cmp.Diff(map[string]string{"ttl": "x", "stands": "precious", "new": "x", "null": "x"}, f.values()); diff != "" {
		t.Error(diff)
	}
	if o.code != console.ExitFailed || strings.Count(o.stderr, "412 precondition-failed") != 2 || f.entries["ttl"].ttl != "1h30m0s" {
		t.Errorf("%+v, ttl %q", o, f.entries["ttl"].ttl)
	}
}

func TestImportOfAnotherKindOfFileIsOneError(t *testing.T) {
	f := newFake(t)
	for _, text := range []string{"root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1\n", "\n\n[1]\n[2]\n", "\x1f\x8b\n\n", "key,value\na,b\n"} {
		o := cli{stdin: text}.run(t, f, "import", "-")
		if o.code != console.ExitFailed || strings.Count(o.stderr, "not a JSON object") != 1 || strings.Contains(o.stderr, "--resume") || len(f.values()) > 0 {
			t.Errorf("%q: %+v", text, o)
		}
	}
}

func TestImportReportsEachBadLineAndStoresTheRest(t *testing.T) {
	f := newFake(t)
	f.before = func(w http.ResponseWriter, _ *http.Request, key string) bool {
		if key == "p/refused" {
			refuse(w, 400, "invalid-key", "not that one")
		}
		return key == "p/refused"
	}
	lines := []string{
		`{"key":"a","value":"1"}`, ``, `{"key":"gone","value":"x","expires_at":"2026-03-01T11:59:59Z"}`, `not json`,
		`{"value":"no key"}`, `{"key":"listed","size":3}`, `{"key":"refused","value":""}`, `{"key":"b","value_base64":"AP8="}`,
		`{"key":"both","value":"1","value_base64":""}`, `{"key":"c","value":""}`, // no newline at the end
	}
	o := cli{stdin: strings.Join(lines, "\n")}.run(t, f, "import", "-", "--prefix", "p/", "-j", "1")
	if diff := cmp.Diff(map[string]string{"p/a": "1", "p/b": "\x00\xff", "p/c": ""}, f.values()); diff != "" {
		t.Error(diff)
	}
	if o.code != console.ExitFailed {
		t.Errorf("exit %d", o.code)
	}
	for _, want := range []string{
		"not stored: line 4: not an entry: The JSON is malformed at byte 1.", "not stored: line 5: not an entry: An operation needs the member key.\n",
		"not stored: line 6: not an entry: A put needs the member value", "not stored: line 9: not an entry: A put has either value or value_base64.",
		"not stored: line 7: 400 invalid-key: not that one\n",
		"stored 3 entries", "; 2 had expired; 5 failed\n", "runnel: 5 entries were not stored; ",
	} {
		if !strings.Contains(o.stderr, want) {
			t.Errorf("stderr lacks %q:\n%s", want, o.stderr)
		}
	}
	if strings.ContainsAny(o.stderr, "\r\x1b") || o.stdout != "" {
		t.Errorf("output for no terminal: %+q", o.stdout+o.stderr)
	}
}

// interruptAfter returns a context that ends when f has stored n entries.
func interruptAfter(t *testing.T, f *fakeServer, n int64) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	var seen atomic.Int64
	f.before = func(_ http.ResponseWriter, r *http.Request, _ string) bool {
		if r.Method == http.MethodPut && seen.Add(1) == n {
			cancel()
		}
		return false
	}
	return ctx
}

// savedCheckpoint is the content of a checkpoint file.
type savedCheckpoint struct {
	Source, Server, Prefix, Path string
	Offset, Line                 int64
}

func readState(t *testing.T, file string) savedCheckpoint {
	t.Helper()
	var s savedCheckpoint
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestInterruptedImportOfLinesResumes(t *testing.T) {
	for _, source := range []string{"file", "stdin"} {
		t.Run(source, func(t *testing.T) {
			const lines = 20_000 // more than is in flight at once
			path, want := writeLines(t, lines)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			stdin := ""
			if source == "stdin" {
				path, stdin = "-", string(text)
			}
			f := newFake(t)
			at := filepath.Join(t.TempDir(), "checkpoint")
			o := cli{ctx: interruptAfter(t, f, 400), stdin: stdin}.run(t, f, "import", path, "--resume", at)
			if o.code != console.ExitFailed || !strings.Contains(o.stderr, "runnel: interrupted: repeat the command to continue from "+at) {
				t.Fatalf("%+v", o)
			}
			s := readState(t, at)
			if s.Line > lines/2 {
				t.Errorf("the checkpoint is at line %d after 400 puts", s.Line)
			}
			done := f.values()
			for i := range s.Line {
				if key := fmt.Sprintf("k%04d", i); done[key] != want[key] {
					t.Fatalf("%s is below the checkpoint and not stored", key)
				}
			}
			f.before, f.puts = nil, nil
			if o := (cli{stdin: stdin}).run(t, f, "import", path, "--resume", at); o.code != console.ExitOK {
				t.Fatalf("%+v", o)
			}
			if got, most := len(f.puts), lines-int(s.Line); got != most {
				t.Errorf("resuming stored %d entries, want the %d above the checkpoint", got, most)
			}
			if diff := cmp.Diff(want, f.values()); diff != "" {
				t.Error(diff)
			}
			if _, err := os.Stat(at); !os.IsNotExist(err) {
				t.Errorf("the checkpoint is left behind: %v", err)
			}
		})
	}
}

func TestFailedLineIsMetAgainOnResume(t *testing.T) {
	path, want := writeLines(t, 100)
	f := newFake(t)
	f.before = func(w http.ResponseWriter, _ *http.Request, key string) bool {
		if key == "k0050" {
			refuse(w, 403, "forbidden", "not yours")
		}
		return key == "k0050"
	}
	at := filepath.Join(t.TempDir(), "checkpoint")
	o := cli{}.run(t, f, "import", path, "--resume", at)
	if o.code != console.ExitFailed || !strings.Contains(o.stderr, "not stored: line 51: 403 forbidden: not yours\n") {
		t.Errorf("%+v", o)
	}
	if s := readState(t, at); s.Line != 50 {
		t.Errorf("the checkpoint is at line %d, want 50", s.Line)
	}
	f.before = nil
	f.ok(t, "import", path, "--resume", at)
	if diff := cmp.Diff(want, f.values()); diff != "" {
		t.Error(diff)
	}
}

func TestCheckpointOfAnotherImportIsRefused(t *testing.T) {
	f := newFake(t)
	path, _ := writeLines(t, 50)
	at := filepath.Join(t.TempDir(), "checkpoint")
	cli{ctx: interruptAfter(t, f, 10)}.run(t, f, "import", path, "--resume", at, "-j", "1")
	f.before = nil
	o := cli{}.run(t, f, "import", path, "--resume", at, "--prefix", "other/")
	if o.code != console.ExitFailed || !strings.Contains(o.stderr, "is the checkpoint of another import") {
		t.Errorf("%+v", o)
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("x", 5000)), 0o600); err != nil {
		t.Fatal(err)
	}
	o = cli{}.run(t, f, "import", path, "--resume", at)
	if o.code != console.ExitFailed || !strings.Contains(o.stderr, "no line starts at byte") {
		t.Errorf("%+v", o)
	}
}

func TestImportStopsWhenTheServerIsAway(t *testing.T) {
	path, _ := writeLines(t, 20_000)
	f := newFake(t)
	var seen atomic.Int64
	f.before = func(w http.ResponseWriter, _ *http.Request, _ string) bool {
		if seen.Add(1) > 100 {
			w.Header().Set("Retry-After", "1")
			refuse(w, 503, "master-unavailable", "the master is away")
			return true
		}
		return false
	}
	o := cli{}.run(t, f, "import", path, "--retry", "0", "-j", "4")
	if o.code != console.ExitFailed || !strings.Contains(o.stderr, "runnel: the import stopped at line ") || !strings.Contains(o.stderr, "503 master-unavailable") {
		t.Errorf("%+v", o)
	}
	batches := 0
	for _, r := range f.requests {
		if r.URL.Path == "/v1/batch" {
			batches++
		}
	}
	if batches == 0 || batches > 8 {
		t.Errorf("%d requests were made of a server that is away", batches)
	}
}

func TestImportTree(t *testing.T) {
	big := strings.Repeat("x", 64<<10+1)
	dir := writeTree(t, map[string]string{
		"a.html": "<p>", "b/c.unknown-extension": "plain text", "b/d/e f": "\x00\x01\x02", "empty": "", "big": big, "ü/100%": "1",
	})
	if err := os.Symlink(filepath.Join(dir, "a.html"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, filepath.Join(dir, "b", "loop")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := newFake(t)
	o := cli{}.run(t, f, "import", dir, "--prefix", "site/")
	if o.code != console.ExitOK || !strings.Contains(o.stderr, "skipped 3 symbolic links and special files\n") {
		t.Errorf("%+v", o)
	}
	want := map[string]string{
		"site/a.html": "<p>", "site/b/c.unknown-extension": "plain text", "site/b/d/e f": "\x00\x01\x02", "site/empty": "",
		"site/big": big, "site/ü/100%": "1",
	}
	if diff := cmp.Diff(want, f.values()); diff != "" {
		t.Error(diff)
	}
	for key, mediaType := range map[string]string{
		"site/a.html": "text/html; charset=utf-8", "site/b/c.unknown-extension": "text/plain; charset=utf-8",
		"site/b/d/e f": "application/octet-stream", "site/big": "text/plain; charset=utf-8",
	} {
		if got := f.entries[key].contentType; got != mediaType {
			t.Errorf("%s has type %q, want %q", key, got, mediaType)
		}
	}
}

func TestImportTreeReportsFilesItCannotStore(t *testing.T) {
	dir := writeTree(t, map[string]string{"good": "1", "bad\xffname": "2", "large": strings.Repeat("x", 3<<20)})
	f := newFake(t)
	f.before = func(w http.ResponseWriter, r *http.Request, _ string) bool {
		if r.ContentLength > 2<<20 {
			refuse(w, 413, "too-large", "the value is too large")
		}
		return r.ContentLength > 2<<20
	}
	o := cli{}.run(t, f, "import", dir)
	for _, want := range []string{
		`not stored: file "bad\xffname": the name is not UTF-8`, `not stored: file "large": 413 too-large: the value is too large`,
		"runnel: 2 entries were not stored; ",
	} {
		if !strings.Contains(o.stderr, want) {
			t.Errorf("stderr lacks %q:\n%s", want, o.stderr)
		}
	}
	if diff := cmp.Diff(map[string]string{"good": "1"}, f.values()); diff != "" || o.code != console.ExitFailed {
		t.Errorf("exit %d %s", o.code, diff)
	}
}

func TestInterruptedImportOfATreeResumes(t *testing.T) {
	files := map[string]string{}
	for i := range 300 {
		files[fmt.Sprintf("d%d/f%03d", i%7, i)] = strconv.Itoa(i)
		files[fmt.Sprintf("d%d.x/%03d", i%5, i)] = strconv.Itoa(i)
	}
	dir := writeTree(t, files)
	f := newFake(t)
	at := filepath.Join(t.TempDir(), "checkpoint")
	o := cli{ctx: interruptAfter(t, f, 200)}.run(t, f, "import", dir, "--resume", at)
	if o.code != console.ExitFailed {
		t.Fatalf("%+v", o)
	}
	done, s := f.values(), readState(t, at)
	below := 0
	for name := range files {
		if slices.Compare(strings.Split(name, "/"), strings.Split(s.Path, "/")) <= 0 {
			below++
			if _, ok := done[name]; !ok {
				t.Errorf("%s is below the checkpoint %s and not stored", name, s.Path)
			}
		}
	}
	f.before, f.puts = nil, nil
	f.ok(t, "import", dir, "--resume", at)
	if diff := cmp.Diff(files, f.values()); diff != "" {
		t.Error(diff)
	}
	// Files beyond the checkpoint that were stored before the interruption are found equal.
	if len(f.puts) != len(files)-len(done) {
		t.Errorf("of %d files %d were stored before the interruption, %d of them up to the checkpoint, and %d on resuming", len(files), len(done), below, len(f.puts))
	}
}

func TestImportDeleteMirrorsTheTree(t *testing.T) {
	dir := writeTree(t, map[string]string{"new": "1", "kept": "2"})
	if err := os.Symlink("nowhere", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	f := newFake(t)
	before := map[string]string{"s/kept": "old", "s/gone": "x", "s/deep/gone": "x", "s/changed": "x", "s/link": "x", "other": "x"}
	for k, v := range before {
		f.set(k, v)
	}
	for _, args := range [][]string{
		{"import", dir, "--prefix", "s/", "--delete"},     // no terminal to ask on
		{"import", "-", "--delete", "--yes"},              // no directory
		{"import", dir, "--parallel", "0"},                // out of range
		{"import", filepath.Join(dir, "new"), "--delete"}, // no directory
	} {
		if o := (cli{}).run(t, f, args...); o.code != console.ExitUsage {
			t.Errorf("%q: %+v", args, o)
		}
	}
	if diff := cmp.Diff(before, f.values()); diff != "" {
		t.Fatal(diff)
	}
	o := cli{stdin: "no\n", terminal: true}.run(t, f, "import", dir, "--prefix", "s/", "--delete")
	if o.code != console.ExitFailed || !strings.Contains(o.stderr, "delete these 3 keys, which have no file? [y/N] ") {
		t.Errorf("answered no: %+v", o)
	}
	f.before = func(_ http.ResponseWriter, r *http.Request, key string) bool {
		if r.Method == http.MethodDelete && key == "s/changed" {
			f.set(key, "someone else's")
		}
		return false
	}
	o = cli{stdin: "y\n", terminal: true}.run(t, f, "import", dir, "--prefix", "s/", "--delete")
	if o.code != console.ExitOK || !strings.Contains(o.stderr, "deleted 2 keys that have no file\nkept 1 keys that changed meanwhile\n") {
		t.Errorf("answered yes: %+v", o)
	}
	want := map[string]string{"s/kept": "2", "s/new": "1", "s/changed": "someone else's", "s/link": "x", "other": "x"}
	if diff := cmp.Diff(want, f.values()); diff != "" {
		t.Error(diff)
	}
}

func TestImportThatFailsDeletesNothing(t *testing.T) {
	dir := writeTree(t, map[string]string{"a": "1", "bad\xff": "2"})
	f := newFake(t)
	f.set("gone", "x")
	if o := (cli{}).run(t, f, "import", dir, "--delete", "--yes"); o.code != console.ExitFailed {
		t.Errorf("%+v", o)
	}
	if _, ok := f.values()["gone"]; !ok {
		t.Error("a key was deleted after an import that failed")
	}
}

func TestImportShowsABarOnATerminal(t *testing.T) {
	f := newFake(t)
	o := cli{terminal: true}.run(t, f, "import", writeTree(t, map[string]string{"a": "", "b": ""}))
	if o.code != console.ExitOK || !strings.Contains(o.stderr, "\r") || !strings.Contains(o.stderr, "import") {
		t.Errorf("%+v", o)
	}
}

func TestExportReplacesItsFileOnlyWhenWhole(t *testing.T) {
	f := newFake(t)
	want := map[string]string{}
	for i := range 1500 {
		key := fmt.Sprintf("k%04d", i)
		f.set(key, "v"+key)
		want[key] = "v" + key
	}
	name := filepath.Join(t.TempDir(), "out.ndjson")
	f.ok(t, "export", name)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, cut := range []int{0, 1, 70, len(whole) / 2, len(whole) - 1, len(whole)} {
		if err := os.WriteFile(name+".partial", whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		leaveQuery(t, f, name)
		if err := os.WriteFile(name, []byte("older"), 0o600); err != nil {
			t.Fatal(err)
		}
		f.before = func(w http.ResponseWriter, _ *http.Request, _ string) bool {
			refuse(w, 500, "internal", "broken")
			return true
		}
		if o := (cli{}).run(t, f, "export", name, "--resume"); o.code != console.ExitFailed || !strings.Contains(o.stderr, "with --resume") {
			t.Errorf("%+v", o)
		}
		if got, _ := os.ReadFile(name); string(got) != "older" {
			t.Fatal("a failed export replaced the file")
		}
		f.before, f.breakAfter = nil, 20
		f.ok(t, "export", name, "--resume")
		if got, _ := os.ReadFile(name); string(got) != string(whole) {
			t.Errorf("resumed after %d of %d bytes: %d bytes", cut, len(whole), len(got))
		}
	}
	if o := (cli{}).run(t, f, "export", "--resume"); o.code != console.ExitUsage {
		t.Errorf("--resume without a file: %+v", o)
	}
}

// TestExportSaysThatItsFileHeldFarMore: the export of a store that lost its data is complete and nearly empty.
func TestExportSaysThatItsFileHeldFarMore(t *testing.T) {
	f := newFake(t)
	for i := range 4 {
		f.set(fmt.Sprint("k", i), "v")
	}
	name := filepath.Join(t.TempDir(), "out.ndjson")
	for _, c := range []struct {
		before int
		warns  bool
	}{{0, false}, {4, false}, {9, false}, {10, true}} {
		if err := os.WriteFile(name, bytes.Repeat([]byte("{}\n"), c.before), 0o600); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("held %d entries before this export, and holds 4 now", c.before)
		if o := (cli{}).run(t, f, "export", name); o.code != console.ExitOK || strings.Contains(o.stderr, want) != c.warns || strings.Contains(o.stderr, "warning") != c.warns {
			t.Errorf("%d entries before: %+v", c.before, o)
		}
	}
}

func TestExportRefusesAListWithoutValues(t *testing.T) {
	f := newFake(t)
	f.before = func(w http.ResponseWriter, _ *http.Request, _ string) bool {
		io.WriteString(w, `{"key":"a","size":1}`+"\n")
		return true
	}
	if o := (cli{}).run(t, f, "export"); o.code != console.ExitFailed || o.stdout != "" || !strings.Contains(o.stderr, "without its value") {
		t.Errorf("%+v", o)
	}
}

// TestImportRepeatsWhatTheServerCouldNotTake: of a batch only the operations that failed with 503 are sent again.
func TestImportRepeatsWhatTheServerCouldNotTake(t *testing.T) {
	path, want := writeLines(t, 3000)
	f := newFake(t)
	var refused sync.Map
	f.before = func(w http.ResponseWriter, r *http.Request, key string) bool {
		if _, again := refused.LoadOrStore(key, true); again || !strings.HasSuffix(key, "7") {
			return false
		}
		slug := "master-unavailable"
		if strings.HasSuffix(key, "77") {
			slug = "outcome-unknown"
		}
		w.Header().Set("Retry-After", "1")
		refuse(w, 503, slug, "not just now")
		return true
	}
	f.ok(t, "import", path, "--retry", "1m")
	if diff := cmp.Diff(want, f.values()); diff != "" {
		t.Error(diff)
	}
	if len(f.puts) != len(want) {
		t.Errorf("%d puts of %d entries", len(f.puts), len(want))
	}
}

// TestImportRepeatsABatchThatBrokeOff: operations without a result are sent again.
func TestImportRepeatsABatchThatBrokeOff(t *testing.T) {
	path, want := writeLines(t, 3000)
	f := newFake(t)
	f.cutBatches = 3
	f.ok(t, "import", path, "--retry", "1m")
	if diff := cmp.Diff(want, f.values()); diff != "" {
		t.Error(diff)
	}
	if f.cutBatches != 0 {
		t.Errorf("%d batches were to break off and did not", f.cutBatches)
	}
}

// TestImportSendsManyEntriesInOneRequest, but a large file alone.
func TestImportSendsManyEntriesInOneRequest(t *testing.T) {
	files := map[string]string{"large": strings.Repeat("x", 64<<10+1)}
	for i := range 500 {
		files[fmt.Sprintf("f%03d", i)] = "\xff" + strconv.Itoa(i)
	}
	f := newFake(t)
	f.ok(t, "import", writeTree(t, files), "-j", "1")
	if diff := cmp.Diff(files, f.values()); diff != "" {
		t.Error(diff)
	}
	batches := 0
	for _, r := range f.requests {
		if r.URL.Path == "/v1/batch" {
			batches++
		}
	}
	if batches < 2 || batches > 100 {
		t.Errorf("%d requests for 500 small files", batches)
	}
}
