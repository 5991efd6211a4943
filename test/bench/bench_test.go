package main

import (
	"context"
	"io"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/bench/internal/report"
	"github.com/runnelkv/runnel/test/bench/internal/testbed"
)

// round returns a round with a rate.
func round(perSecond float64) report.Report {
	return report.Report{PerSecond: perSecond, P50: time.Millisecond, P99: time.Millisecond}
}

func TestEveryRatioNamesWhatIsMeasured(t *testing.T) {
	none := func(string, string) string { return "" }
	for _, c := range []struct {
		points []report.Point
		ran    []report.Phase
		long   bool
	}{
		{report.QuickPoints(), []report.Phase{report.MainPhase}, false},
		{report.FullPoints(), report.Phases, false},
		{report.FullPoints(), report.Phases, true},
	} {
		all := everyMeasurement(c.points, c.long)
		ran := func(p report.Phase) bool { return slices.Contains(c.ran, p) }
		for _, o := range report.Outcomes(all, ran, c.long, none) {
			if !o.Available || o.Why != "" {
				t.Errorf("%s compares what is not measured", o.Name)
			}
		}
	}
}

// everyMeasurement returns a round of every measurement of a run.
func everyMeasurement(points []report.Point, long bool) []*report.Measurement {
	b := &bench{long: long, settings: settings{keys: 100_000}, testbed: &testbed.Testbed{}}
	for name, templates := range map[string]map[string]testbed.RequestTemplate{"ceiling": testbed.HTTPTemplates(), "plain-mariadb": testbed.HTTPTemplates(), "runnel-mariadb": testbed.RunnelTemplates(),
		"runnel-embedded": testbed.RunnelTemplates(), "redis-webdis": testbed.WebdisTemplates, "etcd": testbed.EtcdTemplates} {
		b.testbed.Systems = append(b.testbed.Systems, &testbed.System{Name: name, Templates: templates})
	}
	b.testbed.Systems = append(b.testbed.Systems, &testbed.System{Name: "bare-mariadb", Direct: map[string]testbed.DirectOperation{"put": nothing, "get": nothing}})
	b.noteAll(b.testbed.Systems, points)
	systems := b.mainAsGrown()
	for _, g := range b.grownSystems() {
		systems = append(systems, &testbed.System{Name: g.name, Templates: testbed.RunnelTemplates()})
	}
	b.noteAll(systems, report.GrowthPoints())
	b.addReport("runnel-embedded-1e6", report.ResidentFilled, report.Report{Value: 1})
	b.addReport("runnel-embedded-1e6", report.ResidentStarted, report.Report{Value: 1})
	for _, name := range report.AccessSystems {
		b.noteAll([]*testbed.System{{Name: name, Templates: testbed.HTTPTemplates()}}, report.AccessPoints())
	}
	for _, kind := range []string{report.OnMariaDB, report.Embedded} {
		for _, held := range []string{report.NoLocks, report.ManyLocks, report.OneGuard} {
			b.noteAll([]*testbed.System{{Name: report.LockPut(kind, held), Templates: testbed.HTTPTemplates()}}, report.LockPutPoints())
		}
		three, alone := report.Lockers(kind)
		b.addReport(three, report.LockMany, round(1))
		b.addReport(alone, report.LockMany, round(1))
	}
	b.addReport(report.EtcdLocks, report.LockMany, round(1))
	b.addAll(report.LedgerPoints(), report.OurLedger, report.TwoLedgers, report.PlainLedger)
	b.addAll(report.FilePoints(), report.OurFiles(report.OnMariaDB), report.OurFiles(report.Embedded), report.DiskFiles, report.NoFiles)
	for _, name := range []string{"runnel-woken", "runnel-polled", "mariadb-replication"} {
		b.addReport(name, report.LagIdle, round(1))
		b.addReport(name, report.LagBusy, round(1))
	}
	for _, name := range []string{"runnel-mariadb", replicationName(0), replicationName(4), "mariadb-dump"} {
		b.addReport(name, report.CatchUp, round(1))
		b.addReport(name, report.Fresh, report.Report{Value: 1})
	}
	return b.results
}

// addAll adds a round of each point on each system.
func (b *bench) addAll(points []report.Point, systems ...string) {
	for _, name := range systems {
		for _, p := range points {
			b.addReport(name, p, round(1))
		}
	}
}

func (b *bench) noteAll(systems []*testbed.System, points []report.Point) {
	for _, s := range systems {
		for _, p := range points {
			if s.Has(p) {
				b.addReport(s.Name, p, round(1))
			}
		}
	}
}

// TestClientMeasuresThroughRunnel holds the plans written here against the runnel that reads them.
func TestClientMeasuresThroughRunnel(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runnel")
	if out, err := exec.Command("go", "build", "-o", path, "../../cmd/runnel").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	server := httptest.NewServer(testbed.Ceiling())
	defer server.Close()
	s := &testbed.System{Name: "ceiling", Address: strings.TrimPrefix(server.URL, "http://"), Templates: testbed.HTTPTemplates()}
	b := &bench{testbed: &testbed.Testbed{Systems: []*testbed.System{s}}, client: client{path}, progress: newProgress(io.Discard),
		settings: settings{rounds: 2, duration: 100 * time.Millisecond, keys: 1000}}
	points := []report.Point{{Case: "get", Clients: 4, ValueBytes: 100}, {Case: "put", Clients: 4, ValueBytes: 100}, {Case: "delete", Clients: 4, ValueBytes: 100},
		{Case: "get", Clients: 2, ValueBytes: 65536}, {Case: "list", Clients: 2, ValueBytes: 100}}
	if err := b.measureMain(t.Context(), points); err != nil {
		t.Fatal(err)
	}
	if err := b.measureRounds(t.Context(), b.testbed.Systems, []report.Point{{Case: "get", Clients: 1, ValueBytes: 1 << 20}}); err == nil && report.Failures(b.results) == 0 {
		t.Error("keys that were never written can be read")
	}
	b.results = b.results[:4]
	if len(b.results) != 4 || report.Failures(b.results) > 0 {
		t.Fatalf("%d measurements, %d failures", len(b.results), report.Failures(b.results))
	}
	for _, m := range b.results {
		if len(m.Rounds) != 2 || m.Rounds[0].Requests == 0 || m.Rounds[1].PerSecond <= 0 || m.Rounds[1].P99 < m.Rounds[1].P50 {
			t.Errorf("%s: %+v", m.Point, m.Rounds)
		}
	}
	if m := report.Find(b.results, "ceiling", points[2]); m.Rounds[0].Requests != deletedKeys {
		t.Errorf("%d of %d keys were deleted", m.Rounds[0].Requests, deletedKeys)
	}
}

func nothing(context.Context, int, uint64) error { return nil }

func TestDirectMeasuresEveryClient(t *testing.T) {
	b := &bench{settings: settings{duration: 100 * time.Millisecond, keys: 1000}}
	s := &testbed.System{Direct: map[string]testbed.DirectOperation{"put": func(context.Context, int, uint64) error { time.Sleep(time.Millisecond); return nil }}}
	r, err := b.measureDirect(t.Context(), s, report.Point{Case: "put", Clients: 4, ValueBytes: 100})
	if err != nil || r.Requests < 4 || r.Requests > 400 || r.P50 < time.Millisecond || r.P999 < r.P50 {
		t.Errorf("%+v, %v", r, err)
	}
	s.Direct["put"] = func(context.Context, int, uint64) error { return io.ErrClosedPipe }
	if _, err := b.measureDirect(t.Context(), s, report.Point{Case: "put", Clients: 4, ValueBytes: 100}); err == nil {
		t.Error("a failing operation is no error")
	}
}

func TestCommandLineIsChecked(t *testing.T) {
	for _, args := range [][]string{{"-rounds", "-1"}, {"-keys", "3"}, {"-duration", "1ms"}, {"more"}, {"-quick", "-long"}, {"-phases", "dance"}} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
	if o, err := parse([]string{"-phases", "growth"}, io.Discard); err != nil || o.has(report.MainPhase) || !o.has(report.GrowthPhase) || o.settings.duration != time.Second {
		t.Errorf("%+v, %v", o, err)
	}
	o, err := parse([]string{"-quick"}, io.Discard)
	if err != nil || o.settings.rounds != 3 || o.settings.duration != time.Second {
		t.Errorf("%+v, %v", o, err)
	}
}
