package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/cenkalti/backoff/v5"
)

// operation is one line of a batch.
type operation struct {
	Op          string            `json:"op"`
	Key         string            `json:"key"`
	Value       *string           `json:"value,omitempty"`
	ValueBase64 *[]byte           `json:"value_base64,omitempty"`
	ContentType string            `json:"content_type,omitempty"`
	TTL         string            `json:"ttl,omitempty"`
	ExpiresAt   string            `json:"expires_at,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
}

// putOf is the operation that stores an entry whose value is whole.
func putOf(e *loaded) operation {
	o := operation{Op: "put", Key: e.key, ContentType: e.value.contentType, Metadata: e.metadata, TTL: e.ttl, ExpiresAt: e.expiresAt}
	if text := string(e.value.whole); utf8.ValidString(text) {
		o.Value = &text
	} else {
		o.ValueBase64 = &e.value.whole
	}
	return o
}

// storeAll puts entries, whose values are whole, in one request, and those that the server could not take just then once
// more, as long as store would. It returns the error of each.
func (c *client) storeAll(ctx context.Context, entries []*loaded) []error {
	errs := make([]error, len(entries))
	left := make([]int, len(entries)) // indexes of those that are not stored
	for i := range left {
		left[i] = i
	}
	pause := newPause()
	deadline := c.now().Add(c.retry)
	for {
		if err := c.storeOnce(ctx, entries, left, errs); err != nil {
			for _, i := range left {
				errs[i] = err // do has repeated it already
			}
			return errs
		}
		left = repeatable(left, errs)
		delay := pause.NextBackOff()
		if len(left) == 0 || ctx.Err() != nil || c.now().Add(delay).After(deadline) || c.wait(ctx, delay) != nil {
			return errs
		}
	}
}

// repeatable returns those of the entries that may be stored if they are sent once more.
func repeatable(sent []int, errs []error) (left []int) {
	for _, i := range sent {
		if errs[i] == nil {
			continue
		}
		if _, again := repeat(request{repeatable: true}, errs[i], &backoff.ZeroBackOff{}); again {
			left = append(left, i)
		}
	}
	return left
}

// storeOnce puts the entries at these indexes and sets the error of each. An error of its own concerns them all.
func (c *client) storeOnce(ctx context.Context, entries []*loaded, at []int, errs []error) error {
	var body bytes.Buffer
	lines := json.NewEncoder(&body)
	lines.SetEscapeHTML(false)
	for _, i := range at {
		if err := lines.Encode(putOf(entries[i])); err != nil {
			return err
		}
	}
	resp, err := c.do(ctx, request{
		method: http.MethodPost, path: "/v1/batch", proof: "application/x-ndjson", header: http.Header{"Content-Type": {"application/x-ndjson"}},
		body: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body.Bytes())), nil },
		size: int64(body.Len()), repeatable: true, finish: true,
	})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	results := json.NewDecoder(resp.Body)
	for n, i := range at {
		if err == nil {
			errs[i], err = readResult(results, n)
		}
		if err != nil {
			errs[i] = err
		}
	}
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body) // to the trailer
	}
	if _, lost := errors.AsType[*lostError](err); lost {
		return nil // each has its own outcome
	}
	return err
}

// readResult reads the outcome of the operation with this index. The error says that there is none.
func readResult(results *json.Decoder, index int) (outcome, err error) {
	var r struct {
		Index   *int     `json:"index"`
		Status  int      `json:"status"`
		Problem *problem `json:"problem"`
	}
	if err := results.Decode(&r); err != nil {
		if lost, ok := errors.AsType[*lostError](err); ok {
			return nil, lost
		}
		return nil, &lostError{err: fmt.Errorf("the answer was cut short: %w", err)}
	}
	switch {
	case r.Index == nil || *r.Index != index:
		return nil, &lostError{err: errors.New("the answer broke off")}
	case r.Status/100 == 2:
		return nil, nil
	case r.Problem == nil:
		return &problem{Status: r.Status}, nil
	}
	r.Problem.Status = r.Status
	if r.Status == http.StatusServiceUnavailable || r.Status == http.StatusTooManyRequests {
		r.Problem.retryAfter = new(time.Duration) // no result says when, but every 503 of the server passes
	}
	return r.Problem, nil
}
