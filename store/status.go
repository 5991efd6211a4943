package store

import (
	"errors"
	"slices"
	"time"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/internal/cache"
	"github.com/runnelkv/runnel/store/internal/cluster"
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
	Quotas     []QuotaStatus // in the order of SetQuotas
	Damaged    int64         // reads that have met a damaged copy
	Repaired   int64         // damaged copies that were repaired after such a read
}

// PartitionStatus is the known state of a partition.
type PartitionStatus struct {
	Name     string
	Schema   partition.Schema // zero: not reached yet
	Kind     string           // "sqlite", "mysql", "mariadb", "memory"
	Master   bool
	State    State
	Err      error          // why State is not Ready; nil for Ready, Filling and CatchingUp
	Latency  time.Duration  // of recent operations, smoothed
	ReadAt   time.Time      // when its positions were last read
	Verified time.Time      // when the partition was last verified in full; zero: never
	Readable bool           // serves reads of every origin
	Writable bool           // takes writes as a master
	Warnings []string       // settings of the server that put durability at risk, or limit values
	Origins  []OriginStatus // of the masters, in their order, then of former masters
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
	st.Cache, st.Quotas = s.cache.Stats(), s.quotas.Status()
	st.Damaged, st.Repaired = s.mender.Stats()
	c := s.cluster.Map()
	if c != nil {
		st.ClusterID, st.Epoch, st.Masters = c.ID, c.Epoch, c.Masters
	}
	for _, b := range s.backends.All() {
		st.Partitions = append(st.Partitions, s.statusOf(b, c))
	}
	return st
}

// Readable reports whether every key can be read from some partition.
func (st Status) Readable() bool {
	if len(st.Masters) == 0 || len(st.Partitions) == 0 {
		return false
	}
	for i := range st.Partitions[0].Origins {
		if !slices.ContainsFunc(st.Partitions, func(p PartitionStatus) bool { return p.Origins[i].Readable }) {
			return false
		}
	}
	return true
}

// Writable reports whether some keys can be written.
func (st Status) Writable() bool {
	return slices.ContainsFunc(st.Partitions, func(p PartitionStatus) bool { return p.Writable })
}

func (s *Store) statusOf(b *backend.Backend, c *cluster.Map) PartitionStatus {
	state := b.State()
	var masters []string
	var origins []Origin
	if c != nil {
		masters, origins = c.Masters, c.Origins()
	}
	ps := PartitionStatus{
		Name:    b.Name(),
		Schema:  b.KnownSchema(),
		Kind:    b.Kind(),
		Master:  slices.Contains(masters, b.Name()),
		Err:     state.Err,
		Latency: b.Latency(),
	}
	if state.IsPrepared {
		ps.Warnings = b.AllWarnings()
	}
	if k := b.Observed(); k != nil {
		ps.ReadAt = k.ReadAt
		if k.VerifiedAt != 0 {
			ps.Verified = k.VerifiedAt.Time()
		}
	}
	ps.Readable, ps.Writable = len(masters) > 0, ps.Master && b.IsWritable() && b.HasLease()
	complete, catchingUp := true, false
	for _, o := range origins {
		st := s.originStatus(b, c, o)
		ps.Origins = append(ps.Origins, st)
		ps.Readable = ps.Readable && st.Readable
		complete, catchingUp = complete && b.IsComplete(o), catchingUp || b.IsLagging(o)
	}
	switch refusal := b.CommitRefusal(); {
	case ps.Err != nil:
		ps.State = stateOf(ps.Err)
	case state.Behind != nil:
		ps.State, ps.Err = Behind, state.Behind
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
	case errors.Is(err, backend.ErrNotReached):
		return Starting
	case errors.Is(err, partition.ErrRefused):
		return Refused
	}
	return Unreachable
}

func (s *Store) originStatus(b *backend.Backend, c *cluster.Map, o Origin) OriginStatus {
	at, _ := b.Position(o)
	st := OriginStatus{Origin: o, Readable: b.IsUp() && b.IsComplete(o), Revision: b.KnownRevision(o), Age: s.backends.Staleness(b, o)}
	if !slices.Contains(c.Masters, string(o)) && at.Whole() && at.Revision >= c.GaveAway(o) {
		st.Age = 0 // a former master writes no more
	}
	if at.Filled() && st.Age >= 0 && b.Name() != string(o) {
		st.SyncedAt = time.Now().Add(-st.Age)
	}
	head := st.Revision
	for _, other := range s.backends.All() {
		head = max(head, other.KnownRevision(o))
	}
	st.LagRevisions = int64(head - max(st.Revision, partition.Floor(head.Epoch())))
	if st.LagRevisions > 0 || b.IsLagging(o) || st.Age < 0 {
		st.Lag = st.Age
	}
	return st
}

// CacheStats counts the Hits and Misses of reads that could use the cache, and the Entries and Bytes in it, which are
// estimates. MaxBytes is 0 if there is no cache.
type CacheStats = cache.Stats

// CacheStats returns the current statistics of the cache.
func (s *Store) CacheStats() CacheStats { return s.cache.Stats() }
