package routing

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/runnelkv/runnel/store/internal/backend"
)

// ReadError is the error of a read that no backend has answered.
func (q *Request) ReadError() error {
	name, failure := string(q.origin), q.failure
	switch {
	case errors.Is(failure, backend.ErrClosed):
		return backend.ErrClosed
	case q.demand.Partition != "" && q.router.backends.Named(q.demand.Partition) == nil:
		return fmt.Errorf("%s: %w", q.demand.Partition, backend.ErrUnknownPartition)
	case q.demand.Partition == "" && q.demand.FromMaster && !errors.Is(failure, ErrTooFarBehind):
		return q.router.masterError(name, failure)
	case q.strict && !q.demand.Session.IsZero():
		return &SessionError{Master: name, RetryAfter: q.router.options.Poll, Err: q.router.masterError(name, failure)}
	case q.strict:
		return &StalenessError{Max: q.demand.MaxStaleness, RetryAfter: q.router.options.Poll, Err: q.router.masterError(name, failure)}
	case failure != nil:
		return fmt.Errorf("%w: the last of %d failed: %w", backend.ErrNoPartition, q.tried, failure)
	}
	return backend.ErrNoPartition
}

// FailedWith is the error of a read for which err was the only backend's.
func (q *Request) FailedWith(err error) error {
	q.failure, q.tried = err, 1
	return q.ReadError()
}

// masterError is the error of a read that only the master could have answered.
func (r *Router) masterError(name string, failure error) error {
	if b := r.backends.Named(name); b != nil {
		return b.Unavailable(failure)
	}
	return &backend.MasterError{Master: name, RetryAfter: r.options.Poll, Err: cmp.Or(failure, backend.ErrUnknownPartition)}
}

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
