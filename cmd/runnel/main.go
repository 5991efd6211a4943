package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/runnelkv/runnel/api/client"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	p := &program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, now: time.Now, isTerminal: isTerminal}
	os.Exit(p.run(ctx, os.Args[1:]))
}

// Exit statuses of every command.
const (
	exitOK     = 0
	exitFailed = 1 // it was tried and failed, or what was asked for is not there
	exitUsage  = 2 // the command line or a configuration is wrong; nothing was tried
)

// program is everything a command may touch of the process it runs in.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	now            func() time.Time
	isTerminal     func(stream any) bool

	flags   globalFlags
	session *sessionFile // of the command that runs; nil for none
	running bool         // a command's own code has begun, so that an error is no longer one of usage
}

// run executes one command line and returns the process's exit status. An error is printed once, here.
func (p *program) run(ctx context.Context, args []string) int {
	terminal, out := p.isTerminal, &output{w: p.stdout}
	p.isTerminal = func(stream any) bool {
		if stream == out {
			stream = out.w
		}
		return terminal(stream)
	}
	p.stdout = out
	root := newRoot(p)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if out.err != nil {
		err = &exitError{code: exitFailed, err: out.err}
	}
	if err == nil {
		return exitOK
	}
	code := exitFailed
	var exit *exitError
	switch {
	case errors.As(err, &exit):
		code = exit.code
	case !p.running, errors.Is(err, client.ErrInvalid):
		code = exitUsage
	}
	if !errors.Is(err, errSilent) {
		fmt.Fprintf(p.stderr, "runnel: %s\n", visible(p.describe(err)))
	}
	if code == exitUsage && !p.running {
		fmt.Fprintf(p.stderr, "see '%s --help'\n", cmd.CommandPath())
	}
	return code
}

// describe is err for a person, no line twice; with --verbose it says which request it came from.
func (p *program) describe(err error) string {
	var lines []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	text := strings.Join(lines, "\n")
	if e, ok := errors.AsType[*client.Error](err); ok && p.flags.verbose && e.RequestID != "" {
		return fmt.Sprintf("%s (request %s)", text, e.RequestID)
	}
	return text
}

// errSilent is returned by a command that has said all there is to say and only wants its exit status.
var errSilent = errors.New("failed")

// exitError is an error with an exit status of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usageError reports a wrong command line or configuration: exit status 2.
func usageError(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// isTerminal reports whether stream is a file that a person sits at.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
