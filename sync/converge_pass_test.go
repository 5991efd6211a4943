package sync

import (
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"pgregory.net/rapid"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

func (m *machine) pass(t *rapid.T) { t.Logf("%s", m.aSite(t).pass()) }

// faultyPass lets a partition fail for a process from a random operation on: before the
// operation has an effect, or by losing the answer.
func (m *machine) faultyPass(t *rapid.T) {
	c, victim := m.aSite(t), m.aName(t)
	h := c.handles[victim]
	if h == nil {
		return
	}
	op := rapid.SampledFrom([]string{"", memory.OpApply, memory.OpApplied, memory.OpCommit, memory.OpCommitted,
		memory.OpNext, memory.OpReset, memory.OpCollect}).Draw(t, "operation that fails")
	h.Fail(m.failFrom(t, op))
	r, err := c.Pass(t.Context())
	h.Fail(nil)
	t.Logf("%v\n%s", err, r)
}

// failFrom fails an operation, or all of them, from some call on.
func (m *machine) failFrom(t *rapid.T, op string) func(string) error {
	var calls atomic.Int64
	first := int64(rapid.IntRange(0, 8).Draw(t, "calls that succeed"))
	return func(now string) error {
		if (op == "" || op == now) && calls.Add(1) > first {
			return partition.ErrUnavailable
		}
		return nil
	}
}

// killedPass kills a process in the middle of a pass: the process does nothing more and keeps
// its leases, and a new process replaces it.
func (m *machine) killedPass(t *rapid.T) {
	i := rapid.IntRange(0, len(m.sites)-1).Draw(t, "process")
	c := m.sites[i]
	dead := m.failFrom(t, "")
	for _, h := range c.handles {
		h.Fail(dead)
	}
	_, err := c.Pass(t.Context())
	t.Logf("%v", err)
	m.sites[i] = m.site(rapid.IntRange(1, 4).Draw(t, "batch"))
}

// overtakenSweep lets a writer change an expired key between the search and the commit of a sweep.
func (m *machine) overtakenSweep(t *rapid.T) {
	key, c := aKey(t), m.aSite(t)
	master := m.masterOf(key)
	m.write(key, partition.Entry{Value: []byte("over"), ExpiresAt: m.nowAt(master)}, nil)
	next := partition.Entry{Value: aValue(t)}
	switch rapid.SampledFrom([]string{"put", "put with ttl", "delete"}).Draw(t, "writer") {
	case "put with ttl":
		next.ExpiresAt = m.nowAt(master).Add(aTTL(t))
	case "delete":
		next = partition.Entry{Deleted: true}
	}
	var once sync.Once
	h := c.handles[master]
	h.sweeps = func() { once.Do(func() { m.write(key, next, nil) }) }
	t.Logf("%s", c.pass())
	h.sweeps = nil
}

// slowCopy is a copy that a slow process has read and sends chunk by chunk.
type slowCopy struct {
	to     string
	chunks []partition.Copy
	done   int // chunks that arrived in order
	resets int // of the target, at the time of reading
}

// take reads a copy for a process that is then suspended.
func (m *machine) take(t *rapid.T) {
	if c := m.taken(t); c != nil {
		m.copies = append(m.copies, c)
	}
}

func (m *machine) taken(t *rapid.T) *slowCopy {
	o := partition.Origin(rapid.SampledFrom(m.w.masters).Draw(t, "origin"))
	from, to := m.aName(t), m.aName(t)
	at := m.w.position(to, string(o))
	if to == string(o) || from == to || !at.Whole() {
		return nil
	}
	snap, err := m.slow.handles[from].Snapshot(t.Context(), o, at.Revision)
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	head := snap.Position()
	if from != string(o) && !head.Whole() || head.Revision < at.Revision || at.MissesTombstonesOf(head) {
		return nil
	}
	if err := m.slow.handles[from].Barrier(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := &slowCopy{to: to, resets: m.emptied(to, o)}
	c.chunks = chunksOf(t, snap, partition.Copy{Origin: o, From: at.Revision, Goal: max(head.Revision, at.Goal)})
	return c
}

// chunksOf reads a snapshot into chunks. The first chunk starts where next does.
func chunksOf(t *rapid.T, snap partition.Snapshot, next partition.Copy) (chunks []partition.Copy) {
	size, head := rapid.IntRange(1, 4).Draw(t, "entries of a step"), snap.Position()
	for {
		entries, err := snap.Next(t.Context(), size, 1<<20)
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			break
		}
		next.Entries, next.To = entries, entries[len(entries)-1].Revision
		chunks = append(chunks, next)
		next.From = next.To
	}
	next.Entries, next.To, next.SyncedAt = nil, head.Revision, head.SyncedAt
	if n := len(chunks); n > 0 {
		chunks[n-1].To, chunks[n-1].SyncedAt = next.To, next.SyncedAt
		return chunks
	}
	return []partition.Copy{next}
}

func (m *machine) emptied(name string, o partition.Origin) int {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	return m.w.resets[holding{name, o}]
}

// deliver sends a chunk of a slow copy: the next chunk, a repetition, or a later chunk. Only
// the next may have an effect, and only if the target has not moved meanwhile.
func (m *machine) deliver(t *rapid.T) {
	if len(m.copies) == 0 {
		return
	}
	i := len(m.copies) - rapid.IntRange(1, len(m.copies)).Draw(t, "copy, counted from the last")
	c := m.copies[i]
	if c.resets != m.emptied(c.to, c.chunks[0].Origin) { // the process has lost the lease: the fence is too old
		m.copies = slices.Delete(m.copies, i, i+1)
		return
	}
	m.send(t, c, rapid.IntRange(0, len(c.chunks)-1).Draw(t, "step"))
}

func (m *machine) send(t *rapid.T, c *slowCopy, i int) {
	step := c.chunks[i]
	at := m.w.position(c.to, string(step.Origin)).Revision
	if i > c.done && at == step.From {
		return // no process sends chunks out of order
	}
	err := m.slow.handles[c.to].Apply(t.Context(), step)
	if fits := at == step.From; fits != (err == nil) || !fits && !errors.Is(err, partition.ErrPositionMoved) {
		t.Errorf("step from %d to %d at %d: %v", step.From, step.To, at, err)
	}
	if err == nil && i == c.done {
		c.done = min(i+1, len(c.chunks)-1)
	}
}

// overtakenCopy lets the target catch up with newer writes of the same origin while a slow
// copy to the target is running.
func (m *machine) overtakenCopy(t *rapid.T) {
	c := m.taken(t)
	if c == nil {
		return
	}
	for range rapid.IntRange(1, 2).Draw(t, "writes") {
		key := aKey(t)
		e := m.write(key, partition.Entry{Value: aValue(t)}, nil)
		if string(e.Origin) != c.to {
			m.catchUpOf(t, c.to, e.Origin, nil)
		}
	}
	m.check(t)
	for i := range c.chunks {
		m.send(t, c, i)
		m.check(t)
	}
}

// outage makes a partition unusable to a process, or usable again.
func (m *machine) outage(t *rapid.T) {
	c, name := m.aSite(t), m.aName(t)
	if c.faults[name] == nil {
		c.fault(name, partition.ErrUnavailable)
	} else {
		c.fault(name, nil)
	}
}

// reconfigure removes a replica from a process's configuration. The process may then collect
// tombstones that the replica has not passed.
func (m *machine) reconfigure(t *rapid.T) {
	replicas := m.w.names[len(m.w.masters):]
	if len(replicas) == 0 {
		return
	}
	c, gone := m.aSite(t), rapid.SampledFrom(replicas).Draw(t, "replica")
	c.configure(slices.DeleteFunc(slices.Clone(m.w.names), func(n string) bool { return n == gone })...)
}

func (m *machine) heal(*rapid.T) {
	for _, c := range m.sites {
		c.configure(m.w.names...)
		for _, name := range m.w.names {
			c.fault(name, nil)
		}
	}
}

func (m *machine) add(*rapid.T) {
	if len(m.w.names) < 5 {
		m.w.add()
		m.slow.configure(m.w.names...)
	}
}
