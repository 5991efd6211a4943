package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"pgregory.net/rapid"

	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/cmd/runnel/internal/node"
	"github.com/runnelkv/runnel/config"
)

// hostile holds characters that a terminal obeys: an escape sequence, C1 characters as UTF-8 and as bytes, and bidi overrides.
const hostile = "a\x1b]0;owned\x07\u009b31m\u202eb\u2066\x9bc\r\x7f"

// hostileText draws text of characters that a terminal obeys, and of lines that look like the program's own.
func hostileText(t *rapid.T) string {
	parts := []string{"a", "é", " ", "\n", "\nFORGED", "\r", "\t", "\v", "\x1b[2J", "\x1b]0;owned\x07", "\u009b31m", "\u202e", "\u2066", "\u2028", "\x9b", "\xc2", "\x7f", "\x00", "%1b"}
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(parts), 1, 8).Draw(t, "text"), "")
}

// hostileServer answers every request with the text, wherever an answer has text.
func hostileServer(f *fakeServer, text string) {
	encoded, _ := json.Marshal(text) // a string is always encoded
	quoted := strings.ReplaceAll(string(encoded), `\ufffd`, "\x9b")
	quoted = strings.ReplaceAll(quoted, `\u007f`, "\x7f")
	f.before = func(w http.ResponseWriter, r *http.Request, key string) bool {
		w.Header().Set("Connection", "close") // every command has connections of its own
		w.Header().Set("X-Request-Id", strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f {
				return -1 // clients refuse such a header
			}
			return r
		}, text))
		switch {
		case r.URL.Path == "/v1/changes":
			io.WriteString(w, `{"key":`+quoted+`,"revision":1,"next":"t"}`+"\n"+`{"status":410,"title":`+quoted+`,"type":"/problems/resync"}`+"\n")
		case r.URL.Path == "/v1/status":
			io.WriteString(w, `{"node":`+quoted+`,"version":`+quoted+`,"masters":[`+quoted+`],"partitions":[{"name":`+quoted+`,"kind":`+quoted+`,"role":`+quoted+
				`,"state":"ready","error":`+quoted+`,"warnings":[`+quoted+`],"origins":[{"origin":`+quoted+`}]}]}`)
		case r.URL.Path == "/v1/sync":
			io.WriteString(w, `{"targets":[{"name":`+quoted+`,"state":`+quoted+`,"error":`+quoted+`}]}`)
		case r.URL.Path == "/v1/txn":
			io.WriteString(w, `{"succeeded":false,"results":[{"key":`+quoted+`,"value":`+quoted+`}]}`)
		case r.Method == http.MethodGet && key == "value":
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("ETag", `"1"`)
			w.Header().Set("Runnel-Revision", "1")
			io.WriteString(w, text)
		case r.Header.Get("Accept") == "application/json" && key == "":
			io.WriteString(w, `{"keys":[{"key":`+quoted+`}],"prefixes":[`+quoted+`]}`)
		case r.Method == http.MethodGet && r.URL.Path == "/v1/keys":
			io.WriteString(w, `{"key":`+quoted+`,"content_type":`+quoted+`,"etag":`+quoted+`,"value":`+quoted+`}`+"\n")
		default:
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(400)
			io.WriteString(w, `{"type":"/problems/`+strings.Trim(quoted, `"`)+`","detail":`+quoted+`}`)
		}
		return true
	}
}

// hostileCommands are command lines that print text of a server, of the files in dir, and of their arguments.
func hostileCommands(t *rapid.T, dir, text string) [][]string {
	lines, tree, toml := filepath.Join(dir, "lines"), filepath.Join(dir, "tree"), filepath.Join(dir, "toml")
	quoted, _ := json.Marshal(text) // a string is always encoded
	name := strings.NewReplacer("/", "", "\x00", "").Replace(text) + "x"
	if err := errors.Join(os.RemoveAll(tree), os.Mkdir(tree, 0o700), os.WriteFile(filepath.Join(tree, name), []byte(text), 0o600),
		os.WriteFile(lines, []byte(`{"key":`+string(quoted)+`,"value":`+string(quoted)+"}\n"+text+"\n"), 0o600),
		os.WriteFile(toml, []byte("[http]\n"+string(quoted)+" = 1\nlisten = "+string(quoted)+"\n[[partition]]\nname = "+string(quoted)+"\nurl = "+string(quoted)+"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	commands := [][]string{
		{"list"}, {"list", "-l"}, {"list", "--json"}, {"list", "-d", "/"}, {"watch"}, {"watch", "--json"}, {"status"}, {"status", "--json"}, {"get", "k"}, {"get", "value"},
		{"get", "k", "--json"}, {"put", "k", "v"}, {"touch", "k", "--ttl", "1h"}, {"delete", "k"}, {"delete", "--prefix", "a"}, {"txn", lines}, {"sync", "--now"}, {"list", "--verbose"},
		{"import", lines}, {"import", lines, "--dry-run"}, {"import", tree}, {"import", tree, "--dry-run"}, {"import", tree, "--delete", "--dry-run"}, {"export"},
		{"export", filepath.Join(tree, name)}, {"backup", "verify", lines}, {"backup", "verify", filepath.Join(tree, name)}, {"restore", "-c", toml, lines}, {"migrate", "-c", toml}, {"doctor", "-c", toml}, {"key", "list", "-c", toml},
		{"config", "check", toml}, {"serve", "-c", toml}, {"sync", "-c", toml}, {"init", "-c", toml}, {"restore", "-c", toml},
		{"sync", "--once", "--data", filepath.Join(dir, name)}, {"get", "k", "--session", tree + "/" + name}, {"bench", "--prefix", text},
	}
	var leaves func(c *cobra.Command)
	leaves = func(c *cobra.Command) {
		for _, child := range c.Commands() {
			leaves(child)
		}
		path := strings.Fields(c.CommandPath())[1:]
		commands = append(commands, slices.Concat(path, []string{text}), slices.Concat(path, []string{"--" + text, text}))
	}
	leaves(testTree())
	return commands
}

// TestNoCommandPassesHostileTextOn runs all commands at random on a terminal, with hostile text in its arguments, files and answers.
func TestNoCommandPassesHostileTextOn(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	f := newFake(t)
	rapid.Check(t, func(rt *rapid.T) {
		text := hostileText(rt)
		hostileServer(f, text)
		for range 8 {
			args := rapid.SampledFrom(hostileCommands(rt, dir, text)).Draw(rt, "arguments")
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // a watch has no end
			o := cli{ctx: ctx, terminal: true, noBars: true, stdin: text}.run(t, f, args...)
			cancel()
			all := o.stdout + o.stderr
			if strings.ContainsFunc(all, console.IsHidden) {
				rt.Errorf("%q: %q", args, all)
			}
			if forged := strings.Contains("\n"+all, "\nFORGED"); forged && args[len(args)-1] != "value" {
				rt.Errorf("%q prints a line of its input: %q", args, all)
			}
		}
	})
}

func TestTerminalShowsTheCodesOfControlCharacters(t *testing.T) {
	f := newFake(t)
	hostileServer(f, hostile)
	for _, args := range [][]string{{"list"}, {"list", "-l"}, {"list", "--json"}, {"watch"}, {"status"}, {"get", "k"}, {"get", "value"}, {"put", "k", "v"}, {"sync", "--now"}} {
		o := cli{terminal: true}.run(t, f, args...)
		if all := o.stdout + o.stderr; !strings.Contains(all, `\u001b]0;owned`) || !strings.Contains(all, `\u202e`) {
			t.Errorf("%v: %q", args, all)
		}
	}
	for _, args := range [][]string{{"list"}, {"get", "value"}} {
		if o := (cli{}).run(t, f, args...); !strings.Contains(o.stdout, "a\x1b]0;owned\x07\u009b31m") {
			t.Errorf("into a pipe, the text of %v goes as it is: %q", args, o.stdout)
		}
	}
}

// TestLogLinesHoldNoHiddenCharacters logs hostile text in every place that a line has.
func TestLogLinesHoldNoHiddenCharacters(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := hostileText(rt)
		for _, format := range []config.Format{config.FormatJSON, config.FormatText} {
			var b bytes.Buffer
			log := node.NewLogger(&b, config.Log{Format: format}).With(text, text).WithGroup(text)
			log.Info(text, text, text, "error", errors.New(text), "any", []string{text}, "bytes", []byte(text), "text", wire.Text(text))
			if strings.ContainsFunc(b.String(), console.IsHidden) || strings.Count(b.String(), "\n") != 1 || format == config.FormatJSON && !json.Valid(b.Bytes()) {
				rt.Errorf("%s: %q", format, b.String())
			}
		}
	})
}

func TestAnswersOfOtherServicesAreNoSuccess(t *testing.T) {
	lines := filepath.Join(t.TempDir(), "lines")
	if err := os.WriteFile(lines, []byte(`{"key":"a","value":"1"}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, status := range map[string]int{"signs in": 200, "creates": 201, "accepts": 202, "is empty": 204, "is partial": 206} {
		f := newFake(t)
		f.before = func(w http.ResponseWriter, _ *http.Request, _ string) bool {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
			if status != 204 {
				io.WriteString(w, "<form>Sign in</form>")
			}
			return true
		}
		for _, args := range [][]string{
			{"get", "a"}, {"get", "a", "--json"}, {"put", "a", "v"}, {"delete", "a"}, {"delete", "--all", "--yes"}, {"list"}, {"list", "-d", "/"},
			{"status"}, {"export"}, {"import", "-j", "1", lines}, {"watch"}, {"sync", "--now"}, {"txn", lines},
		} {
			o := cli{}.run(t, f, args...)
			if o.code != console.ExitFailed || !strings.Contains(o.stderr, "is not Runnel's") || o.stdout != "" {
				t.Errorf("%s, %v: %+v", name, args, o)
			}
		}
	}
}

func TestOutputThatFailsIsAFailure(t *testing.T) {
	f := newFake(t)
	f.set("k", "v")
	f.status = `{"partitions":[]}`
	for _, args := range [][]string{
		{"get", "k"}, {"get", "k", "--json"}, {"put", "k", "v"}, {"list"}, {"list", "-l"}, {"status"}, {"export"}, {"version"}, {"--version"},
		{"help"}, {"help", "get"}, {"get", "--help"}, {"config", "example"}, {"completion", "bash"}, {"import", "--help"},
	} {
		var stderr bytes.Buffer
		p := &program{
			Streams: testStreams(strings.NewReader(""), fullDisk{}, &stderr, false),
			getenv:  func(name string) string { return map[string]string{"RUNNEL_SERVER": f.url}[name] },
		}
		if code := p.execute(t.Context(), args); code != console.ExitFailed || strings.Count(stderr.String(), "no space left") != 1 {
			t.Errorf("%v: exit %d, %s", args, code, stderr.String())
		}
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestWrongCommandLinesAreRefusedPlainly(t *testing.T) {
	f := newFake(t)
	for line, want := range map[string]string{
		"help nope":                          `there is no command "nope"`,
		"help config nope":                   `there is no command "config nope"`,
		"put k v --meta|A B=1":               "--meta \"A B=1\": Metadata have names",
		"put k v --meta|A=\n":                "--meta",
		"put k v -t|a\nb":                    "Content-Type cannot hold",
		"put k v --if-match|\x01":            "If-Match cannot hold",
		"put k":                              "standard input is empty and there is no VALUE",
		"put k v --ttl|soon":                 `--ttl is a duration like 500ms, 30s or 12h, not "soon"`,
		"list --limit|many":                  `--limit is a whole number, not "many"`,
		"list --long=perhaps":                `--long is true or false, not "perhaps"`,
		"put k v --meta|novalue":             `--meta is NAME=TEXT, not "novalue"`,
		"serve --server|http://h":            "--server is about requests",
		"sync --once --retry|1s":             "--retry is about requests",
		"config example --key|k":             "--key is about requests",
		"config check f --timeout|1s":        "--timeout is about requests",
		"sync -v":                            "--verbose is about requests",
		"sync --once --data|/nowhere/at/all": "there is no store in /nowhere/at/all",
		"sync --data|/nowhere/at/all":        "there is no store in /nowhere/at/all",
		"sync --now --once":                  "now",
	} {
		args := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' })
		if before, after, ok := strings.Cut(line, "|"); ok {
			args = append(strings.Fields(before), after)
		}
		o := cli{}.run(t, f, args...)
		if o.code != console.ExitUsage || !strings.Contains(o.stderr, want) || strings.Contains(o.stderr, "strconv") || strings.Contains(o.stderr, "time:") || len(f.requests) > 0 {
			t.Errorf("%q: %+v, %d requests", line, o, len(f.requests))
		}
	}
	if _, err := os.Stat("/nowhere"); err == nil {
		t.Error("a store was made")
	}
}

func TestInterruptEndsThePutThatReadsATerminal(t *testing.T) {
	f := newFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	defer w.Close()
	done := make(chan int)
	go func() {
		p := &program{
			Streams: testStreams(r, io.Discard, io.Discard, true),
			getenv:  func(name string) string { return map[string]string{"RUNNEL_SERVER": f.url}[name] },
		}
		done <- p.execute(ctx, []string{"put", "k"})
	}()
	if _, err := w.Write([]byte("half a ")); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case code := <-done:
		if code != console.ExitFailed || len(f.values()) > 0 {
			t.Errorf("exit %d, stored %v", code, f.values())
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it still reads")
	}
}

func TestNotFoundNamesTheKey(t *testing.T) {
	f := newFake(t)
	for _, args := range [][]string{{"get", "my key"}, {"delete", "my key"}} {
		if o := (cli{}).run(t, f, args...); o.code != console.ExitFailed || strings.Count(o.stderr, `"my key"`) != 1 || strings.Count(o.stderr, "\n") != 1 {
			t.Errorf("%v: %+v", args, o)
		}
	}
}

func TestVersionFlag(t *testing.T) {
	f := newFake(t)
	if got, want := f.ok(t, "--version"), f.ok(t, "version"); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestServeNeedsADirectoryForItsData(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		if o := (cli{}).run(t, nil, "serve", "--data", dir, "--listen", "127.0.0.1:0"); o.code != console.ExitFailed || !strings.Contains(o.stderr, "cannot keep a store") {
			t.Errorf("%+v", o)
		}
	}
}

func TestBannerReadsFromTheMaster(t *testing.T) {
	var out bytes.Buffer
	p := &program{Streams: console.Streams{Out: &out}}
	p.printBanner(serveFlags{configFlags: configFlags{data: "d"}}, "http://127.0.0.1:8080")
	if text := out.String(); !strings.Contains(text, "/v1/keys/greeting?consistency=master'") || strings.Count(text, "any partition answers a read") != 1 {
		t.Errorf("%s", text)
	}
}
