package client

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/runnelkv/runnel/api/wire"
)

// Consistency says which replicas may answer a read. docs/guarantees.md defines the levels.
type Consistency string

// The levels. A Session can be combined with each of them.
const (
	Any       Consistency = "any"     // any replica; the default
	InSession Consistency = "session" // any replica that has everything the session has seen
	Bounded   Consistency = "bounded" // a replica that is provably at most ReadOptions.MaxStaleness behind
	Quorum    Consistency = "quorum"  // the newest entry of ReadOptions.Replicas replicas; not for lists
	Master    Consistency = "master"  // the key's master only
)

// ReadOptions choose the replicas that may answer a read. The zero value is Any.
type ReadOptions struct {
	Consistency  Consistency
	MaxStaleness time.Duration // at least 1 ms; implies Bounded. 0 for none
	Replicas     string        // a number from 1, "quorum" (more than half) or "all"; implies Quorum. Empty for none
}

func (o ReadOptions) query() url.Values {
	q := url.Values{}
	setNonEmpty(q, "consistency", string(o.Consistency))
	setNonEmpty(q, "r", o.Replicas)
	if o.MaxStaleness > 0 {
		q.Set("max_staleness", o.MaxStaleness.String())
	}
	return q
}

func setNonEmpty(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

// Conditions must hold at the key's master at the moment of a write. The zero value holds always. An entity tag is
// written with its quotes, as PutResult.ETag and Entry.ETag have it; several are separated by commas.
type Conditions struct {
	IfMatch     string // the key has one of these ETags; "*" if the key only must exist
	IfNoneMatch string // the key has none of these ETags; "*" if the key must not exist
	Fence       string // this lock is held: Lock.Condition; several are separated by commas
}

func (c Conditions) isZero() bool { return c == Conditions{} }

func (c Conditions) addTo(h http.Header) {
	if c.IfMatch != "" {
		h.Set("If-Match", c.IfMatch)
	}
	if c.IfNoneMatch != "" {
		h.Set("If-None-Match", c.IfNoneMatch)
	}
	if c.Fence != "" {
		h.Set("Runnel-Fence", c.Fence)
	}
}

// Entry is a key with its value and metadata.
type Entry struct {
	Key         string
	Value       []byte // nil where values were not asked for
	ContentType string
	Size        int64  // of the value, in bytes
	ETag        string // with its quotes
	Revision    int64
	Origin      string            // the master that committed the revision
	ModifiedAt  time.Time         // by the clock of the server that wrote the entry
	ExpiresAt   time.Time         // zero if the entry does not expire
	Metadata    map[string]string // names in lower case

	// Raw is the JSON that the server sent, with members that this version of the client does not know.
	Raw json.RawMessage
}

// UnmarshalJSON decodes an entry as the API writes it.
func (e *Entry) UnmarshalJSON(raw []byte) error {
	var in wire.Entry
	if err := json.Unmarshal(raw, &in); err != nil {
		return err
	}
	*e = Entry{
		Key: string(in.Key), ContentType: string(in.ContentType), Size: in.Size, ETag: in.ETag, Revision: in.Revision,
		Origin: string(in.Origin), ModifiedAt: in.ModifiedAt, Metadata: in.Metadata, Raw: append(json.RawMessage(nil), raw...),
	}
	switch {
	case in.Value != nil:
		e.Value = []byte(*in.Value)
	case in.ValueBase64 != nil:
		e.Value = *in.ValueBase64
	}
	if in.ExpiresAt != nil {
		e.ExpiresAt = *in.ExpiresAt
	}
	return nil
}

// Get returns the entry of key with its value, all of it in memory. Without such a key the error is ErrNotFound.
func (c *Client) Get(ctx context.Context, key string, o ReadOptions) (*Entry, error) {
	query := o.query()
	query.Set("entry", "true")
	e := &Entry{}
	_, err := c.getJSON(ctx, request{method: http.MethodGet, path: wire.Path(wire.KeysPath, key), query: query, idempotent: true}, e)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Value is a value that is being received. It must be closed. Its Read fails with a *ConnectionError if the response
// is cut short.
type Value struct {
	io.ReadCloser
	ContentType string
	Size        int64 // in bytes; -1 if unknown
	ETag        string
	Revision    int64
}

// Open returns the value of key as a stream. Without such a key the error is ErrNotFound.
func (c *Client) Open(ctx context.Context, key string, o ReadOptions) (*Value, error) {
	resp, err := c.send(ctx, request{
		method: http.MethodGet, path: wire.Path(wire.KeysPath, key), query: o.query(), idempotent: true, header: http.Header{"Accept": {"*/*"}},
	})
	if err != nil {
		return nil, err
	}
	return &Value{
		ReadCloser: resp.Body, ContentType: resp.Header.Get("Content-Type"), Size: resp.ContentLength,
		ETag: resp.Header.Get("ETag"), Revision: intHeader(resp, revisionHeader),
	}, nil
}

func intHeader(resp *http.Response, name string) int64 {
	n, _ := strconv.ParseInt(resp.Header.Get(name), 10, 64)
	return n
}

// PutOptions say how a value is stored.
type PutOptions struct {
	ContentType string            // the value's media type; "application/octet-stream" if empty
	TTL         time.Duration     // the entry expires after this time, on every replica; 0 for never
	ExpiresAt   time.Time         // in place of TTL: the instant at which the entry expires; zero for never
	Metadata    map[string]string // names of letters, digits and hyphens; at most 8 KiB in all
	// Copies is how many partitions must hold the value durably before the response: a number, "all", or empty for
	// the master alone. Batches and transactions ignore Copies.
	Copies string
	If     Conditions
}

// PutResult describes a stored value.
type PutResult struct {
	ETag     string // with its quotes
	Revision int64
	Copies   int // how many partitions hold the value; 0 unless PutOptions.Copies asked
	// Incomplete is set if fewer partitions than PutOptions.Copies held the value in time. The value is stored, and
	// replication continues.
	Incomplete bool
}

// Put stores a value under key. When Put returns without an error, the value is durable at the key's master. With
// ErrNotSecured the result is set too.
func (c *Client) Put(ctx context.Context, key string, value []byte, o PutOptions) (PutResult, error) {
	return c.PutBody(ctx, key, Bytes(value), o)
}

// PutBody is Put for a value that need not be in memory.
func (c *Client) PutBody(ctx context.Context, key string, value Body, o PutOptions) (PutResult, error) {
	header := http.Header{"Content-Type": {cmp.Or(o.ContentType, "application/octet-stream")}}
	o.If.addTo(header)
	for name, text := range o.Metadata {
		header.Set(wire.MetaHeader+name, text)
	}
	query := url.Values{}
	setNonEmpty(query, "copies", o.Copies)
	if o.TTL != 0 {
		query.Set("ttl", o.TTL.String())
	}
	if !o.ExpiresAt.IsZero() {
		query.Set("expires_at", o.ExpiresAt.Format(time.RFC3339Nano))
	}
	return c.sendWrite(ctx, request{
		method: http.MethodPut, path: wire.Path(wire.KeysPath, key), query: query, header: header, body: value,
		success: []int{http.StatusCreated, http.StatusAccepted, http.StatusNoContent}, idempotent: o.If.isZero(),
	})
}

// Touch lets key expire after ttl from now and keeps its value and metadata. Without such a key the error is
// ErrNotFound.
func (c *Client) Touch(ctx context.Context, key string, ttl time.Duration, only Conditions) (PutResult, error) {
	header := http.Header{}
	only.addTo(header)
	return c.sendWrite(ctx, request{
		method: http.MethodPost, path: wire.Path(wire.KeysPath, key), query: url.Values{"ttl": {ttl.String()}}, header: header,
		success: []int{http.StatusNoContent, http.StatusAccepted}, idempotent: only.isZero(),
	})
}

// Delete deletes key. Without such a key the error is ErrNotFound.
func (c *Client) Delete(ctx context.Context, key string, only Conditions) error {
	header := http.Header{}
	only.addTo(header)
	_, err := c.sendWrite(ctx, request{
		method: http.MethodDelete, path: wire.Path(wire.KeysPath, key), header: header,
		success: []int{http.StatusNoContent, http.StatusAccepted}, idempotent: only.isZero(),
	})
	return err
}

// sendWrite sends a write of one key.
func (c *Client) sendWrite(ctx context.Context, r request) (PutResult, error) {
	r.isWrite, r.securable = true, true
	resp, err := c.send(ctx, r)
	if err != nil {
		return PutResult{}, err
	}
	return PutResult{
		ETag: resp.Header.Get("ETag"), Revision: intHeader(resp, revisionHeader), Copies: int(intHeader(resp, "Runnel-Copies")),
		Incomplete: resp.StatusCode == http.StatusAccepted,
	}, cmp.Or(resp.Body.Close(), notSecured(resp))
}
