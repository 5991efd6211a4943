package store

import (
	"errors"
	"fmt"
	"time"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/internal/commit"
	"github.com/runnelkv/runnel/store/internal/guard"
	"github.com/runnelkv/runnel/store/internal/quota"
	"github.com/runnelkv/runnel/store/internal/routing"
	"github.com/runnelkv/runnel/store/partition"
)

var (
	// ErrNotFound: the partition that answered holds no live entry of the key.
	ErrNotFound = errors.New("not found")
	// ErrNoPartition: no partition can answer the read now.
	ErrNoPartition = backend.ErrNoPartition
	// ErrMasterUnavailable: the key's master takes no writes now; nothing was
	// stored. The error is a *MasterError.
	ErrMasterUnavailable = backend.ErrMasterUnavailable
	// ErrMoving: the key's slot is moving to another master, for longer than two seconds. It is the cause of a *MasterError.
	ErrMoving = backend.ErrMoving
	// ErrUnknownPartition: no partition of that name is configured.
	ErrUnknownPartition = backend.ErrUnknownPartition
	// ErrDifferentMasters: the keys of one Update have more than one master.
	ErrDifferentMasters = errors.New("keys have different masters")
	// ErrOutcomeUnknown: the connection to the master died during the commit. The
	// write is stored completely or not at all; which of the two is unknown.
	ErrOutcomeUnknown = partition.ErrOutcomeUnknown
	// ErrClosed: the store is shutting down.
	ErrClosed = backend.ErrClosed
)

// KeyError says why a name is not a valid key. Nothing was read or written.
type KeyError struct {
	Reason string // "is empty", "is longer than 512 bytes", …
}

func (e *KeyError) Error() string { return "the key " + e.Reason }

// MasterError is ErrMasterUnavailable with the name of the Master and the cause, Err. A retry may
// succeed after the duration RetryAfter.
type MasterError = backend.MasterError

// HaltedError: the cluster map halts Updates of this kind, see Store.Halt. Nothing was stored.
type HaltedError struct {
	Reason string
}

func (e *HaltedError) Error() string { return "the ledger is halted: " + e.Reason }

// NotLevelError: a partition does not hold all masters' entries as of one moment, so that no View of it is possible. A
// retry may succeed once the sync process has brought the Partition level.
type NotLevelError struct {
	Partition string
	Origin    Origin // of the entries that are missing
}

func (e *NotLevelError) Error() string {
	return fmt.Sprintf("%s does not hold all entries of %s yet", e.Partition, e.Origin)
}

// TooLargeError says that a value exceeds the size limit of the store. Limit is the size of the largest value that is
// accepted, in bytes.
type TooLargeError = commit.TooLargeError

// LockedError says that another owner holds a lock, or that a lock protects the key of a write that
// came without the holder's fence. Nothing was written.
type LockedError = guard.LockedError

// StaleFenceError says that the lock of a Fence is not held with that fence, or not any more. Nothing
// was written.
type StaleFenceError = guard.StaleFenceError

// QuotaError says that a write exceeds the quota of the Prefix: Limit keys or bytes (Unit), of which
// Used are in use. The write would have added Growth. Nothing was stored.
type QuotaError = quota.Error

// SessionError: no partition that answers holds everything the session has seen, and the
// key's Master does not answer or has lost a part; Err says why the master could not be asked.
// A retry may succeed after the duration RetryAfter.
type SessionError = routing.SessionError

// StalenessError: no partition that answers is known to be as fresh as the read demands, at
// most Max stale; Err says why the master could not be asked. A retry may succeed after the
// duration RetryAfter.
type StalenessError = routing.StalenessError

// CopiesError: fewer partitions answered than a Quorum needs. If Asked exceeds Configured,
// there are too few partitions.
type CopiesError struct {
	Asked, Answered, Configured int
	RetryAfter                  time.Duration
	Err                         error // of the last partition that failed
}

func (e *CopiesError) Error() string {
	return fmt.Sprintf("%d partitions answered, %d of %d were asked for: %v", e.Answered, e.Asked, e.Configured, e.Err)
}

func (e *CopiesError) Unwrap() error { return e.Err }
