package partition

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Partition is one database holding a copy of the data. All methods are safe
// for concurrent use, honour the context's deadline, and answer with the
// errors of this package. Slices handed over or returned are not kept or
// changed by the partition afterwards.
type Partition interface {
	Identity
	Master
	Reader
	Source
	Target

	// Close ends all connections. Calls under way fail with ErrUnavailable.
	Close() error
}

// Identity is what a partition knows about itself and its cluster.
type Identity interface {
	// Name is the configured name, which is also its Origin.
	Name() string
	// Kind is "memory", "sqlite", "mysql" or "mariadb"; before Prepare has
	// succeeded a server of either kind says "mysql".
	Kind() string
	// Prepare connects, creates a missing database and missing tables, and
	// migrates older ones. It may be repeated, and run by several processes
	// at once. ErrRefused says what an operator must do (for example which
	// GRANT is missing); ErrUnavailable may pass by itself.
	Prepare(ctx context.Context) error
	// Cluster returns the cluster row, or ErrNoCluster.
	Cluster(ctx context.Context) (Cluster, error)
	// Join writes the cluster row unless there is one, and returns the row
	// that stands afterwards: compare it to see whether the partition belongs.
	// PartitionID is chosen by the partition. If c.Masters holds the
	// partition's name, its own row of positions is created at Floor(c.Epoch).
	Join(ctx context.Context, c Cluster) (Cluster, error)
	// Accept replaces the cluster row's epoch, map and ends by those of a later
	// epoch of the same cluster and, where c.Masters holds the partition's name,
	// raises its counter to Floor(c.Epoch): no claim of an earlier epoch succeeds
	// afterwards. It returns the row that stands; one of c.Epoch or later is left
	// as it is. ErrRefused, and nothing is changed, if the row is of another cluster,
	// the partition holds revisions that c.Ends calls lost, or it is the origin of
	// an end and lacks revisions up to the cut. ErrNoCluster: there is no row.
	Accept(ctx context.Context, c Cluster) (Cluster, error)
	// MaxValueBytes is the largest value the partition can store (MySQL: from
	// max_allowed_packet). Before Prepare has succeeded it is what the default
	// settings of any server allow.
	MaxValueBytes() int64
	// Warnings tell which settings of the server let a crash of its machine take
	// back or damage what was acknowledged, as far as they are known.
	Warnings() []string
}

// Cluster is the one row of a partition's cluster table.
type Cluster struct {
	ID          string   // of the cluster: 128 random bits in hex, the same in every partition
	PartitionID string   // of this database: 128 random bits in hex
	Name        string   // the partition's name when it joined
	Epoch       int64    // grows with every change of mastership, from 1
	Masters     []string // names of the masters, in the order Slots refers to
	Slots       []uint16 // slot → index into Masters; len is the number of slots
	Ends        []End    // of origins whose counter was raised into a later epoch, in the order in which that happened
}

// End says what counts of the revisions that an origin gave out below a later
// epoch of its own: those beyond the cut are lost. No partition holds them, but
// sessions, tokens and tags can name them.
type End struct {
	Origin Origin   `json:"origin"`
	Cut    Revision `json:"cut"`
	Below  Revision `json:"below"` // Floor of the epoch that began
}

// Lost reports whether a revision of an origin was given out and does not count any more.
func (c *Cluster) Lost(o Origin, r Revision) bool {
	return slices.ContainsFunc(c.Ends, func(e End) bool { return e.Origin == o && e.Cut < r && r < e.Below })
}

// CheckPosition is ErrRefused where a partition that is at a revision of an origin,
// itself or not, contradicts the ends.
func (c *Cluster) CheckPosition(name string, o Origin, at Revision) error {
	if c.Lost(o, at) {
		return fmt.Errorf("%w: it holds writes of %s up to %d, which a restore did not count since this partition was away: export what is needed of it, then empty it, and it is filled afresh", ErrRefused, o, at)
	}
	for _, e := range c.Ends {
		if e.Origin == o && name == string(o) && at < e.Cut {
			return fmt.Errorf("%w: its newest revision is %d, but %d counts: it has lost writes, which 'runnel restore' takes back from the others", ErrRefused, at, e.Cut)
		}
	}
	return nil
}

// Master is the side of a partition that accepts writes.
type Master interface {
	// Commit runs one transaction: it claims b.Revisions revisions, reads what
	// the batch asks for, writes, and commits durably. The claim serialises
	// all writers of this partition, in every process, until the commit.
	//
	// ErrStaleEpoch: nothing happened, the partition is of another epoch, or
	// of no cluster, or has no row of positions for itself, or is below Batch.AtLeast.
	// ErrPositionMoved: see Batch.After. ErrUnavailable, ErrTooLarge: nothing
	// happened. ErrOutcomeUnknown: see there. An error of b.Decide rolls back and is returned as it is.
	Commit(ctx context.Context, b Batch) (Claim, error)
	// Expired lists keys of entries of the partition's own origin that are no
	// tombstones and have expired by its own clock: those that expired first, at most limit.
	Expired(ctx context.Context, limit int) ([]Key, error)
}

// Batch is what one group commit asks of its master.
type Batch struct {
	Epoch int64
	// After, when not zero, makes the claim succeed only if nobody has claimed since the one
	// that ended here: what the caller knows as of then still stands. Otherwise
	// it is ErrPositionMoved, and nothing happened.
	After Revision
	// AtLeast is a revision that the partition is known to have given out. A counter
	// below it was set back in time, and would give revisions out again.
	AtLeast   Revision
	Revisions int   // how many to claim, at least 1
	Read      []Key // entries to read with their values, before anything is written
	Heads     []Key // entries to read without their values

	// Write holds the entries of a batch that needs no decision; its keys
	// are distinct, and so are its revisions. Origin is set by the partition
	// to its own name, here and in Decide. Revision is an offset from the claim's first revision
	// (0 ≤ offset < Revisions), ModifiedAt is set by the partition to
	// Claim.Now. Such a batch takes one round trip.
	Write []Entry

	// Decide, when not nil, is called once per attempt inside the transaction
	// with the claim and returns the entries to write in place of Write:
	// distinct keys, distinct revisions, absolute and within the claim, ModifiedAt
	// as given. It does no I/O and may run again after a deadlock.
	Decide func(Claim) ([]Entry, error)
}

// Claim is what a transaction was given.
type Claim struct {
	First   Revision // the first of the claimed revisions
	Now     Instant  // the database's clock, read with the claim
	Current []Entry  // what stood for Batch.Read and Batch.Heads, tombstones included, absent keys left out, in no order
}

// Reader is the side that answers reads.
type Reader interface {
	// Get reads the entries of keys in one statement (split when there are
	// very many): tombstones and expired entries included, absent keys left
	// out, in no order.
	Get(ctx context.Context, keys []Key) ([]Entry, error)
	// GetSmall is Get without the values that are larger than most bytes: of
	// these entries it reads the head alone, so that Value is nil where Size is
	// more than most, and nowhere else.
	GetSmall(ctx context.Context, keys []Key, most int64) ([]Entry, error)
	// List reads the entries of a span in key order, without tombstones.
	// more says that entries may follow the last one returned.
	List(ctx context.Context, s Span) (entries []Entry, more bool, err error)
	// Positions reads the clock and every row of positions at one moment.
	Positions(ctx context.Context) (Positions, error)
	// Newest reads the newest entries of an origin up to the partition's position,
	// without values, tombstones included, the newest first, at most limit.
	Newest(ctx context.Context, origin Origin, limit int) ([]Entry, error)
}

// Span is a range of keys. Keys order by their bytes.
type Span struct {
	From   Key   // first key, inclusive
	To     Key   // end, exclusive; "" means no end
	Limit  int   // at most so many entries, at least 1
	Values bool  // read the values too
	Bytes  int64 // with Values: stop after the entry whose value reaches this sum; 0 means 8 MiB
}

// Positions is what a partition holds, at one moment of its clock.
type Positions struct {
	Now     Instant
	Origins map[Origin]Position
}

// Source is the side that others copy from.
type Source interface {
	// Snapshot opens a consistent view of the entries of origin after a
	// revision, up to the partition's position. The caller closes it.
	Snapshot(ctx context.Context, origin Origin, after Revision) (Snapshot, error)
	// Barrier makes a small durable commit: when it returns, everything that
	// was visible before the call is durable. docs/architecture.md says why.
	Barrier(ctx context.Context) error
}

// Snapshot streams entries of one origin in the order of their revisions. It
// is used by one goroutine.
type Snapshot interface {
	// Position is the source's position for the origin in the snapshot. When
	// the source is the origin, SyncedAt is its clock as the snapshot was
	// opened, read before the view was taken.
	Position() Position
	// Next returns the following entries, tombstones included: at least one
	// and at most maxEntries, stopping after the one whose value reaches
	// maxBytes in sum. io.EOF when none are left.
	Next(ctx context.Context, maxEntries int, maxBytes int64) ([]Entry, error)
	Close() error
}

// Target is the side that copies are applied to.
type Target interface {
	// Apply takes c in one transaction, rows and position together or not at
	// all: an entry is only ever replaced by a newer one. ErrPositionMoved and
	// ErrLeaseLost change nothing.
	Apply(ctx context.Context, c Copy) error
	// Reset removes everything held of origin, and its position, so that it
	// can be filled afresh. The position goes first: until the origin is
	// whole again the partition is not readable for it. It is never called
	// for the partition's own origin, and refuses that with ErrRefused.
	// ErrPositionMoved: somebody has begun to fill it meanwhile, and is left alone.
	Reset(ctx context.Context, origin Origin) error
	// Collect removes tombstones of origin with a revision up to upTo, in
	// bounded transactions that each raise Position.Collected first, and
	// says how many. An upTo beyond the partition's own position for the
	// origin is refused with ErrRefused.
	Collect(ctx context.Context, origin Origin, upTo Revision) (int, error)
	// Acquire takes or renews the sync lease of this partition for holder,
	// by the partition's clock. A new holder gets a higher fence. ErrLeaseHeld, and
	// that lease, when another holds it. A lease that ends later than two ttl from now
	// counts as expired: the clock was set back since it was taken.
	Acquire(ctx context.Context, holder string, ttl time.Duration) (Lease, error)
	// Release gives the lease up, so that another need not wait. A lease that
	// is not held any more is no error.
	Release(ctx context.Context, l Lease) error
}

// Copy is one step of copying an origin to a target.
type Copy struct {
	Origin   Origin
	From     Revision // the position must be here (0: none yet) …
	To       Revision // … and is here afterwards; To ≥ From
	Goal     Revision // Position.Goal afterwards; Goal ≥ To
	SyncedAt Instant  // Position.SyncedAt afterwards if later than what stands; zero leaves it
	// Collected is Position.Collected afterwards if higher than what stands: the source of
	// a target that is being filled has no tombstones up to here.
	Collected Revision
	Entries   []Entry // of Origin, From < revision ≤ To
	Fence     int64   // of the lease under which this is done; zero: not checked
}

// Lease is a holder's right to sync a target.
type Lease struct {
	Holder    string
	Fence     int64
	ExpiresAt Instant // by the target's clock
}
