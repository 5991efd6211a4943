package sqlengine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"

	"github.com/runnelkv/runnel/store/partition"
)

// Dialect is the part of a partition that depends on the kind of database, beyond Fragments. Its
// errors are errors of the driver; Classify turns them into errors of package partition.
type Dialect interface {
	Kind() string // see partition.Identity
	// MaxValueBytes is the current limit of a value in bytes.
	MaxValueBytes() int64
	Warnings() []string // see partition.Identity
	// Prepare opens the pools of connections and creates a missing database. Prepare may be
	// repeated.
	Prepare(ctx context.Context) error
	// Migrations are the numbered files of goose that create and change the tables. Their last
	// number is partition.SchemaVersion.
	Migrations() fs.FS
	// Tables calls f with a new connection, and again if another process has changed the tables at
	// the same time. Tables needs no Prepare and creates no database.
	Tables(ctx context.Context, f func(*Tables) error) error
	// Acquire takes a connection from a pool; Conn.Release gives it back.
	Acquire(ctx context.Context, use Use) (*Conn, error)
	// Clock is an SQL expression for the database's clock in microseconds.
	Clock() string

	// Commit makes one attempt to commit a normalized batch.
	Commit(ctx context.Context, b Batch) (partition.Claim, error)
	// Get leaves out values of more than most bytes. AnySize: none.
	Get(ctx context.Context, keys []partition.Key, most int64) ([]partition.Entry, error)
	// UpsertNewer writes the entries that are newer than the stored entries, in the open
	// transaction of c.
	UpsertNewer(ctx context.Context, c *Conn, entries []partition.Entry) error

	// Transient reports whether the transaction may succeed if it is repeated at once.
	Transient(err error) bool
	// Answered reports whether the database itself sent the error, so that the outcome is known.
	Answered(err error) bool
	// Classify wraps err with an error of package partition, or with ErrDuplicate.
	Classify(err error) error
	// Close closes all connections, after Prepare or without it.
	Close() error
}

// Batch is a batch for tables that may be from before guards.
type Batch struct {
	partition.Batch
	HasGuards bool // the tables hold the number of guards
}

// CountDelta returns by how much the batch changes the number of guards. ErrRefused: the tables are from before guards.
func (b *Batch) CountDelta(c partition.Claim, entries []partition.Entry) (int64, error) {
	delta := b.GuardDelta(c, entries)
	if delta != 0 && !b.HasGuards {
		return 0, fmt.Errorf("%w: these tables hold no guards: run 'runnel migrate --run'", partition.ErrRefused)
	}
	return delta, nil
}

// FastApplier is a Dialect that can apply a copy in fewer round trips than a transaction statement
// by statement. If done is false, ApplyFast has changed nothing, and its error is ignored.
type FastApplier interface {
	ApplyFast(ctx context.Context, c partition.Copy) (done bool, err error)
}

// Use is the purpose of a connection.
type Use int

// Streaming connections are used for long and have a pool of their own.
const (
	Reading Use = iota
	Writing
	Streaming
)

// AnySize is larger than any value.
const AnySize = math.MaxInt64

// Fragments are the pieces of SQL in which the databases differ.
type Fragments struct {
	BeginWrite    string   // opens a writing transaction; "": writing connections are always in a transaction
	BeginSnapshot []string // open a transaction with a consistent view
	LockShared    string   // suffix of a SELECT that locks its rows against writers
	LockExclusive string   // suffix of a SELECT that locks its rows exclusively
	InsertIgnore  string   // prefix of an INSERT that leaves an existing row unchanged
	Barrier       string   // a small durable commit; "": only durable commits are visible

	UpsertChunk     string // ends an INSERT of a chunk's row, which replaces an existing row
	UpsertChunkData string // ends an INSERT of a chunk's data, which replaces different data

	// DeleteByKey begins a DELETE of entries by the primary key, up to its WHERE.
	DeleteByKey string
	// Index hints. Without them a planner that expects to read most of the table would read and
	// sort all of it. MySQL expects so of a table that its statistics call small. The statistics can
	// be old, and never count deleted rows that an older view keeps.
	ByKey      string // in the order of keys
	ByRevision string // in the order of (origin, revision)
	ByExpiry   string // in the order of expiry
	ByLive     string // in the order of keys, without tombstones

	CountTables string // counts the tables called {table}
	CountRows   string // estimates the number of entries
	DigestLine  string // the columns of an entry as Digest hashes them; "": they are hashed in this process

	ValueLimit string // names the setting that limits a value, for error texts
	Pipelined  bool   // several statements travel together in a packet
	InProcess  bool   // the database runs in this process: Get needs no timer
}

// ErrDuplicate is the class of violations of a unique key.
var ErrDuplicate = errors.New("duplicate key")
