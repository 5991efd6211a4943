package client

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/runnelkv/runnel/api/wire"
)

// Status describes the cluster as the answering server sees it.
type Status struct {
	wire.Status

	// Raw is the JSON that the server sent.
	Raw json.RawMessage
}

// Status returns the status of the cluster.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	s := &Status{}
	var err error
	s.Raw, err = c.getJSON(ctx, request{method: http.MethodGet, path: "/v1/status", idempotent: true}, &s.Status)
	return s, err
}

// Healthy reports whether a partition works or is about to. A state that this version does not know is unhealthy.
func Healthy(p wire.PartitionStatus) bool {
	switch p.State {
	case "ready", "filling", "catching_up", "starting":
		return true
	}
	return false
}

// Sync makes the server's sync process run a pass, and returns the report when the pass has ended.
func (c *Client) Sync(ctx context.Context) (*wire.SyncReport, error) {
	r := &wire.SyncReport{}
	_, err := c.getJSON(ctx, request{method: http.MethodPost, path: "/v1/sync", idempotent: true}, r)
	return r, err
}
