package test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/runnel"
)

// TestStatusSaysWhatClientsMeet sets conditions under which a database takes no writes, or
// answers nothing at all, and compares what the status, readiness, health, the metrics and
// exit statuses say with what a client meets, while the condition lasts and when it is over.
func TestStatusSaysWhatClientsMeet(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		replica  bool   // the condition is that of partition-1, else of partition-0, the master
		state    string // that the status has to tell
		database func(t *testing.T) (url string, begin func(t *testing.T) (end func()))
	}{
		{"locked file of the master", false, "read_only", lockedFile},
		{"locked file of a replica", true, "failed", lockedFile},
		{"full disk of the master", false, "read_only", fullDisk},
		{"full disk of a replica", true, "failed", fullDisk},
		{"hanging commits of the master on MariaDB", false, "read_only", heldCounter},
		{"read_only on MariaDB of the master", false, "read_only", readOnlyServer},
		{"read_only on MariaDB of a replica", true, "failed", readOnlyServer},
		{"INSERT revoked on the master on MariaDB", false, "read_only", revokedInsert},
		{"INSERT revoked on a replica on MySQL", true, "failed", revokedInsertMySQL},
		{"exhausted connections of the master on MariaDB", false, "unreachable", exhaustedConnections},
		{"exhausted connections of a replica on MariaDB", true, "unreachable", exhaustedConnections},
		{"paused MariaDB of the master", false, "unreachable", pausedServer},
		{"paused MariaDB of a replica", true, "unreachable", pausedServer},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			url, begin := c.database(t)
			urls := []string{url, runnel.ThreeFiles(t)[1]}
			if c.replica {
				urls[0], urls[1] = urls[1], urls[0]
			}
			file := runnel.WriteConfig(t, outageConfig, urls...)
			n := &outageTest{told: newHistory(), node: runnel.Serve(t, "--config", file), file: file}
			n.put(t, "before")
			awaitEqual(t, file)

			end := sync.OnceFunc(begin(t))
			t.Cleanup(end)
			if c.replica {
				n.replicaFails(t, c.state)
			} else {
				n.masterFails(t, c.state)
			}
			n.wantReads(t)
			end()
			n.awaitState(t, "partition-0", "ready")
			n.awaitState(t, "partition-1", "ready")
			n.await(t, http.StatusOK, 1)
			n.put(t, "after")
			n.wantReads(t)
			awaitEqual(t, file)
		})
	}
}

// masterFails holds everything to the master's refusal of writes.
func (n *outageTest) masterFails(t *testing.T, state string) {
	t.Helper()
	_, r := putRequest(n.node.URL, "refused", "value")
	if problem, _, took := n.refusal(t, r); problem != "master-unavailable" && problem != "outcome-unknown" || took > writeBound {
		t.Errorf("a client meets %q after %v", problem, took)
	}
	n.awaitState(t, "partition-0", state)
	n.await(t, http.StatusServiceUnavailable, 0)
	if out, err := runnel.Run(t, "status", "--server", n.node.URL); exitStatus(err) != 1 || !strings.Contains(out, state) {
		t.Errorf("runnel status says %s, %v", out, err)
	}
	_, r = putRequest(n.node.URL, "refused", "value")
	if problem, _, took := n.refusal(t, r); problem != "master-unavailable" && problem != "outcome-unknown" || took > writeBound {
		t.Errorf("a client meets %q after %v once the status says %s", problem, took, state)
	}
}

// wantReads holds readiness and health to the reads that a client makes.
func (n *outageTest) wantReads(t *testing.T) {
	t.Helper()
	if failure := readOnce(n.writer().client, n.node.URL+"/v1/keys/before"); !strings.HasSuffix(failure, "value of before <nil>") {
		t.Errorf("a client cannot read: %s", failure) // readOnce wants another value
	}
	for _, path := range []string{"/readyz", "/healthz"} {
		resp, err := n.writer().client.Get(n.node.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body.Close(); resp.StatusCode != http.StatusOK {
			t.Errorf("%s is %s while clients can read", path, resp.Status)
		}
	}
}

// replicaFails holds everything to a replica that takes no copies, of large values at least.
func (n *outageTest) replicaFails(t *testing.T, state string) {
	t.Helper()
	a, r := putRequest(n.node.URL, "large", strings.Repeat("x", 1<<20))
	if outcome, _ := n.writer().send(a, r); outcome != acknowledged {
		t.Fatal("the master takes no writes")
	}
	n.awaitState(t, "partition-1", state)
	n.await(t, http.StatusOK, 1)
	runnel.Eventually(t, 30*time.Second, "the metrics say that something remains to be copied", func() error {
		if left := n.metric(t, `runnel_sync_target_remaining_revisions{partition="partition-1"}`); left == "" || left == "0" {
			return fmt.Errorf("they say %q", left)
		}
		return nil
	})
	if ready := n.readyMetric(t, "partition-1"); ready != "0" {
		t.Errorf("runnel_partition_ready is %s", ready)
	}
	if out, err := runnel.Run(t, "status", "--server", n.node.URL); exitStatus(err) != 1 || !strings.Contains(out, state) {
		t.Errorf("runnel status says %s, %v", out, err)
	}
	if err := n.node.Stop(t); err != nil {
		t.Error(err)
	}
	if out, err := runnel.Run(t, "sync", "--once", "--strict", "--config", n.file); exitStatus(err) != 1 || !saysOf(out, "partition-1", "failed", "unreachable", "refused") {
		t.Errorf("sync --once says %s, %v", out, err)
	}
	n.node = runnel.Serve(t, "--config", n.file)
}

// saysOf reports whether sync --once has said one of the states of a partition.
func saysOf(out, name string, states ...string) bool {
	return slices.ContainsFunc(states, func(state string) bool { return strings.Contains(out, name+": "+state) })
}

// await waits until readiness for writes, the status and the metrics agree about the master.
func (n *outageTest) await(t *testing.T, ready, writable int) {
	t.Helper()
	runnel.Eventually(t, 30*time.Second, "what is said about the master", func() error {
		resp, err := n.writer().client.Get(n.node.URL + "/readyz?write")
		if err != nil {
			return err
		}
		resp.Body.Close()
		metric := n.metric(t, `runnel_partition_writable{partition="partition-0"}`)
		said := n.saysWritable(t)
		if resp.StatusCode != ready || metric != fmt.Sprint(writable) || said != (writable == 1) {
			return fmt.Errorf("readyz %d, metric %s, status writable %v", resp.StatusCode, metric, said)
		}
		return nil
	})
}

func (n *outageTest) saysWritable(t *testing.T) bool {
	t.Helper()
	var status struct {
		Partitions []struct{ Writable bool }
	}
	if err := json.Unmarshal([]byte(n.page(t, "/v1/status")), &status); err != nil {
		t.Fatal(err)
	}
	return status.Partitions[0].Writable
}

// metric is the value of a series, "" if there is none.
func (n *outageTest) metric(t *testing.T, series string) string {
	t.Helper()
	for line := range strings.Lines(n.page(t, "/metrics")) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// readyMetric is runnel_partition_ready of a partition.
func (n *outageTest) readyMetric(t *testing.T, name string) string {
	t.Helper()
	for line := range strings.Lines(n.page(t, "/metrics")) {
		if strings.HasPrefix(line, "runnel_partition_ready{") && strings.Contains(line, fmt.Sprintf("partition=%q", name)) {
			return strings.TrimSpace(line[strings.LastIndex(line, " "):])
		}
	}
	return ""
}

func (n *outageTest) page(t *testing.T, path string) string {
	t.Helper()
	resp, err := n.writer().client.Get(n.node.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
