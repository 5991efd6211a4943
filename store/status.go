package store

import (
	"errors"
	"slices"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// State is what a partition can do now.
type State string

const (
	Starting    State = "starting"    // not reached yet since this process started
	Ready       State = "ready"       // reachable, joined, and level or nearly so
	Filling     State = "filling"     // reachable, but never whole yet: it serves no reads
	CatchingUp  State = "catching_up" // reachable, in the middle of a catch-up in several steps
	Unreachable State = "unreachable" // does not answer; tried again by itself
	Refused     State = "refused"     // cannot serve until an operator acts; see Err
	ReadOnly    State = "read_only"   // a master that answers reads, and whose commits fail; see Err
	Behind      State = "behind"      // a master that others hold newer revisions of: it takes no writes
)

// Status is what the store knows of its partitions. Positions and lags are as
// of ReadAt of each partition: a partition is never further behind than said.
type Status struct {
	ClusterID  string
	Epoch      int64
	Masters    []string
	Partitions []PartitionStatus // in the order of the configuration
	Cache      CacheStats
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
	Warnings []string      // what its server's settings put at risk, or do not allow
	Origins  []OriginStatus
}

// OriginStatus says how far a partition has come with one origin.
type OriginStatus struct {
	Origin       Origin
	Readable     bool // serves reads of this origin's keys
	Revision     Revision
	LagRevisions int64         // revisions of the origin that this partition does not hold yet
	Lag          time.Duration // 0 when level; else upper bound of how old its view of the origin is; negative: never whole
	Age          time.Duration // of the proof that it holds everything of then; negative: never whole
	SyncedAt     time.Time     // by this process's clock; zero: never whole, or the origin itself
}

// Status is what the store knows now; it asks nobody.
func (s *Store) Status() (st Status) {
	st.Cache = s.CacheStats()
	if c := s.cluster.Load(); c != nil {
		st.ClusterID, st.Epoch, st.Masters = c.ID, c.Epoch, c.Masters
	}
	for _, m := range *s.backends.Load() {
		st.Partitions = append(st.Partitions, s.statusOf(m, st.Masters))
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

func (s *Store) statusOf(m *backend, masters []string) PartitionStatus {
	ps := PartitionStatus{
		Name:    m.Name(),
		Kind:    m.Kind(),
		Master:  slices.Contains(masters, m.Name()),
		Err:     m.lastError(),
		Latency: time.Duration(m.latency.Load()),
	}
	if m.prepared() {
		ps.Warnings = m.warnings()
	}
	if k := m.observed.Load(); k != nil {
		ps.ReadAt = k.readAt
	}
	ps.Readable, ps.Writable = len(masters) > 0, ps.Master && m.isWritable.Load()
	whole, catchingUp := true, false
	for _, name := range masters {
		o := Origin(name)
		st := s.originStatus(m, o)
		ps.Origins = append(ps.Origins, st)
		ps.Readable = ps.Readable && st.Readable
		whole, catchingUp = whole && m.isComplete(o), catchingUp || m.isLagging(o)
	}
	switch behind, refusal := m.behindError(), m.commitRefusal(); {
	case ps.Err != nil:
		ps.State = stateOf(ps.Err)
	case behind != nil:
		ps.State, ps.Err = Behind, behind
	case refusal != nil && ps.Master:
		ps.State, ps.Err, ps.Writable = ReadOnly, refusal, false
	case !whole:
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

func (s *Store) originStatus(m *backend, o Origin) OriginStatus {
	at, _ := m.position(o)
	st := OriginStatus{Origin: o, Readable: m.isUp() && m.isComplete(o), Revision: at.Revision, Age: s.staleness(m, o)}
	if at.Filled() && st.Age >= 0 && m.Name() != string(o) {
		st.SyncedAt = time.Now().Add(-st.Age)
	}
	head := at.Revision
	for _, other := range *s.backends.Load() {
		if p, ok := other.position(o); ok {
			head = max(head, p.Revision)
		}
	}
	st.LagRevisions = int64(head - max(at.Revision, partition.Floor(head.Epoch())))
	if st.LagRevisions > 0 || m.isLagging(o) || st.Age < 0 {
		st.Lag = st.Age
	}
	return st
}
