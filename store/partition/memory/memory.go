package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// Partition is the reference implementation of partition.Partition, for tests: a handle on
// a database that lives in this process. Reopen gives further handles on the
// same database, as other processes would have them; closing one, or making it
// fail, concerns that handle alone. The data goes with the last handle.
//
// It promises what the contract says and is stricter where the contract leaves
// a caller's mistake open: a batch or copy that breaks the rules is an error.
type Partition struct {
	db     *database
	fail   atomic.Pointer[func(op string) error]
	close  sync.Once
	closed chan struct{}
}

var _ partition.Partition = (*Partition)(nil)

// database is what all handles share. Transactions that write go one after
// the other, holding writer; readers see the state between two of them.
type database struct {
	name          partition.Origin
	now           func() time.Time
	maxValueBytes int64
	writer        chan struct{} // holds a token while a transaction writes

	mu        sync.Mutex // guards what follows; held for moments, never over a caller's function
	entries   map[partition.Key]partition.Entry
	index     keyIndex // the keys of entries
	positions map[partition.Origin]partition.Position
	cluster   *partition.Cluster
	lease     partition.Lease
}

// Option changes a database that New makes.
type Option func(*database)

// Clock makes now the clock of the database, in place of time.Now.
func Clock(now func() time.Time) Option {
	return func(db *database) { db.now = now }
}

// MaxValue sets MaxValueBytes, in place of 64 MiB.
func MaxValue(maxBytes int64) Option {
	return func(db *database) { db.maxValueBytes = maxBytes }
}

// New makes an empty database for the partition called name and returns
// a handle on it. It needs no Prepare.
func New(name string, options ...Option) *Partition {
	db := &database{
		name:          partition.Origin(name),
		now:           time.Now,
		maxValueBytes: 64 << 20,
		writer:        make(chan struct{}, 1),
		entries:       make(map[partition.Key]partition.Entry),
		positions:     make(map[partition.Origin]partition.Position),
	}
	for _, option := range options {
		option(db)
	}
	return db.open()
}

func (db *database) open() *Partition {
	return &Partition{db: db, closed: make(chan struct{})}
}

// Reopen returns another handle on the same database, also when m is closed.
func (m *Partition) Reopen() *Partition { return m.db.open() }

// Close makes every further call on this handle, and those under way, fail
// with ErrUnavailable.
func (m *Partition) Close() error {
	m.close.Do(func() { close(m.closed) })
	return nil
}

// Name is the name given to New.
func (m *Partition) Name() string { return string(m.db.name) }

// Kind is "memory".
func (m *Partition) Kind() string { return "memory" }

// Warnings implements Identity: what is in memory has none.
func (m *Partition) Warnings() []string { return nil }

// MaxValueBytes is 64 MiB, or what MaxValue said.
func (m *Partition) MaxValueBytes() int64 { return m.db.maxValueBytes }

// Prepare has nothing to do.
func (m *Partition) Prepare(ctx context.Context) error { return m.begin(ctx, OpPrepare) }

// Barrier has nothing to do: memory is as durable as it gets.
func (m *Partition) Barrier(ctx context.Context) error { return m.begin(ctx, OpBarrier) }

// Cluster implements Identity.
func (m *Partition) Cluster(ctx context.Context) (partition.Cluster, error) {
	if err := m.begin(ctx, OpCluster); err != nil {
		return partition.Cluster{}, err
	}
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	if m.db.cluster == nil {
		return partition.Cluster{}, fmt.Errorf("cluster of %s: %w", m.db.name, partition.ErrNoCluster)
	}
	return cloneCluster(*m.db.cluster), nil
}

// Join implements Identity.
func (m *Partition) Join(ctx context.Context, c partition.Cluster) (partition.Cluster, error) {
	unlock, err := m.beginWrite(ctx, OpJoin)
	if err != nil {
		return partition.Cluster{}, err
	}
	defer unlock()
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	if m.db.cluster == nil {
		m.db.join(c)
	}
	return cloneCluster(*m.db.cluster), nil
}

func (db *database) join(c partition.Cluster) {
	c = cloneCluster(c)
	c.PartitionID = partition.NewPartitionID()
	c.Name = string(db.name)
	db.cluster = &c
	if slices.Contains(c.Masters, c.Name) {
		db.positions[db.name] = partition.Position{Origin: db.name, Revision: partition.Floor(c.Epoch)}
	}
}

// Accept implements Identity.
func (m *Partition) Accept(ctx context.Context, c partition.Cluster) (partition.Cluster, error) {
	unlock, err := m.beginWrite(ctx, OpAccept)
	if err != nil {
		return partition.Cluster{}, err
	}
	defer unlock()
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	if err := m.db.accept(cloneCluster(c)); err != nil {
		return partition.Cluster{}, fmt.Errorf("accept on %s: %w", m.db.name, err)
	}
	return cloneCluster(*m.db.cluster), nil
}

func (db *database) accept(c partition.Cluster) error {
	switch row := db.cluster; {
	case row == nil:
		return partition.ErrNoCluster
	case row.ID != c.ID:
		return fmt.Errorf("%w: this database belongs to another cluster", partition.ErrRefused)
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
		own.Revision = max(own.Revision, partition.Floor(c.Epoch))
		db.positions[db.name] = own
	}
	return nil
}

func cloneCluster(c partition.Cluster) partition.Cluster {
	c.Masters = slices.Clone(c.Masters)
	c.Slots = slices.Clone(c.Slots)
	c.Ends = slices.Clone(c.Ends)
	return c
}

// instant reads the clock of the database.
func (db *database) instant() partition.Instant { return partition.InstantOf(db.now()) }

// put stores a copy of e, whatever stands.
func (db *database) put(e partition.Entry) {
	if _, ok := db.entries[e.Key]; !ok {
		db.index.add(e.Key)
	}
	db.entries[e.Key] = stored(e)
}

// remove drops the entries of origin that match and says how many.
func (db *database) remove(origin partition.Origin, match func(partition.Entry) bool) int {
	before := len(db.entries)
	maps.DeleteFunc(db.entries, func(_ partition.Key, e partition.Entry) bool { return e.Origin == origin && match(e) })
	db.index.keep(func(k partition.Key) bool { _, ok := db.entries[k]; return ok })
	return before - len(db.entries)
}

// stored is a copy of e as a database holds it: nothing in it changes any more.
func stored(e partition.Entry) partition.Entry {
	e = clone(e)
	e.Size = int64(len(e.Value))
	if len(e.Metadata) == 0 {
		e.Metadata = nil
	}
	return e
}

// clone copies e and its slices. A value that was read is never nil.
func clone(e partition.Entry) partition.Entry {
	e.Metadata = slices.Clone(e.Metadata)
	e.Value = append([]byte{}, e.Value...)
	return e
}

// head copies e without its value.
func head(e partition.Entry) partition.Entry {
	e.Metadata = slices.Clone(e.Metadata)
	e.Value = nil
	return e
}
