package test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/servers"
)

// TestStatusSaysWhatClientsMeet sets conditions under which a database answers reads and
// takes no writes, and compares what the status, readiness, the metrics and exit
// statuses say with what a client meets, while it lasts and when it is over.
func TestStatusSaysWhatClientsMeet(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		replica  bool // the condition is that of partition-1, else of partition-0, the master
		database func(t *testing.T) (url string, begin func(t *testing.T) (end func()))
	}{
		{"locked file of the master", false, lockedFile},
		{"locked file of a replica", true, lockedFile},
		{"full disk of a replica", true, fullDisk},
		{"hanging commits of the master on MariaDB", false, heldCounter},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			url, begin := c.database(t)
			urls := []string{url, threeFiles(t)[1]}
			if c.replica {
				urls[0], urls[1] = urls[1], urls[0]
			}
			file := writeConfig(t, outageConfig, urls...)
			n := &outageTest{told: newHistory(), node: serve(t, "--config", file), file: file}
			n.put(t, "before")
			awaitEqual(t, file)

			end := begin(t)
			if c.replica {
				n.replicaFails(t)
			} else {
				n.masterFails(t)
			}
			end()
			n.awaitState(t, "partition-0", "ready")
			n.awaitState(t, "partition-1", "ready")
			n.put(t, "after")
			n.await(t, http.StatusOK, 1)
			awaitEqual(t, file)
		})
	}
}

// masterFails holds everything to the master's refusal of writes.
func (n *outageTest) masterFails(t *testing.T) {
	t.Helper()
	_, r := putRequest(n.node.url, "refused", "value")
	if problem, _, took := n.refusal(t, r); problem != "master-unavailable" && problem != "outcome-unknown" || took > writeBound {
		t.Errorf("a client meets %q after %v", problem, took)
	}
	n.awaitState(t, "partition-0", "read_only")
	n.await(t, http.StatusServiceUnavailable, 0)
	if failure := readOnce(n.writer().client, n.node.url+"/v1/keys/before"); !strings.HasSuffix(failure, "value of before <nil>") {
		t.Errorf("a client cannot read: %s", failure) // readOnce wants another value
	}
	if out, err := runnel(t, "status", "--server", n.node.url); exitStatus(err) != 1 || !strings.Contains(out, "read_only") {
		t.Errorf("runnel status says %s, %v", out, err)
	}
}

// replicaFails holds everything to a replica that takes no copies, of large values at least.
func (n *outageTest) replicaFails(t *testing.T) {
	t.Helper()
	a, r := putRequest(n.node.url, "large", strings.Repeat("x", 1<<20))
	if outcome, _ := n.writer().send(a, r); outcome != acknowledged {
		t.Fatal("the master takes no writes")
	}
	n.awaitState(t, "partition-1", "failed")
	n.await(t, http.StatusOK, 1)
	if left := n.metric(t, `runnel_sync_target_remaining_revisions{partition="partition-1"}`); left == "0" {
		t.Error("the metrics say that nothing remains to be copied")
	}
	if ready := n.metric(t, `runnel_partition_ready{kind="sqlite",partition="partition-1",role="replica"}`); ready != "0" {
		t.Errorf("runnel_partition_ready is %s", ready)
	}
	if out, err := runnel(t, "status", "--server", n.node.url); exitStatus(err) != 1 || !strings.Contains(out, "takes no copies") {
		t.Errorf("runnel status says %s, %v", out, err)
	}
	if err := n.node.stop(t); err != nil {
		t.Error(err)
	}
	if out, err := runnel(t, "sync", "--once", "--config", n.file); exitStatus(err) != 1 || !strings.Contains(out, "partition-1: failed") && !strings.Contains(out, "partition-1: unreachable") {
		t.Errorf("sync --once says %s, %v", out, err)
	}
	n.node = serve(t, "--config", n.file)
}

// await waits until readiness for writes, the status and the metrics agree about the master.
func (n *outageTest) await(t *testing.T, ready, writable int) {
	t.Helper()
	eventually(t, 30*time.Second, "what is said about the master", func() error {
		resp, err := n.writer().client.Get(n.node.url + "/readyz?write")
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

func (n *outageTest) page(t *testing.T, path string) string {
	t.Helper()
	resp, err := n.writer().client.Get(n.node.url + path)
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

// lockedFile is a file that another process has locked for writing.
func lockedFile(t *testing.T) (string, func(*testing.T) func()) {
	path := filepath.Join(t.TempDir(), "locked.db")
	return "sqlite:" + path, func(t *testing.T) func() {
		return transaction(t, "sqlite", path+"?_pragma=busy_timeout(10000)&_txlock=immediate", "")
	}
}

// heldCounter is a database on MariaDB whose revision counter another session has locked.
func heldCounter(t *testing.T) (string, func(*testing.T) func()) {
	url := servers.MariaDB(t).Database(t)
	account, rest, _ := strings.Cut(strings.TrimPrefix(url, "mysql://"), "@")
	address, database, _ := strings.Cut(rest, "/")
	return url, func(t *testing.T) func() {
		return transaction(t, "mysql", fmt.Sprintf("%s@tcp(%s)/%s", account, address, database),
			"SELECT revision FROM positions WHERE origin = 'partition-0' FOR UPDATE")
	}
}

// transaction holds one open, after a query if any, until the returned function is called.
func transaction(t *testing.T, driver, dsn, query string) (end func()) {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	tx, err := db.BeginTx(context.Background(), nil)
	if err == nil && query != "" {
		var revision int64
		err = tx.QueryRow(query).Scan(&revision)
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() { _ = tx.Rollback() } // it has changed nothing
}

// fullDisk is a file on a small disk of its own, which is filled up.
func fullDisk(t *testing.T) (string, func(*testing.T) func()) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("SKIPPED full disk: a tmpfs cannot be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return "sqlite:" + filepath.Join(dir, "full.db"), func(t *testing.T) func() {
		filler := filepath.Join(dir, "filler")
		_ = os.WriteFile(filler, make([]byte, 8<<20), 0o600) // as much as there is room for
		return func() {
			if err := os.Truncate(filler, 0); err != nil {
				t.Error(err)
			}
		}
	}
}
