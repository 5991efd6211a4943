package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"github.com/runnelkv/runnel/api/wire"
)

// The documents of states of Terraform and OpenTofu.
type (
	TerraformState   = wire.TerraformState
	TerraformVersion = wire.TerraformVersion
)

// ListStates yields the states of Terraform and OpenTofu with a prefix, in the order of their names. After an error nothing follows.
func (c *Client) ListStates(ctx context.Context, prefix string) iter.Seq2[*TerraformState, error] {
	return func(yield func(*TerraformState, error) bool) {
		q := url.Values{}
		setNonEmpty(q, "prefix", prefix)
		for {
			var page wire.TerraformPage
			if _, err := c.getJSON(ctx, request{method: http.MethodGet, path: wire.TerraformPath, query: q, idempotent: true}, &page); err != nil {
				yield(nil, err)
				return
			}
			for _, s := range page.States {
				if !yield(s, nil) {
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

// StateHistory returns the kept versions of a state, the newest first. ErrNotFound: there are none.
func (c *Client) StateHistory(ctx context.Context, name string) ([]*TerraformVersion, error) {
	var h wire.TerraformHistory
	_, err := c.getJSON(ctx, request{method: http.MethodGet, path: statePath(name) + wire.TerraformHistoryPath, idempotent: true}, &h)
	return h.Versions, err
}

// ReadState returns the JSON of a version of a state, of which StateHistory gives the number; 0 for the version that stands.
// ErrNotFound: there is no such version.
func (c *Client) ReadState(ctx context.Context, name string, version int64) (json.RawMessage, error) {
	q := url.Values{}
	if version != 0 {
		q.Set("version", strconv.FormatInt(version, 10))
	}
	var state json.RawMessage
	return c.getJSON(ctx, request{method: http.MethodGet, path: statePath(name), query: q, idempotent: true}, &state)
}

// UnlockState ends the lock of a state with an ID, whichever program holds the lock. If nobody holds the lock, nothing is to be done.
// ErrLocked: the lock has a different ID.
func (c *Client) UnlockState(ctx context.Context, name, id string) error {
	resp, err := c.send(ctx, request{
		method: http.MethodDelete, path: statePath(name) + wire.TerraformLockPath, query: url.Values{"ID": {id}}, success: []int{http.StatusOK},
		idempotent: true, isWrite: true, bodiless: true,
	})
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func statePath(name string) string { return wire.Path(wire.TerraformPath+"/", name) }
