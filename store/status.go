package store

import (
	"errors"
	"slices"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// State is the current state of a partition.
type State string

const (
	Starting    State = "starting"    // not reached since this process started
	Ready       State = "ready"       // reachable, joined, complete
	Filling     State = "filling"     // reachable, but not yet filled: serves no reads
	CatchingUp  State = "catching_up" // reachable, in a multi-step catch-up
	Unreachable State = "unreachable" // does not answer; retried automatically
	Refused     State = "refused"     // cannot serve until an operator acts; see Err
	ReadOnly    State = "read_only"   // a master that answers reads but rejects commits; see Err
	Behind      State = "behind"      // a master of which replicas hold newer revisions: takes no writes
)

// Status is the known state of all partitions. Positions and lags are as of each
// partition's ReadAt. They are bounds: no partition is further behind.
type Status struct {
	ClusterID  string
	Epoch      int64
	Masters    []string
	Partitions []PartitionStatus // in the order of the configuration
	Cache      CacheStats
}

// PartitionStatus is the known state of a partition.
type PartitionStatus struct {
	Name     string
	Kind     string // "sqlite", "mysql", "mariadb", "memory"
	Master   bool
	State    State
	Err      error         // why State is not Ready; nil for Ready, Filling and CatchingUp
	Latency  time.Duration // of recent operations, smoothed
	ReadAt   time.Time     // when its positions were last read
	Readable bool          // serves reads of every origin
	Writable bool          // takes writes as a master
	Warnings []string      // settings of the server that put durability at risk, or limit values
	Origins  []OriginStatus
}

// OriginStatus is a partition's progress with an origin.
type OriginStatus struct {
	Origin       Origin
	Readable     bool // serves reads of this origin's keys
	Revision     Revision
	LagRevisions int64         // revisions of the origin that this partition lacks
	Lag          time.Duration // 0 when complete; else an upper bound of the age of its data; negative: not yet filled
	Age          time.Duration // since the partition was last known to hold every change; negative: not yet filled
	SyncedAt     time.Time     // by this process's clock; zero: not yet filled, or the origin itself
}

// Status returns the known state. It does not query any partition.
func (s *Store) Status() (st Status) {
	st.Cache = s.CacheStats()
	if c := s.cluster.Load(); c != nil {
		st.ClusterID, st.Epoch, st.Masters = c.ID, c.Epoch, c.Masters
	}
	for _, b := range *s.backends.Load() {
		st.Partitions = append(st.Partitions, s.statusOf(b, st.Masters))
	}
	return st
}

// Readable reports whether every key can be read from some partition.
func (st Status) Readable() bool {
	for i := range st.Masters {
		if !slices.ContainsFunc(st.Partitions, func(p PartitionStatus) bool { return p.Origins[i].Readable }) {
			return false
		}
	}
	return len(st.Masters) > 0
}

// Writable reports whether some keys can be written.
func (st Status) Writable() bool {
	return slices.ContainsFunc(st.Partitions, func(p PartitionStatus) bool { return p.Writable })
}

func (s *Store) statusOf(b *backend, masters []string) PartitionStatus {
	state := b.state()
	ps := PartitionStatus{
		Name:    b.Name(),
		Kind:    b.Kind(),
		Master:  slices.Contains(masters, b.Name()),
		Err:     state.err,
		Latency: time.Duration(b.latency.Load()),
	}
	if state.isPrepared {
		ps.Warnings = b.warnings()
	}
	if k := b.observed.Load(); k != nil {
		ps.ReadAt = k.readAt
	}
	ps.Readable, ps.Writable = len(masters) > 0, ps.Master && b.isWritable.Load()
	complete, catchingUp := true, false
	for _, name := range masters {
		o := Origin(name)
		st := s.originStatus(b, o)
		ps.Origins = append(ps.Origins, st)
		ps.Readable = ps.Readable && st.Readable
		complete, catchingUp = complete && b.isComplete(o), catchingUp || b.isLagging(o)
	}
	switch refusal := b.commitRefusal(); {
	case ps.Err != nil:
		ps.State = stateOf(ps.Err)
	case state.behind != nil:
		ps.State, ps.Err = Behind, state.behind
	case refusal != nil && ps.Master:
		ps.State, ps.Err, ps.Writable = ReadOnly, refusal, false
	case !complete:
		ps.State = Filling
	case catchingUp:
		ps.State = CatchingUp
	default:
		ps.State = Ready
	}
	return ps
}

func stateOf(err error) State {
	switch {
	case errors.Is(err, errNotReached):
		return Starting
	case errors.Is(err, partition.ErrRefused):
		return Refused
	}
	return Unreachable
}

func (s *Store) originStatus(b *backend, o Origin) OriginStatus {
	at, _ := b.position(o)
	st := OriginStatus{Origin: o, Readable: b.isUp() && b.isComplete(o), Revision: b.knownRevision(o), Age: s.staleness(b, o)}
	if at.Filled() && st.Age >= 0 && b.Name() != string(o) {
		st.SyncedAt = time.Now().Add(-st.Age)
	}
	head := st.Revision
	for _, other := range *s.backends.Load() {
		head = max(head, other.knownRevision(o))
	}
	st.LagRevisions = int64(head - max(st.Revision, partition.Floor(head.Epoch())))
	if st.LagRevisions > 0 || b.isLagging(o) || st.Age < 0 {
		st.Lag = st.Age
	}
	return st
}

// knownRevision returns the revision up to which the partition is known to hold o's changes. A master is known to hold
// what this process has committed there since its positions were read.
func (b *backend) knownRevision(o Origin) Revision {
	at, _ := b.position(o)
	if b.Name() == string(o) {
		return max(at.Revision, Revision(b.newestCommitted.Load()))
	}
	return at.Revision
}
