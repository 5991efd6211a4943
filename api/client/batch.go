package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/runnelkv/runnel/api/wire"
)

// Op names an operation of a batch or a transaction.
type Op string

// The operations.
const (
	OpGet    Op = "get"
	OpPut    Op = "put"
	OpDelete Op = "delete"
)

// Operation is an operation of a batch or a transaction. In a batch an operation may carry conditions, in a transaction
// not.
type Operation struct {
	Op      Op
	Key     string
	Value   []byte     // of a put
	Options PutOptions // of a put, without Copies; a delete uses Options.If only
}

// GetOp returns an operation that reads a key.
func GetOp(key string) Operation { return Operation{Op: OpGet, Key: key} }

// PutOp returns an operation that stores a value.
func PutOp(key string, value []byte, o PutOptions) Operation {
	return Operation{Op: OpPut, Key: key, Value: value, Options: o}
}

// DeleteOp returns an operation that deletes a key.
func DeleteOp(key string, only Conditions) Operation {
	return Operation{Op: OpDelete, Key: key, Options: PutOptions{If: only}}
}

// operationLine is an operation in JSON.
type operationLine struct {
	Op          Op                `json:"op"`
	Key         string            `json:"key"`
	Value       *string           `json:"value,omitempty"`
	ValueBase64 []byte            `json:"value_base64,omitempty"`
	ContentType string            `json:"content_type,omitempty"`
	TTL         string            `json:"ttl,omitempty"`
	ExpiresAt   time.Time         `json:"expires_at,omitzero"`
	Metadata    map[string]string `json:"metadata,omitempty"`
	IfMatch     string            `json:"if_match,omitempty"`
	IfNoneMatch string            `json:"if_none_match,omitempty"`
}

func (o *Operation) line() operationLine {
	line := operationLine{Op: o.Op, Key: o.Key, IfMatch: o.Options.If.IfMatch, IfNoneMatch: o.Options.If.IfNoneMatch}
	if o.Op != OpPut {
		return line
	}
	line.ContentType, line.Metadata, line.ExpiresAt = o.Options.ContentType, o.Options.Metadata, o.Options.ExpiresAt
	if o.Options.TTL != 0 {
		line.TTL = o.Options.TTL.String()
	}
	if text := string(o.Value); utf8.ValidString(text) {
		line.Value = &text
	} else {
		line.ValueBase64 = o.Value
	}
	return line
}

// MarshalJSON encodes the operation as the API reads it.
func (o Operation) MarshalJSON() ([]byte, error) { return json.Marshal(o.line()) }

// Result is the result of an operation.
type Result struct {
	Status   int    // the HTTP status that a single request would have had
	ETag     string // of a put, with its quotes
	Revision int64  // of a put or a delete
	Entry    *Entry // of a get
	Err      error  // an *Error, ErrNotSecured, or a *ConnectionError for an operation whose result did not arrive; nil for success
}

// Batch does operations on single keys and returns a result for each, in their order. A batch is not atomic. An
// operation sees the effects of earlier operations on its key. Once a batch has written something its gets are answered
// by masters, before that by any replica that o and the session allow.
//
// If no operation has conditions, Batch repeats operations that failed for a reason that may pass, together with the
// later operations on the same keys, for up to Options.RetryFor. A repeated delete reports ErrNotFound if the first
// attempt has deleted the key.
//
// The error is that of a request that failed as a whole; otherwise look at the Err of each result.
func (c *Client) Batch(ctx context.Context, operations []Operation, o ReadOptions) ([]Result, error) {
	b := &batch{operations: operations, results: make([]Result, len(operations)), idempotent: true}
	for i, op := range operations {
		b.pending = append(b.pending, i)
		b.idempotent = b.idempotent && op.Options.If.isZero()
	}
	retry := c.newRetry()
	for len(b.pending) > 0 {
		if err := c.sendBatch(ctx, b, o); err != nil {
			for _, i := range b.pending { // send has repeated the request already
				b.results[i] = Result{Err: err}
			}
			if len(b.pending) == len(operations) {
				return nil, err
			}
			return b.results, nil
		}
		failure := b.keepPending()
		if failure == nil || !retry.pause(ctx, failure, b.idempotent) {
			break
		}
	}
	return b.results, nil
}

// batch is a list of operations on its way to being done.
type batch struct {
	operations []Operation
	results    []Result
	pending    []int // indexes of the operations to send, in order
	idempotent bool  // no operation has conditions
}

// keepPending keeps the operations that must be sent again: those that failed for a reason that may pass, and later
// operations on the same keys. keepPending returns the first error.
func (b *batch) keepPending() (first error) {
	if !b.idempotent {
		return nil
	}
	sent, keys := b.pending, map[string]bool{}
	b.pending = nil
	for _, i := range sent {
		err := b.results[i].Err
		failed := err != nil && mayRepeat(err, true)
		if !failed && !keys[b.operations[i].Key] {
			continue
		}
		keys[b.operations[i].Key] = true
		b.pending = append(b.pending, i)
		first = cmp.Or(first, err)
	}
	return first
}

// sendBatch sends the pending operations and sets their results. The error concerns all of them.
func (c *Client) sendBatch(ctx context.Context, b *batch, o ReadOptions) error {
	var body bytes.Buffer
	lines := json.NewEncoder(&body)
	lines.SetEscapeHTML(false)
	for _, i := range b.pending {
		if err := lines.Encode(b.operations[i].line()); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	resp, err := c.send(ctx, request{
		method: http.MethodPost, path: "/v1/batch", query: o.query(), header: http.Header{"Content-Type": {mediaLines}}, accept: mediaLines,
		body: Bytes(body.Bytes()), idempotent: b.idempotent, isWrite: true, securable: true,
	})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	results := json.NewDecoder(resp.Body)
	for n, i := range b.pending {
		result := Result{Err: err}
		if err == nil {
			result, err = readResult(results, n)
		}
		b.results[i] = result
	}
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body) // up to the trailer with the session
	}
	if _, lost := errors.AsType[*ConnectionError](err); lost {
		return nil // each operation has its own result
	}
	return err
}

// readResult reads the result of the operation with this index. The error says that there is none, which the result
// repeats.
func readResult(results *json.Decoder, index int) (Result, error) {
	var line resultLine
	err := results.Decode(&line)
	switch {
	case err != nil:
		err = truncated(err)
	case line.Index == nil || *line.Index != index:
		err = truncated(errors.New("a result is missing"))
	default:
		return line.result(), nil
	}
	return Result{Err: err}, err
}

// resultLine is a result in JSON.
type resultLine struct {
	Index    *int          `json:"index"`
	Op       Op            `json:"op"`
	Status   int           `json:"status"`
	ETag     string        `json:"etag"`
	Revision int64         `json:"revision"`
	Problem  *wire.Problem `json:"problem"`
	entry    *Entry
}

// UnmarshalJSON decodes the entry of a get as well.
func (l *resultLine) UnmarshalJSON(raw []byte) error {
	type members resultLine
	err := json.Unmarshal(raw, (*members)(l))
	if err == nil && l.Op == OpGet && l.Status == http.StatusOK {
		l.entry = &Entry{}
		err = json.Unmarshal(raw, l.entry)
	}
	return err
}

func (l *resultLine) result() Result {
	r := Result{Status: l.Status, ETag: l.ETag, Revision: l.Revision, Entry: l.entry}
	if l.Status == http.StatusAccepted {
		r.Err = ErrNotSecured
	}
	if l.Status/100 == 2 {
		return r
	}
	e := &Error{Problem: *cmp.Or(l.Problem, &wire.Problem{})}
	e.Status = l.Status
	if l.Problem != nil && (l.Status == http.StatusServiceUnavailable || l.Status == http.StatusTooManyRequests) {
		e.retryAfter = new(time.Duration) // a result does not say when, but every 503 of the server passes
	}
	r.Err = e
	return r
}
