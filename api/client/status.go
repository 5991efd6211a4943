package client

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// Status describes the cluster as the answering server sees it. Pointers are nil for facts that the server does not
// know.
type Status struct {
	Node       string            `json:"node"` // the server's host name
	Version    string            `json:"version"`
	Epoch      int64             `json:"epoch"`
	Masters    []string          `json:"masters"`
	Partitions []PartitionStatus `json:"partitions"`
	Sync       SyncStatus        `json:"sync"`
	Orphans    int64             `json:"orphans"`

	// Raw is the JSON that the server sent.
	Raw json.RawMessage `json:"-"`
}

// PartitionStatus describes one partition.
type PartitionStatus struct {
	Name      string         `json:"name"`
	Kind      string         `json:"kind"` // sqlite, mysql or mariadb
	Role      string         `json:"role"` // master or replica
	State     string         `json:"state"`
	Error     string         `json:"error"`
	LatencyMS *float64       `json:"latency_ms"` // milliseconds
	Readable  bool           `json:"readable"`
	Writable  bool           `json:"writable"`
	Warnings  []string       `json:"warnings"`
	Origins   []OriginStatus `json:"origins"` // one for each master
}

// Healthy reports whether the partition works or is about to. A state that this version does not know is unhealthy.
func (p *PartitionStatus) Healthy() bool {
	switch p.State {
	case "ready", "filling", "catching_up", "starting":
		return true
	}
	return false
}

// OriginStatus is a partition's position for one master, and how far that position is behind.
type OriginStatus struct {
	Origin       string     `json:"origin"` // the master's name
	Revision     int64      `json:"revision"`
	LagRevisions *int64     `json:"lag_revisions"`
	LagSeconds   *float64   `json:"lag_seconds"`
	SyncedAt     *time.Time `json:"synced_at"` // when the partition was last seen to hold everything
}

// SyncStatus describes the sync process of the answering server.
type SyncStatus struct {
	Running    bool       `json:"running"`
	Standby    bool       `json:"standby"` // another process holds the leases
	LastPassAt *time.Time `json:"last_pass_at"`
	LastPassMS *float64   `json:"last_pass_ms"` // milliseconds
	Passes     int64      `json:"passes"`
}

// Status returns the status of the cluster.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	s := &Status{}
	raw, err := c.getJSON(ctx, request{method: http.MethodGet, path: "/v1/status", idempotent: true}, s)
	s.Raw = raw
	return s, err
}

// SyncReport is the outcome of a sync pass.
type SyncReport struct {
	Targets []SyncTarget `json:"targets"`
}

// SyncTarget is the outcome of a sync pass for one partition.
type SyncTarget struct {
	Name      string `json:"name"`
	State     string `json:"state"` // level if the partition holds everything
	Error     string `json:"error"`
	Copied    int64  `json:"copied"`    // entries
	Remaining int64  `json:"remaining"` // revisions
}

// Sync makes the server's sync process run a pass, and returns when the pass has ended.
func (c *Client) Sync(ctx context.Context) (*SyncReport, error) {
	r := &SyncReport{}
	_, err := c.getJSON(ctx, request{method: http.MethodPost, path: "/v1/sync", idempotent: true}, r)
	return r, err
}
