package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

const statusJSON = `{"node":"n1","version":"v1","epoch":2,"masters":["p0","p1"],
 "cluster_map":{"epoch":2,"confirmed":false,"masters":[{"name":"p0","slots":500,"epoch":1},{"name":"p1","slots":512,"epoch":2}],"voters":["p0","p1"],"move":{"from":"p0","to":"p1","slots":12}},"surprise":{"x":1},"partitions":[
 {"name":"p0","kind":"sqlite","role":"master","state":"ready","latency_ms":0.25,"schema":3,"migration":4,"readable":true,"writable":true,"origins":[
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
p0: schema 3, and 'runnel migrate' brings 4

node n1, version v1, epoch 2, masters: p0, p1
master p0: 500 slots, since epoch 1
master p1: 512 slots, since epoch 2
moving: p0 to p1, 12 slots
voters: p0, p1
a majority of the voters has not confirmed the cluster map
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

// fakeFeed streams numbered changes; each connection gives a few and breaks off.
type fakeFeed struct {
	mu    sync.Mutex
	since []string // that were asked for
	last  int      // after this change the command is stopped
	gone  bool
}

func (f *fakeFeed) serve(w http.ResponseWriter, r *http.Request, _ string) bool {
	if r.URL.Path != "/v1/changes" {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	since := r.URL.Query().Get("since")
	f.since = append(f.since, since)
	if f.gone {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(410)
		fmt.Fprint(w, `{"type":"/problems/resync","status":410,"detail":"too old"}`)
		return true
	}
	first := 1
	fmt.Sscanf(since, "t%d", &first)
	if since != "" && since != "now" {
		first++
	}
	w.WriteHeader(200)
	for i := first; i < first+3; i++ {
		fmt.Fprintf(w, `{"key":"k%d","deleted":%v,"revision":%d,"next":"t%d"}`+"\n", i, i%2 == 0, i, i)
		if i == f.last {
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return true
		}
	}
	fmt.Fprintf(w, `{"key":"cut`)
	http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// stopAt cancels once the output holds a text.
type stopAt struct {
	strings.Builder
	text string
	stop func()
}

func (s *stopAt) Write(b []byte) (int, error) {
	n, err := s.Builder.Write(b)
	if strings.Contains(s.String(), s.text) {
		s.stop()
	}
	return n, err
}

func watchFake(t *testing.T, f *fakeFeed, stopText string, args ...string) (code int, out, errs string) {
	t.Helper()
	server := newFake(t)
	server.before = f.serve
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stdout := &stopAt{text: stopText, stop: cancel}
	var stderr strings.Builder
	p := &program{Streams: testStreams(strings.NewReader(""), stdout, &stderr, false), getenv: func(string) string { return "" }}
	code = p.execute(ctx, append([]string{"watch", "--server", server.url}, args...))
	return code, stdout.String(), stderr.String()
}

func TestWatchGoesOnWhereItWasCutOff(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	f := &fakeFeed{last: 7}
	code, out, errs := watchFake(t, f, "k7", "--token", file)
	if want := "1 + k1\n2 - k2\n3 + k3\n4 - k4\n5 + k5\n6 - k6\n7 + k7\n"; code != 0 || out != want {
		t.Errorf("exit %d, printed\n%swant\n%s%s", code, out, want, errs)
	}
	if got := strings.Join(f.since, " "); got != "now t3 t6" {
		t.Errorf("asked since %s", got)
	}
	if text, err := os.ReadFile(file); string(text) != "t7\n" {
		t.Errorf("the token file holds %q, %v", text, err)
	}
	f = &fakeFeed{last: 8}
	if _, out, _ = watchFake(t, f, "k8", "--token", file, "--json"); !strings.HasPrefix(out, `{"key":"k8"`) || f.since[0] != "t7" {
		t.Errorf("then since %v: %s", f.since, out)
	}
}

func TestWatchSaysHowToBeginAnew(t *testing.T) {
	f := &fakeFeed{gone: true}
	code, _, errs := watchFake(t, f, "never", "--since", "t1")
	if code != console.ExitFailed || !strings.Contains(errs, "410 resync") || !strings.Contains(errs, "--since beginning") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if len(f.since) != 1 {
		t.Errorf("asked %d times", len(f.since))
	}
}
