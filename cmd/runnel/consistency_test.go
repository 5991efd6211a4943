package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

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

// TestContradictoryReadsAreRefused names what is wrong, before anything is sent.
func TestContradictoryReadsAreRefused(t *testing.T) {
	f := newFake(t)
	for args, want := range map[string]string{
		"get a --consistency none":                         "not \"none\"",
		"get a --consistency bounded":                      "needs --max-staleness",
		"get a --consistency session":                      "needs --session",
		"get a --max-staleness 5s --r 2":                   "either --max-staleness or --r",
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
