package histories

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/runnel"
	"github.com/runnelkv/runnel/test/servers"
)

// clusterConfig has two masters and a store.timeout below clientTimeout, so that servers give up before clients do.
const clusterConfig = `[store]
masters = ["partition-0", "partition-1"]
timeout = "1s"
[sync]
lease = "1s"
backoff_max = "1s"
batch_entries = 50
`

// TestHistoriesHoldThroughFaults runs clients of all kinds at two servers while servers, the sync process and
// databases are paused, killed and cut off. Afterwards the operations on each key, and the transactions on each
// group of keys, must be linearizable; no session may have gone back; and no read may be older than the client
// allowed.
func TestHistoriesHoldThroughFaults(t *testing.T) {
	for name, start := range map[string]func(*testing.T) *cluster{
		"SQLite": clusterOnSQLite, "MariaDB": clusterOnMariaDB, "MySQL": clusterOnMySQL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := start(t)
			random := runnel.NewRandom(t)
			w := startWorkload(t, random, c.server)
			c.injectFaults(w, random, runnel.Rounds(1, 20)*len(c.faults))
			runnel.Eventually(t, time.Minute, "a replica answers sessions", w.sessions.hasReplicaRead)
			runnel.Eventually(t, time.Minute, "a replica answers bounded reads", w.fresh.hasBoundedReplicaRead)
			w.stop()
			w.check(t)
		})
	}
}

// cluster consists of two servers, a sync process and the faults that can happen to them.
type cluster struct {
	t      *testing.T
	nodes  [2]atomic.Pointer[runnel.Process]
	files  [2]string // the configuration of each node
	file   string    // the configuration of the sync process
	sync   *runnel.Process
	faults []fault
}

// injectFaults lets n faults happen, each as often as any other and in random order, while the clients go on.
func (c *cluster) injectFaults(w *workload, random *rand.Rand, n int) {
	c.t.Helper()
	for i := range n {
		i %= len(c.faults)
		if i == 0 {
			random.Shuffle(len(c.faults), func(i, j int) { c.faults[i], c.faults[j] = c.faults[j], c.faults[i] })
		}
		w.awaitMore(c.t, 150)
		back := c.faults[i].begin(random.IntN(2))
		time.Sleep(time.Duration(random.Int64N(int64(c.faults[i].maxDuration)))) // the random moment
		back()
	}
	w.awaitMore(c.t, 150)
}

// fault begins a fault on node or cable 0 or 1 and returns a function that ends the fault.
type fault struct {
	begin       func(i int) (back func())
	maxDuration time.Duration
}

func (c *cluster) start(syncFile string) {
	c.file = syncFile
	for i := range c.nodes {
		c.nodes[i].Store(runnel.ServeUnready(c.t, "--config", c.files[i], "--no-sync"))
	}
	c.sync = runnel.Start(c.t, "sync", "--config", syncFile)
	for i := range c.nodes {
		c.nodes[i].Load().AwaitOK(c.t, "/readyz?write")
	}
	paused := func(p *runnel.Process) func() {
		p.Signal(syscall.SIGSTOP)
		return func() { p.Signal(syscall.SIGCONT) }
	}
	c.faults = append(c.faults,
		fault{func(i int) func() { return paused(c.nodes[i].Load()) }, 2500 * time.Millisecond},
		fault{func(i int) func() {
			c.nodes[i].Load().Kill()
			return func() { c.nodes[i].Store(runnel.ServeUnready(c.t, "--config", c.files[i], "--no-sync")) }
		}, time.Second},
		fault{func(int) func() { return paused(c.sync) }, time.Second},
		fault{func(int) func() {
			c.sync.Kill()
			return func() { c.sync = runnel.Start(c.t, "sync", "--config", syncFile) }
		}, time.Second})
}

// server returns the URL of a random node, which may be down.
func (c *cluster) server(random *rand.Rand) string { return c.nodes[random.IntN(2)].Load().URL }

func clusterOnSQLite(t *testing.T) *cluster {
	file := runnel.WriteConfig(t, clusterConfig, runnel.ThreeFiles(t)...)
	c := &cluster{t: t, files: [2]string{file, file}}
	c.start(file)
	return c
}

// clusterOnMariaDB has both masters on a MariaDB server of the test, which is paused and killed.
func clusterOnMariaDB(t *testing.T) *cluster {
	server := servers.NewMariaDB(t)
	return clusterOnServer(t, server, faultsOf(server))
}

// clusterOnMySQL uses the shared MySQL server when time is short, because a start of MySQL takes as long as the
// rest of the test.
func clusterOnMySQL(t *testing.T) *cluster {
	if runnel.Rounds(0, 1) == 0 {
		return clusterOnServer(t, servers.MySQL(t), nil)
	}
	server := servers.NewMySQL(t)
	return clusterOnServer(t, server, faultsOf(server))
}

func faultsOf(server *servers.Server) []fault {
	return []fault{
		{func(int) func() { server.Pause(); return server.Unpause }, 2500 * time.Millisecond},
		{func(int) func() { server.Kill(); return server.Start }, time.Second},
	}
}

// clusterOnServer has both masters on a database server, which each node reaches by a cable of its own, and a
// replica in a file.
func clusterOnServer(t *testing.T, server *servers.Server, faults []fault) *cluster {
	urls := []string{server.Database(t), server.Database(t), "sqlite:" + filepath.Join(t.TempDir(), "2.db")}
	c := &cluster{t: t}
	var cables [2]*cable
	for i := range c.files {
		cables[i] = newCable(t, server.Address())
		c.files[i] = runnel.WriteConfig(t, clusterConfig, cables[i].through(t, urls[0]), cables[i].through(t, urls[1]), urls[2])
	}
	c.faults = append(faults, fault{func(i int) func() { cables[i].cut(); return cables[i].mend }, time.Second})
	c.start(runnel.WriteConfig(t, clusterConfig, urls...))
	return c
}

// cable is a connection to a server that can be cut. Requests and answers under way are lost.
type cable struct {
	listener net.Listener
	to       string

	mu    sync.Mutex // guards the fields below
	isCut bool
	ends  map[net.Conn]bool
}

func newCable(t testing.TB, to string) *cable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{listener: l, to: to, ends: make(map[net.Conn]bool)}
	var carrying sync.WaitGroup
	carrying.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			carrying.Go(func() { c.carry(near) })
		}
	})
	t.Cleanup(func() { l.Close(); c.cut(); carrying.Wait() })
	return c
}

// through returns a partition's URL with the address of the cable.
func (c *cable) through(t testing.TB, partition string) string {
	t.Helper()
	u, err := url.Parse(partition)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = c.listener.Addr().String()
	return u.String()
}

func (c *cable) carry(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", c.to)
	if err != nil {
		return
	}
	defer far.Close()
	if !c.hold(near, far) {
		return
	}
	var back sync.WaitGroup
	back.Go(func() { io.Copy(near, far); near.Close() })
	io.Copy(far, near)
	far.Close()
	back.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.ends, near)
	delete(c.ends, far)
}

// hold registers connections for cut to close. After a cut it reports false.
func (c *cable) hold(near, far net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.isCut {
		c.ends[near], c.ends[far] = true, true
	}
	return !c.isCut
}

func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isCut = true
	for end := range c.ends {
		end.Close()
	}
}

func (c *cable) mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isCut = false
}

// workload runs clients of all kinds and records their operations.
type workload struct {
	registers, leases, transactions *record
	sessions, fresh                 *observations
	done, unknown                   atomic.Int64
	generation                      atomic.Int64 // of keys: the search for an order is fast up to a few hundred operations
	transport                       *http.Transport
	clients                         sync.WaitGroup
	stopping                        <-chan struct{}
	cancel                          context.CancelFunc
}

const (
	clientsPerKind          = 4 // of each kind
	clusterPartitions       = 3
	concurrentGroups        = 4 // at a time
	operationsPerGeneration = 400
	unknownWeight           = 40 // an operation of unknown outcome may take effect at any later time, which multiplies the orders to search
	leaseKeys               = 8
	leaseGeneration         = 10 * time.Second
)

func newWorkload(t testing.TB) *workload {
	w := &workload{registers: newRecord(), leases: newRecord(), transactions: newRecord(), sessions: &observations{record: newRecord()}, fresh: &observations{record: newRecord()}}
	w.transport = &http.Transport{MaxIdleConnsPerHost: 5 * clientsPerKind}
	var ctx context.Context
	ctx, w.cancel = context.WithCancel(context.Background())
	w.stopping = ctx.Done()
	t.Cleanup(w.stop)
	return w
}

// stop stops all clients and waits for them.
func (w *workload) stop() { w.cancel(); w.clients.Wait(); w.transport.CloseIdleConnections() }

// run repeats a step of a client until the workload stops.
func (w *workload) run(step func() outcome) {
	w.clients.Go(func() {
		for {
			select {
			case <-w.stopping:
				return
			default:
			}
			f := step()
			switch f {
			case outcomeOK:
				w.done.Add(1)
			case outcomeUnknown:
				w.unknown.Add(1)
			}
			w.generation.Store((w.done.Load() + unknownWeight*w.unknown.Load()) / operationsPerGeneration)
			w.pauseAfter(f)
		}
	})
}

// pauseAfter waits 10 ms after an operation that failed, so that a client without a server does not spin.
func (w *workload) pauseAfter(f outcome) {
	if f == outcomeOK {
		return
	}
	select {
	case <-w.stopping:
	case <-time.After(10 * time.Millisecond):
	}
}

// runLeases starts a client of leases on so many keys at a time.
func (w *workload) runLeases(c client, keys int) {
	g := newRecordingClient(c, w.leases, whole)
	group := func() string {
		return fmt.Sprintf("lease/%d/%d/%d", keys, w.leases.now()/leaseGeneration, g.random.IntN(keys))
	}
	w.run(func() outcome { return g.performSome(group, g.randomLease) })
}

func startWorkload(t testing.TB, random *rand.Rand, server func(*rand.Rand) string) *workload {
	w := newWorkload(t)
	seed := random.Uint64()
	for i := range clientsPerKind {
		one := func(sort int) client {
			return client{id: i, random: rand.New(rand.NewPCG(seed, uint64(sort*clientsPerKind+i))), server: server,
				http: &http.Client{Transport: w.transport, Timeout: clientTimeout}}
		}
		registers := newRecordingClient(one(0), w.registers, whole)
		w.run(func() outcome {
			return registers.performSome(func() string {
				return fmt.Sprintf("register/%d/%d", w.generation.Load(), registers.random.IntN(concurrentGroups))
			}, registers.randomRegister)
		})
		w.runLeases(one(3), leaseKeys)
		transactions := newRecordingClient(one(1), w.transactions, inGroup)
		w.run(func() outcome {
			group := fmt.Sprintf("accounts-%d-%d", w.generation.Load(), transactions.random.IntN(concurrentGroups))
			return transactions.perform(group, transactions.randomTransaction(group))
		})
		w.run((&sessionClient{client: one(2), observations: w.sessions}).randomStep)
		w.run((&freshClient{client: one(4), observations: w.fresh, partitions: clusterPartitions}).randomStep)
	}
	return w
}

// inGroup names a key of a group of several keys.
func inGroup(group string, key int) string { return fmt.Sprintf("{%s}/%d", group, key) }

// awaitMore waits until n more operations have been answered.
func (w *workload) awaitMore(t testing.TB, n int64) {
	t.Helper()
	n += w.done.Load()
	runnel.Eventually(t, time.Minute, fmt.Sprint(n, " operations"), func() error {
		if done := w.done.Load(); done < n {
			return fmt.Errorf("%d", done)
		}
		return nil
	})
}

// check checks the records after the clients have stopped.
func (w *workload) check(t testing.TB) {
	t.Helper()
	began := time.Now()
	w.registers.logCounts(t, "registers")
	w.registers.mustBeLinearizable(t, "registers")
	w.leases.logCounts(t, "leases")
	w.leases.mustBeLinearizable(t, "leases")
	w.transactions.logCounts(t, "transactions")
	w.transactions.mustBeLinearizable(t, "transactions")
	w.sessions.mustBeConsistent(t)
	w.fresh.mustBeFresh(t, clusterPartitions)
	t.Logf("checked in %v", time.Since(began).Round(time.Millisecond))
}
