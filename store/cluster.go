package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/runnelkv/runnel/store/internal/cluster"
)

// Lost reports whether a session has seen revisions that a restore has undone.
func (s *Store) Lost(v Vector) bool {
	c := s.cluster.Map()
	return c != nil && c.HasLost(v)
}

// Tag is the tag of the store's cluster: the same in every process, independent of the
// partitions and masters. It is 0 until a partition was reached.
func (s *Store) Tag() ClusterTag { return s.cluster.Tag() }

// Origins returns the origins that new writes can have: all masters. It is nil until a
// partition was reached.
func (s *Store) Origins() []Origin { return s.cluster.Origins() }

// Connect tries once to prepare and join every partition that has not joined yet, and reads
// all positions. The error joins, for each partition that cannot be used, the reason; the
// others can be used.
func (s *Store) Connect(ctx context.Context) error { return s.cluster.Connect(ctx) }

// SetBack reports that a master lacks entries of its own that a replica holds, as
// partition.CheckLineage has found. The master takes no writes until it holds these
// entries, or the replica is filled afresh.
func (s *Store) SetBack(origin, replica string, err error) { s.cluster.SetBack(origin, replica, err) }

// Restored is the result of a Restore: the Epoch that began, for each master the End of its valid revisions, and for each
// master that was behind the number of entries taken Back from other partitions.
type Restored = cluster.Restored

// Restore begins a new epoch after databases were set back in time. Every configured
// partition must be reachable; each records up to which revision the writes of each master
// are valid. From then on sessions, change tokens and tags of later revisions are
// recognised, and no revision is issued twice. A master that is behind first catches up
// with the partition that holds most of it.
//
// Restore holds the sync leases, which it takes for the given duration and renews. It may be
// repeated after an interruption. Run need not be running. Other processes may be, but if
// they write meanwhile, Restore fails.
func (s *Store) Restore(ctx context.Context, lease time.Duration) (Restored, error) {
	return s.cluster.Restore(ctx, lease)
}

// PromoteRequest names a partition that shall take the place of a master that is lost.
type PromoteRequest = cluster.PromoteRequest

// Promoted is the result of a promotion.
type Promoted = cluster.Promoted

// PromoteStage is a stage of a promotion. From PromoteBegun to PromoteDone the slots have no master.
type PromoteStage = cluster.PromoteStage

// The stages of a promotion, in their order.
const (
	PromoteLevelling = cluster.PromoteLevelling // the new master copies the writes of the lost master that reachable partitions hold
	PromoteBegun     = cluster.PromoteBegun     // a majority of the voters knows that the lost master is replaced
	PromoteExcluded  = cluster.PromoteExcluded  // no process can write to the lost master any more
	PromoteDone      = cluster.PromoteDone      // the new master takes writes
)

var (
	// ErrPromoteRefused: the promotion cannot be made; nothing was changed.
	ErrPromoteRefused = cluster.ErrPromoteRefused
	// ErrLeasesRefused: the leases cannot be changed; nothing was changed.
	ErrLeasesRefused = cluster.ErrLeasesRefused
	// ErrFailoverRefused: the automatic promotions cannot be set so; nothing was changed.
	ErrFailoverRefused = cluster.ErrFailoverRefused
	// ErrVotersRefused: the voters cannot be changed so; nothing was changed.
	ErrVotersRefused = cluster.ErrVotersRefused
)

// MaxLease is the longest lease of a process.
const MaxLease = cluster.MaxLease

// Promote makes a partition the master of all slots of a lost master. Either processes have leases, or the server of the lost
// master must be stopped (PromoteRequest.Stopped). The partition first copies what a majority of the voters holds of the lost
// master's writes. Writes beyond, which the lost master has not passed on, do not count any more: sessions and change tokens
// that have seen them are refused, and should the lost master return with such writes, it is refused too. A majority of the
// voters must be reachable, or, with Stopped, of two voters the other. A Promote that is interrupted is completed by a process
// that runs the store. progress must not block. Its errors are ErrPromoteRefused, ErrNoMajority and those of a partition.
func (s *Store) Promote(ctx context.Context, q PromoteRequest, progress func(PromoteStage)) (Promoted, error) {
	return s.cluster.Promote(ctx, q, progress)
}

// SetLeases gives all processes leases of a length, from four polls to five minutes, or takes the leases away (0). With leases a
// process commits and answers for masters only while a majority of the voters answers it, so that a promotion can exclude
// processes that still reach the lost master. Three voters or more are needed, and all masters must be reachable. Its errors
// are ErrLeasesRefused, ErrNoMajority and those of a partition.
func (s *Store) SetLeases(ctx context.Context, length time.Duration) error {
	return s.cluster.SetLeases(ctx, length)
}

// SetFailover lets each process with Options.Promotes replace a master that no process has reached for a time, from 15 polls to
// an hour, and not again within a cooldown, from that time to a week; a time of 0 ends that. It takes three voters, and leases
// (SetLeases). While it is set, every process reports to the voters which masters it reaches. Its errors are ErrFailoverRefused,
// ErrNoMajority and those of a partition.
func (s *Store) SetFailover(ctx context.Context, after, cooldown time.Duration) error {
	return s.cluster.SetFailover(ctx, after, cooldown)
}

// AcknowledgeFailover ends the cooldown of an automatic promotion.
func (s *Store) AcknowledgeFailover(ctx context.Context) error {
	return s.cluster.AcknowledgeFailover(ctx)
}

// AddVoter makes a configured partition a voter: a majority of the voters decides about changes of the cluster map, and holds
// the writes that Secure confirms. A majority of the former and of the new voters must be reachable. Between two changes of the
// voters, a majority must have copied all earlier writes. Its errors are ErrVotersRefused, ErrNoMajority and those of a
// partition.
func (s *Store) AddVoter(ctx context.Context, name string) error {
	return s.cluster.AddVoter(ctx, name)
}

// RemoveVoter takes the vote from a partition, which may be lost, and is no master. See AddVoter.
func (s *Store) RemoveVoter(ctx context.Context, name string) error {
	return s.cluster.RemoveVoter(ctx, name)
}

// MoveRequest names slots to move from a master to another partition. Slots nil: all slots of From.
type MoveRequest = cluster.MoveRequest

// MoveStage is a stage of a move. From MoveBegun to MoveDone or MoveAborted the slots have no master, and writes to them wait
// for at most two seconds.
type MoveStage = cluster.MoveStage

// The stages of a move, in their order.
const (
	MoveLevelling = cluster.MoveLevelling // the new master copies what it lacks, while the old one takes writes
	MoveBegun     = cluster.MoveBegun     // the old master takes no more writes of the slots
	MoveLevel     = cluster.MoveLevel     // the new master holds everything
	MoveDone      = cluster.MoveDone      // the new master takes writes
	MoveAborted   = cluster.MoveAborted   // the old master takes writes again
)

var (
	// ErrMoveRefused: the move cannot begin; nothing was changed.
	ErrMoveRefused = cluster.ErrMoveRefused
	// ErrMoveAborted: the move could not be completed within ten seconds; the old master takes writes again.
	ErrMoveAborted = cluster.ErrMoveAborted
	// ErrNoMajority: fewer voters answered than a change of the cluster map needs.
	ErrNoMajority = cluster.ErrNoMajority
)

// PlanMoves returns the moves that a request stands for: itself, if From and To are set; those that make To a master with its
// share of the slots, if From is empty; those that take every slot from From, if To is empty. Its error is ErrMoveRefused.
func (s *Store) PlanMoves(q MoveRequest) ([]MoveRequest, error) { return s.cluster.PlanMoves(q) }

// Move moves slots without losing a write. Both masters and a majority of the voters must be reachable, and the new master
// must hold nearly everything of the old one. A Move that is interrupted is completed, or aborted, by a process that runs
// the store. Run need not be running, but Connect must have been called. progress must not block. Its errors are
// ErrMoveRefused, ErrMoveAborted, ErrNoMajority and those of a partition.
func (s *Store) Move(ctx context.Context, q MoveRequest, progress func(MoveStage)) error {
	return s.cluster.Move(ctx, q, progress)
}

// Halt makes every Update with UpdateOptions.Halts fail, in every process, with a *HaltedError of the reason; the reason ""
// lifts this. Halt is a change of the cluster map: its errors are those of Move, and the map keeps the reason through restarts.
func (s *Store) Halt(ctx context.Context, reason string) error { return s.cluster.Halt(ctx, reason) }

// Halted is the reason of the Halt that this process knows of, or "".
func (s *Store) Halted() string {
	if c := s.cluster.Map(); c != nil {
		return c.Halted
	}
	return ""
}

// ParseSlots reads slots such as "7" and "0-511", separated by commas, and returns each once. Nothing stands for nil.
func ParseSlots(text string) (slots []Slot, err error) {
	if text == "" {
		return nil, nil
	}
	var named [Slots]bool
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		low, err := strconv.ParseUint(first, 10, 16)
		high, err2 := strconv.ParseUint(last, 10, 16)
		if err != nil || err2 != nil || high < low || high >= Slots {
			return nil, fmt.Errorf("%q is neither a slot nor a range of slots: they are numbers from 0 to %d, such as 0-511,600", part, Slots-1)
		}
		for slot := low; slot <= high; slot++ {
			named[slot] = true
		}
	}
	for slot, is := range named {
		if is {
			slots = append(slots, Slot(slot))
		}
	}
	return slots, nil
}

// ClusterMap says which partitions are masters of how many slots.
type ClusterMap struct {
	Epoch     int64
	Confirmed bool          // a majority of the voters is known to have accepted the map
	Masters   []MasterInfo  // in the order of the map
	Voters    []string      // who decide about changes of the map; nil before the first change
	Move      *MoveInfo     // the move or promotion under way, or nil
	Lease     time.Duration // the length of the leases of processes; 0: there are none
	HasLease  bool          // this process may commit and answer for masters
	Halted    string        // why writes with UpdateOptions.Halts are refused, or ""
	Failover  FailoverInfo
}

// FailoverInfo says when processes replace lost masters by themselves.
type FailoverInfo struct {
	After    time.Duration // how long no process has reached the master; 0: processes replace none
	Cooldown time.Duration // after such a replacement, before another
	// Cooling is the epoch in which the last such replacement began, until its cooldown has ended; else 0.
	Cooling int64
}

// MasterInfo is a master with its number of slots, and the epoch in which its revisions began.
type MasterInfo struct {
	Name  string
	Slots int
	Epoch int64
}

// MoveInfo is a move of slots.
type MoveInfo struct {
	From, To string
	Slots    int
	Lost     bool // From is lost, and the move is a promotion
}

// ClusterMap returns the map that this process knows; nil until a partition was reached.
func (s *Store) ClusterMap() *ClusterMap {
	c := s.cluster.Map()
	if c == nil {
		return nil
	}
	m := &ClusterMap{Epoch: c.Epoch, Confirmed: c.IsConfirmed(), Voters: c.Voters, Lease: c.Leases.Length, HasLease: s.cluster.HasLease(), Halted: c.Halted, Failover: FailoverInfo(c.Failover)}
	for _, name := range c.Masters {
		m.Masters = append(m.Masters, MasterInfo{Name: name, Epoch: c.EpochOf(name)})
	}
	for slot, owner := range c.Slots {
		if move := c.MoveOf(uint16(slot)); move != nil {
			if m.Move == nil {
				m.Move = &MoveInfo{From: move.From, To: move.To, Lost: move.Lost}
			}
			m.Move.Slots++
			continue
		}
		m.Masters[owner].Slots++
	}
	return m
}
