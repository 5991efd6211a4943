package memory

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// Partition is a handle on a database in the memory of this process. Reopen returns further
// handles on the same database, as if other processes had opened it; closing or failing a handle
// does not affect the rest. The data is lost with the last handle.
//
// Partition obeys the contract, and is stricter with mistakes of a caller that the contract
// leaves undefined: an invalid batch or copy is an error.
type Partition struct {
	db     *database
	fail   atomic.Pointer[func(op string) error]
	close  sync.Once
	closed chan struct{}
}

var _ partition.Partition = (*Partition)(nil)

// database is shared by all handles. Writing transactions run one after another and hold writer;
// readers see the state between two transactions.
type database struct {
	name          partition.Origin
	now           func() time.Time
	maxValueBytes int64
	writer        chan struct{} // holds a token during a writing transaction

	mu        sync.Mutex // guards the fields below; never held while a caller's function runs
	entries   map[partition.Key]partition.Entry
	index     keyIndex // the keys of entries
	positions map[partition.Origin]partition.Position
	cluster   *partition.Cluster
	lease     partition.Lease
	schema    partition.Schema
	guards    int64 // see partition.GuardsUnknown
	chunks    map[partition.ChunkHash]chunk
	reports   map[string]int64 // by master; see partition.Observers

	verification partition.Verification
}

// Option changes a new database.
type Option func(*database)

// Clock replaces time.Now as the clock of the database.
func Clock(now func() time.Time) Option {
	return func(db *database) { db.now = now }
}

// MaxValue replaces 64 MiB as MaxValueBytes.
func MaxValue(maxBytes int64) Option {
	return func(db *database) { db.maxValueBytes = maxBytes }
}

// New returns a handle on a new, empty database for the partition called name. The database
// needs no Prepare.
func New(name string, options ...Option) *Partition {
	db := &database{
		name:          partition.Origin(name),
		now:           time.Now,
		maxValueBytes: 64 << 20,
		writer:        make(chan struct{}, 1),
		entries:       make(map[partition.Key]partition.Entry),
		positions:     make(map[partition.Origin]partition.Position),
		schema:        partition.Created(),
		chunks:        make(map[partition.ChunkHash]chunk),
		reports:       make(map[string]int64),
	}
	for _, option := range options {
		option(db)
	}
	return db.newHandle()
}

func (db *database) newHandle() *Partition {
	return &Partition{db: db, closed: make(chan struct{})}
}

// Reopen returns another handle on the same database, even if m is closed.
func (m *Partition) Reopen() *Partition { return m.db.newHandle() }

// Close lets running and later calls on this handle fail with ErrUnavailable.
func (m *Partition) Close() error {
	m.close.Do(func() { close(m.closed) })
	return nil
}

// Name is the name given to New.
func (m *Partition) Name() string { return string(m.db.name) }

// Kind is "memory".
func (m *Partition) Kind() string { return "memory" }

// Warnings returns none.
func (m *Partition) Warnings() []string { return nil }

// MaxValueBytes is 64 MiB, or the limit given to MaxValue.
func (m *Partition) MaxValueBytes() int64 { return m.db.maxValueBytes }

// Prepare does nothing.
func (m *Partition) Prepare(ctx context.Context) error { return m.begin(ctx, OpPrepare) }

// Barrier does nothing: the durability of memory cannot be raised.
func (m *Partition) Barrier(ctx context.Context) error { return m.begin(ctx, OpBarrier) }

// instant reads the clock of the database.
func (db *database) instant() partition.Instant { return partition.InstantOf(db.now()) }

// put stores a copy of e in place of any entry of the key.
func (db *database) put(e partition.Entry) {
	if _, ok := db.entries[e.Key]; !ok {
		db.index.add(e.Key)
	}
	e = clone(e)
	e.Size = int64(len(e.Value))
	if len(e.Metadata) == 0 {
		e.Metadata = nil
	}
	db.entries[e.Key] = e
}

// remove deletes the entries of origin that match, and returns their number.
func (db *database) remove(origin partition.Origin, match func(partition.Entry) bool) int {
	before := len(db.entries)
	maps.DeleteFunc(db.entries, func(_ partition.Key, e partition.Entry) bool { return e.Origin == origin && match(e) })
	db.index.keep(func(k partition.Key) bool { _, ok := db.entries[k]; return ok })
	return before - len(db.entries)
}

// clone copies e and its slices. The value is never nil.
func clone(e partition.Entry) partition.Entry {
	e.Metadata = slices.Clone(e.Metadata)
	e.Value = append([]byte{}, e.Value...)
	return e
}

// head copies e without its value.
func head(e partition.Entry) partition.Entry {
	e.Metadata, e.Value = slices.Clone(e.Metadata), nil
	return e
}
