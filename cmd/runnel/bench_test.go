package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

func TestBenchMeasuresAndRemovesItsKeys(t *testing.T) {
	f := newFake(t)
	f.set("mine", "kept")
	f.status = `{}`
	o := cli{}.run(t, nil, "bench", "--server", f.url, "--keys", "50", "-n", "5", "--requests", "50", "--warmup", "0", "--duration", "10s", "--json",
		"--cases", "get,put,put-if-match,delete")
	var results []benchResult
	if err := json.Unmarshal([]byte(o.stdout), &results); err != nil || o.code != console.ExitOK {
		t.Fatalf("%v: %+v", err, o)
	}
	var names []string
	for _, r := range results {
		names = append(names, r.Case)
		if r.Requests != 50 || r.Errors != 0 {
			t.Errorf("%s: %+v", r.Case, r.Report)
		}
	}
	if got := strings.Join(names, " "); got != "fill get put put-if-match delete" {
		t.Errorf("cases: %s", got)
	}
	if left := f.values(); len(left) != 1 || left["mine"] != "kept" {
		t.Errorf("%d keys are left", len(left))
	}
}

func TestBenchReadsWhenReplicasAreLevel(t *testing.T) {
	f := newFake(t)
	lags := []string{"7", "3", "null"} // in the successive status documents
	asked, early := 0, false
	f.before = func(w http.ResponseWriter, r *http.Request, _ string) bool {
		switch {
		case r.URL.Path == "/v1/status":
			io.WriteString(w, `{"partitions":[{"state":"ready","origins":[{"origin":"a","lag_revisions":`+lags[min(asked, 2)]+`}]},
				{"state":"unreachable","origins":[{"origin":"a","lag_revisions":9}]}]}`)
			asked++
			return true
		case r.Method == "GET":
			early = early || asked < len(lags)
		}
		return false
	}
	o := cli{}.run(t, nil, "bench", "--server", f.url, "--keys", "5", "-n", "1", "--requests", "5", "--warmup", "0", "--cases", "get")
	if o.code != console.ExitOK || early || asked < len(lags) {
		t.Errorf("asked %d times, read early: %t; %+v", asked, early, o)
	}
}

func TestBenchRefusesWhatItCannotMeasure(t *testing.T) {
	for _, args := range [][]string{
		{"--cases", "nope"}, {"--keys", "0"}, {"--prefix", "a b"}, {"-n", "0"}, {"--server", "https://127.0.0.1:1"}, {"--plan"},
	} {
		o := cli{}.run(t, nil, append([]string{"bench"}, args...)...)
		if o.code != console.ExitUsage || o.stdout != "" {
			t.Errorf("%q: %+v", args, o)
		}
	}
}
