package backend

import (
	"errors"
	"fmt"
	"time"

	"github.com/runnelkv/runnel/store/internal/pointread"
	"github.com/runnelkv/runnel/store/partition"
)

var (
	// ErrNoPartition: no partition can answer the read now.
	ErrNoPartition = errors.New("no partition can answer")
	// ErrMasterUnavailable: the key's master takes no writes now; nothing was
	// stored. The error is a *MasterError.
	ErrMasterUnavailable = errors.New("master unavailable")
	// ErrUnknownPartition: no partition of that name is configured.
	ErrUnknownPartition = errors.New("unknown partition")
	// ErrClosed: the store is shutting down.
	ErrClosed = pointread.ErrClosed
	// ErrMoving: the key's slot has no master while it moves from one to another.
	ErrMoving = errors.New("the slot of the key is moving to another master")
	// ErrNoLease: this process may not answer for masters, because a majority of the voters has not answered lately.
	ErrNoLease = errors.New("this process has no master lease: a majority of the voters has not answered it lately, and another partition may be the master by now")
	// ErrNotReached: no attempt to reach the partition has succeeded yet.
	ErrNotReached = fmt.Errorf("%w: not reached yet", partition.ErrUnavailable)
)

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
