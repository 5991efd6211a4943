package wire

import (
	"encoding/xml"
	"fmt"
	"time"
)

// Status is GET /v1/status: the store as the answering process knows it.
type Status struct {
	XMLName    xml.Name          `json:"-" xml:"status"`
	Node       Text              `json:"node" xml:"node"`
	Version    Text              `json:"version" xml:"version"`
	ClusterID  string            `json:"cluster_id" xml:"cluster_id"`
	Epoch      int64             `json:"epoch" xml:"epoch"`
	Masters    []Text            `json:"masters" xml:"masters>master"`
	Partitions []PartitionStatus `json:"partitions" xml:"partitions>partition"`
	Sync       SyncStatus        `json:"sync" xml:"sync"`
	Orphans    int64             `json:"orphans" xml:"orphans"`
}

// PartitionStatus is the state of a partition.
type PartitionStatus struct {
	Name      Text           `json:"name" xml:"name"`
	Kind      string         `json:"kind" xml:"kind"` // sqlite, mysql, mariadb
	Role      string         `json:"role" xml:"role"` // master, replica
	State     string         `json:"state" xml:"state"`
	Error     Text           `json:"error,omitempty" xml:"error,omitempty"`
	LatencyMS float64        `json:"latency_ms" xml:"latency_ms"` // smoothed, of recent operations
	Readable  bool           `json:"readable" xml:"readable"`
	Writable  bool           `json:"writable" xml:"writable"`
	Warnings  []Text         `json:"warnings,omitempty" xml:"warnings>warning,omitempty"`
	Origins   []OriginStatus `json:"origins" xml:"origins>origin"`
}

// OriginStatus is the position of a partition in the writes of a master.
type OriginStatus struct {
	Origin       Text       `json:"origin" xml:"name"`
	Revision     int64      `json:"revision" xml:"revision"`
	LagRevisions int64      `json:"lag_revisions" xml:"lag_revisions"`
	LagSeconds   *float64   `json:"lag_seconds" xml:"lag_seconds,omitempty"` // nil: the partition was never complete
	AgeSeconds   *float64   `json:"age_seconds" xml:"age_seconds,omitempty"` // of the proof of completeness; nil likewise
	SyncedAt     *time.Time `json:"synced_at,omitempty" xml:"synced_at,omitempty"`
}

// Lag describes the lag for people.
func (o OriginStatus) Lag() string {
	if o.LagSeconds == nil {
		return "not filled yet"
	}
	return fmt.Sprintf("%d revisions, %.3fs", o.LagRevisions, *o.LagSeconds)
}

// SyncStatus is the state of the sync process.
type SyncStatus struct {
	Running    bool         `json:"running" xml:"running"`
	Standby    bool         `json:"standby" xml:"standby"` // another process holds the lease
	LastPassAt *time.Time   `json:"last_pass_at,omitempty" xml:"last_pass_at,omitempty"`
	LastPassMS float64      `json:"last_pass_ms" xml:"last_pass_ms"`
	Passes     int64        `json:"passes" xml:"passes"`
	Targets    []SyncTarget `json:"targets" xml:"targets>target"`
}

// Line describes the sync process for people.
func (s SyncStatus) Line() string {
	switch {
	case !s.Running:
		return "not in this process"
	case s.Standby:
		return "standing by for another process"
	case s.LastPassAt == nil:
		return "no pass yet"
	}
	return fmt.Sprintf("%d passes, the last at %s took %.3f ms", s.Passes, s.LastPassAt.Format(time.RFC3339), s.LastPassMS)
}

// SyncReport is the answer to POST /v1/sync: the result of a pass.
type SyncReport struct {
	XMLName xml.Name     `json:"-" xml:"sync"`
	TookMS  float64      `json:"took_ms" xml:"took_ms"`
	Targets []SyncTarget `json:"targets" xml:"targets>target"` // in the order of the configuration
}

// SyncTarget is a partition that the sync process copies to.
type SyncTarget struct {
	Name      Text   `json:"name" xml:"name"`
	State     string `json:"state" xml:"state"` // level, catching_up, unreachable, …
	Error     Text   `json:"error,omitempty" xml:"error,omitempty"`
	Copied    int64  `json:"copied" xml:"copied"`                           // entries, in the last pass
	Remaining int64  `json:"remaining" xml:"remaining"`                     // revisions that the target lacks
	Swept     int64  `json:"swept,omitempty" xml:"swept,omitempty"`         // expired entries made tombstones
	Collected int64  `json:"collected,omitempty" xml:"collected,omitempty"` // tombstones removed
}
