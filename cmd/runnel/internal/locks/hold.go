package locks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

// Exit statuses of a command that runs under a lock, besides those of the command itself.
const (
	ExitLost    = 124 // the lock was lost, and the command was ended
	ExitLocked  = 125 // the lock was not acquired, and the command was not run
	ExitNoStart = 127 // the command could not be started
)

// killAfter is the time between SIGTERM and SIGKILL to a command that has lost its lock.
const killAfter = 10 * time.Second

// Holder runs a command while the lock Name is held.
type Holder struct {
	Client   *client.Client
	Name     string
	Options  client.LockOptions
	In       io.Reader
	Out, Err io.Writer
}

// Run acquires the lock, runs the command, and releases the lock. Meanwhile the lock is renewed. A lock counts as lost when the
// server refuses the renewal, or when the lock may have expired. When ctx ends, the command gets SIGTERM, and keeps the
// lock until the end. The error is a *console.ExitError, with the status of the command or one of this package.
func (h *Holder) Run(ctx context.Context, command []string) error {
	began := time.Now()
	held, err := h.Client.AcquireLock(ctx, h.Name, h.Options)
	if err != nil {
		return &console.ExitError{Code: ExitLocked, Err: fmt.Errorf("the command was not run: %w", err)}
	}
	defer h.release(held)
	running, end := context.WithCancelCause(ctx)
	defer end(nil)
	cmd := exec.CommandContext(running, command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = h.In, h.Out, h.Err
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = killAfter
	cmd.Env = append(os.Environ(), "RUNNEL_LOCK="+h.Name, "RUNNEL_FENCE="+held.Condition())
	if err := cmd.Start(); err != nil {
		return &console.ExitError{Code: ExitNoStart, Err: err}
	}
	renewing, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := h.renew(renewing, held, began); err != nil {
			end(err)
		}
	}()
	err = cmd.Wait()
	stop()
	<-done
	if lost := context.Cause(running); lost != nil && ctx.Err() == nil {
		return &console.ExitError{Code: ExitLost, Err: fmt.Errorf("the lock %q was lost, and the command was ended: %w", h.Name, lost)}
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return &console.ExitError{Code: exitCode(exit), Err: console.ErrSilent}
	}
	return err
}

// exitCode is the status as a shell has it.
func exitCode(e *exec.ExitError) int {
	if status, ok := e.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return e.ExitCode()
}

// renew renews the lock until ctx ends. The error says that the lock is lost, or may have expired.
func (h *Holder) renew(ctx context.Context, held *client.Lock, began time.Time) error {
	ttl := h.Options.TTL
	for valid := began.Add(ttl); ; {
		wait := min(ttl/3, time.Until(valid))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		attempt, cancel := context.WithDeadline(ctx, valid)
		began := time.Now()
		_, err := h.Client.RenewLock(attempt, h.Name, held.Fence, ttl)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			valid = began.Add(ttl)
		case errors.Is(err, client.ErrPreconditionFailed), !time.Now().Before(valid):
			return err
		}
	}
}

// release releases the lock even after an interrupt. Without an answer the lock expires.
func (h *Holder) release(held *client.Lock) {
	ctx, cancel := context.WithTimeout(context.Background(), killAfter)
	defer cancel()
	if err := h.Client.ReleaseLock(ctx, h.Name, held.Fence); err != nil && !errors.Is(err, client.ErrPreconditionFailed) {
		fmt.Fprintf(h.Err, "runnel: the lock was not released, and expires within %v: %s\n", h.Options.TTL, console.Line(err.Error()))
	}
}

// line describes a lock for people.
func line(l *client.Lock) string {
	fields := []string{console.Line(l.Name), console.Line(l.Owner), fmt.Sprint(l.Fence), l.ExpiresAt.Format(time.RFC3339)}
	return strings.Join(fields, "\t")
}

// List prints the held locks with a prefix, a line each: name, owner, fence and expiry.
func List(ctx context.Context, c *client.Client, prefix string, out io.Writer) error {
	for l, err := range c.ListLocks(ctx, prefix) {
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(out, line(l)); err != nil {
			return err
		}
	}
	return nil
}
