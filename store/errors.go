package store

import (
	"errors"
	"fmt"
	"time"

	"github.com/runnelkv/runnel/store/internal/pointread"
	"github.com/runnelkv/runnel/store/partition"
)

var (
	// ErrNotFound: the partition that answered holds no live entry of the key.
	ErrNotFound = errors.New("not found")
	// ErrDifferentMasters: the keys of one Update have more than one master.
	ErrDifferentMasters = errors.New("keys have different masters")
	// ErrNoPartition: no partition can answer the read now.
	ErrNoPartition = errors.New("no partition can answer")
	// ErrMasterUnavailable: the key's master takes no writes now; nothing was
	// stored. The error is a *MasterError.
	ErrMasterUnavailable = errors.New("master unavailable")
	// ErrOutcomeUnknown: the connection to the master died during the commit. The
	// write is stored completely or not at all; which of the two is unknown.
	ErrOutcomeUnknown = partition.ErrOutcomeUnknown
	// ErrUnknownPartition: no partition of that name is configured.
	ErrUnknownPartition = errors.New("unknown partition")
	// ErrClosed: the store is shutting down.
	ErrClosed = pointread.ErrClosed
)

// KeyError says why a name is not a valid key. Nothing was read or written.
type KeyError struct {
	Reason string // "is empty", "is longer than 512 bytes", …
}

func (e *KeyError) Error() string { return "the key " + e.Reason }

// TooLargeError says that a value exceeds the size limit of the store.
type TooLargeError struct {
	Limit int64 // bytes of the largest value that is accepted
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the value is larger than %d bytes", e.Limit)
}

// MasterError is ErrMasterUnavailable with the master's name and the cause. A retry may
// succeed after RetryAfter.
type MasterError struct {
	Master     string
	RetryAfter time.Duration
	Err        error // the cause
}

func (e *MasterError) Error() string {
	return fmt.Sprintf("master %s unavailable: %v", e.Master, e.Err)
}

// Is makes errors.Is(err, ErrMasterUnavailable) hold.
func (e *MasterError) Is(target error) bool { return target == ErrMasterUnavailable }

func (e *MasterError) Unwrap() error { return e.Err }

// SessionError: no partition that answers holds everything the session has seen, and the
// key's master does not answer or has lost a part.
type SessionError struct {
	Master     string
	RetryAfter time.Duration
	Err        error // why the master could not be asked
}

func (e *SessionError) Error() string {
	return fmt.Sprintf("no partition that answers has reached the session: %v", e.Err)
}

func (e *SessionError) Unwrap() error { return e.Err }

// StalenessError: no partition that answers is known to be as fresh as the read demands.
type StalenessError struct {
	Max        time.Duration
	RetryAfter time.Duration
	Err        error // why the master could not be asked
}

func (e *StalenessError) Error() string {
	return fmt.Sprintf("no partition that answers is at most %v stale: %v", e.Max, e.Err)
}

func (e *StalenessError) Unwrap() error { return e.Err }

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
