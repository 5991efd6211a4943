package status_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/api/internal/status"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store/access"
	"github.com/runnelkv/runnel/store/partition"
)

// fakeSyncer returns fixed results.
type fakeSyncer struct {
	status status.SyncStatus
	err    error
	passes int
}

func (f *fakeSyncer) SyncStatus() status.SyncStatus { return f.status }

func (f *fakeSyncer) Trigger(context.Context) (wire.SyncReport, error) {
	f.passes++
	return wire.SyncReport{TookMS: 1.5, Targets: []wire.SyncTarget{{Name: "partition-1", State: "level", Copied: 7}, {Name: "partition-2", State: "unreachable", Error: "<down>", Remaining: 3}}}, f.err
}

func TestStatus(t *testing.T) {
	syncer := &fakeSyncer{status: status.SyncStatus{Running: true, Passes: 3, LastPass: time.Now(), Took: time.Millisecond, Targets: []wire.SyncTarget{{Name: "partition-1", State: "level"}}}}
	n := apitest.New(t, func(o *api.Options) { o.Syncer = syncer })
	n.Put(t, "k")
	n.Partitions[1].PlantSchema(partition.Schema{Version: partition.SchemaVersion - 1})
	var d wire.Status
	if err := json.Unmarshal(n.Do(t, "GET", "/v1/status", "").Body.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	if d.Node != "node-a" || d.Version != "1.2.3" || len(d.ClusterID) != 32 || d.Epoch != 1 || len(d.Masters) != 1 || d.Masters[0] != "partition-0" || len(d.Partitions) != 3 {
		t.Errorf("%+v", d)
	}
	p0, p1 := d.Partitions[0], d.Partitions[1]
	if p0.Name != "partition-0" || p0.Kind != "memory" || p0.Role != "master" || p0.State != "ready" || !p0.Readable || !p0.Writable {
		t.Errorf("master: %+v", p0)
	}
	if p1.Role != "replica" || p1.Writable || p1.Readable || p1.State != "filling" {
		t.Errorf("replica: %+v", p1)
	}
	if p0.Schema != partition.SchemaVersion || p0.Migration != 0 || p1.Schema != partition.SchemaVersion-1 || p1.Migration != partition.SchemaVersion {
		t.Errorf("schemas: %+v, %+v", p0, p1)
	}
	if !d.Sync.Running || d.Sync.Passes != 3 || d.Sync.LastPassMS != 1 || d.Sync.LastPassAt == nil || len(d.Sync.Targets) != 1 {
		t.Errorf("sync: %+v", d.Sync)
	}
	for accept, want := range map[string]string{"text/html": "<td>partition-0</td>", "text/plain": "partition-0  memory  master   ready", "application/xml": "<name>partition-0</name>"} {
		if w := n.Do(t, "GET", "/v1/status", "", "Accept", accept); !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %s", accept, w.Body)
		}
	}
}

func TestSyncOnRequest(t *testing.T) {
	syncer := &fakeSyncer{}
	n := apitest.New(t, func(o *api.Options) { o.Syncer = syncer })
	for accept, want := range map[string]string{"": `"took_ms":1.5`, "application/xml": "<took_ms>1.5</took_ms>", "text/plain": "partition-1: level, 7 copied", "text/html": "&lt;down&gt;"} {
		w := n.Do(t, "POST", "/v1/sync", "", "Accept", accept)
		if w.Code != 200 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s", accept, w.Code, w.Body)
		}
	}
	if w := n.Do(t, "POST", "/v1/sync", "", "Accept", "image/png"); w.Code != 406 || syncer.passes != 4 {
		t.Errorf("%d after %d passes", w.Code, syncer.passes)
	}
	if w := n.Do(t, "POST", "/v1/sync", "", "Sec-Fetch-Site", "cross-site"); w.Code != 403 || syncer.passes != 4 {
		t.Errorf("cross-site: %d after %d passes", w.Code, syncer.passes)
	}
	if w := n.Do(t, "GET", "/v1/sync", ""); w.Code != 405 || w.Header().Get("Allow") != "OPTIONS, POST" {
		t.Errorf("GET: %d %v", w.Code, w.Header())
	}
	syncer.err = errors.New("10.0.0.5 refused")
	if w := n.Do(t, "POST", "/v1/sync", ""); w.Code != 500 || strings.Contains(w.Body.String(), "10.0.0.5") {
		t.Errorf("failing: %d %s", w.Code, w.Body)
	}
	if w := apitest.New(t).Do(t, "POST", "/v1/sync", ""); w.Code != 503 || !strings.Contains(w.Body.String(), "sync-elsewhere") {
		t.Errorf("elsewhere: %d %s", w.Code, w.Body)
	}
}

func TestHealthFollowsProgress(t *testing.T) { synctest.Test(t, healthFollowsProgress) }

func healthFollowsProgress(t *testing.T) {
	syncer := &fakeSyncer{status: status.SyncStatus{Running: true}}
	n := apitest.NewBroken(nil, func(o *api.Options) { o.Syncer = syncer })
	health := func() int { return n.Do(t, "GET", "/healthz", "").Code }
	if health() != 200 {
		t.Error("a process that has just started is healthy")
	}
	time.Sleep(time.Hour)
	if health() != 503 {
		t.Error("no pass for an hour after the start is not healthy")
	}
	syncer.status.LastPass, syncer.status.NextPass = time.Now().Add(-72*time.Hour), time.Now().Add(-30*time.Second)
	if health() != 200 {
		t.Error("a pass that is due since half a minute may be under way, however long ago the last one was")
	}
	syncer.status.LastPass, syncer.status.NextPass = time.Now().Add(-3*time.Minute), time.Now().Add(-2*time.Minute)
	if w := n.Do(t, "GET", "/healthz", ""); w.Code != 503 || !strings.Contains(w.Body.String(), "unhealthy") || w.Header().Get("Retry-After") == "" {
		t.Errorf("stalled: %d %s", w.Code, w.Body)
	}
	syncer.status.NextPass = time.Time{}
	if health() != 200 {
		t.Error("a schedule that has ended leaves nothing to be late")
	}
	syncer.status.NextPass, syncer.status.Standby = time.Now().Add(-time.Hour), true
	if health() != 200 {
		t.Error("who stands by makes no passes")
	}
}

func TestReadiness(t *testing.T) {
	n := apitest.New(t)
	for _, target := range []string{"/readyz", "/readyz?write", "/readyz?write=true"} {
		if w := n.Do(t, "GET", target, ""); w.Code != 200 || w.Body.String() != "{\"status\":\"ok\"}\n" {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
	keys := apitest.NewKeys(t, nil)
	guarded := apitest.New(t, func(o *api.Options) { o.Keys = keys })
	keys.Fail(access.ErrNotReady)
	if w := guarded.Do(t, "GET", "/readyz", ""); w.Code != 503 || strings.Contains(w.Body.String(), "key") {
		t.Errorf("keys unread: %d %s", w.Code, w.Body)
	}
	n.Leave()
	if w := n.Do(t, "PUT", "/v1/keys/k", "v"); w.Code != 201 {
		t.Errorf("a server that wants no new clients: %d %s", w.Code, w.Body)
	}
	if w := n.Do(t, "GET", "/readyz", ""); w.Code != 503 || !strings.Contains(w.Body.String(), "shutting-down") {
		t.Errorf("draining: %d %s", w.Code, w.Body)
	}
	if w := apitest.NewBroken(errors.New("down")).Do(t, "GET", "/readyz", ""); w.Code != 503 {
		t.Errorf("no partition: %d", w.Code)
	}
}

func TestMetrics(t *testing.T) {
	n := apitest.New(t, func(o *api.Options) {
		o.Syncer = &fakeSyncer{status: status.SyncStatus{Passes: 9, LastPass: time.Now(), Targets: []wire.SyncTarget{{Name: "partition-1", Remaining: 4, Swept: 5, Collected: 6}}}}
	})
	n.Put(t, "k")
	n.Do(t, "GET", "/v1/keys/k", "")
	n.Do(t, "GET", "/nowhere", "")
	n.Do(t, "BREW", "/v1/keys/k", "")
	w := n.Do(t, "GET", "/metrics", "")
	for _, want := range []string{
		`runnel_http_requests_total{method="GET",route="/v1/keys/{key}",status="200"} 1`,
		`runnel_http_requests_total{method="PUT",route="/v1/keys/{key}",status="201"} 1`,
		`runnel_http_requests_total{method="GET",route="unmatched",status="404"} 1`,
		`runnel_http_requests_total{method="other",route="/v1/keys/{key}",status="405"} 1`,
		`runnel_http_request_seconds_count{method="GET",route="/v1/keys/{key}"} 1`,
		`runnel_partition_ready{kind="memory",partition="partition-0",role="master"} 1`,
		`runnel_partition_writable{partition="partition-1"} 0`,
		`runnel_partition_lag_revisions{origin="partition-0",partition="partition-0"} 0`,
		`runnel_sync_passes_total 9`,
		`runnel_sync_target_remaining_revisions{partition="partition-1"} 4`,
		`runnel_sync_swept_total{partition="partition-1"} 5`,
		`runnel_sync_collected_total{partition="partition-1"} 6`,
		`go_goroutines`,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

func TestIndexLeadsToResources(t *testing.T) {
	n := apitest.New(t, func(o *api.Options) { o.Syncer = &fakeSyncer{} })
	var d struct{ Links []struct{ Path string } }
	if err := json.Unmarshal(n.Do(t, "GET", "/", "").Body.Bytes(), &d); err != nil || len(d.Links) == 0 {
		t.Fatalf("%+v %v", d, err)
	}
	for _, l := range d.Links {
		if w := n.Do(t, "GET", l.Path, ""); w.Code != 200 {
			t.Errorf("%s: %d", l.Path, w.Code)
		}
	}
	if w := n.Do(t, "GET", "/openapi.yaml", ""); w.Header().Get("Content-Type") != "application/yaml" || !strings.HasPrefix(w.Body.String(), "openapi:") {
		t.Errorf("openapi.yaml: %v", w.Header())
	}
}

func TestAccessLog(t *testing.T) {
	var log bytes.Buffer
	n := apitest.New(t, func(o *api.Options) { o.Access = slog.New(slog.NewTextHandler(&log, nil)) })
	log.Reset()
	n.Do(t, "PUT", "/v1/keys/a%0ab", "v", "X-Request-Id", "id-1")
	line := log.String()
	for _, want := range []string{"request=id-1", "method=PUT", "uri=/v1/keys/a%0ab", "status=400", "bytes=", "took="} {
		if !strings.Contains(line, want) {
			t.Errorf("%q lacks %s", line, want)
		}
	}
	if strings.Count(line, "\n") != 1 {
		t.Errorf("more than a line: %q", line)
	}
}

// TestPartitionThatTakesNoCopiesIsNotReady: the store can read the partition; only the sync process knows that copies
// fail.
func TestPartitionThatTakesNoCopiesIsNotReady(t *testing.T) {
	target := wire.SyncTarget{Name: "partition-1", State: "failed", Error: "disk full", Remaining: 5}
	n := apitest.New(t, func(o *api.Options) {
		o.Syncer = &fakeSyncer{status: status.SyncStatus{Running: true, Targets: []wire.SyncTarget{target}}}
	})
	var d wire.Status
	if err := json.Unmarshal(n.Do(t, "GET", "/v1/status", "").Body.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	if p := d.Partitions[1]; p.State != "failed" || p.Error != "takes no copies: disk full" {
		t.Errorf("the status says %+v", p)
	}
	metrics := n.Do(t, "GET", "/metrics", "").Body.String()
	for _, line := range []string{`runnel_partition_ready{kind="memory",partition="partition-1",role="replica"} 0`, `runnel_sync_target_remaining_revisions{partition="partition-1"} 5`} {
		if !strings.Contains(metrics, line) {
			t.Errorf("the metrics lack %s", line)
		}
	}
}

// TestHaltedLedgerShows: in the readiness of the ledger, the status, the metrics and the pages, until the halt is lifted.
func TestHaltedLedgerShows(t *testing.T) {
	n := newMovable(t)
	check := func(ready int, halted string, metric string) {
		t.Helper()
		for target, want := range map[string]int{"/readyz?ledger": ready, "/readyz?write&ledger": ready, "/readyz?write": 200, "/readyz": 200, "/healthz": 200} {
			if w := n.Do(t, "GET", target, ""); w.Code != want || want == 503 && !strings.Contains(w.Body.String(), halted) {
				t.Errorf("%s: %d %s", target, w.Code, w.Body)
			}
		}
		if d := statusOf(t, n); string(d.ClusterMap.Halted) != halted {
			t.Errorf("%+v", d.ClusterMap)
		}
		for _, accept := range []string{"text/plain", "text/html", "application/xml"} {
			if w := n.Do(t, "GET", "/v1/status", "", "Accept", accept); strings.Contains(w.Body.String(), "books are off") != (halted != "") {
				t.Errorf("%s: %s", accept, w.Body)
			}
		}
		wantMetrics(t, n, metric)
	}
	check(200, "", "runnel_ledger_halted 0")
	if err := n.Store.Halt(t.Context(), "the books are off by 1"); err != nil {
		t.Fatal(err)
	}
	check(503, "the books are off by 1", "runnel_ledger_halted 1")
	if err := n.Store.Halt(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	check(200, "", "runnel_ledger_halted 0")
}
