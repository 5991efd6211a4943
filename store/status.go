package store

import "time"

// State is what a partition can do now.
type State string

const (
	Starting    State = "starting"    // not reached yet since this process started
	Ready       State = "ready"       // reachable, joined, and level or nearly so
	Filling     State = "filling"     // reachable, but never whole yet: it serves no reads
	CatchingUp  State = "catching_up" // reachable, in the middle of a catch-up in several steps
	Unreachable State = "unreachable" // does not answer; tried again by itself
	Refused     State = "refused"     // cannot serve until an operator acts; see Err
	Behind      State = "behind"      // a master that others hold newer revisions of: it takes no writes
)

// Status is what the store knows of its partitions. Positions and lags are as
// of ReadAt of each partition: a partition is never further behind than said.
type Status struct {
	ClusterID  string
	Epoch      int64
	Masters    []string
	Partitions []PartitionStatus // in the order of the configuration
}

// PartitionStatus is a partition's part of a Status.
type PartitionStatus struct {
	Name     string
	Kind     string // "sqlite", "mysql", "mariadb", "memory"
	Master   bool
	State    State
	Err      error         // why it is not Ready, nil when it is
	Latency  time.Duration // of recent operations, smoothed
	ReadAt   time.Time     // when its positions were last read
	Readable bool          // serves reads of every origin
	Writable bool          // takes writes as a master
	Origins  []OriginStatus
}

// OriginStatus says how far a partition has come with one origin.
type OriginStatus struct {
	Origin       Origin
	Revision     Revision
	LagRevisions int64         // revisions of the origin that this partition does not hold yet
	Lag          time.Duration // upper bound of how old its view of the origin is; negative: never whole
	SyncedAt     time.Time     // by this process's clock; zero: never whole, or the origin itself
}
