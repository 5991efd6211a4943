package partition

import "errors"

// The errors a Partition answers with, wrapped with what it was doing.
var (
	// ErrUnavailable: the database did not answer, or not in time; nothing
	// of the call took effect. Another attempt may succeed.
	ErrUnavailable = errors.New("partition unavailable")
	// ErrNotPrepared, with ErrUnavailable: the database or a table of it is missing. Prepare makes what is.
	ErrNotPrepared = errors.New("not prepared")
	// ErrOutcomeUnknown: the connection died while a commit was under way;
	// it stands wholly or not at all, and nobody here knows which.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrStaleEpoch: the batch was of an epoch that is not the partition's, or its
	// counter is below Batch.AtLeast.
	ErrStaleEpoch = errors.New("stale epoch")
	// ErrSetBack: a partition lacks what a copy of it holds: it was set back in time,
	// by an older backup or by a crash without durability.
	ErrSetBack = errors.New("set back in time")
	// ErrPositionMoved: the position was not at Copy.From any more, or not at
	// Batch.After; somebody else has applied, or committed, meanwhile. Harmless:
	// read again.
	ErrPositionMoved = errors.New("position moved")
	// ErrLeaseLost: the fence of a Copy is not that of the current lease.
	ErrLeaseLost = errors.New("lease lost")
	// ErrLeaseHeld: another holder has the lease and it has not expired.
	ErrLeaseHeld = errors.New("lease held")
	// ErrNoCluster: the database was never joined to a cluster.
	ErrNoCluster = errors.New("no cluster")
	// ErrRefused: the database cannot serve as configured until an operator
	// acts (a missing GRANT, another cluster's data, another partition's
	// name, a newer schema). The wrapping text says what to do.
	ErrRefused = errors.New("refused")
	// ErrTooFar: a replica lacks too much to be brought level at once; see CatchUp.
	ErrTooFar = errors.New("too far behind")
	// ErrTooLarge: an entry does not fit what the server accepts.
	ErrTooLarge = errors.New("too large for the partition")
)
