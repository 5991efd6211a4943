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
	if o.code != console.ExitFailed || !strings.Contains(o.stderr, "deleted 1000 keys\n") || !strings.Contains(o.stderr, "repeat the command to go on") || len(f.values()) != 1500 {
		t.Errorf("%+v", o)
	}
}
