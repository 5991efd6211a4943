package histories

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/runnel"
)

// TestHistoryChecksFindPlantedClients runs faulty clients, which record operations that they do not perform, and correct clients,
// at a server whose replica is never synced. The checks must detect exactly the faulty clients.
func TestHistoryChecksFindPlantedClients(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// Reads that name no consistency always go to the replica, which is never copied to: each plant is certain.
	settings := "[store]\nsession_wait = \"1ms\"\nread = \"local\"\nlocal = \"partition-1\"\n"
	file := runnel.WriteConfig(t, settings, "sqlite:"+filepath.Join(dir, "0.db"), "sqlite:"+filepath.Join(dir, "1.db"))
	runnel.SyncOnce(t, file)
	node := runnel.Serve(t, "--config", file, "--no-sync")
	c := client{random: runnel.NewRandom(t), http: &http.Client{Timeout: 30 * time.Second}}
	c.server = func(*rand.Rand) string { return node.URL }
	runnel.Eventually(t, 30*time.Second, "the replica answers", func() error {
		if r, _, _ := c.send(http.MethodGet, "/v1/keys", ""); r.header.Get("Runnel-Partition") != "partition-1" {
			return fmt.Errorf("answered %d %s", r.status, r.body)
		}
		return nil
	})
	for name, plant := range map[string]func(*testing.T, client){
		"reads from any partition":         plantReaders,
		"sessions that are forgotten":      plantForgetful,
		"transactions forgotten in one":    plantForgetfulOfTransactions,
		"transactions in pieces":           plantPieces,
		"freshness that is not asked for":  plantLazy,
		"ttl and conditions sent in part":  plantHalfSent,
		"operations of a batch not listed": plantDropped,
	} {
		t.Run(name, func(t *testing.T) { plant(t, c) })
	}
}

func whole(group string, _ int) string { return group }

// plantReaders reads from any partition and records the reads as reads from the master, singly and in batches.
func plantReaders(t *testing.T, c client) {
	for read, can := range map[string]bool{runnel.MasterRead: true, "": false} {
		for way, ask := range ways {
			g := newRecordingClient(c, newRecord(), whole)
			g.read = read
			group := fmt.Sprintf("known-%t-%s", can, way)
			for range 20 {
				ask(g, group, g.randomRegister(group))
				ask(g, group, invocation{then: []step{getOf(0)}})
			}
			runnel.NoFaults(t, "answers", g.record.faults)
			runnel.WantFaults(t, "the order of reads from "+read+" "+way, g.record.nonLinearizable(), !can)
		}
	}
}

// ways are the ways of performing a single operation.
var ways = map[string]func(*recordingClient, string, invocation) outcome{
	"single": (*recordingClient).perform,
	"batch": func(g *recordingClient, group string, o invocation) outcome {
		return g.performBatch([]operation{{group: group, invocation: o}})
	},
}

func plantForgetful(t *testing.T, c client) {
	for _, forgets := range []string{"", "/"} { // in this order, so that the second session finds entries
		s := &sessionClient{client: c, observations: &observations{record: newRecord()}, forgets: forgets}
		for range 200 {
			s.randomStep()
		}
		runnel.NoFaults(t, "answers", s.observations.record.faults)
		runnel.WantFaults(t, fmt.Sprintf("sessions that forget answers of %q", forgets), s.observations.sessionViolations(), forgets != "")
	}
}

// plantForgetfulOfTransactions has sessions in which nothing but transactions write.
func plantForgetfulOfTransactions(t *testing.T, c client) {
	for forgets, faulty := range map[string]bool{"": false, "/v1/txn": true} {
		all := &observations{record: newRecord()}
		group := fmt.Sprintf("{session-of-txn-%t}", faulty)
		for i := range 40 {
			s := &sessionClient{client: c, observations: all, forgets: forgets}
			s.id = i
			s.transact(observation{session: i, group: group, key: group + "/0"})
			s.list(observation{session: i, group: group})
		}
		runnel.NoFaults(t, "answers", all.record.faults)
		runnel.WantFaults(t, fmt.Sprintf("sessions of transactions that forget answers of %q", forgets), all.sessionViolations(), faulty)
	}
}

func plantPieces(t *testing.T, c client) {
	for _, pieces := range []bool{false, true} {
		g := newRecordingClient(c, newRecord(), func(group string, key int) string { return fmt.Sprintf("{%s}/%d", group, key) })
		transferBesideAReader(g, pieces)
		runnel.NoFaults(t, "answers", g.record.faults)
		runnel.WantFaults(t, fmt.Sprint("transactions, in pieces: ", pieces), g.record.nonLinearizable(), pieces)
	}
}

// plantLazy requests neither copies nor quorum nor staleness, but records them.
func plantLazy(t *testing.T, c client) {
	for _, lazy := range []bool{false, true} {
		f := &freshClient{client: c, observations: &observations{record: newRecord()}, partitions: 2, lazy: lazy}
		for range 100 {
			f.randomStep()
		}
		runnel.NoFaults(t, "answers", f.observations.record.faults)
		runnel.WantFaults(t, fmt.Sprint("fresh reads, not asked for: ", lazy), f.observations.freshnessViolations(2), lazy)
	}
}

// plantHalfSent omits part of the recorded invocation from the request.
func plantHalfSent(t *testing.T, c client) {
	for name, sends := range map[string]func(*invocation){
		"what it says":  nil,
		"no ttl":        func(o *invocation) { o.then[0].ttl = 0 },
		"a shorter ttl": func(o *invocation) { o.then[0].ttl = min(o.then[0].ttl, 30*time.Millisecond) },
		"no condition":  func(o *invocation) { o.conditions = nil },
	} {
		for way, ask := range ways {
			g := newRecordingClient(c, newRecord(), whole)
			g.alter = sends
			takeAndLose(g, "lease "+name+" "+way, ask)
			runnel.NoFaults(t, "answers", g.record.faults)
			runnel.WantFaults(t, "the order of one that sends "+name+", "+way, g.record.nonLinearizable(), sends != nil)
		}
	}
}

// plantDropped asks for something else in the place of a batch's last operation.
func plantDropped(t *testing.T, c client) {
	for _, dropped := range []bool{false, true} {
		g := newRecordingClient(c, newRecord(), whole)
		var batch []operation
		for i := range 3 {
			batch = append(batch, operation{group: fmt.Sprintf("dropped-%t-%d", dropped, i), invocation: invocation{then: []step{g.randomPut(0)}}})
		}
		last := batch[2].invocation.then[0].value
		if dropped {
			g.alter = func(o *invocation) {
				if o.then[0].value == last {
					o.then[0] = getOf(0)
				}
			}
		}
		g.performBatch(batch)
		for _, o := range batch {
			g.perform(o.group, invocation{then: []step{getOf(0)}})
		}
		runnel.NoFaults(t, "answers", g.record.faults)
		runnel.WantFaults(t, fmt.Sprint("the order of a batch, one dropped: ", dropped), g.record.nonLinearizable(), dropped)
	}
}

// takeAndLose acquires a lease, reads the entry until its time is over, and then tries to renew the lease and to
// overwrite an entry that never existed.
func takeAndLose(g *recordingClient, group string, ask func(*recordingClient, string, invocation) outcome) {
	group = url.PathEscape(group)
	for _, ttl := range []time.Duration{2 * clockDrift, time.Hour} {
		taking := invocation{then: []step{{op: "put", value: g.record.newValue(), ttl: ttl}}}
		ask(g, group, taking)
		renewal, gone := g.ifUnchanged(group, 0), g.record.now()+min(ttl, 2*clockDrift)+3*clockDrift
		for g.record.now() < gone {
			ask(g, group, invocation{then: []step{getOf(0)}})
		}
		ask(g, group, invocation{conditions: []condition{renewal}, then: []step{{op: "put", value: g.record.newValue()}}})
		ask(g, group, invocation{conditions: []condition{{0, 1}}, then: []step{{op: "put", value: g.record.newValue()}}})
	}
}

// transferBesideAReader writes two keys, by a transaction or in pieces with a read in between, and reads both.
func transferBesideAReader(g *recordingClient, pieces bool) {
	group := fmt.Sprint("pieces-", pieces)
	both := invocation{then: []step{getOf(0), getOf(1)}}
	write := invocation{then: []step{g.randomPut(0), g.randomPut(1)}}
	g.perform(group, both)
	if !pieces {
		g.perform(group, write)
	} else {
		noted := operation{group: group, invocation: write, called: g.record.now()}
		var results []result
		for _, st := range write.then {
			a, _, _ := g.sendSingle(group, invocation{then: []step{st}})
			results = append(results, a.results...)
			if st.key == 0 {
				g.perform(group, both)
			}
		}
		noted.returned, noted.response = g.record.now(), done(results...)
		g.record.add(noted)
	}
	g.perform(group, both)
}
