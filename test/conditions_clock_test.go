package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/runnel"
	"github.com/runnelkv/runnel/test/servers"
)

// TestStatusSaysWhatClientsMeetWhenClocksAreSet sets the host's clock, as runnel reads it, and the clock of a
// master's database an hour back, an hour ahead, and right again. No request is refused, and the status, health
// and metrics report no fault.
func TestStatusSaysWhatClientsMeetWhenClocksAreSet(t *testing.T) {
	t.Parallel()
	for name, clock := range map[string]func(t *testing.T) (n *outageTest, set func(step time.Duration)){
		"host":                  hostClock,
		"MariaDB of the master": serverClock,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, set := clock(t)
			n.put(t, "before")
			n.putFor(t, "long", 2*time.Hour)
			// The status must know the age of the replica before the first step.
			runnel.Eventually(t, 30*time.Second, "the age of the replica is known", func() error {
				if text := n.get(t, "/v1/status"); strings.Contains(text, `"age_seconds":null`) {
					return fmt.Errorf("it says %s", text)
				}
				return n.checkLevel(t)
			})
			before := time.Duration(0)
			for _, step := range []time.Duration{-time.Hour, 0, time.Hour, 0} {
				n.putFor(t, "short", 30*time.Minute)
				set(step)
				n.checkHealthy(t, step)
				n.awaitFound(t, "long", true)
				n.awaitFound(t, "short", step < before) // by the master's clock
				before = step
			}
		})
	}
}

// checkHealthy checks that reads, writes, status, metrics and exit status show no fault.
func (n *outageTest) checkHealthy(t *testing.T, step time.Duration) {
	t.Helper()
	for i := range 5 {
		n.put(t, fmt.Sprintf("after %v/%d", step, i))
		n.checkReads(t)
	}
	n.awaitFound(t, "before?max_staleness=5s", true)
	n.awaitWritable(t, http.StatusOK, 1)
	for _, partition := range []string{"partition-0", "partition-1"} {
		n.awaitState(t, partition, "ready")
		if ready := n.readyMetric(t, partition); ready != "1" {
			t.Errorf("runnel_partition_ready of %s is %s after a step of %v", partition, ready, step)
		}
	}
	if out, err := runnel.Run(t, "status", "--server", n.node.URL); err != nil {
		t.Errorf("runnel status says %s, %v", out, err)
	}
	awaitEqual(t, n.file)
	runnel.Eventually(t, 30*time.Second, "the replica is level, and said to be", func() error { return n.checkLevel(t) })
}

// checkLevel returns nil if the status shows a level replica with an age below 30 s or, after a step back, of
// unknown age.
func (n *outageTest) checkLevel(t *testing.T) error {
	t.Helper()
	var status struct {
		Partitions []struct {
			Origins []struct {
				LagRevisions int64    `json:"lag_revisions"`
				LagSeconds   *float64 `json:"lag_seconds"`
				AgeSeconds   *float64 `json:"age_seconds"`
			}
		}
	}
	text := n.get(t, "/v1/status")
	if err := json.Unmarshal([]byte(text), &status); err != nil {
		t.Fatal(err)
	}
	o := status.Partitions[1].Origins[0]
	if o.LagRevisions != 0 || o.LagSeconds != nil && *o.LagSeconds != 0 || o.AgeSeconds != nil && (*o.AgeSeconds < 0 || *o.AgeSeconds > 30) {
		return fmt.Errorf("it says %s", text)
	}
	return nil
}

// putFor writes a key that lives for a while.
func (n *outageTest) putFor(t *testing.T, key string, ttl time.Duration) {
	t.Helper()
	a, r := putRequest(n.node.URL, key, "value")
	r.URL.RawQuery = "ttl=" + ttl.String()
	if outcome, _ := n.writer().send(a, r); outcome != acknowledged {
		t.Fatalf("%s was not acknowledged", key)
	}
}

// awaitFound waits until reads find a key, or do not.
func (n *outageTest) awaitFound(t *testing.T, key string, found bool) {
	t.Helper()
	runnel.Eventually(t, 10*time.Second, fmt.Sprintf("reads of %s, found %v", key, found), func() error {
		resp, err := n.writer().client.Get(n.node.URL + "/v1/keys/" + key)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if want := map[bool]int{true: http.StatusOK, false: http.StatusNotFound}[found]; resp.StatusCode != want {
			return fmt.Errorf("%s, want %d", resp.Status, want)
		}
		return nil
	})
}

// hostClock returns a server on files and a function that steps the host's clock for this server alone. The Go
// runtime reads the clock without the C library, so the binary is built with a function in between.
func hostClock(t *testing.T) (*outageTest, func(time.Duration)) {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skip("SKIPPED clock of the host: only Linux on amd64 has a function to step it")
	}
	dir := t.TempDir()
	program, overlay := filepath.Join(dir, "runnel"), filepath.Join(dir, "overlay.json")
	replace := map[string]string{}
	for _, name := range []string{"step.go", "step_amd64.s"} {
		replace[absolute(t, "../cmd/runnel/clock"+name)] = absolute(t, "testdata/clock/"+name)
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err == nil {
		err = os.WriteFile(overlay, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := runnel.Build(program, nil, "-overlay", overlay, "-ldflags=-checklinkname=0"); err != nil {
		t.Fatal(err)
	}
	file, address := runnel.WriteConfig(t, outageConfig, runnel.ThreeFiles(t)[:2]...), runnel.FreeAddress(t)
	p := runnel.StartProgram(t, program, "serve", "--listen", address, "--config", file)
	p.URL = "http://" + address
	p.AwaitOK(t, "/readyz?write")
	n := &outageTest{history: newHistory(), node: p, file: file}
	return n, func(step time.Duration) {
		next := program + ".next"
		if err := os.WriteFile(next, fmt.Append(nil, int64(step/time.Second)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, program+".step"); err != nil {
			t.Fatal(err)
		}
		runnel.Eventually(t, 10*time.Second, "the clock is set", func() error { return n.checkClock(t, step) })
	}
}

// checkClock returns nil once the server's clock is off by step. The server must stay healthy.
func (n *outageTest) checkClock(t *testing.T, step time.Duration) error {
	t.Helper()
	resp, err := n.writer().client.Get(n.node.URL + "/healthz")
	if err != nil {
		return err
	}
	if resp.Body.Close(); resp.StatusCode != http.StatusOK {
		t.Errorf("/healthz is %s as the clock is set to %v", resp.Status, step)
	}
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if off := time.Until(date); err != nil || (off-step).Abs() > 10*time.Minute {
		return fmt.Errorf("the server's clock is off by %v: %w", off, err)
	}
	return nil
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// serverClock returns a server with its master on MariaDB and a function that steps the database's clock.
func serverClock(t *testing.T) (*outageTest, func(time.Duration)) {
	master := servers.MariaDB(t).Clocked(t)
	file := runnel.WriteConfig(t, outageConfig, master.URL, runnel.ThreeFiles(t)[1])
	n := &outageTest{history: newHistory(), node: runnel.Serve(t, "--config", file), file: file}
	return n, func(step time.Duration) { master.SetClock(t, step) }
}
