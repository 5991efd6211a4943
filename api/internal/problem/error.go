package problem

import (
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/runnelkv/runnel/api/wire"
)

// Error is an error that says itself how it is answered.
type Error struct {
	Type    *Type
	Detail  string
	Members wire.ProblemMembers
	Retry   time.Duration // 0: no Retry-After, unless the status calls for one
}

func (e *Error) Error() string { return e.Type.Slug + ": " + e.Detail }

// New makes a refusal with a detail for whoever sent the request.
func New(t *Type, format string, args ...any) *Error {
	return &Error{Type: t, Detail: fmt.Sprintf(format, args...)}
}

// Parameter refuses a parameter of the query.
func Parameter(name, format string, args ...any) *Error {
	e := New(InvalidParameter, format, args...)
	e.Members.Parameter = name
	return e
}

// Header refuses a header's value.
func Header(name, format string, args ...any) *Error {
	e := New(InvalidHeader, format, args...)
	e.Members.Header = name
	return e
}

// ValueTooLarge refuses a value of more than limit bytes.
func ValueTooLarge(limit int64) *Error {
	e := New(TooLarge, "The value is larger than %d bytes.", limit)
	e.Members.MaxBytes = limit
	return e
}

// LogLevel is how grave a failure of the server is. That something is away
// is told once by who finds out, and not by each request that it meets.
func (e *Error) LogLevel() slog.Level {
	switch e.Type.Status {
	case http.StatusInternalServerError:
		return slog.LevelError
	case http.StatusServiceUnavailable:
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

// Document is the problem without its request.
func (e *Error) Document() wire.Problem {
	return wire.Problem{Type: wire.ProblemsPath + e.Type.Slug, Title: e.Type.Title, Status: e.Type.Status, Detail: wire.Text(e.Detail), ProblemMembers: e.Members}
}

// BodyTooLarge refuses a body of more than limit bytes.
func BodyTooLarge(limit int64) *Error {
	e := New(TooLarge, "The body is larger than %d bytes.", limit)
	e.Members.MaxBytes = limit
	return e
}

// Item refuses an operation for one of its members.
func Item(member, format string, args ...any) *Error {
	e := New(InvalidItem, format, args...)
	e.Members.Parameter = member
	return e
}
