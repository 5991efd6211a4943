package partition

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Memory is the reference implementation of Partition, for tests: a handle on
// a database that lives in this process. Reopen gives further handles on the
// same database, as other processes would have them; closing one, or making it
// fail, concerns that handle alone. The data goes with the last handle.
//
// It promises what the contract says and is stricter where the contract leaves
// a caller's mistake open: a batch or copy that breaks the rules is an error.
type Memory struct {
	db     *memoryDB
	fail   atomic.Pointer[func(op string) error]
	close  sync.Once
	closed chan struct{}
}

var _ Partition = (*Memory)(nil)

// memoryDB is what all handles share. Transactions that write go one after
// the other, holding writer; readers see the state between two of them.
type memoryDB struct {
	name          Origin
	now           func() time.Time
	maxValueBytes int64
	writer        chan struct{} // holds a token while a transaction writes

	mu        sync.Mutex // guards what follows; held for moments, never over a caller's function
	entries   map[Key]Entry
	index     keyIndex // the keys of entries
	positions map[Origin]Position
	cluster   *Cluster
	lease     Lease
}

// MemoryOption changes a database that NewMemory makes.
type MemoryOption func(*memoryDB)

// MemoryClock makes now the clock of the database, in place of time.Now.
func MemoryClock(now func() time.Time) MemoryOption {
	return func(db *memoryDB) { db.now = now }
}

// MemoryMaxValue sets MaxValueBytes, in place of 64 MiB.
func MemoryMaxValue(maxBytes int64) MemoryOption {
	return func(db *memoryDB) { db.maxValueBytes = maxBytes }
}

// NewMemory makes an empty database for the partition called name and returns
// a handle on it. It needs no Prepare.
func NewMemory(name string, options ...MemoryOption) *Memory {
	db := &memoryDB{
		name:          Origin(name),
		now:           time.Now,
		maxValueBytes: 64 << 20,
		writer:        make(chan struct{}, 1),
		entries:       make(map[Key]Entry),
		positions:     make(map[Origin]Position),
	}
	for _, option := range options {
		option(db)
	}
	return db.open()
}

func (db *memoryDB) open() *Memory {
	return &Memory{db: db, closed: make(chan struct{})}
}

// Reopen returns another handle on the same database, also when m is closed.
func (m *Memory) Reopen() *Memory { return m.db.open() }

// Close makes every further call on this handle, and those under way, fail
// with ErrUnavailable.
func (m *Memory) Close() error {
	m.close.Do(func() { close(m.closed) })
	return nil
}

// Name is the name given to NewMemory.
func (m *Memory) Name() string { return string(m.db.name) }

// Kind is "memory".
func (m *Memory) Kind() string { return "memory" }

// Warnings implements Identity: what is in memory has none.
func (m *Memory) Warnings() []string { return nil }

// MaxValueBytes is 64 MiB, or what MemoryMaxValue said.
func (m *Memory) MaxValueBytes() int64 { return m.db.maxValueBytes }

// Prepare has nothing to do.
func (m *Memory) Prepare(ctx context.Context) error { return m.begin(ctx, OpPrepare) }

// Barrier has nothing to do: memory is as durable as it gets.
func (m *Memory) Barrier(ctx context.Context) error { return m.begin(ctx, OpBarrier) }

// Cluster implements Identity.
func (m *Memory) Cluster(ctx context.Context) (Cluster, error) {
	if err := m.begin(ctx, OpCluster); err != nil {
		return Cluster{}, err
	}
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	if m.db.cluster == nil {
		return Cluster{}, fmt.Errorf("cluster of %s: %w", m.db.name, ErrNoCluster)
	}
	return cloneCluster(*m.db.cluster), nil
}

// Join implements Identity.
func (m *Memory) Join(ctx context.Context, c Cluster) (Cluster, error) {
	unlock, err := m.beginWrite(ctx, OpJoin)
	if err != nil {
		return Cluster{}, err
	}
	defer unlock()
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	if m.db.cluster == nil {
		m.db.join(c)
	}
	return cloneCluster(*m.db.cluster), nil
}

func (db *memoryDB) join(c Cluster) {
	c = cloneCluster(c)
	c.PartitionID = NewPartitionID()
	c.Name = string(db.name)
	db.cluster = &c
	if slices.Contains(c.Masters, c.Name) {
		db.positions[db.name] = Position{Origin: db.name, Revision: Floor(c.Epoch)}
	}
}

// Accept implements Identity.
func (m *Memory) Accept(ctx context.Context, c Cluster) (Cluster, error) {
	unlock, err := m.beginWrite(ctx, OpAccept)
	if err != nil {
		return Cluster{}, err
	}
	defer unlock()
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	if err := m.db.accept(cloneCluster(c)); err != nil {
		return Cluster{}, fmt.Errorf("accept on %s: %w", m.db.name, err)
	}
	return cloneCluster(*m.db.cluster), nil
}

func (db *memoryDB) accept(c Cluster) error {
	switch row := db.cluster; {
	case row == nil:
		return ErrNoCluster
	case row.ID != c.ID:
		return fmt.Errorf("%w: this database belongs to another cluster", ErrRefused)
	case row.Epoch >= c.Epoch:
		return nil
	}
	for _, e := range c.Ends {
		if err := c.CheckPosition(string(db.name), e.Origin, db.positions[e.Origin].Revision); err != nil {
			return err
		}
	}
	c.PartitionID, c.Name = db.cluster.PartitionID, db.cluster.Name
	db.cluster = &c
	if own, ok := db.positions[db.name]; ok && slices.Contains(c.Masters, c.Name) {
		own.Revision = max(own.Revision, Floor(c.Epoch))
		db.positions[db.name] = own
	}
	return nil
}

func cloneCluster(c Cluster) Cluster {
	c.Masters = slices.Clone(c.Masters)
	c.Slots = slices.Clone(c.Slots)
	c.Ends = slices.Clone(c.Ends)
	return c
}

// instant reads the clock of the database.
func (db *memoryDB) instant() Instant { return InstantOf(db.now()) }

// put stores a copy of e, whatever stands.
func (db *memoryDB) put(e Entry) {
	if _, ok := db.entries[e.Key]; !ok {
		db.index.add(e.Key)
	}
	db.entries[e.Key] = stored(e)
}

// remove drops the entries of origin that match and says how many.
func (db *memoryDB) remove(origin Origin, match func(Entry) bool) int {
	before := len(db.entries)
	maps.DeleteFunc(db.entries, func(_ Key, e Entry) bool { return e.Origin == origin && match(e) })
	db.index.keep(func(k Key) bool { _, ok := db.entries[k]; return ok })
	return before - len(db.entries)
}

// stored is a copy of e as a database holds it: nothing in it changes any more.
func stored(e Entry) Entry {
	e = clone(e)
	e.Size = int64(len(e.Value))
	if len(e.Metadata) == 0 {
		e.Metadata = nil
	}
	return e
}

// clone copies e and its slices. A value that was read is never nil.
func clone(e Entry) Entry {
	e.Metadata = slices.Clone(e.Metadata)
	e.Value = append([]byte{}, e.Value...)
	return e
}

// head copies e without its value.
func head(e Entry) Entry {
	e.Metadata = slices.Clone(e.Metadata)
	e.Value = nil
	return e
}
