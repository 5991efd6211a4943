package store

import (
	"context"
	"time"
)

// limit bounds operations that follow each other, with one context and one
// timer for all of them until one takes too long.
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

// begin returns the context of the next operation. It is cancelled, because of
// context.DeadlineExceeded, if end is not called within the timeout.
func (l *reusableTimeout) nextContext() context.Context {
	if l.ctx != nil {
		l.timer.Reset(l.timeout)
		return l.ctx
	}
	ctx, cancel := context.WithCancelCause(l.parent)
	l.ctx, l.cancel = ctx, cancel
	l.timer = time.AfterFunc(l.timeout, func() { cancel(context.DeadlineExceeded) })
	return ctx
}

func (l *reusableTimeout) finishContext() {
	if !l.timer.Stop() {
		l.stopContext()
	}
}

// stop ends the context. A later begin makes a new one.
func (l *reusableTimeout) stopContext() {
	if l.ctx != nil {
		l.timer.Stop()
		l.cancel(nil)
		l.ctx = nil
	}
}
