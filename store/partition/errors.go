package partition

import "errors"

// The errors of a Partition, wrapped with the name of the operation.
var (
	// ErrUnavailable: the database did not answer in time; the call had no effect. A later attempt
	// may succeed.
	ErrUnavailable = errors.New("partition unavailable")
	// ErrNotPrepared, together with ErrUnavailable: the database or one of its tables is missing.
	// Prepare creates them.
	ErrNotPrepared = errors.New("not prepared")
	// ErrOutcomeUnknown: the connection failed during a commit. The transaction took effect as a
	// whole or not at all.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrStaleEpoch: the batch belongs to another epoch than the partition, or the partition's
	// counter is below Batch.AtLeast.
	ErrStaleEpoch = errors.New("stale epoch")
	// ErrSetBack: a partition lacks entries that a copy of the partition has. An older backup was
	// restored, or a crash took back commits that were not durable.
	ErrSetBack = errors.New("set back in time")
	// ErrPositionMoved: the position differs from Copy.From or Batch.After, because another process
	// has applied a copy or committed. Read the position and try again.
	ErrPositionMoved = errors.New("position moved")
	// ErrOutvoted: the partition has promised this ballot or a higher one.
	ErrOutvoted = errors.New("outvoted")
	// ErrLeaseLost: the fence of a Copy differs from the fence of the current lease.
	ErrLeaseLost = errors.New("lease lost")
	// ErrLeaseHeld: another holder has the lease, and the lease has not expired.
	ErrLeaseHeld = errors.New("lease held")
	// ErrNoCluster: the database was never joined to a cluster.
	ErrNoCluster = errors.New("no cluster")
	// ErrRefused: the database cannot serve as configured until an operator acts: a missing GRANT,
	// another cluster's data, another partition's name, a newer schema. The text names the act.
	ErrRefused = errors.New("refused")
	// ErrTooFar: a replica lacks too much for one transaction; see CatchUp.
	ErrTooFar = errors.New("too far behind")
	// ErrNoSpace, together with ErrUnavailable: the database has no room for the entries.
	ErrNoSpace = errors.New("no space left")
	// ErrNoChunk: the partition does not hold the chunk.
	ErrNoChunk = errors.New("no such chunk")
	// ErrDamaged: an entry does not match its checksum.
	ErrDamaged = errors.New("damaged")
	// ErrTooLarge: an entry or a chunk exceeds a limit of the database.
	ErrTooLarge = errors.New("too large for the partition")
)
