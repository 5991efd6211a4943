package test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/test/runnel"
	"github.com/runnelkv/runnel/test/servers"
)

// outageConfig has short bounds, so that outages are detected quickly.
const outageConfig = `[store]
timeout = "2s"
[sync]
lease = "2s"
backoff_max = "2s"
`

const (
	// readBound bounds a read while a partition is away: a second for each partition that does not answer, and a
	// reserve for a busy machine.
	readBound = 4 * time.Second
	// writeBound bounds a write while the master is away: store.timeout for a commit under way and for the write's
	// own commit, and a reserve for a busy machine.
	writeBound = 6 * time.Second
	// startBound bounds a start or a stop during an outage.
	startBound = 15 * time.Second
	// freshWithin bounds the delay until the remaining replica gets a write during an outage.
	freshWithin = 5 * time.Second
)

// outage is a way of taking a server away and back.
type outage struct {
	name      string
	away, end func(*servers.Server)
}

var outages = []outage{
	{"stopped", (*servers.Server).Stop, (*servers.Server).Start},
	{"paused", (*servers.Server).Pause, (*servers.Server).Unpause},
}

// TestOutageOfAReplica takes a replica's server away: everything else continues.
func TestOutageOfAReplica(t *testing.T) {
	t.Parallel()
	server := servers.NewMySQL(t)
	file := runnel.WriteConfig(t, outageConfig, servers.MariaDB(t).Database(t), server.Database(t), "sqlite:"+filepath.Join(t.TempDir(), "2.db"))
	node := runnel.Serve(t, "--config", file)
	n := &outageTest{history: newHistory(), node: node, file: file, replicaLeft: openNamed(t, file, "partition-2")}
	for i, o := range outages {
		t.Run(o.name, func(t *testing.T) {
			n.put(t, fmt.Sprintf("before/%d", i))
			awaitEqual(t, file)
			o.away(server)
			back := sync.OnceFunc(func() { o.end(server) })
			t.Cleanup(back)

			reads := n.whileReading(t, func() {
				n.checkWritesContinue(t, i)
				n.checkFreshness(t, i)
				n.awaitState(t, "partition-1", "unreachable")
				n.checkStart(t, "/readyz?write")
			})
			if reads.failed > 0 || reads.slowest > readBound {
				t.Errorf("with a replica %s: %v", o.name, reads)
			}
			began := time.Now()
			out, err := runnel.Run(t, "sync", "--once", "--config", file)
			t.Logf("sync --once took %v", time.Since(began).Round(time.Millisecond))
			if !strings.Contains(out, "partition-1: unreachable") {
				t.Errorf("sync --once does not name the partition that is away: %q, %v", out, err)
			}

			back()
			at := time.Now()
			awaitEqual(t, file)
			t.Logf("%s: %v; caught up %v after it was back", o.name, reads, time.Since(at).Round(time.Millisecond))
			n.awaitState(t, "partition-1", "ready")
		})
	}
	if err := node.Stop(t); err != nil {
		t.Errorf("serve stopped with %v", err)
	}
	runnel.NoFaults(t, "equal", inequalities(readContents(t, file)))
}

// TestOutageOfTheMaster takes the master's server away: reads continue, writes are refused in time, and writes
// succeed again after the outage.
func TestOutageOfTheMaster(t *testing.T) {
	t.Parallel()
	server := servers.NewMariaDB(t)
	file := runnel.WriteConfig(t, outageConfig, server.Database(t), servers.MySQL(t).Database(t), "sqlite:"+filepath.Join(t.TempDir(), "2.db"))
	node := runnel.Serve(t, "--config", file)
	n := &outageTest{history: newHistory(), node: node, file: file}
	for i, o := range outages {
		t.Run(o.name, func(t *testing.T) {
			n.put(t, fmt.Sprintf("before/%d", i))
			awaitEqual(t, file)
			o.away(server)
			back := sync.OnceFunc(func() { o.end(server) })
			t.Cleanup(back)

			var slowest time.Duration
			reads := n.whileReading(t, func() {
				slowest = n.checkWritesRefused(t)
				n.awaitState(t, "partition-0", "unreachable")
				n.checkMasterReadRefused(t)
				n.checkStart(t, "/readyz")
			})
			if reads.failed > 0 || reads.slowest > readBound {
				t.Errorf("with the master %s: %v", o.name, reads)
			}

			back()
			at := time.Now()
			n.history.awaitWrite(t, node.URL)
			t.Logf("%s: %v; refused writes took at most %v; writes worked %v after it was back",
				o.name, reads, slowest.Round(time.Millisecond), time.Since(at).Round(time.Millisecond))
			awaitEqual(t, file)
		})
	}
	if err := node.Stop(t); err != nil {
		t.Errorf("serve stopped with %v", err)
	}
	all := readContents(t, file)
	runnel.NoFaults(t, "equal", inequalities(all))
	runnel.NoFaults(t, "positions and rows", inconsistencies(all))
	runnel.NoFaults(t, "acknowledged writes", n.history.violations(all))
}

// TestSyncOnceTellsOutageFromLag: sync --once exits with 1 if a reachable partition is not level, else with 0, and
// prints a line for each partition. An unreachable partition is named, but does not change the status, because
// cron would send a mail every minute.
func TestSyncOnceTellsOutageFromLag(t *testing.T) {
	t.Parallel()
	urls := runnel.ThreeFiles(t)
	file := runnel.WriteConfig(t, "", urls...)
	withOutage := runnel.WriteConfig(t, "", append(urls, "mysql://u:p@"+runnel.FreeAddress(t)+"/nothing")...)
	node := runnel.Serve(t, "--config", file, "--no-sync")
	n := &outageTest{history: newHistory(), node: node, file: file}
	n.put(t, "first")
	runnel.SyncOnce(t, file)
	held := openNamed(t, file, "partition-2")
	lease, err := held.Acquire(t.Context(), "another process", 15*time.Second) // as long as the default
	if err != nil {
		t.Fatal(err)
	}
	n.put(t, "second")
	syncOnceSays(t, withOutage, 1, "partition-0: level", "partition-1: level", "partition-2: standby", "partition-3: unreachable")
	if err := held.Release(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	all := []string{"partition-0: level", "partition-1: level", "partition-2: level", "partition-3: unreachable"}
	syncOnceSays(t, withOutage, 0, all...)
	if out, err := runnel.Run(t, "sync", "--once", "--strict", "--quiet", "--config", withOutage); exitStatus(err) != 1 || !strings.Contains(out, all[3]) {
		t.Errorf("strict, it says %q, %v", out, err)
	}
	if out, err := runnel.Run(t, "sync", "--once", "--strict", "--quiet", "--config", file); out != "" || err != nil {
		t.Errorf("quiet and level, it says %q, %v", out, err)
	}
	runnel.NoFaults(t, "equal", inequalities(readContents(t, file)))
}

func syncOnceSays(t testing.TB, file string, status int, lines ...string) {
	t.Helper()
	out, err := runnel.Run(t, "sync", "--once", "--config", file)
	if exitStatus(err) != status {
		t.Errorf("sync --once exits with %d, want %d: %v", exitStatus(err), status, err)
	}
	for _, line := range lines {
		if !strings.Contains(out, line) {
			t.Errorf("no line %q in %q", line, out)
		}
	}
}

func exitStatus(err error) int {
	var exit interface{ ExitCode() int }
	if err == nil || !errors.As(err, &exit) {
		return 0
	}
	return exit.ExitCode()
}

// openNamed opens a partition of a configuration directly, until t ends.
func openNamed(t testing.TB, file, name string) partition.Partition {
	t.Helper()
	parts := runnel.OpenPartitions(t, file)
	t.Cleanup(func() { runnel.ClosePartitions(t, parts) })
	i := slices.IndexFunc(parts, func(p partition.Partition) bool { return p.Name() == name })
	if i < 0 {
		t.Fatalf("no partition is named %s", name)
	}
	return parts[i]
}

// outageTest is a node that keeps running during an outage.
type outageTest struct {
	node        *runnel.Process
	file        string
	replicaLeft partition.Partition
	history     *history // of the writes and the node's answers
}

// put writes a key, which must be acknowledged.
func (n *outageTest) put(t testing.TB, key string) attempt {
	t.Helper()
	a, r := putRequest(n.node.URL, key, "value of "+key)
	if outcome, a := n.writer().send(a, r); outcome == acknowledged {
		return a
	}
	t.Fatalf("%s was not acknowledged", key)
	return a
}

func (n *outageTest) writer() *writer {
	return &writer{history: n.history, url: n.node.URL, client: &http.Client{Timeout: 30 * time.Second}}
}

func putRequest(url, key, value string) (attempt, *http.Request) {
	a := attempt{key: key, kind: "text/plain", checksum: partition.Checksum([]byte(value)), size: int64(len(value))}
	r, err := http.NewRequest(http.MethodPut, url+"/v1/keys/"+key, strings.NewReader(value))
	if err != nil {
		panic(err)
	}
	r.Header.Set("Content-Type", a.kind)
	return a, r
}

// checkWritesContinue checks that writes do not wait for a replica that is away.
func (n *outageTest) checkWritesContinue(t testing.TB, round int) {
	t.Helper()
	for i := range 20 {
		a := n.put(t, fmt.Sprintf("meanwhile/%d/%d", round, i))
		if took := a.ended - a.began; took > writeBound {
			t.Errorf("a write took %v with a replica away", took)
		}
	}
}

// checkFreshness measures the delay until the remaining replica gets a write, several times, because timeouts of
// the replica that is away might slow some passes down.
func (n *outageTest) checkFreshness(t testing.TB, round int) {
	t.Helper()
	var slowest time.Duration
	for i := range 5 {
		began := time.Now()
		a := n.put(t, fmt.Sprintf("fresh/%d/%d", round, i))
		runnel.Eventually(t, time.Minute, "a write reaches the replica that is left", func() error {
			positions, err := n.replicaLeft.Positions(t.Context())
			if err == nil && int64(positions.Origins["partition-0"].Revision) < a.revision {
				err = fmt.Errorf("it is at %d, not %d", positions.Origins["partition-0"].Revision, a.revision)
			}
			return err
		})
		slowest = max(slowest, time.Since(began))
	}
	if slowest > freshWithin {
		t.Errorf("the replica that is left got a write only after %v", slowest)
	}
	t.Logf("the replica that is left got each write within %v", slowest.Round(time.Millisecond))
}

// checkWritesRefused sends concurrent and single writes, and returns the duration of the slowest refusal.
func (n *outageTest) checkWritesRefused(t testing.TB) (slowest time.Duration) {
	t.Helper()
	var group sync.WaitGroup
	var mu sync.Mutex
	unknown := 0
	write := func(i int) {
		a, r := putRequest(n.node.URL, "refused", fmt.Sprintf("refused %v %d", time.Since(n.history.began), i))
		problem, retryAfter, took := n.refusal(t, r)
		mu.Lock()
		defer mu.Unlock()
		slowest = max(slowest, took)
		switch {
		case took > writeBound:
			t.Errorf("write %d hung for %v", i, took)
		case problem == "outcome-unknown" && i < 8: // the write was under way when the master went away
			n.history.add(a, true, "")
			unknown++
		case problem != "master-unavailable" || retryAfter < 1:
			t.Errorf("write %d got problem %q with Retry-After %d, want master-unavailable", i, problem, retryAfter)
		}
	}
	for i := range 8 {
		group.Go(func() { write(i) })
	}
	group.Wait()
	for i := range 20 {
		write(8 + i)
	}
	t.Logf("of 8 writes at once %d have an unknown outcome, 20 that followed none", unknown)
	return slowest
}

// refusal sends a request that must be refused with 503 or 507, and returns the problem, Retry-After in seconds, and the
// duration.
func (n *outageTest) refusal(t testing.TB, r *http.Request) (problem string, retryAfter int, took time.Duration) {
	t.Helper()
	began := time.Now()
	resp, err := n.writer().client.Do(r)
	if err != nil {
		t.Errorf("%s %s: %v", r.Method, r.URL, err)
		return "", 0, time.Since(began)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable && resp.StatusCode != http.StatusInsufficientStorage {
		t.Errorf("%s %s: %s, want 503 or 507: %s %v", r.Method, r.URL, resp.Status, body, err)
	}
	retryAfter, _ = strconv.Atoi(resp.Header.Get("Retry-After"))
	return runnel.ProblemOf(body), retryAfter, time.Since(began)
}

// checkMasterReadRefused checks that a read from the master is refused in time.
func (n *outageTest) checkMasterReadRefused(t testing.TB) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, n.node.URL+"/v1/keys/before/0"+runnel.MasterRead, nil)
	if err != nil {
		t.Fatal(err)
	}
	if problem, retryAfter, took := n.refusal(t, r); problem != "master-unavailable" || retryAfter < 1 || took > readBound {
		t.Errorf("a read from the master got problem %q with Retry-After %d after %v", problem, retryAfter, took)
	}
}

// awaitWrite waits until the node accepts writes again.
func (h *history) awaitWrite(t testing.TB, url string) {
	t.Helper()
	w := &writer{history: h, url: url, client: &http.Client{Timeout: 30 * time.Second}}
	runnel.Eventually(t, time.Minute, "writes work again", func() error {
		a, r := putRequest(url, "again", "back")
		if outcome, _ := w.send(a, r); outcome != acknowledged {
			return errors.New("not acknowledged")
		}
		return nil
	})
}

// awaitState waits until the status shows a partition in the state.
func (n *outageTest) awaitState(t testing.TB, name, state string) {
	t.Helper()
	runnel.Eventually(t, 30*time.Second, name+" is "+state, func() error {
		resp, err := n.writer().client.Get(n.node.URL + "/v1/status")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		var status struct {
			Partitions []struct{ Name, State, Error string }
		}
		if err := json.NewDecoder(resp.Body).Decode(&status); err != nil {
			return err
		}
		for _, p := range status.Partitions {
			if p.Name == name && p.State == state {
				return nil
			}
		}
		return fmt.Errorf("the status says %+v", status.Partitions)
	})
}

// checkStart starts a second node during the outage, which must become ready and answer reads, and stops the node.
func (n *outageTest) checkStart(t testing.TB, ready string) {
	t.Helper()
	began := time.Now()
	other := runnel.ServeUnready(t, "--config", n.file)
	other.AwaitOK(t, ready)
	started := time.Since(began)
	for range 5 {
		if failure := readOnce(n.writer().client, other.URL+"/v1/keys/before/0"); failure != "" {
			t.Errorf("a node that was started meanwhile: %s", failure)
		}
	}
	began = time.Now()
	if err := other.Stop(t); err != nil {
		t.Errorf("a node that was started meanwhile stopped with %v", err)
	}
	stopped := time.Since(began)
	if started > startBound || stopped > startBound {
		t.Errorf("a node took %v to start and %v to stop meanwhile", started, stopped)
	}
	t.Logf("another node was ready after %v, and stopped within %v", started.Round(time.Millisecond), stopped.Round(time.Millisecond))
}

// readings counts the reads during an outage.
type readings struct {
	done, failed int
	slowest      time.Duration
	failure      string // the first
}

func (r readings) String() string {
	return fmt.Sprintf("%d reads, %d failed %s, the slowest took %v", r.done, r.failed, r.failure, r.slowest.Round(time.Millisecond))
}

// whileReading runs f while clients read entries that were written before.
func (n *outageTest) whileReading(t testing.TB, f func()) readings {
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	var mu sync.Mutex
	var all readings
	for range 4 {
		client := n.writer().client
		group.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				failure := readOnce(client, n.node.URL+"/v1/keys/before/0")
				took := time.Since(began)
				mu.Lock()
				all.done++
				all.slowest = max(all.slowest, took)
				if failure != "" {
					all.failed++
					all.failure = failure
				}
				mu.Unlock()
				select { // leaves processor time to the servers
				case <-ctx.Done():
				case <-time.After(5 * time.Millisecond):
				}
			}
		})
	}
	defer group.Wait()
	defer cancel()
	f()
	runnel.Eventually(t, time.Minute, "hundreds of reads", func() error {
		mu.Lock()
		defer mu.Unlock()
		if all.done < 300 {
			return fmt.Errorf("only %d", all.done)
		}
		return nil
	})
	cancel()
	group.Wait()
	return all
}

// readOnce reads an entry and describes the fault of the answer, if any.
func readOnce(client *http.Client, url string) string {
	resp, err := client.Get(url)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || string(body) != "value of before/0" {
		return fmt.Sprintf("%s: %s %v", resp.Status, body, err)
	}
	return ""
}
