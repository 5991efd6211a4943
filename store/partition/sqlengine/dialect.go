package sqlengine

import (
	"context"
	"math"

	"github.com/runnelkv/runnel/store/partition"
)

// Dialect is what one kind of database does in its own way and SQL text alone cannot say. Its
// errors are the driver's; Explain turns them into those of package partition.
type Dialect interface {
	Kind() string
	// MaxValueBytes is the largest value that the database takes now, in bytes.
	MaxValueBytes() int64
	Warnings() []string
	// Prepare opens the pools of connections, creates a missing database and brings the schema
	// to this binary's version. It may be repeated.
	Prepare(ctx context.Context) error
	// Acquire lends a connection until its Release.
	Acquire(ctx context.Context, use Use) (*Conn, error)
	// Clock is an SQL expression: the database's clock in microseconds.
	Clock() string

	Commit(ctx context.Context, b partition.Batch) (partition.Claim, error)
	// Get leaves out the values of more than most bytes; AnySize: none.
	Get(ctx context.Context, keys []partition.Key, most int64) ([]partition.Entry, error)
	// UpsertNewer writes entries unless what stands is as new, in the open transaction of c.
	UpsertNewer(ctx context.Context, c *Conn, entries []partition.Entry) error

	// Transient reports whether another attempt of the transaction may succeed at once.
	Transient(err error) bool
	// Answered reports whether the database itself sent the error, so that the outcome is known.
	Answered(err error) bool
	Explain(err error) error
	Close() error
}

// FastApplier is a Dialect that can apply a copy faster than by a transaction statement by
// statement. Unless it is done the fast way has changed nothing, and the error, if any, does
// not count.
type FastApplier interface {
	ApplyFast(ctx context.Context, c partition.Copy) (done bool, err error)
}

// Use is what a connection is acquired for.
type Use int

// Streams are read for long and come from a pool of their own.
const (
	Reading Use = iota
	Writing
	Streaming
)

// AnySize is larger than any value.
const AnySize = math.MaxInt64

// Fragments are the pieces of SQL in which the databases differ.
type Fragments struct {
	BeginWrite    string   // opens a transaction that writes; "": a connection to write with is always in one
	BeginSnapshot []string // open a transaction that reads one consistent view
	LockShared    string   // ends a SELECT that locks its rows against writers
	LockExclusive string   // ends a SELECT that locks its rows against all others
	InsertIgnore  string   // begins an INSERT that leaves an existing row alone
	Barrier       string   // a small durable commit; "": commits are visible only once they are durable

	// Index hints. A planner that expects most of the table would read and sort all of it instead.
	ByRevision string // in the order of (origin, revision)
	ByExpiry   string // in the order of the times of expiry
	ByLive     string // in the order of the keys of entries that are no tombstones

	ValueLimit string // names the setting that bounds a value, for error texts
	Pipelined  bool   // several statements travel in one packet
	InProcess  bool   // the database runs in this process: Get never waits, and needs no timer
}
