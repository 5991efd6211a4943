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
	ClusterMap *ClusterMap       `json:"cluster_map,omitempty" xml:"cluster_map,omitempty"` // nil: no partition was reached yet
	Partitions []PartitionStatus `json:"partitions" xml:"partitions>partition"`
	Sync       SyncStatus        `json:"sync" xml:"sync"`
	Files      *FilesStatus      `json:"files,omitempty" xml:"files,omitempty"` // nil: the chunks of files are kept elsewhere
	Orphans    int64             `json:"orphans" xml:"orphans"`
	Quotas     []QuotaStatus     `json:"quotas,omitempty" xml:"quotas>quota,omitempty"` // in the order of the configuration
}

// ClusterMap says which partitions are masters of how many slots.
type ClusterMap struct {
	Epoch     int64     `json:"epoch" xml:"epoch"`
	Confirmed bool      `json:"confirmed" xml:"confirmed"` // a majority of the voters is known to have accepted the map
	Masters   []Master  `json:"masters" xml:"masters>master"`
	Voters    []Text    `json:"voters" xml:"voters>voter"` // empty before the first change
	Move      *Move     `json:"move,omitempty" xml:"move,omitempty"`
	LeaseMS   int64     `json:"lease_ms,omitempty" xml:"lease_ms,omitempty"`           // the length of the leases of processes; 0: there are none
	HasLease  *bool     `json:"has_lease,omitempty" xml:"has_lease,omitempty"`         // the answering process may take writes; nil: without leases
	Failover  *Failover `json:"failover,omitempty" xml:"failover,omitempty"`           // nil: processes replace no masters by themselves
	Halted    Text      `json:"ledger_halted,omitempty" xml:"ledger_halted,omitempty"` // why the ledger takes no writes
}

// Failover says when sync processes replace lost masters by themselves.
type Failover struct {
	AfterMS    int64 `json:"after_ms" xml:"after_ms"`                   // how long no process has reached the master
	CooldownMS int64 `json:"cooldown_ms" xml:"cooldown_ms"`             // after such a replacement, before another
	Cooling    int64 `json:"cooling,omitempty" xml:"cooling,omitempty"` // the epoch in which the last such replacement began, until its cooldown has ended
}

// Line describes the setting for people.
func (f *Failover) Line() string {
	text := fmt.Sprintf("lost masters are replaced after %s, and no other within %s", time.Duration(f.AfterMS)*time.Millisecond, time.Duration(f.CooldownMS)*time.Millisecond)
	if f.Cooling > 0 {
		text += fmt.Sprintf("; in epoch %d one was, and none is until that time is over, or 'runnel failover ack'", f.Cooling)
	}
	return text
}

// Master is a master with its number of slots, without those that are moving.
type Master struct {
	Name  Text  `json:"name" xml:"name"`
	Slots int   `json:"slots" xml:"slots"`
	Epoch int64 `json:"epoch" xml:"epoch"` // since which it is master
}

// Lines describes the map for people.
func (m *ClusterMap) Lines() []string {
	var lines []string
	for _, o := range m.Masters {
		lines = append(lines, fmt.Sprintf("master %s: %d slots, since epoch %d", o.Name, o.Slots, o.Epoch))
	}
	if m.Move != nil {
		lines = append(lines, "moving: "+m.Move.Line())
	}
	for i, name := range m.Voters {
		if i == 0 {
			lines = append(lines, "voters: "+string(name))
		} else {
			lines[len(lines)-1] += ", " + string(name)
		}
	}
	if m.HasLease != nil {
		state := "this process has one"
		if !*m.HasLease {
			state = "this process has none, and takes no writes"
		}
		lines = append(lines, fmt.Sprintf("master leases of %s: %s", time.Duration(m.LeaseMS)*time.Millisecond, state))
	}
	if m.Failover != nil {
		lines = append(lines, m.Failover.Line())
	}
	if m.Halted != "" {
		lines = append(lines, "the ledger is halted: "+string(m.Halted))
	}
	if !m.Confirmed {
		lines = append(lines, "a majority of the voters has not confirmed the cluster map")
	}
	return lines
}

// MoveReport is the answer to POST /v1/move: the moves that were made, or that a plan has.
type MoveReport struct {
	XMLName xml.Name `json:"-" xml:"move"`
	Moves   []Move   `json:"moves" xml:"moves>move"`
}

// Move is a move of slots from a master to another.
type Move struct {
	From     Text     `json:"from" xml:"from"`
	To       Text     `json:"to" xml:"to"`
	Slots    int      `json:"slots" xml:"slots"`
	WaitedMS *float64 `json:"waited_ms,omitempty" xml:"waited_ms,omitempty"` // how long writes to the slots waited; nil: the move was not made
	Lost     bool     `json:"lost,omitempty" xml:"lost,omitempty"`           // From is lost, and the move is a promotion
}

// Line describes the move for people.
func (m Move) Line() string {
	line := fmt.Sprintf("%s to %s, %d slots", m.From, m.To, m.Slots)
	if m.Lost {
		line = fmt.Sprintf("%s in place of the lost %s, %d slots", m.To, m.From, m.Slots)
	}
	if m.WaitedMS != nil {
		line += fmt.Sprintf(": done; writes to these slots waited for %.3f ms", *m.WaitedMS)
	}
	return line
}

// Promotion is the answer to POST /v1/promote.
type Promotion struct {
	XMLName   xml.Name `json:"-" xml:"promotion"`
	To        Text     `json:"to" xml:"to"`
	InPlaceOf Text     `json:"in_place_of" xml:"in_place_of"`
	Slots     int      `json:"slots" xml:"slots"`
	Epoch     int64    `json:"epoch" xml:"epoch"`                 // since which To is their master
	Cut       int64    `json:"cut,omitempty" xml:"cut,omitempty"` // the last revision of the lost master that counts; 0: all of its writes count
}

// Line describes the promotion for people.
func (p *Promotion) Line() string {
	counted := "all writes of it count, because it has returned"
	if p.Cut > 0 {
		counted = fmt.Sprintf("its writes count up to revision %d", p.Cut)
	}
	return fmt.Sprintf("%s is the master of %d slots in place of %s since epoch %d; %s", p.To, p.Slots, p.InPlaceOf, p.Epoch, counted)
}

// QuotaStatus is the use of a quota, as the answering process knows it.
type QuotaStatus struct {
	Prefix     Text       `json:"prefix" xml:"prefix"`
	Keys       int64      `json:"keys" xml:"keys"`
	Bytes      int64      `json:"bytes" xml:"bytes"`
	MaxKeys    int64      `json:"max_keys,omitempty" xml:"max_keys,omitempty"`       // 0: no limit
	MaxBytes   int64      `json:"max_bytes,omitempty" xml:"max_bytes,omitempty"`     // 0: no limit
	MeasuredAt *time.Time `json:"measured_at,omitempty" xml:"measured_at,omitempty"` // nil: only writes of the process are known
}

// Line describes the use for people.
func (q QuotaStatus) Line() string {
	line := fmt.Sprintf("%q: ", string(q.Prefix)) + ofLimit(q.Keys, q.MaxKeys) + " keys, " + ofLimit(q.Bytes, q.MaxBytes) + " bytes"
	if q.MeasuredAt == nil {
		line += ", not measured yet"
	}
	return line
}

func ofLimit(used, limit int64) string {
	if limit == 0 {
		return fmt.Sprint(used)
	}
	return fmt.Sprintf("%d of %d", used, limit)
}

// PartitionStatus is the state of a partition.
type PartitionStatus struct {
	Name      Text    `json:"name" xml:"name"`
	Kind      string  `json:"kind" xml:"kind"` // sqlite, mysql, mariadb
	Role      string  `json:"role" xml:"role"` // master, replica
	State     string  `json:"state" xml:"state"`
	Error     Text    `json:"error,omitempty" xml:"error,omitempty"`
	LatencyMS float64 `json:"latency_ms" xml:"latency_ms"`                   // smoothed, of recent operations
	Schema    int     `json:"schema,omitempty" xml:"schema,omitempty"`       // version of the tables
	Migration int     `json:"migration,omitempty" xml:"migration,omitempty"` // version that 'runnel migrate' brings the tables to
	Readable  bool    `json:"readable" xml:"readable"`
	Writable  bool    `json:"writable" xml:"writable"`
	Warnings  []Text  `json:"warnings,omitempty" xml:"warnings>warning,omitempty"`
	// VerifiedAt is when the partition was last verified in full; nil: never.
	VerifiedAt *time.Time `json:"verified_at,omitempty" xml:"verified_at,omitempty"`

	Origins []OriginStatus `json:"origins" xml:"origins>origin"`
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
