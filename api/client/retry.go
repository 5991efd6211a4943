package client

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// send sends r, repeats it while that is safe and Options.RetryFor lasts, and returns the successful response; the caller
// closes the body. Otherwise send returns the error of the last attempt.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	header := http.Header{} // of a response that another one implies
	if r.securable && c.o.Majority {
		r.query = maps.Clone(r.query)
		if r.query == nil {
			r.query = url.Values{}
		}
		r.query.Set("durable", "majority")
		header.Set(durableHeader, "master")
	}
	retry := c.newRetry()
	for unknown, reset := false, false; ; {
		resp, err := c.attempt(ctx, r)
		if err == nil {
			return resp, nil
		}
		if unknown && r.method == http.MethodDelete && errors.Is(err, ErrNotFound) {
			// An earlier attempt has deleted the key.
			return &http.Response{StatusCode: http.StatusNoContent, Header: header, Body: http.NoBody}, nil
		}
		if errors.Is(err, ErrSessionLost) && c.o.Session != nil && !reset {
			if reset = true; c.o.Session.Reset() == nil {
				continue
			}
		}
		if !retry.pause(ctx, err, r.idempotent) {
			return nil, err
		}
		unknown = unknown || errors.Is(err, ErrOutcomeUnknown)
	}
}

// retry spaces the attempts of a request.
type retry struct {
	pauses   *backoff.ExponentialBackOff
	deadline time.Time
}

func (c *Client) newRetry() *retry {
	return &retry{pauses: newPauses(), deadline: time.Now().Add(c.o.RetryFor)}
}

// newPauses returns pauses of 100 ms, doubling to 5 s, each up to a half longer or shorter at random, so that many
// clients do not return at the same moment.
func newPauses() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.Multiplier, b.MaxInterval = 100*time.Millisecond, 2, 5*time.Second
	return b
}

// pause waits before the next attempt. It returns false at once if the request must not be sent again after err, or not
// in time, and false when ctx ends.
func (r *retry) pause(ctx context.Context, err error, idempotent bool) bool {
	if !mayRepeat(err, idempotent) || ctx.Err() != nil {
		return false
	}
	delay := r.pauses.NextBackOff()
	if e, ok := errors.AsType[*Error](err); ok && e.invitesRetry() {
		delay = max(delay, *e.retryAfter)
	}
	return !time.Now().Add(delay).After(r.deadline) && sleep(ctx, delay) == nil
}

// mayRepeat reports whether a request may be sent again after err: always if the server cannot have processed the
// request, otherwise only if the request is idempotent.
func mayRepeat(err error, idempotent bool) bool {
	if e, ok := errors.AsType[*Error](err); ok {
		if errors.Is(err, ErrOutcomeUnknown) {
			return idempotent
		}
		return e.invitesRetry()
	}
	if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); untrusted {
		return false
	}
	if e, ok := errors.AsType[*ConnectionError](err); ok {
		return e.Unsent || idempotent && !errors.Is(err, ErrTimeout)
	}
	return false
}

// sleep returns after d, or with ctx's error when ctx ends first.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
