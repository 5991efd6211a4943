package histories

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/test/runnel"
)

// TestHistoriesHoldThroughMovesAndFaults moves the masters again and again with "runnel move", while clients of all kinds
// work and the faults of TestHistoriesHoldThroughFaults happen. Some of these commands are killed, and some compete. The
// histories must hold as without moves, every key must be readable at its master in the end, all partitions become
// identical, and a reader of the change feed ends with the same state.
func TestHistoriesHoldThroughMovesAndFaults(t *testing.T) {
	t.Parallel()
	c, random := clusterOnMariaDB(t), runnel.NewRandom(t)
	if _, err := runnel.Run(t, "migrate", "--finish", "--config", c.file); err != nil {
		t.Fatal(err)
	}
	w := startWorkload(t, random, c.server)
	f := w.followChanges(c.server, random.Uint64())
	m := &mover{cluster: c, random: rand.New(rand.NewPCG(random.Uint64(), 0)), logs: make(map[string]int)}
	moving := m.start()
	c.injectFaults(w, random, runnel.Rounds(4, 160))
	m.awaitMoves(runnel.Rounds(3, 100))
	moving()
	c.awaitMap()
	c.awaitWrites()
	w.stop()
	w.readAll(t, c.server)
	w.check(t)
	c.awaitIdentical()
	f.mustEndWith(t, c.nodes[0].Load().URL)
	m.report(t)
}

// mover runs "runnel move" with random candidates.
type mover struct {
	cluster *cluster
	random  *rand.Rand
	last    int // the partition that the last command, if completed, made a master

	mu             sync.Mutex // guards the fields below
	done           int        // moves that their command completed
	killed, midway int        // commands that were killed, and those of them after the move had begun
	logs           map[string]int
}

// start moves until the returned function is called.
func (m *mover) start() (stop func()) {
	var group sync.WaitGroup
	stopping := make(chan struct{})
	group.Go(func() {
		for {
			select {
			case <-stopping:
				return
			default:
				m.moveOnce()
			}
		}
	})
	var once sync.Once
	stop = func() { once.Do(func() { close(stopping) }); group.Wait() }
	m.cluster.t.Cleanup(stop)
	return stop
}

// moveOnce runs a command, or two that compete, and kills every third.
func (m *mover) moveOnce() {
	from := m.random.Perm(clusterPartitions)
	if i := slices.Index(from, m.last); m.random.IntN(4) > 0 {
		from[0], from[i] = from[i], from[0]
	}
	var commands []*runnel.Process
	for i := range 1 + m.random.IntN(4)/3 {
		args := []string{"move", "--config", m.cluster.file}
		switch dice := m.random.IntN(6); {
		case dice < 1:
			m.last = from[1+i]
			args = append(args, "--to", fmt.Sprint("partition-", m.last))
		case dice < 2:
			args = append(args, "--from", fmt.Sprint("partition-", from[0]))
		default:
			m.last = from[1+i]
			args = append(args, "--from", fmt.Sprint("partition-", from[0]), "--to", fmt.Sprint("partition-", m.last))
		}
		commands = append(commands, runnel.Start(m.cluster.t, args...))
	}
	for _, p := range commands {
		if m.random.IntN(3) == 0 {
			m.kill(p)
		}
	}
	for _, p := range commands {
		<-p.Exited
		m.record(p)
	}
}

// kill ends a command at a random moment: in half of the cases after a move has begun.
func (m *mover) kill(p *runnel.Process) {
	wait := time.Duration(m.random.Int64N(int64(time.Second)))
	if m.random.IntN(2) == 0 {
		for !strings.Contains(p.Log.String(), ": begun") {
			select {
			case <-p.Exited:
				return
			case <-time.After(time.Millisecond):
			}
		}
		wait /= 20
	}
	select {
	case <-p.Exited:
	case <-time.After(wait):
		p.Kill()
	}
}

func (m *mover) record(p *runnel.Process) {
	m.mu.Lock()
	defer m.mu.Unlock()
	log := p.Log.String()
	begun, ended := strings.Count(log, ": begun\n"), strings.Count(log, ": done\n")+strings.Count(log, ": aborted\n")
	m.done += strings.Count(log, ": done\n")
	switch {
	case p.Err == nil:
		m.logs["succeeded"]++
	case p.Err.Error() == "signal: killed":
		m.killed++
		m.midway += begun - ended
	case strings.Contains(log, "panic:"):
		m.cluster.t.Errorf("a move panicked:\n%s", log)
	default:
		lines := strings.Split(strings.TrimSpace(log), "\n")
		text := lines[len(lines)-1]
		text = text[max(0, strings.Index(text, "the move ")):]
		m.logs[text[:min(len(text), 60)]]++
	}
}

func (m *mover) awaitMoves(n int) {
	m.cluster.t.Helper()
	runnel.Eventually(m.cluster.t, 10*time.Minute, fmt.Sprint(n, " moves, and one killed"), func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.done < n || m.midway == 0 {
			return fmt.Errorf("%d moves, %d killed, %d of them midway", m.done, m.killed, m.midway)
		}
		return nil
	})
}

func (m *mover) report(t *testing.T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t.Logf("%d moves; %d commands were killed, %d of them in the middle of a move", m.done, m.killed, m.midway)
	for _, text := range slices.Sorted(maps.Keys(m.logs)) {
		t.Logf("%d commands: %s", m.logs[text], text)
	}
}

// awaitMap waits until no move is under way and every slot has a master.
func (c *cluster) awaitMap() {
	c.t.Helper()
	runnel.Eventually(c.t, 15*time.Second, "a map at rest", func() error {
		out, err := runnel.Run(c.t, "plan", "--config", c.file)
		if err != nil {
			return err
		}
		slots := 0
		for _, found := range regexp.MustCompile(`master of (\d+) slots`).FindAllStringSubmatch(out, -1) {
			n, _ := strconv.Atoi(found[1])
			slots += n
		}
		if slots != store.Slots || strings.Contains(out, "are moving") || strings.Contains(out, "not confirmed") {
			return fmt.Errorf("%d slots have a master: %s", slots, out)
		}
		return nil
	})
}

// awaitWrites waits until every server writes to keys of all masters.
func (c *cluster) awaitWrites() {
	c.t.Helper()
	for i := range c.nodes {
		for key := range 64 {
			runnel.Eventually(c.t, 15*time.Second, "a write after the moves", func() error {
				request, err := http.NewRequest(http.MethodPut, fmt.Sprintf("%s/v1/keys/after/%d", c.nodes[i].Load().URL, key), strings.NewReader("v"))
				if err != nil {
					return err
				}
				answer, err := http.DefaultClient.Do(request)
				if err != nil {
					return err
				}
				defer answer.Body.Close()
				if answer.StatusCode >= 300 {
					return fmt.Errorf("answered %s", answer.Status)
				}
				return nil
			})
		}
	}
}

// awaitIdentical waits until all partitions hold the same entries, byte for byte. Tombstones may be collected at different
// times.
func (c *cluster) awaitIdentical() {
	c.t.Helper()
	parts := runnel.OpenPartitions(c.t, c.file)
	defer runnel.ClosePartitions(c.t, parts)
	runnel.Eventually(c.t, time.Minute, "identical partitions", func() error {
		first := entriesOf(c.t, parts[0])
		for _, p := range parts[1:] {
			all := entriesOf(c.t, p)
			for key := range union(first, all) {
				if a, b := first[key], all[key]; !reflect.DeepEqual(a, b) && !(a.Revision == 0 && b.Deleted || b.Revision == 0 && a.Deleted) {
					return fmt.Errorf("%s: %s has %+v, and %s has %+v", key, parts[0].Name(), a, p.Name(), b)
				}
			}
		}
		c.t.Logf("all partitions hold the same %d entries", len(first))
		return nil
	})
}

// entriesOf returns all entries of a partition, of whatever origin.
func entriesOf(t testing.TB, p partition.Partition) map[partition.Key]partition.Entry {
	t.Helper()
	at, err := p.Positions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[partition.Key]partition.Entry)
	for origin := range at.Origins {
		_, entries := runnel.ReadEntries(t, p, origin)
		maps.Copy(all, entries)
	}
	return all
}

func union[K comparable, V any](a, b map[K]V) map[K]V {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// readAll reads, after the clients have stopped, every key that they have written from its master. The answers belong to
// the histories.
func (w *workload) readAll(t *testing.T, server func(*rand.Rand) string) {
	t.Helper()
	var keys, acknowledged int
	for _, r := range []*record{w.registers, w.leases, w.transactions} {
		g := newRecordingClient(client{id: -1, random: rand.New(rand.NewPCG(0, 0)), server: server, http: &http.Client{Timeout: clientTimeout}}, r, whole)
		each := 1
		if r == w.transactions {
			g.name, each = inGroup, groupKeys
		}
		groups := r.operationsByGroup()
		acknowledged += r.acknowledged()
		for group := range groups {
			for key := range each {
				keys++
				runnel.Eventually(t, 15*time.Second, "an answer about "+g.name(group, key), func() error {
					if f := g.perform(group, invocation{then: []step{getOf(key)}}); f != outcomeOK {
						return fmt.Errorf("outcome %d", f)
					}
					return nil
				})
			}
		}
	}
	t.Logf("%d writes were acknowledged; all of their %d keys were read from the masters", acknowledged, keys)
}

// acknowledged counts the operations with a known outcome that may have changed an entry.
func (r *record) acknowledged() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range r.operations {
		if !o.response.unknown && o.response.succeeded && o.invocation.changes() {
			n++
		}
	}
	return n
}

// follower is a reader of the change feed.
type follower struct {
	client
	since     string // of the next request
	values    map[string]string
	revisions map[string]int64
	faults    []string
}

// changesPage is the answer to GET /v1/changes, and to GET /v1/keys.
type changesPage struct {
	Changes, Keys []struct {
		Key, Value string
		Revision   int64
		Deleted    bool
	}
	Next string
}

// followChanges starts a reader of the feed of random servers.
func (w *workload) followChanges(server func(*rand.Rand) string, seed uint64) *follower {
	f := &follower{client: client{random: rand.New(rand.NewPCG(seed, 0)), server: server,
		http: &http.Client{Transport: w.transport, Timeout: clientTimeout}}, values: make(map[string]string), revisions: make(map[string]int64)}
	w.clients.Go(func() {
		for {
			select {
			case <-w.stopping:
				return
			default:
				w.pauseAfter(f.step())
			}
		}
	})
	return f
}

// step reads a page of changes. A reader that is asked to begins again.
func (f *follower) step() outcome {
	r, out, _ := f.send(http.MethodGet, "/v1/changes?values=true&limit=200&wait=200ms"+f.since, "", "Accept", "application/json")
	if r.status == http.StatusGone {
		f.since, f.values, f.revisions = "", make(map[string]string), make(map[string]int64)
	}
	var page changesPage
	if out != outcomeOK || json.Unmarshal(r.body, &page) != nil {
		return outcomeFailed
	}
	for _, change := range page.Changes {
		if before := f.revisions[change.Key]; change.Revision < before {
			f.faults = append(f.faults, fmt.Sprintf("%s: revision %d after %d", change.Key, change.Revision, before))
		}
		f.revisions[change.Key] = change.Revision
		if delete(f.values, change.Key); !change.Deleted {
			f.values[change.Key] = change.Value
		}
	}
	f.since = "&since=" + url.QueryEscape(page.Next)
	return outcomeOK
}

// mustEndWith reads on until the reader holds what a list of the masters shows.
func (f *follower) mustEndWith(t *testing.T, server string) {
	t.Helper()
	f.server = func(*rand.Rand) string { return server }
	runnel.NoFaults(t, "revisions in the feed", f.faults)
	runnel.Eventually(t, time.Minute, "a reader of changes with the final state", func() error {
		f.step()
		held := make(map[string]string)
		for query := "limit=1000&values=true&consistency=master"; query != ""; {
			r, out, _ := f.send(http.MethodGet, "/v1/keys?"+query, "")
			var page changesPage
			if err := json.Unmarshal(r.body, &page); out != outcomeOK || err != nil {
				return fmt.Errorf("a list was answered %d", r.status)
			}
			for _, k := range page.Keys {
				held[k.Key] = k.Value
			}
			if query = ""; page.Next != "" {
				query = "limit=1000&values=true&consistency=master&after=" + url.QueryEscape(page.Next)
			}
		}
		for key := range union(held, f.values) {
			if held[key] != f.values[key] {
				return fmt.Errorf("%s is %q, the reader has %q (%d keys, %d)", key, held[key], f.values[key], len(held), len(f.values))
			}
		}
		t.Logf("the reader of changes ends with the same %d keys", len(held))
		return nil
	})
}
