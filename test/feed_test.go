package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
	syncer "github.com/runnelkv/runnel/sync"
	"github.com/runnelkv/runnel/test/runnel"
)

// feedCluster is some databases in memory, of which the first two are masters, and
// processes over them, each with a store and a sync process.
type feedCluster struct {
	databases []*memory.Partition
	plant     func(partition.Partition) partition.Partition // a fault for readers alone, or nil

	mu        sync.RWMutex // held over the use of a process, so that none is stopped meanwhile
	processes []*feedProcess
}

type feedProcess struct {
	*store.Store
	parts []*memory.Partition // this process's handles
	feed  *store.Store        // for readers: differs from Store if a fault is planted
	stop  context.CancelFunc
	ended sync.WaitGroup
}

func newFeedCluster(t *testing.T, partitions, processes int, plant func(partition.Partition) partition.Partition) *feedCluster {
	c := &feedCluster{plant: plant, processes: make([]*feedProcess, processes)}
	for i := range partitions {
		c.databases = append(c.databases, memory.New(fmt.Sprintf("p%d", i)))
	}
	for i := range c.processes {
		c.processes[i] = c.start(t)
	}
	t.Cleanup(func() {
		for _, p := range c.processes {
			p.end(t)
		}
	})
	return c
}

// start starts a process and waits until both masters are writable.
func (c *feedCluster) start(t *testing.T) *feedProcess {
	p := &feedProcess{}
	quiet := slog.New(slog.DiscardHandler)
	wake := make(chan struct{}, 1)
	o := store.Options{Masters: []string{"p0", "p1"}, Poll: 5 * time.Millisecond, Timeout: time.Second, Logger: quiet,
		OnCommit: func() {
			select {
			case wake <- struct{}{}:
			default:
			}
		}}
	for _, db := range c.databases {
		p.parts = append(p.parts, db.Reopen())
		o.Partitions = append(o.Partitions, p.parts[len(p.parts)-1])
	}
	var err error
	if p.Store, err = store.Open(o); err != nil {
		t.Fatal(err)
	}
	p.feed = p.Store
	if c.plant != nil {
		o.Partitions = nil
		for _, db := range c.databases {
			o.Partitions = append(o.Partitions, c.plant(db.Reopen()))
		}
		if p.feed, err = store.Open(o); err != nil {
			t.Fatal(err)
		}
	}
	passes := syncer.New(p.Store, syncer.Options{BatchEntries: 40, LeaseTTL: 100 * time.Millisecond, BackoffMax: 20 * time.Millisecond,
		CollectEvery: -1, Wake: wake, Logger: quiet})
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	p.ended.Go(func() { p.Run(ctx) })
	if p.feed != p.Store {
		p.ended.Go(func() { p.feed.Run(ctx) })
	}
	p.ended.Go(func() { passes.Run(ctx) })
	waitUntil(t, "two masters take writes", func() bool {
		st := p.Status()
		return st.Partitions[0].Writable && st.Partitions[1].Writable
	})
	return p
}

func (p *feedProcess) end(t *testing.T) {
	p.stop()
	p.ended.Wait()
	if err := errors.Join(p.Close(), p.feed.Close()); err != nil {
		t.Error(err)
	}
}

func waitUntil(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("not within 30 s: %s", what)
		case <-tick.C:
		}
	}
}

// with runs f on a process, which is not stopped meanwhile.
func (c *feedCluster) with(i int, f func(*feedProcess)) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	f(c.processes[i%len(c.processes)])
}

// write makes a random change, in some cases copied to all partitions at once.
func (c *feedCluster) write(ctx context.Context, r *rand.Rand, n int64) {
	key := store.User.Key(fmt.Sprintf("key/%d", r.IntN(500)))
	if r.IntN(20) == 0 { // written once: a reader that misses the change stays wrong
		key = store.User.Key(fmt.Sprintf("once/%d", n))
	}
	c.with(r.IntN(len(c.processes)), func(p *feedProcess) {
		if r.IntN(4) == 0 {
			p.Update(ctx, []store.Key{key}, store.UpdateOptions{}, func(v *store.Tx) error { v.Delete(key); return nil })
			return
		}
		w, err := p.Put(ctx, store.Entry{Key: key, Value: fmt.Append(nil, n)})
		if err == nil && r.IntN(5) == 0 {
			p.Copy(ctx, w.Entry, store.EveryReachable)
		}
	})
}

// injectFault makes a partition reject copies, cuts a partition off from a process, or restarts a process. The
// returned function ends the fault.
func (c *feedCluster) injectFault(t *testing.T, r *rand.Rand) (mend func()) {
	away := func(only ...string) func(string) error {
		return func(op string) error {
			if len(only) > 0 && !slices.Contains(only, op) {
				return nil
			}
			return partition.ErrUnavailable
		}
	}
	switch i, j := r.IntN(len(c.processes)), r.IntN(len(c.databases)); r.IntN(3) {
	case 0: // no process can copy to the partition
		c.mu.RLock()
		defer c.mu.RUnlock()
		var handles []*memory.Partition
		for _, p := range c.processes {
			p.parts[j].Fail(away(memory.OpApply))
			handles = append(handles, p.parts[j])
		}
		return func() {
			for _, h := range handles {
				h.Fail(nil)
			}
		}
	case 1:
		c.mu.RLock()
		defer c.mu.RUnlock()
		handle := c.processes[i].parts[j]
		handle.Fail(away())
		return func() { handle.Fail(nil) }
	default:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.processes[i].end(t)
		c.processes[i] = c.start(t)
		return func() {}
	}
}

// collect removes the tombstones that every partition has passed.
func (c *feedCluster) collect(t *testing.T) {
	for _, o := range []store.Origin{"p0", "p1"} {
		passed := store.Revision(1 << 62)
		for _, db := range c.databases {
			all, err := db.Positions(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			at := all.Origins[o]
			if at.Revision < at.Goal {
				return
			}
			passed = min(passed, at.Revision)
		}
		for _, db := range c.databases {
			if _, err := db.Collect(context.Background(), o, passed); err != nil {
				t.Error(err)
			}
		}
	}
}

// mirror is the state that a reader derives from changes.
type mirror struct {
	entries map[store.Key]store.Entry
	token   string
	resyncs int
	given   int
	back    []string // changes older than the mirror's entry
	brought map[store.Key]bool
	full    bool // a reading from the beginning is complete
}

func newMirror() *mirror {
	return &mirror{entries: map[store.Key]store.Entry{}, brought: map[store.Key]bool{}}
}

func (m *mirror) apply(e *store.Entry) {
	m.given++
	old, ok := m.entries[e.Key]
	if ok && e.Revision < old.Revision {
		m.back = append(m.back, fmt.Sprintf("%s: %d after %d", e.Key, e.Revision, old.Revision))
	}
	m.entries[e.Key] = *e
	m.brought[e.Key] = true
}

// resync begins anew, as the problem says.
func (m *mirror) resync() {
	m.resyncs++
	m.token, m.full, m.brought = "", false, map[store.Key]bool{}
}

// endFullRead drops the entries that a complete read from the beginning has not delivered.
func (m *mirror) endFullRead() {
	if m.full {
		return
	}
	m.full = true
	for k := range m.entries {
		if !m.brought[k] {
			delete(m.entries, k)
		}
	}
}

// readSome reads changes from a process for a while, by pages or by a watch. It may stop after any change, as a
// killed reader would, with only the token of that change.
func (m *mirror) readSome(ctx context.Context, p *feedProcess, r *rand.Rand) error {
	since, err := store.ParseChangeToken(m.token)
	if err != nil {
		return err
	}
	o := store.ChangeOptions{Space: store.User, Values: true, Limit: 1 + r.IntN(300)}
	next := func(ctx context.Context, since store.ChangeToken) (store.ChangePage, error) {
		return p.feed.Changes(ctx, since, o)
	}
	if r.IntN(2) == 0 {
		w := p.feed.Watch(since, o)
		defer w.Close()
		next = func(ctx context.Context, _ store.ChangeToken) (store.ChangePage, error) {
			ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
			return w.Next(ctx)
		}
	}
	for range 1 + r.IntN(20) {
		page, err := next(ctx, since)
		if errors.Is(err, store.ErrResync) {
			m.resync()
			return nil
		}
		if err != nil {
			return nil // away, or nothing came
		}
		for e, token := range page.All() {
			m.apply(e)
			m.token = token.String()
			if r.IntN(500) == 0 {
				return nil // killed
			}
		}
		since, m.token = page.Next, page.Next.String()
		if !page.More {
			m.endFullRead()
		}
	}
	return nil
}

// differences compares a mirror with the contents of a partition.
func (m *mirror) differences(held map[store.Key]store.Entry) (all []string) {
	for k, e := range held {
		if got, ok := m.entries[k]; !ok && !e.Deleted || ok && (got.Revision != e.Revision || got.Deleted != e.Deleted || string(got.Value) != string(e.Value)) {
			all = append(all, fmt.Sprintf("%s is %q at %d, the reader has %q at %d", k, e.Value, e.Revision, got.Value, got.Revision))
		}
	}
	for k, e := range m.entries {
		if _, ok := held[k]; !ok && !e.Deleted {
			all = append(all, fmt.Sprintf("%s is gone, the reader has %q at %d", k, e.Value, e.Revision))
		}
	}
	return all
}

// runWorkload runs writers, faults and readers on the cluster. It returns the mirrors of the readers and the final
// contents of every partition.
func (c *feedCluster) runWorkload(t *testing.T, seed uint64, writes int64) ([]*mirror, map[store.Key]store.Entry) {
	ctx := context.Background()
	random := func(n uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, n)) }
	var written atomic.Int64
	var writers, others sync.WaitGroup
	done := make(chan struct{})
	for i := range 8 {
		writers.Go(func() {
			for r := random(uint64(i)); ; {
				n := written.Add(1)
				if n > writes {
					return
				}
				c.write(ctx, r, n)
			}
		})
	}
	writers.Go(func() {
		r, mend := random(100), func() {}
		for next := writes / 60; ; next += writes / 60 {
			for written.Load() < min(next, writes) {
				time.Sleep(time.Millisecond) // the writers set the pace
			}
			mend()
			if next >= writes {
				return
			}
			mend = func() {}
			switch r.IntN(4) {
			case 0:
				c.collect(t)
			case 1, 2:
				mend = c.injectFault(t, r)
			}
		}
	})
	mirrors := make([]*mirror, 6)
	for i := range mirrors {
		m := newMirror()
		mirrors[i] = m
		others.Go(func() {
			for r := random(200 + uint64(i)); ; {
				select {
				case <-done:
					return
				default:
				}
				for back := written.Load() + int64(r.IntN(3))*r.Int64N(writes/20); written.Load() < min(back, writes); {
					time.Sleep(time.Millisecond) // the reader is away for so many writes
				}
				c.with(r.IntN(8), func(p *feedProcess) {
					if err := m.readSome(ctx, p, r); err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
	writers.Wait()
	close(done)
	others.Wait()
	held := c.awaitEqual(t)
	for _, m := range mirrors {
		c.finishReading(t, m)
	}
	return mirrors, held
}

// awaitEqual waits until all partitions hold the same entries, and returns the entries.
func (c *feedCluster) awaitEqual(t *testing.T) (held map[store.Key]store.Entry) {
	waitUntil(t, "partitions are equal", func() bool {
		var first partition.Positions
		for i, db := range c.databases {
			at, err := db.Positions(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				first = at
			}
			for _, o := range []store.Origin{"p0", "p1"} {
				if at.Origins[o].Revision != first.Origins[o].Revision || at.Origins[o].Revision < at.Origins[o].Goal {
					return false
				}
			}
		}
		return true
	})
	held = map[store.Key]store.Entry{}
	entries, more, err := c.databases[0].List(context.Background(), partition.Span{Limit: 1 << 20, Values: true, Bytes: 1 << 40})
	if err != nil || more {
		t.Fatal(err, more)
	}
	for _, e := range entries {
		held[e.Key] = e
	}
	return held
}

// finishReading reads the remaining changes.
func (c *feedCluster) finishReading(t *testing.T, m *mirror) {
	waitUntil(t, "the reader is level", func() bool {
		since, err := store.ParseChangeToken(m.token)
		if err != nil {
			t.Fatal(err)
		}
		page, err := c.processes[0].feed.Changes(context.Background(), since, store.ChangeOptions{Space: store.User, Values: true})
		if errors.Is(err, store.ErrResync) {
			m.resync()
		}
		if err != nil {
			return false
		}
		for i := range page.Entries {
			m.apply(&page.Entries[i])
		}
		if m.token = page.Next.String(); !page.More {
			m.endFullRead()
		}
		return !page.More && len(page.Entries) == 0
	})
}

func TestReadersOfChangesMissNoFinalState(t *testing.T) {
	t.Parallel()
	writes := int64(100_000)
	if runnel.RaceEnabled && os.Getenv("RUNNEL_TEST_LONG") == "" {
		writes = 5000
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	c := newFeedCluster(t, 4, 2, nil)
	mirrors, held := c.runWorkload(t, seed, writes)
	for i, m := range mirrors {
		t.Logf("reader %d: %d changes given, %d resyncs", i, m.given, m.resyncs)
		if all := m.faults(held); len(all) > 0 {
			t.Errorf("reader %d, of %d: %s", i, len(all), all[0])
		}
	}
}

// faults returns the reader's differences and the changes in wrong order.
func (m *mirror) faults(held map[store.Key]store.Entry) []string {
	return slices.Concat(m.back, m.differences(held))
}

// TestFeedChecksFindPlantedFaults gives readers faulty partitions, which the checks of
// TestReadersOfChangesMissNoFinalState must detect.
func TestFeedChecksFindPlantedFaults(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(partition.Partition) partition.Partition{
		"the position passes what is read": func(p partition.Partition) partition.Partition { return passes{p} },
		"a reading begins one too far":     func(p partition.Partition) partition.Partition { return skips{p} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const runs = 20 // a single run meets the fault in nine of ten cases
			for range runs {
				c := newFeedCluster(t, 3, 2, fault)
				mirrors, held := c.runWorkload(t, rand.Uint64(), 3000)
				if slices.ContainsFunc(mirrors, func(m *mirror) bool { return len(m.faults(held)) > 0 }) {
					return
				}
			}
			t.Errorf("no reader noticed in %d runs", runs)
		})
	}
}

// skips is a partition whose snapshots omit the first revision.
type skips struct{ partition.Partition }

func (p skips) Snapshot(ctx context.Context, o partition.Origin, after partition.Revision) (partition.Snapshot, error) {
	return p.Partition.Snapshot(ctx, o, after+1)
}

// passes is a partition whose snapshots read the position after the entries.
type passes struct{ partition.Partition }

func (p passes) Snapshot(ctx context.Context, o partition.Origin, after partition.Revision) (partition.Snapshot, error) {
	snap, err := p.Partition.Snapshot(ctx, o, after)
	if err != nil {
		return nil, err
	}
	entries, err := snap.Next(ctx, 1<<20, 1<<40)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	time.Sleep(time.Millisecond)
	late, err := p.Partition.Snapshot(ctx, o, after)
	if err != nil {
		return nil, err
	}
	return &replayed{snap, late.Position(), entries}, late.Close()
}

type replayed struct {
	partition.Snapshot
	at   partition.Position
	left []partition.Entry
}

func (s *replayed) Position() partition.Position { return s.at }

func (s *replayed) Next(_ context.Context, most int, _ int64) ([]partition.Entry, error) {
	if len(s.left) == 0 {
		return nil, io.EOF
	}
	some := s.left[:min(most, len(s.left))]
	s.left = s.left[len(some):]
	return some, nil
}
