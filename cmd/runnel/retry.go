package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// do sends r, repeating it with growing pauses while that is safe and --retry lasts, and returns the 2xx answer, whose
// body the caller closes. Otherwise the error of the last attempt: a *problem or a *lostError.
func (c *client) do(ctx context.Context, r request) (*http.Response, error) {
	pause := newPause()
	deadline := c.now().Add(c.retry)
	for unknown, dropped := false, false; ; {
		resp, err := c.attempt(ctx, r)
		if err == nil {
			return resp, nil
		}
		if unknown && r.method == http.MethodDelete && hasStatus(err, http.StatusNotFound) {
			return &http.Response{StatusCode: http.StatusNoContent, Header: http.Header{}, Body: http.NoBody}, nil
		}
		if refused, ok := errors.AsType[*problem](err); ok && c.session != nil && refused.slug() == slugSessionLost && !dropped {
			if dropped = true; c.session.drop() == nil {
				continue
			}
		}
		delay, again := repeat(r, err, pause)
		if !again || ctx.Err() != nil || c.now().Add(delay).After(deadline) {
			return nil, err
		}
		unknown = unknown || outcomeUnknown(err)
		if c.wait(ctx, delay) != nil {
			return nil, err
		}
	}
}

// newPause returns the pauses between attempts: 100 ms, doubling to 5 s, each half as much again or less at random so
// that many clients do not come back as one.
func newPause() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.Multiplier, b.MaxInterval = 100*time.Millisecond, 2, 5*time.Second
	return b
}

// repeat reports whether r may be sent again after err, and after which delay: always when the server cannot have acted
// on it, and otherwise only when acting twice is as good as once.
func repeat(r request, err error, pause backoff.BackOff) (delay time.Duration, again bool) {
	delay = pause.NextBackOff()
	if refused, ok := errors.AsType[*problem](err); ok {
		waitable := refused.Status == http.StatusServiceUnavailable || refused.Status == http.StatusTooManyRequests
		if waitable && refused.retryAfter != nil {
			delay = max(delay, *refused.retryAfter)
		}
		if outcomeUnknown(err) {
			return delay, r.repeatable
		}
		return delay, waitable && refused.retryAfter != nil
	}
	if lost, ok := errors.AsType[*lostError](err); ok {
		return delay, lost.unsent || r.repeatable && !errors.Is(err, errIdle)
	}
	return 0, false
}

// outcomeUnknown reports whether the request that ended in err may have taken effect.
func outcomeUnknown(err error) bool {
	if refused, ok := errors.AsType[*problem](err); ok {
		switch refused.Status {
		case http.StatusBadGateway, http.StatusGatewayTimeout:
			return true
		case http.StatusServiceUnavailable:
			return refused.slug() == slugOutcomeUnknown || refused.retryAfter == nil
		}
		return false
	}
	lost, ok := errors.AsType[*lostError](err)
	return ok && !lost.unsent
}

// serverAway reports whether err says something about the server and nothing about the request, so that the next
// request would fare no better.
func serverAway(err error) bool {
	if refused, ok := errors.AsType[*problem](err); ok {
		return refused.Status >= 502 || refused.Status == http.StatusTooManyRequests || refused.Status == http.StatusUnauthorized
	}
	_, lost := errors.AsType[*lostError](err)
	_, stranger := errors.AsType[*strangerError](err)
	return lost || stranger
}

// lostError is a request without an answer, or with half of one.
type lostError struct {
	err    error
	unsent bool // no connection was made, so the server has not seen it
}

func (e *lostError) Error() string { return e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

// lostCause is the reason a request got no answer, without the URL that net/http puts before it.
func lostCause(cause, err error, timeout time.Duration) error {
	if errors.Is(cause, errIdle) {
		return fmt.Errorf("%w of %v", errIdle, timeout)
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if isDialError(err) {
		return fmt.Errorf("the server cannot be reached: %w", err)
	}
	return fmt.Errorf("the connection was lost before an answer: %w", err)
}

func isDialError(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// wait returns after d, or with ctx's error when that ends first.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
