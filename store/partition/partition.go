package partition

import (
	"cmp"
	"context"
	"time"
)

// Partition is a database that holds a copy of the data. All methods are safe for concurrent use,
// obey the context's deadline, and return the errors of this package. The partition neither keeps
// nor changes slices that it was given or has returned.
type Partition interface {
	Identity
	Migrator
	Master
	Reader
	Source
	Target
	Verifier
	Chunks
	Observers

	// Close ends all connections. Running calls fail with ErrUnavailable.
	Close() error
}

// Identity says which database a partition is, and which cluster the database belongs to.
type Identity interface {
	// Name is the configured name of the partition and its Origin.
	Name() string
	// Kind is "memory", "sqlite", "mysql" or "mariadb". Before Prepare has succeeded, both kinds of
	// servers return "mysql".
	Kind() string
	// Prepare connects, and creates a missing database and missing tables. Older tables are
	// completed while the partition belongs to no cluster, and otherwise stay as they are: another
	// binary may use them. Prepare may be repeated and may run in several processes at once.
	// ErrRefused says what an operator must do (for example which GRANT is missing, or that the
	// tables need a newer binary); ErrUnavailable is temporary.
	Prepare(ctx context.Context) error
	// Cluster returns the cluster row, or ErrNoCluster.
	Cluster(ctx context.Context) (Cluster, error)
	// Join writes the cluster row unless a row exists, and returns the row as it is then. The
	// caller compares the row to see whether the partition belongs to the cluster. The partition
	// chooses PartitionID, and the row begins without ballots. If c.Masters contains the partition's
	// name, Join creates the partition's own row of positions at Floor(c.EpochOf(name)). If
	// c.NeedsBallots, Join shuts out binaries that know no ballots, as Finish does: the cluster has
	// shut them out before.
	Join(ctx context.Context, c Cluster) (Cluster, error)
	// Promise raises Promised to ballot, durably, and returns the row as it is then.
	//
	// ErrOutvoted, together with the row: Promised is ballot or higher. ErrRefused: see
	// Schema.CheckBallots, or a backup is being restored to the partition. ErrNoCluster: there is no
	// row.
	Promise(ctx context.Context, ballot int64) (Cluster, error)
	// Accept proposes the map of c, with all that is changed by it, in a single transaction, and
	// returns the row as it is then, durably.
	//
	// With the ballot c.Accepted, the row takes the map, whatever the map's epoch, and promises the
	// ballot; c.Chosen, if equal, says that the map is chosen. A row that has promised a higher
	// ballot keeps its map. A row that has accepted this ballot only learns that it is chosen. Without
	// a ballot (0), the row takes the map of a later epoch, unless the row has promised a ballot.
	//
	// If the row takes the map and c.Masters contains the partition's name, Accept also raises the
	// partition's counter to Floor(c.EpochOf(name)), and creates a missing row of the counter: no
	// claim of an earlier epoch succeeds afterwards. The counter is never lowered. A partition amid a
	// catch-up to a revision that is lost by c.Ends begins to fill that origin afresh, see Cluster.Renew.
	//
	// ErrRefused, without any change: the row belongs to another cluster; the partition holds
	// revisions that are lost by c.Ends; the partition is the origin of an end and lacks revisions up
	// to the cut; the partition is to be a master and lacks own entries, below the Goal of its own
	// row; the ballot belongs to another map; the epoch is lower than that of a chosen map, or the
	// same with another map; see Schema.CheckBallots if c.NeedsBallots. ErrNoCluster: there is no row.
	// ErrPositionMoved, without any change: another process has begun to copy own entries.
	Accept(ctx context.Context, c Cluster) (Cluster, error)
	// MaxValueBytes is the size of the largest value that the partition can store (MySQL: by
	// max_allowed_packet). Before Prepare has succeeded, the size is that of a server with default
	// settings.
	MaxValueBytes() int64
	// Warnings describe the settings of the server that let a crash of its machine take back or
	// damage acknowledged writes.
	Warnings() []string
}

// Master is the part of a partition that accepts writes.
type Master interface {
	// Commit runs a transaction: it claims b.Revisions revisions, reads the entries that the
	// batch asks for, writes, and commits durably. From the claim to the commit, the transaction
	// excludes all other writers of this partition, in every process.
	//
	// ErrStaleEpoch, without effect: the partition belongs to another epoch or to no cluster, has
	// no own row of positions, or is below Batch.AtLeast. ErrPositionMoved, without effect: see
	// Batch.After and Batch.Unguarded. ErrUnavailable, ErrTooLarge: without effect. ErrOutcomeUnknown: the commit may
	// have taken effect. Commit returns an error of b.Decide unchanged, after a rollback.
	Commit(ctx context.Context, b Batch) (Claim, error)
	// Counter reads the last claimed revision of the partition's own origin, 0 without an own row of
	// positions. Counter is the cheapest way to learn the epoch of the counter.
	Counter(ctx context.Context) (Revision, error)
	// CountGuards counts the guards of the partition whose keys are counted, and sets their number, if
	// it is unknown. Writes go on meanwhile. ErrStaleEpoch, without effect: the partition's counter
	// belongs to another epoch.
	CountGuards(ctx context.Context, epoch int64, counted func(Key) bool) error
	// Expired lists the entries of an origin that have expired by the partition's clock, in the order
	// of their expiry and keys. Tombstones do not count.
	Expired(ctx context.Context, s ExpirySpan) ([]ExpiredKey, error)
}

// ExpirySpan is a range of an origin's entries in the order of their expiry and keys.
type ExpirySpan struct {
	Origin Origin
	After  ExpiredKey // exclusive; zero: from the start
	Until  Instant    // only entries that expire at Until or before; zero: no such bound
	Limit  int        // at least 1
}

// ExpiredKey is the key of an entry that expires at At.
type ExpiredKey struct {
	At  Instant
	Key Key
}

// Compare orders keys by their expiry and bytes.
func (k ExpiredKey) Compare(other ExpiredKey) int {
	return cmp.Or(cmp.Compare(k.At, other.At), cmp.Compare(k.Key, other.Key))
}

// Batch is a group commit.
type Batch struct {
	Epoch int64
	// After, if not zero, lets the claim succeed only if After is the last claimed revision: the
	// caller's knowledge as of After is then still valid. Otherwise Commit fails with
	// ErrPositionMoved.
	After Revision
	// AtLeast is a revision that the partition is known to have used. A counter below AtLeast was
	// set back in time, and would use revisions a second time.
	AtLeast Revision
	// Unguarded lets the claim succeed only while the master has no guards; otherwise Commit fails
	// with ErrPositionMoved. Tables from before guards have none.
	Unguarded bool
	Revisions int   // number of revisions to claim, at least 1
	Read      []Key // entries to read with their values, before anything is written
	Heads     []Key // entries to read without their values

	// Write holds the entries of a batch without a decision: distinct keys, distinct revisions.
	// Revision is an offset from the claim's first revision (0 ≤ offset < Revisions). The partition
	// sets ModifiedAt to Claim.Now and, here and in Decide, Origin to its own name. Such a batch
	// takes one round trip.
	Write []Entry

	// Decide, if not nil, replaces Write: Commit calls Decide inside the transaction, once per
	// attempt, and writes the entries that Decide returns. Their keys are distinct, their revisions
	// are distinct, absolute and within the claim. Decide does no I/O, sets ModifiedAt, and may run
	// again after a deadlock.
	Decide func(Claim) ([]Entry, error)

	// RowChecksums is set by Normalize: the partition writes row checksums, and Checksum of Write covers only the columns
	// that are known before the claim.
	RowChecksums bool
}

// Claim is the result of claiming revisions.
type Claim struct {
	First   Revision // first claimed revision
	Now     Instant  // the database's clock, read after the claim
	Guards  int64    // with Batch.Decide: the number of guards before the batch; see GuardsUnknown
	Current []Entry  // entries of Batch.Read and Batch.Heads before the batch, tombstones included, without absent keys, unordered
}

// Reader is the part of a partition that answers reads.
type Reader interface {
	// Get reads the entries of keys, tombstones and expired entries included, in one statement
	// (very many keys are split). Absent keys are left out; the result is unordered.
	Get(ctx context.Context, keys []Key) ([]Entry, error)
	// GetSmall is Get, but leaves Value nil in entries with a Size of more than most bytes. These
	// values are not read from the database.
	GetSmall(ctx context.Context, keys []Key, most int64) ([]Entry, error)
	// List reads the entries of a span in the order of their keys, without tombstones. more says
	// that further entries may follow.
	List(ctx context.Context, s Span) (entries []Entry, more bool, err error)
	// Usage measures the live entries of the partition's own origin among the first Limit rows of a
	// span. Values and Bytes of the span are ignored. The figures are as of the same moment.
	Usage(ctx context.Context, s Span) (Usage, error)
	// Positions reads the clock, the epoch and all positions as of the same moment.
	Positions(ctx context.Context) (Positions, error)
	// Newest reads the newest entries of an origin up to the partition's position, in descending
	// order of revisions, at most limit. Tombstones are included, values are not.
	Newest(ctx context.Context, origin Origin, limit int) ([]Entry, error)
}

// Span is a range of keys, which are ordered by their bytes.
type Span struct {
	From   Key   // first key, inclusive
	To     Key   // end, exclusive; "" means no end
	Limit  int   // maximum number of entries, at least 1
	Values bool  // read the values too
	Bytes  int64 // with Values: sum of value sizes after which the result ends; 0: DefaultSpanBytes
}

// Usage is the use of a span by the live entries of a partition's own origin.
type Usage struct {
	Keys  int64 // number of entries
	Bytes int64 // sum of the sizes of their values
	Last  Key   // last row that was read; further rows may follow. "": the span has no further rows
	// Revision is the partition's own counter: every commit up to it is in the figures, and no later
	// commit.
	Revision Revision
}

// Positions are the positions of a partition as of a moment of its clock.
type Positions struct {
	Now    Instant
	Epoch  int64 // of the cluster row as of the same moment; 0: there is no row
	Ballot int64 // of the cluster map as of the same moment (Cluster.Accepted); 0: no ballot ever
	// VerifiedAt is when the partition was last verified in full, by the clock of the process that did; zero: never.
	VerifiedAt Instant
	Origins    map[Origin]Position
}

// Source is the part of a partition that copies are read from.
type Source interface {
	// Snapshot opens a consistent view of an origin's entries after a revision, up to the
	// partition's position. The caller closes the snapshot.
	Snapshot(ctx context.Context, origin Origin, after Revision) (Snapshot, error)
	// View opens a consistent view of the whole partition. The caller closes the view.
	// ErrNoCluster: the database was never joined to a cluster.
	View(ctx context.Context) (View, error)
	// Barrier makes a small durable commit. When Barrier returns, every commit that was visible
	// before the call is durable. docs/architecture.md gives the reason.
	Barrier(ctx context.Context) error
}

// Snapshot streams entries of an origin in the order of their revisions. A Snapshot is used by a
// single goroutine at a time.
type Snapshot interface {
	// Position is the source's position for the origin as of the snapshot. If the source is the
	// origin, SyncedAt is the source's clock, read before the view was opened.
	Position() Position
	// Heads returns the epoch of the source's cluster row (0: there is no row) and the source's
	// positions for all origins, as of the snapshot.
	Heads() (epoch int64, heads map[Origin]Position)
	// Next returns the next entries, tombstones included: at least one, at most maxEntries, and no
	// more after the entry with which the values bring the sum to maxBytes. After the last entry Next
	// returns io.EOF.
	Next(ctx context.Context, maxEntries int, maxBytes int64) ([]Entry, error)
	Close() error
}

// Target is the part of a partition that copies are written to.
type Target interface {
	// Apply writes entries, position and goals of c in a single transaction. Only a newer entry
	// replaces an entry. ErrPositionMoved and ErrLeaseLost: nothing has changed.
	Apply(ctx context.Context, c Copy) error
	// Reset removes all entries of origin and sets its position to zero, so that the origin can be
	// copied from the start. Only Position.Goal stays. The position is set first: the partition serves
	// no reads of the origin until the origin has been copied completely. For the partition's own origin Reset fails with
	// ErrRefused. ErrPositionMoved: another process has begun to copy the origin; its work is kept.
	Reset(ctx context.Context, origin Origin) error
	// Collect removes the tombstones of origin up to the revision upTo, in bounded transactions
	// that each raise Position.Collected first, and returns their number. Collect fails with
	// ErrRefused if upTo is beyond the partition's position for the origin.
	Collect(ctx context.Context, origin Origin, upTo Revision) (int, error)
	// Acquire takes or renews the sync lease of this partition for holder, by the partition's
	// clock. Each new holder gets a higher fence. If another holder has the lease, Acquire returns
	// that lease and ErrLeaseHeld. A lease that ends later than two ttl from now counts as expired:
	// the clock was set back after the lease had been taken.
	Acquire(ctx context.Context, holder string, ttl time.Duration) (Lease, error)
	// Release gives the lease up before its end. Release of a lease that has been lost is no error.
	Release(ctx context.Context, l Lease) error
}

// Copy is one step of copying an origin to a target.
type Copy struct {
	Origin Origin
	From   Revision // required position of the target; 0: none yet
	To     Revision // position afterwards; To ≥ From
	Goal   Revision // Position.Goal afterwards, unless the target's is higher; Goal ≥ To
	// Goals are lower bounds of Position.Goal of further origins afterwards: what the target lacks of
	// Origin may have been replaced, at the source, by their entries. The target's own origin is
	// passed over. An origin without a position gets a position at revision 0.
	Goals    map[Origin]Revision
	SyncedAt Instant // Position.SyncedAt afterwards, unless the target's is later; zero: unchanged
	// Collected is Position.Collected afterwards, unless the target's is higher. A source has no
	// tombstones up to Collected, so a target that is copied from the start lacks them too.
	Collected Revision
	Entries   []Entry // of Origin, From < revision ≤ To
	Fence     int64   // of the lease of this copy; zero: not checked
	// Epoch is that of the source's cluster map; zero: not checked. A target with a later map takes nothing: by that map
	// entries of the source may not count.
	Epoch int64
	// Ballot is that of the target's map by which the copy was planned; zero: not checked. A target with another map takes
	// nothing.
	Ballot int64
}

// Lease is a holder's right to sync a target.
type Lease struct {
	Holder    string
	Fence     int64
	ExpiresAt Instant // by the target's clock
}
