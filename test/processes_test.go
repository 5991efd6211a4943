package test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/test/runnel"
	"github.com/runnelkv/runnel/test/servers"
)

const processesConfig = `[sync]
lease = "2s"
batch_entries = 50
`

// TestKilledSyncIsTakenOver runs two servers and two sync daemons on the same partitions. Clients increment
// counters through both servers while a daemon is killed. No increment may be lost or doubled, and the partitions
// must become equal.
func TestKilledSyncIsTakenOver(t *testing.T) {
	for name, urls := range map[string]func(testing.TB) []string{
		"SQLite":        runnel.ThreeFiles,
		"MariaDB+MySQL": mariaDBMySQLAndFile,
	} {
		for _, inside := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/sync inside %v", name, inside), func(t *testing.T) {
				t.Parallel()
				twoOfEach(t, runnel.WriteConfig(t, processesConfig, urls(t)...), inside)
			})
		}
	}
}

// mariaDBMySQLAndFile ends with a file, as threeFiles does.
func mariaDBMySQLAndFile(t testing.TB) []string {
	return []string{servers.MariaDB(t).Database(t), servers.MySQL(t).Database(t), "sqlite:" + filepath.Join(t.TempDir(), "2.db")}
}

func twoOfEach(t *testing.T, file string, inside bool) {
	args := []string{"--config", file}
	if !inside {
		args = append(args, "--no-sync")
	}
	nodes := []*runnel.Process{runnel.Serve(t, args...), runnel.Serve(t, args...)}
	daemons := []*runnel.Process{runnel.Start(t, "sync", "--config", file), runnel.Start(t, "sync", "--config", file)}
	h := newHistory()
	random := runnel.NewRandom(t)
	stop := h.startWriters(t, random.Uint64(), nodes[0].URL, nodes[1].URL)
	c := startCounters(t, h, nodes)
	c.await(t, runnel.Rounds(50, 1000))

	killed, other := daemons[0], daemons[1]
	if !inside {
		killed, other = holderFirst(t, file, daemons)
	}
	time.Sleep(time.Duration(random.Int64N(int64(time.Second)))) // the random moment
	killed.Kill()
	at := time.Now()
	if !inside {
		runnel.Eventually(t, time.Minute, "the other takes over", func() error { return holdsLease(file, other) })
		t.Logf("the other sync process took over %v after the kill", time.Since(at).Round(time.Millisecond))
	}
	c.await(t, runnel.Rounds(100, 2000))
	stop()
	c.stop()

	awaitEqual(t, file) // by the remaining daemon, or by the sync inside the servers
	for _, p := range append(nodes, other) {
		if err := p.Stop(t); err != nil {
			t.Errorf("runnel stopped with %v", err)
		}
	}
	all := readContents(t, file)
	runnel.NoFaults(t, "equal", inequalities(all))
	runnel.NoFaults(t, "positions and rows", inconsistencies(all))
	runnel.NoFaults(t, "acknowledged writes", h.violations(all))
	runnel.NoFaults(t, "counters", c.miscounted(all))
	t.Logf("%d increments of %d counters; %s", c.total(), len(c.counts), h)
	c.counts[0]++ // an increment that the database lacks
	runnel.WantFaults(t, "counters", c.miscounted(all), true)
}

// holderFirst waits until a daemon holds the lease and returns the holder first.
func holderFirst(t testing.TB, file string, daemons []*runnel.Process) (holder, other *runnel.Process) {
	t.Helper()
	runnel.Eventually(t, time.Minute, "one daemon holds the lease", func() error {
		if holdsLease(file, daemons[0]) == nil {
			holder, other = daemons[0], daemons[1]
			return nil
		}
		holder, other = daemons[1], daemons[0]
		return holdsLease(file, daemons[1])
	})
	return holder, other
}

// holdsLease returns nil if the process holds the lease of the last partition, a
// file: holders are named host-pid-random.
func holdsLease(file string, p *runnel.Process) error {
	c, err := config.Load(file, os.LookupEnv)
	if err != nil {
		return err
	}
	db, err := sql.Open("sqlite", c.Partitions[len(c.Partitions)-1].URL.Path+"?_pragma=busy_timeout(5000)")
	if err != nil {
		return err
	}
	defer db.Close()
	var holder string
	if err := db.QueryRow("SELECT holder FROM lease").Scan(&holder); err != nil {
		return err
	}
	if !strings.Contains(holder, fmt.Sprintf("-%d-", p.PID())) {
		return fmt.Errorf("%q holds the lease, not process %d", holder, p.PID())
	}
	return nil
}

// counters are numbers in keys that several clients count up by If-Match.
type counters struct {
	history *history
	cancel  context.CancelFunc
	group   sync.WaitGroup

	mu     sync.Mutex // guards counts
	counts []int      // increments that were acknowledged
}

const countersAtOnce = 3

// startCounters has clients count through every node.
func startCounters(t testing.TB, h *history, nodes []*runnel.Process) *counters {
	ctx, cancel := context.WithCancel(context.Background())
	c := &counters{history: h, cancel: cancel, counts: make([]int, countersAtOnce)}
	for _, node := range nodes {
		for i := range countersAtOnce {
			w := &writer{history: h, url: node.URL, client: &http.Client{Timeout: 30 * time.Second}}
			c.group.Go(func() { c.run(ctx, w, i) })
		}
	}
	t.Cleanup(c.stop)
	return c
}

// stop returns when no client counts any more.
func (c *counters) stop() { c.cancel(); c.group.Wait() }

func (c *counters) run(ctx context.Context, w *writer, i int) {
	for ctx.Err() == nil {
		a := attempt{key: counterKey(i), kind: "text/plain"}
		n, err := w.count(a.key, &a)
		if err == nil {
			err = w.putCount(a, n+1, func() {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.counts[i]++
			})
		}
		if err != nil {
			w.history.add(a, false, fmt.Sprintf("counter %d: %v", i, err))
			return
		}
	}
}

func counterKey(i int) string { return fmt.Sprintf("counter/%d", i) }

// count reads a counter on its master and sets the condition of the attempt to its revision.
func (w *writer) count(key string, a *attempt) (int, error) {
	resp, err := w.client.Get(w.url + "/v1/keys/" + key + runnel.MasterRead)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return 0, err
	case resp.StatusCode == http.StatusNotFound:
		a.create = true
		return 0, nil
	case resp.StatusCode != http.StatusOK:
		return 0, fmt.Errorf("%s: %s", resp.Status, body)
	}
	if a.match, err = strconv.ParseInt(resp.Header.Get("Runnel-Revision"), 10, 64); err != nil {
		return 0, err
	}
	return strconv.Atoi(string(body))
}

// putCount writes a counter unless the counter has changed, and calls counted on success. Of two concurrent
// increments, the second is retried.
func (w *writer) putCount(a attempt, n int, counted func()) error {
	body := strconv.Itoa(n)
	a.checksum, a.size = partition.Checksum([]byte(body)), int64(len(body))
	r, err := http.NewRequest(http.MethodPut, w.url+"/v1/keys/"+a.key, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", a.kind)
	if a.create {
		r.Header.Set("If-None-Match", "*")
	} else {
		r.Header.Set("If-Match", fmt.Sprintf(`"%d"`, a.match))
	}
	switch w.try(a, r) {
	case acknowledged:
		counted()
	case unable:
		return fmt.Errorf("revision %d could not be counted up", a.match)
	}
	return nil
}

func (c *counters) total() (sum int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.counts {
		sum += n
	}
	return sum
}

// await waits until so many more increments were acknowledged.
func (c *counters) await(t testing.TB, n int) {
	t.Helper()
	n += c.total()
	runnel.Eventually(t, 5*time.Minute, fmt.Sprintf("%d increments", n), func() error {
		if done := c.total(); done < n {
			return fmt.Errorf("only %d", done)
		}
		return nil
	})
}

// miscounted says which counters do not stand at the number of increments that
// were acknowledged.
func (c *counters) miscounted(all contents) (faults []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, n := range c.counts {
		e, _ := all.masterEntry(counterKey(i))
		if e == nil || string(e.Value) != strconv.Itoa(n) {
			faults = append(faults, fmt.Sprintf("counter %d was counted up %d times, and stands as %+v", i, n, e))
		}
	}
	return faults
}
