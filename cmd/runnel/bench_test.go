package main

import (
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
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

func TestBenchMeasuresOverTLS(t *testing.T) {
	f := newFake(t)
	f.status = `{}`
	secure := httptest.NewTLSServer(f)
	t.Cleanup(secure.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"bench", "--server", secure.URL, "--keys", "5", "-n", "1", "--requests", "5", "--warmup", "0", "--cases", "get", "--cacert", ca}
	if o := (cli{}).run(t, nil, args...); o.code != console.ExitOK || !strings.Contains(o.stdout, "get") {
		t.Errorf("%+v", o)
	}
	plan := `{"address":"` + secure.Listener.Addr().String() + `","https":true,"method":"GET","path":"/healthz","expect":[200,404],"body_bytes":-1,` +
		`"connections":1,"keys":1,"order":"random","duration_ms":10000,"requests":5}`
	o := cli{stdin: plan}.run(t, nil, "bench", "--plan", "--cacert", ca)
	if o.code != console.ExitOK || !strings.Contains(o.stdout, `"requests":5,"errors":0`) {
		t.Errorf("%+v", o)
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
		{"--cases", "nope"}, {"--keys", "0"}, {"--prefix", "a b"}, {"-n", "0"}, {"--server", "ftp://127.0.0.1:1"}, {"--plan"},
	} {
		o := cli{}.run(t, nil, append([]string{"bench"}, args...)...)
		if o.code != console.ExitUsage || o.stdout != "" {
			t.Errorf("%q: %+v", args, o)
		}
	}
}
