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

// TestStatusSaysWhatClientsMeet sets conditions under which a database refuses writes or does not answer. During
// and after each condition the status, readiness, health, metrics and exit statuses must agree with the answers
// that clients get.
func TestStatusSaysWhatClientsMeet(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		replica  bool   // the condition is that of partition-1, else of partition-0, the master
		state    string // expected in the status
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
			n := &outageTest{history: newHistory(), node: runnel.Serve(t, "--config", file), file: file}
			n.put(t, "before")
			awaitEqual(t, file)

			end := sync.OnceFunc(begin(t))
			t.Cleanup(end)
			if c.replica {
				n.checkReplicaFails(t, c.state)
			} else {
				n.checkMasterFails(t, c.state)
			}
			n.checkReads(t)
			end()
			n.awaitState(t, "partition-0", "ready")
			n.awaitState(t, "partition-1", "ready")
			n.awaitWritable(t, http.StatusOK, 1)
			n.put(t, "after")
			n.checkReads(t)
			awaitEqual(t, file)
		})
	}
}

// refusals are the problems that a client may meet while a master refuses writes.
var refusals = []string{"master-unavailable", "insufficient-storage", "outcome-unknown"}

// checkMasterFails checks all reports while the master refuses writes.
func (n *outageTest) checkMasterFails(t *testing.T, state string) {
	t.Helper()
	_, r := putRequest(n.node.URL, "refused", "value")
	if problem, _, took := n.refusal(t, r); !slices.Contains(refusals, problem) || took > writeBound {
		t.Errorf("a client meets %q after %v", problem, took)
	}
	n.awaitState(t, "partition-0", state)
	n.awaitWritable(t, http.StatusServiceUnavailable, 0)
	if out, err := runnel.Run(t, "status", "--server", n.node.URL); exitStatus(err) != 1 || !strings.Contains(out, state) {
		t.Errorf("runnel status says %s, %v", out, err)
	}
	_, r = putRequest(n.node.URL, "refused", "value")
	if problem, _, took := n.refusal(t, r); !slices.Contains(refusals, problem) || took > writeBound {
		t.Errorf("a client meets %q after %v once the status says %s", problem, took, state)
	}
}

// checkReads checks that clients can read and that readiness and health agree.
func (n *outageTest) checkReads(t *testing.T) {
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

// checkReplicaFails checks all reports while a replica accepts no copies, at least of large values.
func (n *outageTest) checkReplicaFails(t *testing.T, state string) {
	t.Helper()
	a, r := putRequest(n.node.URL, "large", strings.Repeat("x", 1<<20))
	if outcome, _ := n.writer().send(a, r); outcome != acknowledged {
		t.Fatal("the master takes no writes")
	}
	n.awaitState(t, "partition-1", state)
	n.awaitWritable(t, http.StatusOK, 1)
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

// saysOf reports whether the output of sync --once shows a partition in any of the states.
func saysOf(out, name string, states ...string) bool {
	return slices.ContainsFunc(states, func(state string) bool { return strings.Contains(out, name+": "+state) })
}

// awaitWritable waits until readiness for writes, the status and the metrics agree about the master.
func (n *outageTest) awaitWritable(t *testing.T, ready, writable int) {
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
	if err := json.Unmarshal([]byte(n.get(t, "/v1/status")), &status); err != nil {
		t.Fatal(err)
	}
	return status.Partitions[0].Writable
}

// metric returns the value of a series, or "".
func (n *outageTest) metric(t *testing.T, series string) string {
	t.Helper()
	for line := range strings.Lines(n.get(t, "/metrics")) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// readyMetric is runnel_partition_ready of a partition.
func (n *outageTest) readyMetric(t *testing.T, name string) string {
	t.Helper()
	for line := range strings.Lines(n.get(t, "/metrics")) {
		if strings.HasPrefix(line, "runnel_partition_ready{") && strings.Contains(line, fmt.Sprintf("partition=%q", name)) {
			return strings.TrimSpace(line[strings.LastIndex(line, " "):])
		}
	}
	return ""
}

func (n *outageTest) get(t *testing.T, path string) string {
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
