package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

// awkwardKeys are keys that something on the way to a server is likely to change.
var awkwardKeys = []string{
	"plain", "a/b/c.txt", "a//b", "//", "/", "/a", "a/", ".", "..", "../../etc/passwd", "a/../b", "a/./b", "...",
	"100%", "%2F", "%2f%2F", "%", "%zz", "a b", " ", "+", "a+b", "?", "a?b=c", "#", "a#b", "a&b", ";", ":", "http://x/y",
	"ä/ö", "日本語", "🎉", "\"'`$\\", "~", "{tag}/x", "a,b", "[x]", "*", "@", "-", "--", "C:\\x", strings.Repeat("é", 256),
}

func TestKeysArriveByteExact(t *testing.T) {
	f := newFake(t)
	for _, key := range awkwardKeys {
		f.ok(t, "put", "--", key, "value of "+key)
		if got := f.ok(t, "get", "--", key); got != "value of "+key {
			t.Errorf("get %q = %q", key, got)
		}
	}
	for _, key := range awkwardKeys {
		if got := f.values()[key]; got != "value of "+key {
			t.Errorf("the server holds %q under %q", got, key)
		}
	}
	if got := len(f.values()); got != len(awkwardKeys) {
		t.Errorf("the server holds %d keys, want %d", got, len(awkwardKeys))
	}
	for _, key := range awkwardKeys {
		f.ok(t, "delete", "--", key)
	}
	if left := f.values(); len(left) > 0 {
		t.Errorf("left after delete: %q", left)
	}
	for _, r := range f.requests {
		if got := r.Header.Get("Accept-Encoding"); got != "" {
			t.Fatalf("%s asks for a value encoded as %s", r.Method, got)
		}
	}
}

func FuzzKeyPathDecodesToTheKey(f *testing.F) {
	for _, key := range awkwardKeys {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		encoded := strings.TrimPrefix(wire.Path(wire.KeysPath, key), "/v1/keys/")
		if got, err := url.PathUnescape(encoded); err != nil || got != key {
			t.Fatalf("%q becomes %q, which decodes to %q, %v", key, encoded, got, err)
		}
		for segment := range strings.SplitSeq(encoded, "/") {
			if key != "" && (segment == "" || segment == "." || segment == "..") {
				t.Fatalf("%q becomes %q, which a proxy may clean", key, encoded)
			}
		}
	})
}

func TestGetRefusals(t *testing.T) {
	f := newFake(t)
	o := cli{}.run(t, f, "get", "nothing")
	want := outcome{"", "runnel: 404 not-found: there is no such key: \"nothing\"\n", console.ExitFailed}
	if o != want {
		t.Errorf("got %+v, want %+v", o, want)
	}
	o = cli{}.run(t, f, "get", "nothing", "-v")
	if !strings.Contains(o.stderr, "GET /v1/keys/nothing: 404, request req-1") || !strings.Contains(o.stderr, "(request req-1)") {
		t.Errorf("--verbose does not name the request:\n%s", o.stderr)
	}
}

func TestGetWritesFileOnlyWhenWhole(t *testing.T) {
	f := newFake(t)
	name := filepath.Join(t.TempDir(), "out")
	f.set("k", "\x00\xff binary")
	f.ok(t, "get", "k", "-o", name)
	if got, _ := os.ReadFile(name); string(got) != "\x00\xff binary" {
		t.Errorf("file holds %q", got)
	}
	f.before = func(w http.ResponseWriter, _ *http.Request, _ string) bool {
		w.Header().Set("Content-Length", "100")
		w.Header().Set("Runnel-Revision", "1")
		w.Write([]byte("half"))
		return true
	}
	if o := (cli{}).run(t, f, "get", "k", "-o", name); o.code != console.ExitFailed || !strings.Contains(o.stderr, "cut short") {
		t.Errorf("a short answer: %+v", o)
	}
	if got, _ := os.ReadFile(name); string(got) != "\x00\xff binary" {
		t.Errorf("file holds %q after a failed get", got)
	}
	if left, _ := filepath.Glob(name + ".*"); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestGetJSONTellsEntryFromJSONValue(t *testing.T) {
	f := newFake(t)
	f.ok(t, "put", "text", "hi", "--meta", "Colour=red")
	f.ok(t, "put", "json", `{"key":"json","etag":"forged"}`, "-t", "application/json")
	for key, want := range map[string]string{"text": `"value": "hi"`, "json": `"value": "{\"key\":\"json\"`} {
		got := f.ok(t, "get", "--json", key)
		for _, s := range []string{want, fmt.Sprintf(`"key": %q`, key), `"revision": `, `"etag": "\"`, `"content_type": `} {
			if !strings.Contains(got, s) {
				t.Errorf("get --json %s has no %s:\n%s", key, s, got)
			}
		}
	}
	if got := f.ok(t, "get", "--json", "text"); !strings.Contains(got, `"colour": "red"`) {
		t.Errorf("no metadata in:\n%s", got)
	}
}

func TestPutSources(t *testing.T) {
	dir := t.TempDir()
	page := filepath.Join(dir, "page.html")
	blob := filepath.Join(dir, "blob")
	big := strings.Repeat("0123456789abcdef", 1<<17) // 2 MiB: sent with Expect: 100-continue
	for name, content := range map[string]string{page: "<p>", blob: big} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name, stdin      string
		args             []string
		value, mediaType string
	}{
		{"argument", "", []string{"hello"}, "hello", "text/plain; charset=utf-8"},
		{"empty argument", "", []string{""}, "", "text/plain; charset=utf-8"},
		{"stdin", "from \x00 stdin", nil, "from \x00 stdin", "application/octet-stream"},
		{"dash", "from stdin", []string{"-"}, "from stdin", "application/octet-stream"},
		{"empty stdin", "", []string{"-"}, "", "application/octet-stream"},
		{"file", "", []string{"--file", page}, "<p>", "text/html; charset=utf-8"},
		{"large file", "", []string{"--file", blob}, big, "application/octet-stream"},
		{"type given", "", []string{"{}", "--content-type", "application/json"}, "{}", "application/json"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake(t)
			o := cli{stdin: tt.stdin}.run(t, f, append([]string{"put", "k", "--ttl", "90s"}, tt.args...)...)
			e := f.entries["k"]
			if o.code != console.ExitOK || e == nil {
				t.Fatalf("%+v", o)
			}
			if string(e.value) != tt.value || e.contentType != tt.mediaType || e.ttl != "1m30s" {
				t.Errorf("stored %d bytes, type %q, ttl %q", len(e.value), e.contentType, e.ttl)
			}
			if o.stdout != e.etag()+"\n" {
				t.Errorf("printed %q, want the ETag %s", o.stdout, e.etag())
			}
			if asked := f.requests[0].Header.Get("Expect") != ""; asked != (len(tt.value) > 1<<20) {
				t.Errorf("asked before sending %d bytes: %v", len(tt.value), asked)
			}
		})
	}
}

func TestConditionsAreSentAndTheirFailureNamed(t *testing.T) {
	f := newFake(t)
	etag := strings.TrimSpace(f.ok(t, "put", "k", "1", "--if-none-match", "*"))
	for _, args := range [][]string{
		{"put", "k", "2", "--if-none-match", "*"},
		{"put", "k", "2", "--if-match", "stale"},
		{"delete", "k", "--if-match", `"stale"`},
	} {
		o := cli{}.run(t, f, args...)
		if o.code != console.ExitFailed || o.stderr != "runnel: 412 precondition-failed: the key has another ETag\n" {
			t.Errorf("%q: %+v", args, o)
		}
	}
	next := f.ok(t, "put", "k", "2", "--if-match", strings.Trim(etag, `"`)) // a shell took the quotes
	f.ok(t, "delete", "k", "--if-match", strings.TrimSpace(next))
}

func TestListForms(t *testing.T) {
	f := newFake(t)
	for _, k := range []string{"b", "a/2", "a/1", "a/x/1", "a/x/2", "c d"} {
		f.set(k, "v-"+k)
	}
	for _, tt := range []struct{ args, want string }{
		{"list", "a/1 a/2 a/x/1 a/x/2 b c d"},
		{"list a/", "a/1 a/2 a/x/1 a/x/2"},
		{"list --limit 2", "a/1 a/2"},
		{"list --delimiter /", "a/ b c d"},
		{"list a/ -d / -n 3", "a/1 a/2 a/x/"},
		{"list none", ""},
	} {
		got := strings.ReplaceAll(strings.TrimSuffix(f.ok(t, strings.Fields(tt.args)...), "\n"), "\n", " ")
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.args, got, tt.want)
		}
	}
	got := f.ok(t, "list", "b", "--values")
	want := `{"key":"b","value":"v-b","content_type":"text/plain; charset=utf-8","size":3,"etag":"\"1\"","revision":1,"modified_at":"2026-03-01T12:00:00Z"}` + "\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got = f.ok(t, "list", "--long", "-d", "/")
	want = "     SIZE  MODIFIED              EXPIRES               TYPE                          ETAG                KEY\n" +
		"        -  -                     -                     prefix                        -                   a/\n" +
		"      3 B  2026-03-01T12:00:00Z  -                     text/plain; charset=utf-8     \"1\"                 b\n" +
		"      5 B  2026-03-01T12:00:00Z  -                     text/plain; charset=utf-8     \"6\"                 c d\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := f.ok(t, "list", "-d", "/", "--json", "-n", "1"); got != `{"prefix":"a/"}`+"\n" {
		t.Errorf("a prefix as JSON: %s", got)
	}
}

func TestListTakesUpABrokenStream(t *testing.T) {
	f := newFake(t)
	var want strings.Builder
	for i := range 2500 {
		key := fmt.Sprintf("k%04d", i)
		f.set(key, "v")
		fmt.Fprintln(&want, key)
	}
	for _, broken := range []int{1, 999, 1000, 1001, 2345, 2499} {
		f.breakAfter = broken
		if got := f.ok(t, "list"); got != want.String() {
			t.Errorf("broken after %d lines: %d keys, want 2500", broken, strings.Count(got, "\n"))
		}
		if f.breakAfter != 0 {
			t.Errorf("the stream was not broken after %d lines", broken)
		}
	}
}

func TestListFailsOnAProblemInTheStream(t *testing.T) {
	f := newFake(t)
	f.before = func(w http.ResponseWriter, _ *http.Request, _ string) bool {
		fmt.Fprintln(w, `{"key":"a"}`)
		fmt.Fprintln(w, `{"type":"/problems/internal","status":500,"detail":"broken"}`)
		return true
	}
	o := cli{}.run(t, f, "list")
	if want := (outcome{"a\n", "runnel: 500 internal: broken\n", console.ExitFailed}); o != want {
		t.Errorf("got %+v, want %+v", o, want)
	}
}

func TestCompletionOffersKeys(t *testing.T) {
	f := newFake(t)
	f.set("photos/a", "")
	f.set("phone", "")
	got := f.ok(t, "__complete", "get", "pho")
	if !strings.HasPrefix(got, "phone\nphotos/\n") {
		t.Errorf("offered:\n%s", got)
	}
}

func TestListsAskForTheirConsistency(t *testing.T) {
	empty := t.TempDir()
	for _, tt := range []struct{ args, want string }{
		{"list", ""}, {"export", ""}, {"list --consistency master", "master"}, {"list -d / --consistency master", "master"},
		{"export --consistency master", "master"}, {"import --delete --yes " + empty, "master"},
	} {
		f := newFake(t)
		f.ok(t, strings.Fields(tt.args)...)
		if diff := cmp.Diff([]string{tt.want}, slices.Compact(f.consistencies())); diff != "" {
			t.Errorf("%s: %s", tt.args, diff)
		}
	}
}

func TestReadsSayWhoMayAnswer(t *testing.T) {
	f := newFake(t)
	f.set("a", "1")
	file := filepath.Join(t.TempDir(), "session")
	for _, c := range []struct{ args, query string }{
		{"get a", ""},
		{"get a --consistency any", "consistency=any"},
		{"get a --consistency master", "consistency=master"},
		{"get a --max-staleness 5s", "max_staleness=5s"},
		{"get a --max-staleness 1m30s --consistency bounded", "consistency=bounded&max_staleness=1m30s"},
		{"get a --r 2", "r=2"},
		{"get a --r all --json", "entry=true&r=all"},
		{"get a --r quorum --consistency quorum", "consistency=quorum&r=quorum"},
		{"get a --consistency quorum --session " + file, "consistency=quorum"},
		{"get a --consistency session --session " + file, "consistency=session"},
		{"list --max-staleness 500ms", "max_staleness=500ms"},
		{"list -d / --max-staleness 500ms", "delimiter=%2F&limit=1000&max_staleness=500ms"},
		{"list --consistency bounded --max-staleness 1ms", "consistency=bounded&max_staleness=1ms"},
		{"list --consistency master", "consistency=master"},
		{"export --max-staleness 2s", "max_staleness=2s&values=true"},
	} {
		f.requests = nil
		f.ok(t, strings.Fields(c.args)...)
		if got := f.requests[0].URL.RawQuery; got != c.query {
			t.Errorf("%s: sent %q, want %q", c.args, got, c.query)
		}
	}
}

// TestContradictoryReadsAreRefused: the error names the contradiction, and no request is sent.
func TestContradictoryReadsAreRefused(t *testing.T) {
	f := newFake(t)
	for args, want := range map[string]string{
		"get a --consistency none":                         "not \"none\"",
		"get a --consistency bounded":                      "needs --max-staleness",
		"get a --consistency session":                      "needs --session",
		"get a --max-staleness 5s --r 2":                   "--max-staleness and --r exclude each other",
		"get a --max-staleness 5s --consistency master":    "not with master",
		"get a --max-staleness 5s --consistency any":       "not with any",
		"get a --max-staleness 1us":                        "less than 1ms",
		"get a --max-staleness 0":                          "less than 1ms",
		"get a --max-staleness soon":                       "soon",
		"get a --r 0":                                      "not \"0\"",
		"get a --r most":                                   "not \"most\"",
		"get a --r=":                                       "not \"\"",
		"get a --r 2 --consistency any":                    "not with any",
		"list --consistency quorum":                        "not \"quorum\"",
		"list --r 2":                                       "unknown flag",
		"list --max-staleness 5s --consistency session":    "not with session",
		"export --consistency bounded":                     "needs --max-staleness",
		"export --max-staleness=-5s --consistency bounded": "less than 1ms",
	} {
		if o := (cli{}).run(t, f, strings.Fields(args)...); o.code != console.ExitUsage || !strings.Contains(o.stderr, want) || len(f.requests) > 0 {
			t.Errorf("%s: %+v after %d requests; want %q", args, o, len(f.requests), want)
		}
	}
}

func TestCompletionOffersWhoMayAnswer(t *testing.T) {
	for args, want := range map[string][]string{
		"get --consistency ":  {"any", "session", "bounded", "quorum", "master"},
		"list --consistency ": {"any", "session", "bounded", "master"},
		"get --r ":            {"2", "quorum", "all"},
	} {
		words := strings.Split("__complete "+args, " ")
		offered := strings.Split((cli{}).run(t, nil, words...).stdout, "\n")
		if len(offered) < len(want) || !slices.Equal(offered[:len(want)], want) {
			t.Errorf("%s offers %q", args, offered)
		}
	}
}
