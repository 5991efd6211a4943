package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// reporter is the part of testing.T that a world needs; the check of a property has it too.
type reporter interface {
	Helper()
	Context() context.Context
	Error(args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// world is a set of databases and the history of their writes. A process (type site) has
// handles of its own on the databases.
type world struct {
	t       reporter
	masters []string
	bases   map[string]*memory.Partition
	names   []string
	ledger  *ledger
	cluster partition.Cluster // the newest map

	now   func() time.Time         // the right time
	clock map[string]time.Duration // how wrong the clocks of partitions are
	fault fault                    // the defect of every handle

	unlocked bool // the test may write during a sweep's commit

	mu      sync.Mutex
	history map[partition.Origin][]partition.Entry // acknowledged, in order of revisions
	resets  map[holding]int                        // how often a partition was emptied of an origin
}

// holding identifies the entries of an origin on a partition.
type holding struct {
	name   string
	origin partition.Origin
}

// newWorld creates n partitions, named p0 and so on. The first ones are masters.
func newWorld(t reporter, masters, n int) *world {
	w := &world{t: t, now: time.Now, bases: make(map[string]*memory.Partition), resets: make(map[holding]int),
		history: make(map[partition.Origin][]partition.Entry),
		ledger:  &ledger{durable: make(map[partition.Origin]partition.Revision)}}
	for i := range masters {
		w.masters = append(w.masters, fmt.Sprintf("p%d", i))
	}
	w.cluster = partition.Cluster{ID: "c", Epoch: 1, Masters: w.masters, Slots: make([]uint16, store.Slots)}
	for range n {
		w.add()
	}
	return w
}

// add creates another partition and returns the name.
func (w *world) add() string {
	name := fmt.Sprintf("p%d", len(w.names))
	m := memory.New(name, memory.Clock(func() time.Time { return w.now().Add(w.clock[name]) }))
	founding := w.cluster // later maps are accepted
	founding.Epoch, founding.Epochs, founding.Moves = 1, nil, nil
	if _, err := m.Join(context.Background(), founding); err != nil {
		w.t.Fatal(err)
	}
	if err := m.Finish(context.Background()); err != nil { // a binary that knows no moves is shut out
		w.t.Fatal(err)
	}
	w.bases[name] = m
	w.names = append(w.names, name)
	return name
}

// write commits an entry on a master.
func (w *world) write(master, key, value string) partition.Entry {
	return w.commit(master, partition.Entry{Key: partition.Key("k/" + key), Value: []byte(value),
		Checksum: partition.Checksum([]byte(value)), Size: int64(len(value))})
}

// expiring is write of an entry with a TTL, by the master's clock.
func (w *world) expiring(master, key string, ttl time.Duration) partition.Entry {
	at, err := w.bases[master].Positions(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return w.commit(master, partition.Entry{Key: partition.Key("k/" + key), Value: []byte("soon gone"),
		Checksum: partition.Checksum([]byte("soon gone")), Size: 9, ExpiresAt: at.Now.Add(ttl)})
}

func (w *world) delete(master, key string) partition.Entry {
	return w.commit(master, partition.Entry{Key: partition.Key("k/" + key), Deleted: true, Checksum: partition.Checksum(nil)})
}

func (w *world) commit(master string, e partition.Entry) partition.Entry {
	w.mu.Lock() // so that history is in order
	defer w.mu.Unlock()
	epoch := w.position(master, master).Revision.Epoch() // that of the counter
	c, err := w.bases[master].Commit(context.Background(), partition.Batch{Epoch: epoch, Revisions: 1, Write: []partition.Entry{e}})
	if err != nil {
		w.t.Error(err)
	}
	e.Origin, e.Revision = partition.Origin(master), c.First
	w.history[e.Origin] = append(w.history[e.Origin], e)
	return e
}

func (w *world) position(name, origin string) partition.Position {
	w.t.Helper()
	all, err := w.bases[name].Positions(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return all.Origins[partition.Origin(origin)]
}

// rows returns all entries of a partition, tombstones included, without the time of writing, and with checksums of the values.
func (w *world) rows(name string) map[partition.Key]partition.Entry {
	w.t.Helper()
	rows := w.full(name)
	for k, e := range rows {
		if e.Intact() {
			e.Checksum = partition.Checksum(e.Value)
		}
		e.ModifiedAt = 0
		rows[k] = e
	}
	return rows
}

// full returns all entries of a partition.
func (w *world) full(name string) map[partition.Key]partition.Entry {
	w.t.Helper()
	rows := make(map[partition.Key]partition.Entry)
	for _, o := range w.names {
		snap, err := w.bases[name].Snapshot(context.Background(), partition.Origin(o), 0)
		if err != nil {
			w.t.Fatal(err)
		}
		for {
			entries, err := snap.Next(context.Background(), 1000, 1<<30)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				w.t.Fatal(err)
			}
			for _, e := range entries {
				rows[e.Key] = e
			}
		}
		_ = snap.Close()
	}
	return rows
}

// checkEqual checks that all partitions equal the history: every live entry byte for byte, no
// deleted key, and all tombstones that are not collected.
func (w *world) checkEqual() {
	w.t.Helper()
	want := make(map[partition.Key]partition.Entry)
	for _, entries := range w.history {
		for _, e := range entries {
			if e.Revision > want[e.Key].Revision {
				want[e.Key] = e
			}
		}
	}
	for _, name := range w.names {
		got := w.rows(name)
		for k, e := range want {
			if _, held := got[k]; e.Deleted && !held && e.Revision <= w.position(name, string(e.Origin)).Collected {
				delete(got, k)
				continue
			}
			g := got[k]
			g.Value = append([]byte(nil), g.Value...)
			e.Value = append([]byte(nil), e.Value...)
			if diff := gocmp.Diff(e, g); diff != "" {
				w.t.Errorf("%s of %s (-written +held):\n%s", k, name, diff)
			}
			delete(got, k)
		}
		for k, e := range got {
			w.t.Errorf("%s holds %s at %d, which nobody wrote", name, k, e.Revision)
		}
	}
}

// isWhole reports whether a partition is complete for every origin that has written.
func (w *world) isWhole(name string) bool {
	for o := range w.history {
		if string(o) != name && !w.position(name, string(o)).Whole() {
			return false
		}
	}
	return true
}

// isCollected reports whether the newest entry of a key that a partition has passed is a tombstone that
// is collected there.
func (w *world) isCollected(name string, k partition.Key) bool {
	var last partition.Entry
	for o, entries := range w.history {
		at := w.position(name, string(o)).Revision
		for _, e := range entries {
			if e.Key == k && e.Revision <= at && e.Revision > last.Revision {
				last = e
			}
		}
	}
	return last.Deleted && last.Revision <= w.position(name, string(last.Origin)).Collected
}

// checkPositions checks that a partition that is complete at r holds, for every key changed at or
// before r, that change or a newer change. Once slots have moved, the partition must be complete for all origins.
func (w *world) checkPositions() {
	w.t.Helper()
	for _, name := range w.names {
		if len(w.cluster.Moves) > 0 && !w.isWhole(name) {
			continue
		}
		rows := w.rows(name)
		for o, entries := range w.history {
			p := w.position(name, string(o))
			if string(o) == name || !p.Whole() {
				continue
			}
			last := make(map[partition.Key]partition.Entry)
			for _, e := range entries {
				if e.Revision <= p.Revision {
					last[e.Key] = e
				}
			}
			for k, e := range last {
				row, held := rows[k]
				if !held && w.isCollected(name, k) {
					continue
				}
				if !held || row.Revision < e.Revision {
					w.t.Errorf("%s is whole at %d of %s but holds %s at %d, not %d", name, p.Revision, o, k, row.Revision, e.Revision)
				}
			}
		}
	}
	if err := w.ledger.err(); err != nil {
		w.t.Error(err)
	}
}

// site is a process: a configured cluster and a syncer.
type site struct {
	*Syncer
	w       *world
	handles map[string]*handle
	wake    chan struct{}

	mu           sync.Mutex
	names        []string
	faults       map[string]error
	setBack      map[string]error
	mayBeSetBack bool
	committed    map[string]partition.Revision // by this process, as the store knows
	observed     map[string]partition.Positions
}

func (w *world) site(change ...func(*Options)) *site {
	c := &site{w: w, handles: make(map[string]*handle), wake: make(chan struct{}, 1),
		faults: make(map[string]error), setBack: make(map[string]error), committed: make(map[string]partition.Revision), observed: make(map[string]partition.Positions)}
	o := Options{Logger: slog.New(slog.DiscardHandler), Wake: c.wake}
	for _, f := range change {
		f(&o)
	}
	c.configure(w.names...)
	c.Syncer = New(c, o)
	return c
}

// configure sets the partitions that the process knows.
func (c *site) configure(names ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		if c.handles[name] == nil {
			c.handles[name] = &handle{Partition: c.w.bases[name].Reopen(), w: c.w, site: c, ledger: c.w.ledger}
		}
	}
	c.names = slices.Clone(names)
}

// fault sets the store's verdict on a partition.
func (c *site) fault(name string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults[name] = err
}

func (c *site) Replicas() []store.Replica {
	c.mu.Lock()
	defer c.mu.Unlock()
	var replicas []store.Replica
	for _, name := range c.names {
		replicas = append(replicas, store.Replica{Partition: c.handles[name], Err: c.faults[name], SetBack: c.setBack[name]})
	}
	return replicas
}

func (c *site) Origins() []store.Origin {
	var origins []store.Origin
	for _, name := range c.w.masters {
		origins = append(origins, store.Origin(name))
	}
	return origins
}

func (c *site) Committed(name string) partition.Revision {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.committed[name]
}

func (c *site) SetBack(origin, target string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.mayBeSetBack {
		c.w.t.Errorf("%s is said to be set back, by %s: %v", origin, target, err)
	}
	c.setBack[origin] = err
}

func (c *site) Observe(name string, p partition.Positions) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.observed[name] = partition.Positions{Now: p.Now, Origins: maps.Clone(p.Origins)}
}

func (c *site) Advance(name string, at partition.Position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if all, ok := c.observed[name]; ok {
		all.Origins[at.Origin] = at
	}
}

// pass makes a standalone pass and returns the report.
func (c *site) pass() Report {
	c.w.t.Helper()
	r, err := c.Pass(c.w.t.Context())
	if err != nil {
		c.w.t.Fatal(err)
	}
	return r
}

// level makes a pass after which all partitions must be level.
func (c *site) level() Report {
	c.w.t.Helper()
	r := c.pass()
	if !r.Level() {
		c.w.t.Fatalf("not level:\n%s", r)
	}
	return r
}

func (r Report) of(name string) TargetReport {
	i := slices.IndexFunc(r.Targets, func(t TargetReport) bool { return t.Name == name })
	return r.Targets[i]
}

func (s Status) of(name string) TargetStatus {
	i := slices.IndexFunc(s.Targets, func(t TargetStatus) bool { return t.Name == name })
	return s.Targets[i]
}

// failOn fails every operation of the given names.
func failOn(err error, ops ...string) func(string) error {
	return func(op string) error {
		if slices.Contains(ops, op) {
			return err
		}
		return nil
	}
}

func sortedKeys(rows map[partition.Key]partition.Entry) []partition.Key {
	return slices.SortedFunc(maps.Keys(rows), cmp.Compare[partition.Key])
}
