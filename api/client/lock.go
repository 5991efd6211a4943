package client

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/runnelkv/runnel/api/wire"
)

// LockOptions say how a lock is acquired.
type LockOptions struct {
	Owner    string          // for people: the name of the holder; required
	TTL      time.Duration   // until the lock expires unless it is renewed; required, at most 24 h
	Wait     time.Duration   // how long to wait for the lock, in whole seconds; 0 for not at all
	Protects bool            // writes to the key of the lock's name need the fence
	Info     json.RawMessage // an object that others see; nil for none
	// RequestID makes a repeated call return the same lock; empty for an id of this call alone.
	RequestID string
}

// Lock is a held lock.
type Lock struct {
	Name      string
	Owner     string
	Fence     int64     // grows with each acquisition
	ExpiresAt time.Time // by the clock of the lock's master
	TTL       time.Duration
	Protects  bool
	Waiting   int             // clients in the queue
	Info      json.RawMessage // nil for none

	// Raw is the JSON that the server sent.
	Raw json.RawMessage
}

// Condition returns the fence for Conditions.Fence: a write with it takes effect only while the lock is held.
func (l *Lock) Condition() string {
	return url.PathEscape(l.Name) + "=" + strconv.FormatInt(l.Fence, 10)
}

// UnmarshalJSON decodes a lock as the API writes it.
func (l *Lock) UnmarshalJSON(raw []byte) error {
	var in wire.Lock
	if err := json.Unmarshal(raw, &in); err != nil {
		return err
	}
	ttl, err := time.ParseDuration(in.TTL)
	*l = Lock{Name: string(in.Name), Owner: string(in.Owner), Fence: in.Fence, ExpiresAt: in.ExpiresAt, TTL: ttl, Protects: in.Protects,
		Waiting: in.Waiting, Info: json.RawMessage(in.Info), Raw: append(json.RawMessage(nil), raw...)}
	return err
}

// AcquireLock acquires a lock, or waits for at most o.Wait. ErrLocked: another owner holds the lock; the *Error has Owner and
// ExpiresAt. ErrOutcomeUnknown: the lock may be held, for at most o.TTL; a call with the same Owner and RequestID returns it
// when the answer is known.
func (c *Client) AcquireLock(ctx context.Context, name string, o LockOptions) (*Lock, error) {
	body := wire.LockRequest{Owner: o.Owner, TTL: o.TTL.String(), RequestID: cmp.Or(o.RequestID, rand.Text()), Protects: o.Protects, Info: wire.RawObject(o.Info)}
	r, err := lockRequest(name, body)
	if err != nil {
		return nil, err
	}
	if o.Wait > 0 {
		r.header.Set("Prefer", fmt.Sprintf("wait=%d", int64(max(o.Wait, time.Second)/time.Second)))
		r.silence = o.Wait + c.o.Timeout
	}
	return c.sendLock(ctx, r)
}

// RenewLock lets a held lock expire after ttl from now. ErrPreconditionFailed: the lock is not held with the fence any more.
// ErrOutcomeUnknown: the lock may expire as before the call.
func (c *Client) RenewLock(ctx context.Context, name string, fence int64, ttl time.Duration) (*Lock, error) {
	r, err := lockRequest(name, wire.LockRequest{TTL: ttl.String()})
	if err != nil {
		return nil, err
	}
	r.header.Set("If-Match", quoteFence(fence))
	return c.sendLock(ctx, r)
}

// ReleaseLock releases a lock. It may be repeated. ErrPreconditionFailed: another owner holds the lock.
func (c *Client) ReleaseLock(ctx context.Context, name string, fence int64) error {
	return c.deleteLock(ctx, request{header: http.Header{"If-Match": {quoteFence(fence)}}}, name)
}

// ForceLock ends the lock of any holder, and needs the right "force". ErrNotFound: nobody holds the lock.
func (c *Client) ForceLock(ctx context.Context, name string) error {
	return c.deleteLock(ctx, request{query: url.Values{"force": {"true"}}}, name)
}

// GetLock returns a held lock, as of now on its master. ErrNotFound: nobody holds the lock.
func (c *Client) GetLock(ctx context.Context, name string) (*Lock, error) {
	return c.sendLock(ctx, request{method: http.MethodGet, path: lockPath(name)})
}

// ListLocks yields the held locks with a prefix, in the order of their names. After an error nothing follows.
func (c *Client) ListLocks(ctx context.Context, prefix string) iter.Seq2[*Lock, error] {
	return func(yield func(*Lock, error) bool) {
		q := url.Values{}
		setNonEmpty(q, "prefix", prefix)
		for {
			var page struct {
				Locks []*Lock `json:"locks"`
				Next  string  `json:"next"`
			}
			if _, err := c.getJSON(ctx, request{method: http.MethodGet, path: wire.LocksPath, query: q, idempotent: true}, &page); err != nil {
				yield(nil, err)
				return
			}
			for _, l := range page.Locks {
				if !yield(l, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			q.Set("after", page.Next)
		}
	}
}

func lockPath(name string) string { return wire.Path(wire.LocksPath+"/", name) }

func quoteFence(fence int64) string { return strconv.Quote(strconv.FormatInt(fence, 10)) }

// lockRequest returns a PUT of a lock.
func lockRequest(name string, body wire.LockRequest) (request, error) {
	document, err := json.Marshal(body)
	return request{
		method: http.MethodPut, path: lockPath(name), header: http.Header{"Content-Type": {mediaJSON}}, body: Bytes(document),
		success: []int{http.StatusOK, http.StatusCreated},
	}, err
}

// sendLock sends a request that is answered by a lock. A repetition has the same effect.
func (c *Client) sendLock(ctx context.Context, r request) (*Lock, error) {
	r.idempotent = true
	l := &Lock{}
	if _, err := c.getJSON(ctx, r, l); err != nil {
		return nil, err
	}
	return l, nil
}

func (c *Client) deleteLock(ctx context.Context, r request, name string) error {
	r.method, r.path, r.success, r.idempotent, r.bodiless = http.MethodDelete, lockPath(name), []int{http.StatusNoContent}, true, true
	resp, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
