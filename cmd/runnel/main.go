package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/cmd/runnel/internal/session"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	p := &program{Streams: console.System(), getenv: os.Getenv}
	os.Exit(p.execute(ctx, os.Args[1:]))
}

// program is the part of the process that commands may use.
type program struct {
	console.Streams
	getenv func(string) string

	flags   globalFlags
	session *session.File // of the running command; nil for none
	started bool          // a command's own code has started, so errors are no longer usage errors
}

// execute runs a command line and returns the exit status. Only execute prints errors, each once.
func (p *program) execute(ctx context.Context, args []string) int {
	out := &checkedOutput{w: p.Out}
	p.Out = out
	p.Protect()
	root := newRoot(p)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	err = cmp.Or(err, p.Flush())
	if out.err != nil {
		err = &console.ExitError{Code: console.ExitFailed, Err: out.err}
	}
	if err == nil {
		return console.ExitOK
	}
	code := console.ExitFailed
	var exit *console.ExitError
	switch {
	case errors.As(err, &exit):
		code = exit.Code
	case !p.started, errors.Is(err, client.ErrInvalid):
		code = console.ExitUsage
	}
	if !errors.Is(err, console.ErrSilent) {
		fmt.Fprintf(p.Err, "runnel: %s\n", p.describe(err))
	}
	if code == console.ExitUsage && !p.started {
		fmt.Fprintf(p.Err, "see '%s --help'\n", cmd.CommandPath())
	}
	return code
}

// describe returns the text of err without repeated lines, and with --verbose the id of the request that failed.
func (p *program) describe(err error) string {
	var lines []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	text := strings.Join(lines, "\n  ") // no line that the program did not begin
	if e, ok := errors.AsType[*client.Error](err); ok && p.flags.verbose && e.Request != "" {
		return fmt.Sprintf("%s (request %s)", text, console.Line(e.Request))
	}
	return text
}

// checkedOutput is standard output. A command fails if a write of its output fails, even if the command ignores the error.
type checkedOutput struct {
	w   io.Writer
	err error // of the first write that failed
}

// Unwrap returns the writer behind the checks.
func (o *checkedOutput) Unwrap() io.Writer { return o.w }

func (o *checkedOutput) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if err != nil && o.err == nil {
		o.err = fmt.Errorf("write the output: %w", err)
	}
	return n, err
}
