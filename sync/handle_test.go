package sync

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// ledger records the revisions that barriers have made durable.
type ledger struct {
	mu      sync.Mutex
	durable map[partition.Origin]partition.Revision
	early   []string
	calls   int
}

// barriers returns the number of barriers so far.
func (l *ledger) barriers() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls
}

func (l *ledger) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.early) > 0 {
		return fmt.Errorf("copied before it was durable: %v", l.early)
	}
	return nil
}

// handle is a process's handle on a partition.
type handle struct {
	*memory.Partition
	w      *world
	site   *site // nil: of no process that collects
	ledger *ledger
	lame   bool                            // barriers do nothing
	cost   func(entries int) time.Duration // of an Apply; nil: none
	read   func()                          // called after a reading of positions
	sweeps func()                          // called when a sweep has searched and is about to commit
}

func (h *handle) Positions(ctx context.Context) (partition.Positions, error) {
	at, err := h.Partition.Positions(ctx)
	if h.read != nil {
		h.read()
	}
	return h.w.fault.positions(at), err
}

// Commit is called by sweeps, whose tombstones become part of the history.
func (h *handle) Commit(ctx context.Context, b partition.Batch) (partition.Claim, error) {
	if h.sweeps != nil {
		h.sweeps()
	}
	if !h.w.unlocked {
		h.w.mu.Lock() // so that history is in order
		defer h.w.mu.Unlock()
	}
	var written []partition.Entry
	decide := b.Decide
	b.Decide = func(c partition.Claim) (entries []partition.Entry, err error) {
		written, err = decide(h.w.fault.claim(c))
		return written, err
	}
	c, err := h.Partition.Commit(ctx, b)
	if err == nil || errors.Is(err, partition.ErrOutcomeUnknown) {
		for _, e := range written {
			e.ModifiedAt = 0
			h.w.history[e.Origin] = append(h.w.history[e.Origin], e)
			h.w.sweptEarly(c, e)
		}
	}
	return c, err
}

// sweptEarly checks that a sweep has replaced only expired entries. w.mu is held.
func (w *world) sweptEarly(c partition.Claim, tombstone partition.Entry) {
	var last partition.Entry // before the tombstone
	for _, entries := range w.history {
		for _, e := range entries {
			if e.Key == tombstone.Key && e.Revision < tombstone.Revision && e.Revision > last.Revision {
				last = e
			}
		}
	}
	now := c.Now
	if base := w.bases[string(last.Origin)]; last.Origin != tombstone.Origin && base != nil {
		now = min(now, partition.InstantOf(w.now().Add(w.clock[base.Name()])))
	}
	if last.Revision > 0 && c.Now != 0 && last.Live(now) {
		w.t.Errorf("%s of %s %d is swept, which lives until %d, at %d", last.Key, last.Origin, last.Revision, last.ExpiresAt, now)
	}
}

func (h *handle) Snapshot(ctx context.Context, o partition.Origin, after partition.Revision) (partition.Snapshot, error) {
	snap, err := h.Partition.Snapshot(ctx, o, after)
	return &query{Snapshot: snap, fault: h.w.fault}, err
}

// query is a snapshot that stays failed after a failure, like the snapshots of databases.
type query struct {
	partition.Snapshot
	fault fault
	err   error
}

func (q *query) Position() partition.Position { return q.fault.position(q.Snapshot.Position()) }

func (q *query) Next(ctx context.Context, maxEntries int, maxBytes int64) ([]partition.Entry, error) {
	if q.err != nil {
		return nil, q.err
	}
	entries, err := q.Snapshot.Next(ctx, maxEntries, maxBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		q.err = err
	}
	return entries, err
}

func (h *handle) Barrier(ctx context.Context) error {
	if h.lame {
		return nil
	}
	own := partition.Origin(h.Name())
	at, err := h.Partition.Positions(ctx)
	if err != nil {
		return err
	}
	if err := h.Partition.Barrier(ctx); err != nil {
		return err
	}
	h.ledger.mu.Lock()
	defer h.ledger.mu.Unlock()
	h.ledger.calls++
	h.ledger.durable[own] = max(h.ledger.durable[own], at.Origins[own].Revision)
	return nil
}

func (h *handle) Apply(ctx context.Context, c partition.Copy) error {
	if h.cost != nil {
		time.Sleep(h.cost(len(c.Entries)))
	}
	h.ledger.mu.Lock()
	goals := maps.Clone(c.Goals)
	if goals == nil {
		goals = make(map[partition.Origin]partition.Revision)
	}
	goals[c.Origin] = max(c.To, c.Goal)
	for o, highest := range goals {
		if highest > h.ledger.durable[o] {
			h.ledger.early = append(h.ledger.early, fmt.Sprintf("%s to %s %d", h.Name(), o, highest))
		}
	}
	h.ledger.mu.Unlock()
	return h.w.fault.apply(ctx, h.Partition, c)
}

func (h *handle) Reset(ctx context.Context, o partition.Origin) error {
	err := h.Partition.Reset(ctx, o)
	if err == nil {
		h.w.mu.Lock()
		defer h.w.mu.Unlock()
		h.w.resets[holding{h.Name(), o}]++
	}
	return err
}

func (h *handle) Collect(ctx context.Context, o partition.Origin, upTo partition.Revision) (int, error) {
	upTo = h.w.fault.collect(h.Partition, o, upTo)
	if h.site != nil {
		h.site.checkPassed(o, upTo)
	}
	return h.Partition.Collect(ctx, o, upTo)
}

// checkPassed checks that tombstones are collected only when every partition that the process
// knows has passed them, or when they are gone elsewhere.
func (c *site) checkPassed(o partition.Origin, upTo partition.Revision) {
	for _, base := range c.w.bases {
		if c.w.position(base.Name(), string(o)).Collected >= upTo {
			return
		}
	}
	for _, replica := range c.Replicas() {
		p := c.w.position(replica.Partition.Name(), string(o))
		if (p.Whole() || replica.Partition.Name() == string(o)) && p.Revision < upTo {
			c.w.t.Errorf("tombstones of %s are collected up to %d, %s is at %d", o, upTo, replica.Partition.Name(), p.Revision)
		}
	}
}

// fault is a defect of every handle of a world; "" is none.
type fault string

const (
	movesAlone      fault = "Apply moves the position without its rows"
	skipsLast       fault = "Apply leaves the last entry of a copy out"
	buriesUnchecked fault = "the commit of a sweep does not look whether an entry has still expired"
	collectsEarly   fault = "tombstones are collected before all have passed them"
	collectsUnnoted fault = "nobody is told up to where tombstones were collected"
)

var faults = []fault{movesAlone, skipsLast, buriesUnchecked, collectsEarly, collectsUnnoted}

func (f fault) apply(ctx context.Context, m *memory.Partition, c partition.Copy) error {
	switch n := len(c.Entries); {
	case f == movesAlone:
		c.Entries = nil
	case f == skipsLast && n > 0:
		c.Entries = c.Entries[:n-1]
	}
	return m.Apply(ctx, c)
}

// claim is the claim that a sweep receives.
func (f fault) claim(c partition.Claim) partition.Claim {
	if f == buriesUnchecked {
		for i := range c.Current {
			c.Current[i].ExpiresAt = 1
		}
	}
	return c
}

func (f fault) collect(m *memory.Partition, o partition.Origin, upTo partition.Revision) partition.Revision {
	if f != collectsEarly {
		return upTo
	}
	at, err := m.Positions(context.Background())
	if err != nil {
		return upTo
	}
	return at.Origins[o].Revision
}

func (f fault) position(p partition.Position) partition.Position {
	if f == collectsUnnoted {
		p.Collected = 0
	}
	return p
}

func (f fault) positions(at partition.Positions) partition.Positions {
	if f != collectsUnnoted {
		return at
	}
	at.Origins = maps.Clone(at.Origins)
	for o, p := range at.Origins {
		at.Origins[o] = f.position(p)
	}
	return at
}

// TestConvergenceFindsPlantedFaults: the property does not hold with any of these faults.
func TestConvergenceFindsPlantedFaults(t *testing.T) {
	rapidly(t, "rapid.nofailfile", "true")
	rapidly(t, "rapid.shrinktime", "0s")
	rapidly(t, "rapid.checks", "5000")
	for _, f := range faults {
		t.Run(strings.ReplaceAll(string(f), " ", "_"), func(t *testing.T) {
			v := &verdict{T: t}
			v.of(func() { rapid.Check(v, converges(f)) })
			if !v.failed {
				t.Errorf("not found:\n%s", v.said.String())
			}
		})
	}
}

// rapidly sets a flag of rapid during a test, unless the command line sets the flag.
func rapidly(t *testing.T, name, value string) {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if given {
		return
	}
	old := flag.Lookup(name).Value.String()
	if err := flag.Set(name, value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set(name, old) }) // to the old value
}

// verdict is a test that is expected to fail.
type verdict struct {
	*testing.T
	failed bool
	said   strings.Builder
}

// of runs a test until the test ends or gives up.
func (v *verdict) of(test func()) {
	defer func() {
		if p := recover(); p != nil && p != any(v) {
			panic(p)
		}
	}()
	test()
}

func (v *verdict) Logf(format string, args ...any) { fmt.Fprintf(&v.said, format+"\n", args...) }
func (v *verdict) Log(args ...any)                 { fmt.Fprintln(&v.said, args...) }
func (v *verdict) Fail()                           { v.failed = true }
func (v *verdict) Failed() bool                    { return v.failed }
func (v *verdict) FailNow()                        { v.Fail(); panic(v) }
func (v *verdict) Error(args ...any)               { v.Log(args...); v.Fail() }
func (v *verdict) Fatal(args ...any)               { v.Log(args...); v.FailNow() }
func (v *verdict) Errorf(format string, args ...any) {
	v.Logf(format, args...)
	v.Fail()
}
func (v *verdict) Fatalf(format string, args ...any) {
	v.Logf(format, args...)
	v.FailNow()
}
