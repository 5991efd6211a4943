package store

import (
	"context"
	"time"
)

// reusableTimeout bounds each of a series of operations. The operations share a context
// and a timer until one of them exceeds the timeout. It is used by one goroutine.
type reusableTimeout struct {
	parent  context.Context
	timeout time.Duration
	ctx     context.Context
	cancel  context.CancelCauseFunc
	timer   *time.Timer
}

func newReusableTimeout(parent context.Context, timeout time.Duration) *reusableTimeout {
	return &reusableTimeout{parent: parent, timeout: timeout}
}

// nextContext returns the context of the next operation. Unless finishContext is called
// within the timeout, the context is cancelled with the cause context.DeadlineExceeded.
func (t *reusableTimeout) nextContext() context.Context {
	if t.ctx != nil {
		t.timer.Reset(t.timeout)
		return t.ctx
	}
	ctx, cancel := context.WithCancelCause(t.parent)
	t.ctx, t.cancel = ctx, cancel
	t.timer = time.AfterFunc(t.timeout, func() { cancel(context.DeadlineExceeded) })
	return ctx
}

func (t *reusableTimeout) finishContext() {
	if !t.timer.Stop() {
		t.stopContext()
	}
}

// stopContext cancels the context. A later nextContext makes a new one.
func (t *reusableTimeout) stopContext() {
	if t.ctx != nil {
		t.timer.Stop()
		t.cancel(nil)
		t.ctx = nil
	}
}
