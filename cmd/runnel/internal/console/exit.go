package console

import (
	"errors"
	"fmt"
)

// Exit statuses of every command.
const (
	ExitOK     = 0
	ExitFailed = 1 // the command failed, or something that was asked for does not exist
	ExitUsage  = 2 // the command line or a configuration is wrong; nothing was tried
)

// ErrSilent is the cause of an ExitError after the command has printed everything.
var ErrSilent = errors.New("failed")

// ExitError is an error with an exit status of its own.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *ExitError) Unwrap() error { return e.Err }

// UsageError reports a wrong command line or configuration: exit status 2.
func UsageError(format string, args ...any) error {
	return &ExitError{Code: ExitUsage, Err: fmt.Errorf(format, args...)}
}
