package promotion

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/test/runnel"
	"github.com/runnelkv/runnel/test/servers"
)

func TestMain(m *testing.M) { os.Exit(runnel.Main(m)) }

// writers are clients; each writes key after key, with durable=majority.
type writers struct {
	mu    sync.Mutex
	acked map[string]string // keys and values that were answered as held by a majority
	last  time.Time         // of the last such answer
}

// run writes to a server until the returned function is called.
func (ws *writers) run(url string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				name := fmt.Sprintf("w%d/%d", i, n)
				if status := put(ctx, url+"/v1/keys/"+name+"?durable=majority", name); status == http.StatusCreated {
					ws.mu.Lock()
					ws.acked[name], ws.last = name, time.Now()
					ws.mu.Unlock()
				} else {
					time.Sleep(20 * time.Millisecond)
				}
			}
		})
	}
	return func() { cancel(); group.Wait() }
}

func (ws *writers) count() int {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return len(ws.acked)
}

func put(ctx context.Context, url, value string) (status int) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, url, strings.NewReader(value))
	if err != nil {
		return 0
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// eventually waits up to 30 seconds.
func eventually(t *testing.T, event string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within 30 s", event)
		}
	}
}

func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	out, err := runnel.Run(t, args...)
	if err != nil {
		t.Fatalf("runnel %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// rowsOf are all rows of a partition, by origin and key.
func rowsOf(t *testing.T, p partition.Partition) map[string]partition.Revision {
	rows := make(map[string]partition.Revision)
	for _, origin := range []partition.Origin{"partition-0", "partition-1"} {
		_, entries := runnel.ReadEntries(t, p, origin)
		for k, e := range entries {
			rows[string(origin)+" "+string(k)] = e.Revision
		}
	}
	return rows
}

// TestLostMasterIsReplaced walks through the steps of the operations manual: the server of the master stops under load, another
// partition is promoted, no write is lost that a majority held, and the old master returns with its database, then with an empty database.
func TestLostMasterIsReplaced(t *testing.T) {
	server := servers.NewMariaDB(t)
	dir := t.TempDir()
	configure := func(master string) string {
		return runnel.WriteConfig(t, "[store]\ntimeout = \"2s\"\n", master, "sqlite:"+filepath.Join(dir, "1.db"), "sqlite:"+filepath.Join(dir, "2.db"))
	}
	file := configure(server.Database(t))
	node := runnel.Serve(t, "--config", file)
	node.AwaitOK(t, "/readyz?write")
	mustRun(t, "migrate", "--finish", "--config", file)
	if _, err := runnel.Run(t, "promote", "partition-1", "--old-master-is-stopped", "partition-0", "--config", file); err == nil {
		t.Error("a master that answers was replaced")
	}
	loseMaster(t, server, node, file, "--old-master-is-stopped")

	server.Start()
	var state string
	eventually(t, "state of the old master", func() bool {
		_, body := get(t, node.URL+"/v1/status")
		for _, s := range []string{"ready", "refused"} {
			if strings.Contains(body, fmt.Sprintf(`"name":"partition-0","kind":"mariadb","role":"replica","state":"%s"`, s)) {
				state = s
			}
		}
		return state != ""
	})
	t.Logf("the old master is %s with its own database, and is emptied now", state)
	if err := node.Stop(t); err != nil {
		t.Fatal(err)
	}
	file = configure(server.Database(t))
	node = runnel.Serve(t, "--config", file)
	mustRun(t, "migrate", "--finish", "--config", file)
	parts := runnel.OpenPartitions(t, file)
	defer runnel.ClosePartitions(t, parts)
	eventually(t, "equal partitions", func() bool {
		first := rowsOf(t, parts[0])
		return len(first) > 0 && maps.Equal(first, rowsOf(t, parts[1])) && maps.Equal(first, rowsOf(t, parts[2]))
	})
	eventually(t, "move back", func() bool {
		_, err := runnel.Run(t, "move", "--from", "partition-1", "--to", "partition-0", "--config", file)
		return err == nil
	})
	if status := put(t.Context(), node.URL+"/v1/keys/last", "1"); status != http.StatusCreated {
		t.Errorf("a write after the move back: %d", status)
	}
	if err := node.Stop(t); err != nil {
		t.Error(err)
	}
}

// loseMaster stops the server of the master under load and promotes another partition. Every write is readable afterwards that
// was answered as held by a majority.
func loseMaster(t *testing.T, server *servers.Server, node *runnel.Process, file, flag string) {
	t.Helper()
	ws := &writers{acked: make(map[string]string)}
	stop := ws.run(node.URL)
	eventually(t, "writes before", func() bool { return ws.count() >= 500 })
	server.Kill()
	time.Sleep(time.Second)
	before, began := ws.count(), time.Now()
	t.Log(strings.TrimSpace(mustRun(t, "promote", "partition-1", flag, "partition-0", "--config", file)))
	eventually(t, "write afterwards", func() bool { return ws.count() > before })
	t.Logf("the first write was answered %v after the beginning of the promotion", time.Since(began).Round(time.Millisecond))
	eventually(t, "writes afterwards", func() bool { return ws.count() >= before+500 })
	stop()
	ws.check(t, node.URL)
}

// check reads every write that was answered as held by a majority.
func (ws *writers) check(t *testing.T, url string) {
	t.Helper()
	for name, value := range ws.acked {
		if status, body := get(t, url+"/v1/keys/"+name+"?consistency=master"); status != http.StatusOK || body != value {
			t.Errorf("a write that a majority held: %s is %q, status %d", name, body, status)
		}
	}
}

// TestLostMasterIsReplacedByLeases: no operator says that the old master is stopped.
func TestLostMasterIsReplacedByLeases(t *testing.T) {
	server := servers.NewMariaDB(t)
	dir := t.TempDir()
	file := runnel.WriteConfig(t, "[store]\ntimeout = \"2s\"\n", server.Database(t), "sqlite:"+filepath.Join(dir, "1.db"), "sqlite:"+filepath.Join(dir, "2.db"))
	node := runnel.Serve(t, "--config", file)
	node.AwaitOK(t, "/readyz?write")
	mustRun(t, "migrate", "--finish", "--config", file)
	eventually(t, "leases", func() bool {
		out, err := runnel.Run(t, "leases", "4s", "--config", file)
		return err == nil && strings.Contains(out, "master leases of 4s")
	})
	loseMaster(t, server, node, file, "--in-place-of")
	if _, body := get(t, node.URL+"/v1/status"); !strings.Contains(body, `"lease_ms":4000,"has_lease":true`) {
		t.Errorf("the status shows no lease: %s", body)
	}
	if err := node.Stop(t); err != nil {
		t.Error(err)
	}
}

// TestLostMasterIsReplacedWithoutAnOperator: the server of the master hangs, and later it answers again. In the long form it is killed too.
func TestLostMasterIsReplacedWithoutAnOperator(t *testing.T) {
	lose := map[string]func(*servers.Server){"hangs": (*servers.Server).Pause}
	if os.Getenv("RUNNEL_TEST_LONG") == "1" {
		lose["is killed"] = (*servers.Server).Kill
	}
	for name, lose := range lose {
		t.Run(name, func(t *testing.T) {
			server := servers.NewMariaDB(t)
			dir := t.TempDir()
			file := runnel.WriteConfig(t, "[store]\ntimeout = \"2s\"\n", server.Database(t), "sqlite:"+filepath.Join(dir, "1.db"), "sqlite:"+filepath.Join(dir, "2.db"))
			node := runnel.Serve(t, "--config", file)
			node.AwaitOK(t, "/readyz?write")
			mustRun(t, "migrate", "--finish", "--config", file)
			if _, err := runnel.Run(t, "failover", "auto", "--config", file); err == nil {
				t.Error("masters are replaced without leases")
			}
			eventually(t, "leases", func() bool {
				_, err := runnel.Run(t, "leases", "4s", "--config", file)
				return err == nil
			})
			if out := mustRun(t, "failover", "auto", "--after", "15s", "--cooldown", "1m", "--config", file); out != "lost masters are replaced after 15s, and no other within 1m0s\n" {
				t.Error(out)
			}
			awaitReplacement(t, server, node, lose, 15*time.Second+4*time.Second+5*time.Second)
			if out := mustRun(t, "failover", "--config", file); !strings.Contains(out, "'runnel failover ack'") {
				t.Error(out)
			}
			if out := mustRun(t, "failover", "ack", "--config", file); strings.Contains(out, "ack") {
				t.Error(out)
			}
			if name == "hangs" {
				server.Unpause()
				eventually(t, "old master as a replica", func() bool {
					_, body := get(t, node.URL+"/v1/status")
					return strings.Contains(body, `"name":"partition-0","kind":"mariadb","role":"replica","state":"re`) // ready, or refused
				})
			}
			if err := node.Stop(t); err != nil {
				t.Error(err)
			}
		})
	}
}

// awaitReplacement loses the server of the master under load. Writes go on within a time, and no write is lost that a majority held.
func awaitReplacement(t *testing.T, server *servers.Server, node *runnel.Process, lose func(*servers.Server), within time.Duration) {
	t.Helper()
	ws := &writers{acked: make(map[string]string)}
	stop := ws.run(node.URL)
	eventually(t, "writes before", func() bool { return ws.count() >= 100 })
	lose(server)
	lost := time.Now()
	time.Sleep(time.Second)
	before := ws.count()
	eventually(t, "write afterwards", func() bool { return ws.count() > before })
	took := time.Since(lost)
	if t.Logf("writes went on after %s", took.Round(time.Millisecond)); took > within {
		t.Errorf("writes went on after %s, want %s", took, within)
	}
	if _, body := get(t, node.URL+"/v1/status"); !strings.Contains(body, `"failover":{"after_ms":15000,"cooldown_ms":60000,"cooling":`) {
		t.Errorf("the status shows no cooldown: %s", body)
	}
	if _, body := get(t, node.URL+"/metrics"); !strings.Contains(body, "\nrunnel_failover_after_seconds 15\n") || !strings.Contains(body, "\nrunnel_failover_cooling 1\n") {
		t.Errorf("the metrics show no cooldown: %s", body)
	}
	stop()
	ws.check(t, node.URL)
}
