package sync

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// TestPartitionsAlwaysConverge writes, deletes and expires entries while passes fail, processes
// die, and copies arrive late, twice and out of order. No position ever goes back or exceeds
// the partition's contents, and undisturbed passes make all partitions equal to the
// acknowledged writes. RUNNEL_TEST_LONG=1 runs more checks.
func TestPartitionsAlwaysConverge(t *testing.T) {
	rapidly(t, "rapid.steps", "60")
	if os.Getenv("RUNNEL_TEST_LONG") == "1" {
		rapidly(t, "rapid.checks", "2000")
	}
	rapid.Check(t, converges(""))
}

// converges is the property of TestPartitionsAlwaysConverge, for handles with a fault.
func converges(f fault) func(*rapid.T) {
	return func(t *rapid.T) {
		m := newMachine(t)
		m.w.fault = f
		t.Repeat(map[string]func(*rapid.T){
			"":                 m.check,
			"put":              m.put,
			"put with ttl":     m.putWithTTL,
			"delete":           m.delete,
			"update":           m.update,
			"wait":             m.wait,
			"catch up":         m.catchUp,
			"pass":             m.pass,
			"faulty pass":      m.faultyPass,
			"killed in a pass": m.killedPass,
			"overtaken sweep":  m.overtakenSweep,
			"take a copy":      m.take,
			"deliver a copy":   m.deliver,
			"overtaken copy":   m.overtakenCopy,
			"outage":           m.outage,
			"reconfigure":      m.reconfigure,
			"heal":             m.heal,
			"add a partition":  m.add,
		})
		m.settle(t)
	}
}

// machine is a run of the property: a world, and the acknowledged writes.
type machine struct {
	w      *world
	sites  []*site
	slow   *site                                        // a process whose calls arrive very late
	passed atomic.Int64                                 // nanoseconds since the beginning, by the right clock
	copies []*slowCopy                                  // on their way
	at     map[string]partition.Positions               // as of the last check
	seen   map[string]map[partition.Key]partition.Entry // the newest entries that whole partitions have shown
	resets map[holding]int                              // as of the last check

	mu      sync.Mutex
	user    map[string]partition.Entry // the last acknowledged write of each key
	written []partition.Entry          // all, in order
}

func newMachine(t *rapid.T) *machine {
	masters := rapid.IntRange(1, 3).Draw(t, "masters")
	n := rapid.IntRange(max(2, masters), 5).Draw(t, "partitions")
	m := &machine{w: newWorld(t, masters, n), user: make(map[string]partition.Entry), at: make(map[string]partition.Positions),
		seen: make(map[string]map[partition.Key]partition.Entry)}
	m.w.now = func() time.Time { return time.Unix(1e9, m.passed.Load()) }
	m.w.clock = make(map[string]time.Duration)
	for _, name := range []string{"p0", "p1", "p2", "p3", "p4"} {
		m.w.clock[name] = rapid.SampledFrom([]time.Duration{0, time.Hour, -time.Hour}).Draw(t, "clock of "+name)
	}
	m.slow = m.site(2)
	m.sites = []*site{m.site(rapid.IntRange(1, 4).Draw(t, "batch")), m.site(2)}
	return m
}

// site starts a process.
func (m *machine) site(batch int) *site {
	return m.w.site(func(o *Options) {
		o.BatchEntries = batch
		o.LeaseTTL = 10 * time.Second
	})
}

var machineKeys = []string{"a", "b", "c", "d", "e"}

func aKey(t *rapid.T) string { return rapid.SampledFrom(machineKeys).Draw(t, "key") }
func (m *machine) aSite(t *rapid.T) *site {
	return m.sites[rapid.IntRange(0, len(m.sites)-1).Draw(t, "process")]
}
func (m *machine) aName(t *rapid.T) string {
	return rapid.SampledFrom(m.w.names).Draw(t, "partition")
}
func (m *machine) tick(d time.Duration) { m.passed.Add(int64(d)) }

// masterOf returns the master of a key.
func (m *machine) masterOf(key string) string {
	return m.w.masters[slices.Index(machineKeys, key)%len(m.w.masters)]
}

// write writes an entry. A refused write has no effect; a write whose answer is lost stands.
func (m *machine) write(key string, e partition.Entry, fail func(op string) error) partition.Entry {
	master := m.masterOf(key)
	e.Key, e.Size, e.Checksum = partition.Key("k/"+key), int64(len(e.Value)), partition.Checksum(e.Value)
	h := m.w.bases[master].Reopen()
	h.Fail(fail)
	m.w.mu.Lock() // so that history is in order
	defer m.w.mu.Unlock()
	c, err := h.Commit(context.Background(), partition.Batch{Epoch: 1, Revisions: 1, Write: []partition.Entry{e}})
	if err != nil && !errors.Is(err, partition.ErrOutcomeUnknown) {
		return partition.Entry{}
	}
	if err != nil {
		c.First = m.w.position(master, master).Revision
	}
	return m.acknowledged(key, e, c.First)
}

// acknowledged records a write. w.mu is held.
func (m *machine) acknowledged(key string, e partition.Entry, r partition.Revision) partition.Entry {
	e.Origin, e.Revision = partition.Origin(m.masterOf(key)), r
	m.w.history[e.Origin] = append(m.w.history[e.Origin], e)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.user[key] = e
	e.ModifiedAt = m.nowAt(string(e.Origin))
	m.written = append(m.written, e)
	return e
}

func (m *machine) last(key string) partition.Entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.user[key]
}

// nowAt returns the time of a partition's clock.
func (m *machine) nowAt(name string) partition.Instant {
	return partition.InstantOf(m.w.now().Add(m.w.clock[name]))
}

// fate is the outcome of a call: success, failure without effect, or a lost answer.
func fate(t *rapid.T, before, after string) func(op string) error {
	switch rapid.SampledFrom([]string{"answered", "answered", "refused", "not answered"}).Draw(t, "fate") {
	case "refused":
		return failOn(partition.ErrUnavailable, before)
	case "not answered":
		return failOn(partition.ErrUnavailable, after)
	}
	return nil
}

func aValue(t *rapid.T) []byte { return []byte(rapid.StringMatching("[a-z]{1,3}").Draw(t, "value")) }

func aTTL(t *rapid.T) time.Duration {
	return rapid.SampledFrom([]time.Duration{0, time.Second, 10 * time.Second, 1000 * time.Hour}).Draw(t, "ttl")
}

func (m *machine) put(t *rapid.T) {
	key := aKey(t)
	m.write(key, partition.Entry{Value: aValue(t)}, fate(t, memory.OpCommit, memory.OpCommitted))
}

func (m *machine) putWithTTL(t *rapid.T) {
	key := aKey(t)
	m.write(key, partition.Entry{Value: aValue(t), ExpiresAt: m.nowAt(m.masterOf(key)).Add(aTTL(t))},
		fate(t, memory.OpCommit, memory.OpCommitted))
}

func (m *machine) delete(t *rapid.T) {
	m.write(aKey(t), partition.Entry{Deleted: true}, fate(t, memory.OpCommit, memory.OpCommitted))
}

var errCondition = errors.New("the condition does not hold")

// update writes a key if its revision is the expected one. The master decides: an expired or
// deleted entry has no revision, swept or not.
func (m *machine) update(t *rapid.T) {
	key := aKey(t)
	master, last := m.masterOf(key), m.last(key)
	var stands partition.Revision
	if last.Revision > 0 && last.Live(m.nowAt(master)) {
		stands = last.Revision
	}
	expected := rapid.SampledFrom([]partition.Revision{0, last.Revision, max(last.Revision-1, 0)}).Draw(t, "expected")
	e := partition.Entry{Key: partition.Key("k/" + key), Value: aValue(t)}
	e.Size, e.Checksum = int64(len(e.Value)), partition.Checksum(e.Value)
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	c, err := m.w.bases[master].Commit(t.Context(), partition.Batch{Epoch: 1, Revisions: 1, Read: []partition.Key{e.Key},
		Decide: func(c partition.Claim) ([]partition.Entry, error) {
			var current partition.Revision
			if len(c.Current) > 0 && c.Current[0].Live(c.Now) {
				current = c.Current[0].Revision
			}
			if current != expected {
				return nil, errCondition
			}
			next := e
			next.Revision, next.ModifiedAt = c.First, c.Now
			return []partition.Entry{next}, nil
		}})
	if done := err == nil; done != (expected == stands) {
		t.Errorf("%s of %s is written if it stands at %d: %v, though it stands at %d", key, master, expected, err, stands)
	}
	if err == nil {
		m.acknowledged(key, e, c.First)
	}
}

func (m *machine) wait(t *rapid.T) {
	m.tick(rapid.SampledFrom([]time.Duration{time.Second, 5 * time.Second, time.Minute}).Draw(t, "time"))
}

// catchUp brings a partition level with an origin, as a write that needs copies does, whatever
// else copies to the partition.
func (m *machine) catchUp(t *rapid.T) {
	o, name := partition.Origin(rapid.SampledFrom(m.w.masters).Draw(t, "origin")), m.aName(t)
	if name != string(o) {
		m.catchUpOf(t, name, o, fate(t, memory.OpApply, memory.OpApplied))
	}
}

func (m *machine) catchUpOf(t *rapid.T, name string, o partition.Origin, fail func(op string) error) {
	before := m.w.position(name, string(o))
	h := m.slow.handles[name]
	h.Fail(fail)
	defer h.Fail(nil)
	at, err := partition.CatchUp(t.Context(), m.slow.handles[string(o)], h, before, 0)
	switch head := m.w.position(string(o), string(o)); {
	case errors.Is(err, partition.ErrTooFar):
		if before.Whole() && !before.MissesTombstonesOf(head) {
			t.Error(err)
		}
	case err != nil && fail == nil:
		t.Error(err)
	case err == nil && (at != m.w.position(name, string(o)) || at.Revision != head.Revision):
		t.Errorf("%s caught up to %+v, is at %+v, and %s at %d", name, at, m.w.position(name, string(o)), o, head.Revision)
	}
}

// check runs after every action: no position exceeds the contents, and the visible state of a complete
// partition goes back only if the partition was emptied.
func (m *machine) check(t *rapid.T) {
	m.w.checkPositions()
	m.w.mu.Lock()
	emptied := maps.Clone(m.w.resets)
	m.w.mu.Unlock()
	for _, name := range m.w.names {
		for o, before := range m.at[name].Origins {
			if emptied[holding{name, o}] != m.resets[holding{name, o}] {
				maps.DeleteFunc(m.seen[name], func(_ partition.Key, e partition.Entry) bool { return e.Origin == o })
				continue
			}
			if now := m.w.position(name, string(o)); now.Revision < before.Revision || now.Collected < before.Collected ||
				now.SyncedAt < before.SyncedAt {
				t.Errorf("%s went back from %+v to %+v", name, before, now)
			}
		}
		at, err := m.w.bases[name].Positions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		m.at[name] = at
		m.checkShown(t, name)
	}
	m.resets = emptied
}

// checkShown checks that a partition shows nothing older than before.
func (m *machine) checkShown(t *rapid.T, name string) {
	if m.seen[name] == nil {
		m.seen[name] = make(map[partition.Key]partition.Entry)
	}
	for k, e := range m.w.rows(name) {
		if string(e.Origin) != name && m.at[name].Origins[e.Origin].SyncedAt == 0 {
			continue // serves no reads of this origin
		}
		if before := m.seen[name][k]; e.Revision < before.Revision {
			t.Errorf("%s shows %s at %d, and had shown it at %d", name, k, e.Revision, before.Revision)
		}
		m.seen[name][k] = e
	}
}

// settle ends all faults and checks that undisturbed passes, with collections of tombstones, make
// all partitions equal to the acknowledged writes.
func (m *machine) settle(t *rapid.T) {
	m.heal(t)
	m.tick(time.Hour) // all leases and most entries have expired
	for i := range 6 {
		r := m.sites[i%len(m.sites)].pass()
		m.check(t)
		if i < 2 {
			continue
		}
		if !r.Level() {
			t.Errorf("quiet pass %d is not level:\n%s", i, r)
		}
		m.w.checkEqual()
		m.checkAcknowledged(t)
	}
	for _, name := range m.w.names {
		if diff := gocmp.Diff(m.w.full(m.w.names[0]), m.w.full(name)); diff != "" {
			t.Errorf("%s and %s differ:\n%s", m.w.names[0], name, diff)
		}
	}
}

// checkAcknowledged checks that every partition holds the last acknowledged write of each key,
// and no deleted or expired entry.
func (m *machine) checkAcknowledged(t *rapid.T) {
	for _, name := range m.w.names {
		rows := m.w.rows(name)
		for key, e := range m.user {
			got, held := rows[e.Key]
			if e.Live(m.nowAt(string(e.Origin))) {
				if !held || got.Revision != e.Revision || string(got.Value) != string(e.Value) {
					t.Errorf("%s holds %+v, acknowledged is %+v", name, got, e)
				}
			} else if held && !got.Deleted {
				t.Errorf("%s holds %s at %d, which is no more", name, key, got.Revision)
			}
		}
	}
}
