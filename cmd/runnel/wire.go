package main

import (
	"encoding/json"
	"time"
	"unicode/utf8"
)

// entry is an entry as the HTTP contract writes it in JSON: in lists, exports and imports. Of Value and ValueBase64 at
// most one is set: Value when the value is valid UTF-8.
type entry struct {
	Key         string            `json:"key"`
	Value       *string           `json:"value,omitempty"`
	ValueBase64 []byte            `json:"value_base64,omitempty"`
	ContentType string            `json:"content_type,omitempty"`
	Size        int64             `json:"size"`
	ETag        string            `json:"etag,omitempty"`
	Revision    int64             `json:"revision,omitempty"`
	Origin      string            `json:"origin,omitempty"`
	ModifiedAt  *time.Time        `json:"modified_at,omitempty"`
	ExpiresAt   *time.Time        `json:"expires_at,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
}

// setValue puts value into the member that can hold it exactly.
func (e *entry) setValue(value []byte) {
	e.Size = int64(len(value))
	if utf8.Valid(value) {
		s := string(value)
		e.Value, e.ValueBase64 = &s, nil
		return
	}
	e.Value, e.ValueBase64 = nil, value
}

// keyPage is one page of GET /v1/keys. Next is empty on the last.
type keyPage struct {
	Keys     []json.RawMessage `json:"keys"`
	Prefixes []string          `json:"prefixes"`
	Next     string            `json:"next"`
}

// nodeStatus is GET /v1/status. Pointers are nil for what the node does not know.
type nodeStatus struct {
	Node       string            `json:"node"`
	Version    string            `json:"version"`
	Epoch      int64             `json:"epoch"`
	Masters    []string          `json:"masters"`
	Partitions []partitionStatus `json:"partitions"`
	Sync       syncStatus        `json:"sync"`
	Orphans    int64             `json:"orphans"`
}

// partitionStatus is one partition as the answering node sees it.
type partitionStatus struct {
	Name      string         `json:"name"`
	Kind      string         `json:"kind"` // sqlite, mysql, mariadb
	Role      string         `json:"role"` // master, replica
	State     string         `json:"state"`
	Error     string         `json:"error"`
	LatencyMS *float64       `json:"latency_ms"`
	Readable  bool           `json:"readable"`
	Warnings  []string       `json:"warnings,omitempty"`
	Writable  bool           `json:"writable"`
	Origins   []originStatus `json:"origins"`
}

// healthy reports whether the partition does its work, or is on its way to: a state this client does not know is not.
func (p *partitionStatus) healthy() bool {
	switch p.State {
	case "ready", "filling", "catching_up", "starting":
		return true
	}
	return false
}

// originStatus is a partition's position for one origin, and how far that is behind.
type originStatus struct {
	Origin       string     `json:"origin"`
	Revision     int64      `json:"revision"`
	LagRevisions *int64     `json:"lag_revisions"`
	LagSeconds   *float64   `json:"lag_seconds"`
	SyncedAt     *time.Time `json:"synced_at"`
}

// syncStatus is the sync process as the answering node sees it. Its per-target details are shown by --json alone.
type syncStatus struct {
	Running    bool       `json:"running"`
	Standby    bool       `json:"standby"`
	LastPassAt *time.Time `json:"last_pass_at"`
	LastPassMS *float64   `json:"last_pass_ms"`
	Passes     int64      `json:"passes"`
}
