package timeout

import (
	"context"
	"time"
)

// Reusable bounds each of a series of operations. The operations share a context
// and a timer until an operation exceeds the timeout. A Reusable is used by a single
// goroutine.
type Reusable struct {
	parent  context.Context
	timeout time.Duration
	ctx     context.Context
	cancel  context.CancelCauseFunc
	timer   *time.Timer
}

// New makes a Reusable with contexts derived from parent.
func New(parent context.Context, timeout time.Duration) *Reusable {
	return &Reusable{parent: parent, timeout: timeout}
}

// Next returns the context of the next operation. Unless Finish is called
// within the timeout, the context is cancelled with the cause context.DeadlineExceeded.
func (t *Reusable) Next() context.Context {
	if t.ctx != nil {
		t.timer.Reset(t.timeout)
		return t.ctx
	}
	ctx, cancel := context.WithCancelCause(t.parent)
	t.ctx, t.cancel = ctx, cancel
	t.timer = time.AfterFunc(t.timeout, func() { cancel(context.DeadlineExceeded) })
	return ctx
}

// Finish ends the current operation.
func (t *Reusable) Finish() {
	if !t.timer.Stop() {
		t.Stop()
	}
}

// Stop cancels the context. A later Next makes a new context.
func (t *Reusable) Stop() {
	if t.ctx != nil {
		t.timer.Stop()
		t.cancel(nil)
		t.ctx = nil
	}
}
