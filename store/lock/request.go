package lock

import (
	"encoding/json"
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/runnelkv/runnel/store"
)

// The limits of a request.
const (
	MinTTL       = time.Millisecond
	MaxTTL       = 24 * time.Hour
	MaxOwner     = 256     // bytes
	MaxRequestID = 128     // bytes
	MaxInfo      = 4 << 10 // bytes
	MaxNames     = 16      // of AcquireAll
	MaxWaiting   = 1000    // tickets of a lock
	MaxWait      = time.Hour
)

// Request asks for a lock.
type Request struct {
	Name      string
	Owner     string          // a name for people and logs
	RequestID string          // a repeated request with the same owner and id gets the same fence; "": never the same
	TTL       time.Duration   // until the lock expires, unless it is renewed
	Info      json.RawMessage // an object that the lock shows to others, or nil
	Protects  bool            // writes to the key Name need the fence
}

// InvalidError names the invalid Field of a request and the reason. Nothing was changed.
type InvalidError struct{ Field, Reason string }

func (e *InvalidError) Error() string { return e.Field + " " + e.Reason }

func invalid(field, format string, args ...any) error {
	return &InvalidError{field, fmt.Sprintf(format, args...)}
}

// checkRequest returns an *InvalidError or a *store.KeyError for a request that cannot succeed.
func (l *Locks) checkRequest(q *Request) error {
	if err := l.store.CheckName(q.Name); err != nil {
		return err
	}
	if err := checkText("owner", q.Owner, MaxOwner); err != nil {
		return err
	}
	if q.Owner == "" {
		return invalid("owner", "is missing or empty")
	}
	if err := checkText("request_id", q.RequestID, MaxRequestID); err != nil {
		return err
	}
	if len(q.Info) > MaxInfo {
		return invalid("info", "has %d bytes, more than %d", len(q.Info), MaxInfo)
	}
	if q.Protects {
		if err := l.store.CheckProtection(); err != nil {
			return &ProtectionError{err}
		}
	}
	return checkTTL(q.TTL)
}

func checkTTL(ttl time.Duration) error {
	if ttl < MinTTL || ttl > MaxTTL {
		return invalid("ttl", "is %v, and must be from %v to %v", ttl, MinTTL, MaxTTL)
	}
	return nil
}

func checkText(field, text string, limit int) error {
	switch {
	case len(text) > limit:
		return invalid(field, "has %d bytes, more than %d", len(text), limit)
	case !utf8.ValidString(text):
		return invalid(field, "is not valid UTF-8")
	}
	for _, r := range text {
		if unicode.IsControl(r) {
			return invalid(field, "holds the control character U+%04X", r)
		}
	}
	return nil
}

// ProtectionError says why no lock can protect a key yet. Nothing was changed.
type ProtectionError struct{ Err error }

func (e *ProtectionError) Error() string { return "no lock can protect a key: " + e.Err.Error() }
func (e *ProtectionError) Unwrap() error { return e.Err }

// QueueError says that MaxWaiting waiters stand in the queue of a lock.
type QueueError struct{ Name string }

func (e *QueueError) Error() string {
	return fmt.Sprintf("%d clients wait for the lock %q already", MaxWaiting, e.Name)
}

// UnsecuredError says that the master has granted or renewed a lock, and that no majority of the voters was known to hold this
// in time: a promotion may undo it. The error is store.ErrOutcomeUnknown. A repetition of the request, with the same owner and
// id, returns the lock once the majority is known.
type UnsecuredError struct{ Err error }

func (e *UnsecuredError) Error() string {
	return "the lock is held, and a majority of the voters is not known to hold its entry: " + e.Err.Error()
}
func (e *UnsecuredError) Unwrap() error        { return e.Err }
func (e *UnsecuredError) Is(target error) bool { return target == store.ErrOutcomeUnknown }
