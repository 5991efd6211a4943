package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

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
	if o.code != console.ExitFailed || o.stdout != f.entries["k"].etag()+"\n" || !strings.Contains(o.stderr, "on 2 partitions until now instead of all") {
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
