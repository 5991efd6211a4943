package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

// left are the keys that f holds, in order.
func left(f *fakeServer) string {
	var keys []string
	for k := range f.values() {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return strings.Join(keys, " ")
}

func TestDeleteByPrefixAsksFirst(t *testing.T) {
	f := newFake(t)
	for _, key := range []string{"p/1", "p/2", "p", "q"} {
		f.set(key, "x")
	}
	for _, args := range [][]string{
		{"delete"},
		{"delete", "--prefix", "p/"}, // no terminal to ask on
		{"delete", "--all"},          // as well
		{"delete", "--prefix", "", "--yes"},
		{"delete", "--prefix", "p/", "--all", "--yes"},
		{"delete", "q", "--prefix", "p/", "--yes"},
		{"delete", "q", "--all", "--yes"},
		{"delete", "q", "--yes"},
		{"delete", "--prefix", "p/", "--if-match", "*", "--yes"},
		{"delete", "p", "q"},
	} {
		if o := (cli{}).run(t, f, args...); o.code != console.ExitUsage {
			t.Errorf("%q: %+v", args, o)
		}
	}
	for _, answer := range []string{"", "\n", "n\n", "yess\n"} {
		o := cli{stdin: answer, terminal: true}.run(t, f, "delete", "--prefix", "p/")
		if o.code != console.ExitFailed || !strings.Contains(o.stderr, "  p/1\n  p/2\ndelete these 2 keys? [y/N] ") {
			t.Errorf("answered %q: %+v", answer, o)
		}
	}
	if got := left(f); got != "p p/1 p/2 q" {
		t.Fatalf("left %s", got)
	}
	o := cli{stdin: "y\n", terminal: true}.run(t, f, "delete", "--prefix", "p/")
	if o.code != console.ExitOK || !strings.Contains(o.stderr, "deleted 2 keys\n") || left(f) != "p q" {
		t.Errorf("%+v, left %s", o, left(f))
	}
	if o := (cli{terminal: true}).run(t, f, "delete", "--prefix", "p/"); o.code != console.ExitOK || !strings.HasSuffix(o.stderr, "deleted 0 keys\n") {
		t.Errorf("nothing to delete: %+v", o)
	}
	if o := (cli{}).run(t, f, "delete", "--all", "--yes"); o.code != console.ExitOK || left(f) != "" {
		t.Errorf("%+v, left %s", o, left(f))
	}
}

func TestDeleteByPrefixGoesOnInSteps(t *testing.T) {
	f := newFake(t)
	for i := range 2500 {
		f.set(fmt.Sprintf("p/%04d", i), "x")
	}
	o := cli{stdin: "y\n", terminal: true}.run(t, f, "delete", "--prefix", "p/")
	if o.code != console.ExitOK || !strings.Contains(o.stderr, "  p/0009\n  …\ndelete every key that begins with \"p/\"? [y/N] ") ||
		!strings.Contains(o.stderr, "deleted 2500 keys\n") || left(f) != "" {
		t.Errorf("%+v, left %s", o, left(f))
	}
}

func TestInterruptedDeleteSaysHowFarItCame(t *testing.T) {
	f := newFake(t)
	for i := range 2500 {
		f.set(fmt.Sprintf("p/%04d", i), "x")
	}
	ctx, cancel := context.WithCancel(t.Context())
	f.before = func(_ http.ResponseWriter, r *http.Request, _ string) bool {
		cancel()
		return false
	}
	o := cli{ctx: ctx}.run(t, f, "delete", "--prefix", "p/", "--yes")
	if o.code != console.ExitFailed || !strings.Contains(o.stderr, "deleted 1000 keys\n") || !strings.Contains(o.stderr, "repeat the command to continue") || len(f.values()) != 1500 {
		t.Errorf("%+v", o)
	}
}

func TestTouchRenewsWithoutTheValue(t *testing.T) {
	f := newFake(t)
	f.set("k", "v")
	if got := f.ok(t, "touch", "k", "--ttl", "30m"); got != f.entries["k"].etag()+"\n" || f.entries["k"].ttl != "30m0s" || f.values()["k"] != "v" {
		t.Errorf("%q, %+v", got, f.entries["k"])
	}
	if got := f.ok(t, "list", "-l"); !strings.Contains(got, "EXPIRES") || !strings.Contains(got, "2026-03-01T12:30:00Z") {
		t.Errorf("%s", got)
	}
	if o := (cli{}).run(t, f, "touch", "none", "--ttl", "1s"); o.code != console.ExitFailed || !strings.Contains(o.stderr, `"none"`) {
		t.Errorf("%+v", o)
	}
	if o := (cli{}).run(t, f, "touch", "k"); o.code != console.ExitUsage {
		t.Errorf("%+v", o)
	}
}

func TestPutSaysWhenCopiesAreMissing(t *testing.T) {
	f := newFake(t)
	f.ok(t, "put", "k", "v", "--copies", "2")
	o := cli{}.run(t, f, "put", "k", "v2", "--copies", "all")
	if o.code != console.ExitFailed || o.stdout != f.entries["k"].etag()+"\n" || !strings.Contains(o.stderr, "2 partitions hold the value so far instead of all") {
		t.Errorf("%+v", o)
	}
}

func TestSyncNowAndTransactionsSayWhatCameOfThem(t *testing.T) {
	f := newFake(t)
	for _, test := range []struct {
		answer, stdout string
		args           []string
		code           int
	}{
		{`{"targets":[{"name":"a","state":"level","copied":3,"remaining":0}]}`, "a: level, 3 copied, 0 remaining\n", []string{"sync", "--now"}, console.ExitOK},
		{`{"targets":[{"name":"a","state":"unreachable","error":"down","copied":0,"remaining":5}]}`, "a: unreachable, 0 copied, 5 remaining: down\n", []string{"sync", "--now"}, console.ExitFailed},
		{`{"succeeded":true,"results":[]}`, "{\n  \"succeeded\": true,\n  \"results\": []\n}\n", []string{"txn", "-"}, console.ExitOK},
		{`{"succeeded":false,"results":[]}`, "{\n  \"succeeded\": false,\n  \"results\": []\n}\n", []string{"txn", "-"}, console.ExitFailed},
	} {
		f.status = test.answer
		if o := (cli{stdin: "{}"}).run(t, f, test.args...); o.code != test.code || o.stdout != test.stdout {
			t.Errorf("%v: %+v", test.args, o)
		}
	}
}

func TestImportOfAnUnchangedTreeStoresNothing(t *testing.T) {
	f := newFake(t)
	large := strings.Repeat("0123456789abcdef", 20_000)
	dir := writeTree(t, map[string]string{"a.txt": "one", "b/c.html": "two", "large.bin": large, "empty": ""})
	f.ok(t, "import", dir, "--prefix", "p/")
	if len(f.puts) != 4 {
		t.Fatalf("stored %v", f.puts)
	}
	f.puts = nil
	if o := (cli{}).run(t, f, "import", dir, "--prefix", "p/"); o.code != console.ExitOK || len(f.puts) != 0 || !strings.Contains(o.stderr, "4 were stored already") {
		t.Errorf("stored %v: %+v", f.puts, o)
	}
	change := func(key string, by func(*fakeEntry)) {
		f.mu.Lock()
		defer f.mu.Unlock()
		by(f.entries[key])
	}
	change("p/a.txt", func(e *fakeEntry) { e.value = []byte("eno") })
	change("p/b/c.html", func(e *fakeEntry) { e.contentType = "text/plain" })
	change("p/large.bin", func(e *fakeEntry) { e.value = []byte(large[:len(large)-1] + "X") })
	change("p/empty", func(e *fakeEntry) { e.ttl = "1h" })
	f.ok(t, "import", dir, "--prefix", "p/")
	slices.Sort(f.puts)
	if got := strings.Join(f.puts, " "); got != "p/a.txt p/b/c.html p/empty p/large.bin" {
		t.Errorf("stored %s", got)
	}
}

func TestDryRunOfAnImportChangesNothing(t *testing.T) {
	f := newFake(t)
	dir := writeTree(t, map[string]string{"same": "1", "new": "2"})
	f.set("p/same", "1")
	f.entries["p/same"].contentType = "text/plain; charset=utf-8"
	f.set("p/gone", "3")
	o := cli{}.run(t, f, "import", dir, "--prefix", "p/", "--delete", "--dry-run")
	if o.code != console.ExitOK || o.stdout != "store p/new\ndelete p/gone\n" || !strings.Contains(o.stderr, "would store 1 entries") {
		t.Errorf("%+v", o)
	}
	o = cli{stdin: `{"key":"x","value":"1"}` + "\n" + `{"key":"y","value":"1"}` + "\n"}.run(t, f, "import", "-", "--dry-run", "-j", "1")
	if o.code != console.ExitOK || o.stdout != "store x\nstore y\n" {
		t.Errorf("%+v", o)
	}
	if len(f.puts) > 0 || len(f.values()) != 2 {
		t.Errorf("stored %v, %v", f.puts, f.values())
	}
}
