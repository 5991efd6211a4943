package problem

import (
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/runnelkv/runnel/api/wire"
)

// Error is an error with its answer: a problem type and the details of this request.
type Error struct {
	Type    *Type
	Detail  string
	Members wire.ProblemMembers
	Retry   time.Duration // suggested to the client; 0: the default of the status
}

// Error returns the slug and the detail.
func (e *Error) Error() string { return e.Type.Slug + ": " + e.Detail }

// New returns an error with a detail for the client, a sentence.
func New(t *Type, format string, args ...any) *Error {
	return &Error{Type: t, Detail: fmt.Sprintf(format, args...)}
}

// Parameter returns the error for a parameter of the query.
func Parameter(name, format string, args ...any) *Error {
	e := New(InvalidParameter, format, args...)
	e.Members.Parameter = name
	return e
}

// Header returns the error for the value of a header.
func Header(name, format string, args ...any) *Error {
	e := New(InvalidHeader, format, args...)
	e.Members.Header = name
	return e
}

// ValueTooLarge returns the error for a value of more than limit bytes.
func ValueTooLarge(limit int64) *Error {
	e := New(TooLarge, "The value is larger than %d bytes.", limit)
	e.Members.MaxBytes = limit
	return e
}

// LogLevel returns the level at which the server logs the failure. Unavailable databases are logged once by the store,
// so requests that meet them are logged at debug level only. So are those beyond a quota, which any client can send.
func (e *Error) LogLevel() slog.Level {
	switch {
	case e.Type.Status == http.StatusInternalServerError:
		return slog.LevelError
	case e.Type.Status == http.StatusServiceUnavailable, e.Type == QuotaExceeded:
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

// Document returns the problem document without the members that describe the request.
func (e *Error) Document() wire.Problem {
	return wire.Problem{Type: wire.ProblemsPath + e.Type.Slug, Title: e.Type.Title, Status: e.Type.Status, Detail: wire.Text(e.Detail), ProblemMembers: e.Members}
}

// BodyTooLarge returns the error for a body of more than limit bytes.
func BodyTooLarge(limit int64) *Error {
	e := New(TooLarge, "The body is larger than %d bytes.", limit)
	e.Members.MaxBytes = limit
	return e
}

// Item returns the error for a member of an operation.
func Item(member, format string, args ...any) *Error {
	e := New(InvalidItem, format, args...)
	e.Members.Parameter = member
	return e
}
