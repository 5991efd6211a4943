package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

const statusJSON = `{"node":"n1","version":"v1","epoch":2,"masters":["p0","p1"],"surprise":{"x":1},"partitions":[
 {"name":"p0","kind":"sqlite","role":"master","state":"ready","latency_ms":0.25,"readable":true,"writable":true,"origins":[
  {"origin":"p0","revision":2199023255554,"lag_revisions":0,"lag_seconds":0,"synced_at":"2026-03-01T11:59:58Z"},
  {"origin":"p1","revision":7,"lag_revisions":3,"lag_seconds":1.5,"synced_at":"2026-03-01T11:59:00Z"}]},
 {"name":"p1","kind":"mysql","role":"master","state":"unreachable","error":"connection refused"}],
 "sync":{"running":true,"passes":12,"last_pass_at":"2026-03-01T11:59:59Z","last_pass_ms":3.25},"orphans":1}`

func TestStatusTable(t *testing.T) {
	f := newFake(t)
	f.status = statusJSON
	o := cli{}.run(t, f, "status")
	want := `PARTITION  KIND    ROLE    STATE        LATENCY  ORIGIN  POSITION       BEHIND  LAG    SYNCED         ERROR
p0         sqlite  master  ready        0.2 ms   p0      2199023255554  0       0.0 s  2 seconds ago  -
                                                 p1      7              3       1.5 s  1 minute ago   
p1         mysql   master  unreachable  -        -       -              -       -      -              connection refused

node n1, version v1, epoch 2, masters: p0, p1
sync: running, 12 passes, last 1 second ago, took 3.2 ms
orphans: 1
`
	if diff := cmp.Diff(want, o.stdout); diff != "" {
		t.Error(diff)
	}
	if o.code != console.ExitFailed || o.stderr != "runnel: unhealthy: p1 is unreachable\n" {
		t.Errorf("exit %d, stderr %q", o.code, o.stderr)
	}
}

func TestStatusJSONKeepsEverything(t *testing.T) {
	f := newFake(t)
	f.status = strings.ReplaceAll(statusJSON, "unreachable", "catching_up")
	var want, got any
	if err := json.Unmarshal([]byte(f.status), &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(f.ok(t, "status", "--json")), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestStatusTakesAnAnswerWithNothingInIt(t *testing.T) {
	f := newFake(t)
	f.status = `{}`
	if got := f.ok(t, "status"); !strings.Contains(got, "sync: not running here") {
		t.Error(got)
	}
}
