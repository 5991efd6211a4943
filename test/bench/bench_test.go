package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

func rates(all ...float64) (rounds []report) {
	for _, v := range all {
		rounds = append(rounds, report{PerSecond: v, P50: time.Duration(v) * time.Millisecond, P99: time.Duration(v) * time.Millisecond})
	}
	return rounds
}

func TestSpreadIsMedianLowestAndHighest(t *testing.T) {
	for _, c := range []struct {
		rounds []report
		want   spread
	}{
		{nil, spread{}},
		{rates(7), spread{7, 7, 7}},
		{rates(9, 1, 5), spread{5, 1, 9}},
		{rates(4, 1, 2, 100), spread{3, 1, 100}},
	} {
		if got := spreadOf(c.rounds, rate); got != c.want {
			t.Errorf("%v: %v, want %v", c.rounds, got, c.want)
		}
	}
}

func TestRatioComparesRoundWithRound(t *testing.T) {
	p := point{"get", 64, 100}
	q := ratio{name: "x", ours: "a", other: "b", ourPoint: p, otherPoint: p, metric: rate, target: 0.5}
	all := []*measurement{
		{System: "a", point: p, Rounds: rates(50, 10, 60)},
		{System: "b", point: p, Rounds: rates(100, 10, 100)}, // the second round was disturbed for both
	}
	got := q.outcome(all)
	if !got.Available || got.Ratio != (spread{0.6, 0.5, 1}) || !got.Met || got.Ours.Median != 50 {
		t.Errorf("%+v", got)
	}
	q.atMost = true
	if got := q.outcome(all); got.Met {
		t.Errorf("0.6 is met as at most 0.5: %+v", got)
	}
	q.metric, q.atMost = p99, false
	if got := q.outcome(all); got.Ratio.Median != 0.6 {
		t.Errorf("by p99: %+v", got)
	}
}

func TestNothingIsInvented(t *testing.T) {
	p := point{"get", 64, 100}
	q := ratio{name: "x", ours: "a", other: "b", ourPoint: p, otherPoint: p, metric: rate, target: 0.5}
	failed := rates(100)
	failed[0].Errors = 1
	for name, all := range map[string][]*measurement{
		"missing": {{System: "a", point: p, Rounds: rates(50)}},
		"failed":  {{System: "a", point: p, Rounds: rates(50)}, {System: "b", point: p, Rounds: failed}},
		"silent":  {{System: "a", point: p, Rounds: rates(50)}, {System: "b", point: p, Rounds: rates(0)}},
	} {
		o := q.outcome(all)
		var b bytes.Buffer
		if err := writeRatios(&b, []outcome{o}); err != nil || o.Available || o.Met || !strings.Contains(b.String(), "not available") {
			t.Errorf("%s: %+v, %q", name, o, b.String())
		}
	}
}

func TestEveryRatioNamesWhatIsMeasured(t *testing.T) {
	none := func(string, string) string { return "" }
	for _, c := range []struct {
		points []point
		ran    []phase
		long   bool
	}{
		{quickPoints(), []phase{mainPhase}, false},
		{fullPoints(), []phase{mainPhase, growthPhase, replicationPhase}, false},
		{fullPoints(), []phase{mainPhase, growthPhase, replicationPhase}, true},
	} {
		all := everyMeasurement(c.points, c.long)
		ran := func(p phase) bool { return slices.Contains(c.ran, p) }
		for _, o := range outcomes(all, ran, c.long, none) {
			if !o.Available || o.Why != "" {
				t.Errorf("%s compares what is not measured", o.Name)
			}
		}
	}
}

// everyMeasurement returns a round of every measurement of a run.
func everyMeasurement(points []point, long bool) []*measurement {
	b := &bench{long: long, settings: settings{keys: 100_000}, testbed: &testbed{}}
	for name, templates := range map[string]map[string]requestTemplate{"ceiling": httpTemplates(), "plain-mariadb": httpTemplates(), "runnel-mariadb": runnelTemplates(),
		"runnel-embedded": runnelTemplates(), "redis-webdis": webdisTemplates, "etcd": etcdTemplates} {
		b.testbed.systems = append(b.testbed.systems, &system{name: name, templates: templates})
	}
	b.testbed.systems = append(b.testbed.systems, &system{name: "bare-mariadb", direct: map[string]directOperation{"put": nothing, "get": nothing}})
	b.noteAll(b.testbed.systems, points)
	systems := b.mainAsGrown()
	for _, g := range b.grownSystems() {
		systems = append(systems, &system{name: g.name, templates: runnelTemplates()})
	}
	b.noteAll(systems, growthPoints())
	b.addReport("runnel-embedded-1e6", residentFilled, report{Value: 1})
	b.addReport("runnel-embedded-1e6", residentStarted, report{Value: 1})
	for _, name := range []string{"runnel-woken", "runnel-polled", "mariadb-replication"} {
		b.addReport(name, lagIdle, rates(1)[0])
		b.addReport(name, lagBusy, rates(1)[0])
	}
	for _, name := range []string{"runnel-mariadb", replicationName(0), replicationName(4), "mariadb-dump"} {
		b.addReport(name, catchUp, rates(1)[0])
		b.addReport(name, fresh, report{Value: 1})
	}
	return b.results
}

func (b *bench) noteAll(systems []*system, points []point) {
	for _, s := range systems {
		for _, p := range points {
			if s.has(p) {
				b.addReport(s.name, p, rates(1)[0])
			}
		}
	}
}

// TestWhatIsLackingIsSaid: a case that a system lacks is not available, with the reason.
func TestWhatIsLackingIsSaid(t *testing.T) {
	reason := (&record{Missing: map[string]string{"etcd": "no such program", "runnel-mariadb batch-get": "status 404"}}).reason
	ran := func(p phase) bool { return p == mainPhase }
	why := map[string]string{}
	for _, o := range outcomes(nil, ran, false, reason) {
		if o.Available {
			t.Errorf("%s is available", o.Name)
		}
		why[o.Name] = o.Why
	}
	if why["get-mariadb/etcd"] != "no such program" || why["batch-get/get-mariadb"] != "status 404" || why["get-mariadb/plain"] != "not measured" {
		t.Errorf("%v", why)
	}
}

func TestLimitHoldsOursAlone(t *testing.T) {
	q := ratio{name: "x", ours: "a", ourPoint: lagIdle, metric: p50, target: 5, atMost: true}
	for ms, met := range map[float64]bool{4: true, 6: false} {
		o := q.outcome([]*measurement{{System: "a", point: lagIdle, Rounds: rates(ms)}})
		var b bytes.Buffer
		if err := writeRatios(&b, []outcome{o}); err != nil || !o.Available || o.Met != met || !strings.Contains(b.String(), "target ≤ 5:") {
			t.Errorf("%v: %+v, %q", ms, o, b.String())
		}
	}
}

// TestClientMeasuresThroughRunnel holds the plans written here against the runnel that reads them.
func TestClientMeasuresThroughRunnel(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runnel")
	if out, err := exec.Command("go", "build", "-o", path, "../../cmd/runnel").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	server := httptest.NewServer(ceiling())
	defer server.Close()
	s := &system{name: "ceiling", address: strings.TrimPrefix(server.URL, "http://"), templates: httpTemplates()}
	b := &bench{testbed: &testbed{systems: []*system{s}}, client: client{path}, progress: newProgress(io.Discard),
		settings: settings{rounds: 2, duration: 100 * time.Millisecond, keys: 1000}}
	points := []point{{"get", 4, 100}, {"put", 4, 100}, {"delete", 4, 100}, {"get", 2, 65536}, {"list", 2, 100}}
	if err := b.measureMain(t.Context(), points); err != nil {
		t.Fatal(err)
	}
	if err := b.measureRounds(t.Context(), b.testbed.systems, []point{{"get", 1, 1 << 20}}); err == nil && failures(b.results) == 0 {
		t.Error("keys that were never written can be read")
	}
	b.results = b.results[:4]
	if len(b.results) != 4 || failures(b.results) > 0 {
		t.Fatalf("%d measurements, %d failures", len(b.results), failures(b.results))
	}
	for _, m := range b.results {
		if len(m.Rounds) != 2 || m.Rounds[0].Requests == 0 || m.Rounds[1].PerSecond <= 0 || m.Rounds[1].P99 < m.Rounds[1].P50 {
			t.Errorf("%s: %+v", m.point, m.Rounds)
		}
	}
	if m := find(b.results, "ceiling", points[2]); m.Rounds[0].Requests != deletedKeys {
		t.Errorf("%d of %d keys were deleted", m.Rounds[0].Requests, deletedKeys)
	}
}

func TestLevelWaitsForTheSlowestOrigin(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		behind := max(0, 3-asked)
		json.NewEncoder(w).Encode(map[string]any{"partitions": []any{
			map[string]any{"origins": []any{map[string]any{"lag_revisions": 0}}},
			map[string]any{"origins": []any{map[string]any{"lag_revisions": behind}, map[string]any{}}},
		}})
	}))
	defer server.Close()
	if err := level(t.Context(), server.URL); err != nil || asked != 3 {
		t.Errorf("asked %d times: %v", asked, err)
	}
}

func TestLevelGivesUpWithItsContext(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"partitions":[{"origins":[{"lag_revisions":5}]}]}`)
	}))
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := level(ctx, server.URL); err == nil {
		t.Error("replicas that stay behind are level")
	}
}

func nothing(context.Context, int, uint64) error { return nil }

func TestDirectMeasuresEveryClient(t *testing.T) {
	b := &bench{settings: settings{duration: 100 * time.Millisecond, keys: 1000}}
	s := &system{direct: map[string]directOperation{"put": func(context.Context, int, uint64) error { time.Sleep(time.Millisecond); return nil }}}
	r, err := b.measureDirect(t.Context(), s, point{"put", 4, 100})
	if err != nil || r.Requests < 4 || r.Requests > 400 || r.P50 < time.Millisecond || r.P999 < r.P50 {
		t.Errorf("%+v, %v", r, err)
	}
	s.direct["put"] = func(context.Context, int, uint64) error { return io.ErrClosedPipe }
	if _, err := b.measureDirect(t.Context(), s, point{"put", 4, 100}); err == nil {
		t.Error("a failing operation is no error")
	}
}

func TestCommandLineIsChecked(t *testing.T) {
	for _, args := range [][]string{{"-rounds", "-1"}, {"-keys", "3"}, {"-duration", "1ms"}, {"more"}, {"-quick", "-long"}, {"-phases", "dance"}} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
	if o, err := parse([]string{"-phases", "growth"}, io.Discard); err != nil || o.has(mainPhase) || !o.has(growthPhase) || o.settings.duration != time.Second {
		t.Errorf("%+v, %v", o, err)
	}
	o, err := parse([]string{"-quick"}, io.Discard)
	if err != nil || o.settings.rounds != 3 || o.settings.duration != time.Second {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestOthersAreAllButOurs(t *testing.T) {
	if got := busyOf("cpu  100 2 30 999 999 4 5 6 7 8"); got != 147*clockTick {
		t.Errorf("busy for %v", got)
	}
	now := time.Now()
	before := usage{at: now, all: time.Second, ours: time.Second}
	after := usage{at: now.Add(time.Second), all: time.Second + time.Duration(runtime.NumCPU())*time.Second/2, ours: time.Second}
	if got := before.otherShare(after); got != 0.5 {
		t.Errorf("others used %v", got)
	}
	after.ours = after.all
	if got := before.otherShare(after); got != 0 {
		t.Errorf("all was ours, others used %v", got)
	}
}
