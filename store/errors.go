package store

import (
	"errors"
	"fmt"
	"time"

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
	// stored. See MasterError.
	ErrMasterUnavailable = errors.New("master unavailable")
	// ErrOutcomeUnknown: the connection to the master died during the commit:
	// the write stands wholly or not at all, and nobody here knows which.
	ErrOutcomeUnknown = partition.ErrOutcomeUnknown
	// ErrUnknownPartition: no partition of that name is configured.
	ErrUnknownPartition = errors.New("unknown partition")
	// ErrClosed: the store is shutting down.
	ErrClosed = errors.New("store closed")
)

// KeyError says why a name is not a key. It is found before anything is touched.
type KeyError struct {
	Reason string // "is empty", "is longer than 512 bytes", …
}

func (e *KeyError) Error() string { return "the key " + e.Reason }

// TooLargeError says that a value exceeds what the store accepts.
type TooLargeError struct {
	Limit int64 // bytes of the largest value that is accepted
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the value is larger than %d bytes", e.Limit)
}

// MasterError is ErrMasterUnavailable with the master's name and cause.
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
