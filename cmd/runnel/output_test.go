package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/cmd/runnel/internal/node"
	"github.com/runnelkv/runnel/config"
)

// hostile holds characters that a terminal obeys: an escape sequence, C1 characters as UTF-8 and as bytes, and bidi overrides.
const hostile = "a\x1b]0;owned\x07\u009b31m\u202eb\u2066\x9bc\r\x7f"

func TestTerminalIsShownNoControlCharacters(t *testing.T) {
	quoted, err := json.Marshal(hostile)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(quoted), `\ufffd`, "\x9b")
	text = strings.ReplaceAll(text, `\u007f`, "\x7f")
	f := newFake(t)
	f.before = func(w http.ResponseWriter, r *http.Request, _ string) bool {
		switch {
		case r.URL.Path == "/v1/changes":
			io.WriteString(w, `{"key":`+text+`,"revision":1,"next":"t"}`+"\n"+`{"status":410,"title":`+text+`,"type":"/problems/resync"}`+"\n")
		case r.URL.Path == "/v1/status":
			io.WriteString(w, `{"node":`+text+`,"partitions":[{"name":`+text+`,"state":"ready","error":`+text+`}]}`)
		case r.Header.Get("Accept") == "application/json":
			io.WriteString(w, `{"keys":[{"key":`+text+`}],"prefixes":[`+text+`]}`)
		case r.URL.Path == "/v1/keys":
			io.WriteString(w, `{"key":`+text+`,"content_type":`+text+`,"etag":`+text+`}`+"\n")
		default:
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(400)
			io.WriteString(w, `{"type":"/problems/x","detail":`+text+`}`)
		}
		return true
	}
	for _, args := range [][]string{
		{"list"}, {"list", "-l"}, {"list", "--json"}, {"list", "-d", "/"}, {"watch"}, {"watch", "--json"}, {"status"}, {"status", "--json"},
		{"get", "k"}, {"put", "k", "v"}, {"delete", "k"}, {"delete", "--prefix", "a"},
	} {
		o := cli{terminal: true}.run(t, f, args...)
		all := o.stdout + o.stderr
		if strings.ContainsFunc(all, console.IsHidden) || !strings.Contains(all, `\u001b]0;owned`) || !strings.Contains(all, `\u202e`) {
			t.Errorf("%v: %q", args, all)
		}
	}
	if o := (cli{}).run(t, f, "list"); !strings.Contains(o.stdout, "a\x1b]0;owned\x07\u009b31m") {
		t.Errorf("into a pipe keys go as they are: %q", o.stdout)
	}
}

func TestJSONLogsHoldNoHiddenCharacters(t *testing.T) {
	for _, format := range []config.Format{config.FormatJSON, config.FormatText} {
		var b bytes.Buffer
		node.NewLogger(&b, config.Log{Format: format}).Info("x", "key", hostile)
		if strings.ContainsFunc(b.String(), console.IsHidden) || format == config.FormatJSON && !json.Valid(b.Bytes()) {
			t.Errorf("%s: %q", format, b.String())
		}
	}
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
	p.printBanner(serveFlags{configFlags: configFlags{data: "d"}}, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80})
	if text := out.String(); !strings.Contains(text, "/v1/keys/greeting?consistency=master'") || strings.Count(text, "any partition answers a read") != 1 {
		t.Errorf("%s", text)
	}
}
