package test

import (
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/test/runnel"
	"github.com/runnelkv/runnel/test/servers"
)

// crashConfig lets a sync process take over quickly from a killed process, and copy in small steps so that kills
// interrupt many of them.
const crashConfig = `[store]
masters = ["partition-0", "partition-1"]
timeout = "5s"
[sync]
lease = "1s"
backoff_max = "1s"
batch_entries = 20
`

// TestKilledServeLosesNothing kills serve, and in a third of the rounds also a sync daemon, at random moments
// during writes and passes.
func TestKilledServeLosesNothing(t *testing.T) {
	for name, urls := range map[string]func(testing.TB) []string{
		"SQLite":  runnel.ThreeFiles,
		"MariaDB": threeOnMariaDB,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &crashes{file: runnel.WriteConfig(t, crashConfig, urls(t)...), rng: runnel.NewRandom(t), history: newHistory()}
			for range runnel.Rounds(10, 100) {
				if !t.Run("kill", c.runRound) {
					return
				}
			}
			c.checkRecovery(t)
		})
	}
}

func threeOnMariaDB(t testing.TB) []string {
	server := servers.MariaDB(t)
	return []string{server.Database(t), server.Database(t), server.Database(t)}
}

// crashes is the state of a loop of crashes.
type crashes struct {
	file    string
	rng     *rand.Rand
	history *history

	kills    int
	advanced int // rounds in which a replica advanced
	copied   partition.Revision
}

// runRound restarts the processes, checks the state after the last kill, runs writers, and kills again.
func (c *crashes) runRound(t *testing.T) {
	args := []string{"--config", c.file}
	apart := c.rng.IntN(3) == 0
	if apart {
		args = append(args, "--no-sync")
	}
	node := runnel.ServeUnready(t, args...)
	victims := []*runnel.Process{node}
	if apart { // at once, because a new cluster with two masters needs a sync to become ready
		victims = append(victims, runnel.Start(t, "sync", "--config", c.file))
	}
	node.AwaitOK(t, "/readyz?write")
	c.check(t)

	stop := c.history.startWriters(t, c.rng.Uint64(), node.URL)
	c.history.awaitMore(t, 1+c.rng.IntN(100))
	time.Sleep(time.Duration(c.rng.Int64N(int64(1500 * time.Millisecond)))) // the random moment
	c.rng.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
	for _, p := range victims {
		select {
		case <-p.Exited:
			t.Fatalf("runnel ended by itself: %v\n%s", p.Err, p.Log.Tail())
		default:
		}
		p.Kill()
		c.kills++
	}
	stop()
}

// check checks the state after a crash, without writers. The restarted process may already be copying, but has
// repaired nothing.
func (c *crashes) check(t testing.TB) {
	t.Helper()
	all := readContents(t, c.file)
	runnel.NoFaults(t, "positions and rows", inconsistencies(all))
	runnel.NoFaults(t, "acknowledged writes", c.history.violations(all))
	copied := partition.Revision(0)
	for origin, copies := range all.copies {
		for name, h := range copies {
			if name != string(origin) && h.position.Revision > 0 {
				copied += h.position.Revision - partition.Floor(1)
			}
		}
	}
	if copied > c.copied {
		c.advanced++
	}
	c.copied = copied
}

// checkRecovery levels all partitions by sync --once and by serve, and checks them.
func (c *crashes) checkRecovery(t *testing.T) {
	c.check(t)
	runnel.Eventually(t, time.Minute, "runnel sync --once", func() error { // the lease of the killed process must expire first
		_, err := runnel.Run(t, "sync", "--once", "--config", c.file)
		return err
	})
	all := readContents(t, c.file)
	runnel.NoFaults(t, "after sync --once", inequalities(all))
	runnel.NoFaults(t, "acknowledged writes", c.history.violations(all))

	node := runnel.Serve(t, "--config", c.file)
	stop := c.history.startWriters(t, c.rng.Uint64(), node.URL)
	c.history.awaitMore(t, 200)
	stop()
	all = awaitEqual(t, c.file)
	if err := node.Stop(t); err != nil {
		t.Errorf("serve stopped with %v", err)
	}
	runnel.NoFaults(t, "positions and rows", inconsistencies(all))
	runnel.NoFaults(t, "acknowledged writes", c.history.violations(all))
	if c.advanced < runnel.Rounds(10, 100)/5 {
		t.Errorf("replicas got further in only %d rounds: passes were hardly ever under way", c.advanced)
	}
	live, tombstones := all.countEntries()
	t.Logf("%d kills; replicas advanced in %d rounds; %s; at the end %d entries and %d tombstones everywhere",
		c.kills, c.advanced, c.history, live, tombstones)
}

// TestKilledDatabaseLosesNothing kills the MariaDB server of a master and a replica during writes. serve keeps
// running and recovers by itself.
func TestKilledDatabaseLosesNothing(t *testing.T) {
	t.Parallel()
	server := servers.NewMariaDB(t)
	random, h := runnel.NewRandom(t), newHistory()
	file := runnel.WriteConfig(t, crashConfig, server.Database(t), "sqlite:"+filepath.Join(t.TempDir(), "1.db"), server.Database(t))
	node := runnel.Serve(t, "--config", file)
	stop := h.startWriters(t, random.Uint64(), node.URL)
	kills := runnel.Rounds(3, 20)
	for range kills {
		h.awaitMore(t, 50)
		time.Sleep(time.Duration(random.Int64N(int64(time.Second)))) // the random moment
		server.Kill()
		server.Start()
		node.AwaitOK(t, "/readyz?write")
	}
	h.awaitMore(t, 50)
	stop()
	all := awaitEqual(t, file)
	runnel.NoFaults(t, "positions and rows", inconsistencies(all))
	runnel.NoFaults(t, "acknowledged writes", h.violations(all))
	live, tombstones := all.countEntries()
	t.Logf("%d kills of the server; %s; at the end %d entries and %d tombstones everywhere", kills, h, live, tombstones)
}
