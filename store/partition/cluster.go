package partition

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Cluster is the only row of a partition's cluster table: the identity of the partition, and the cluster map.
type Cluster struct {
	ID          string   // of the cluster: 128 random bits in hex, the same in every partition
	PartitionID string   // of this database: 128 random bits in hex
	Name        string   // the partition's name when it joined
	Epoch       int64    // from 1; grows with every change of the map. Below 1: see RestoringEpoch
	Masters     []string // names of the owners of slots; Slots refers to their order
	Slots       []uint16 // slot → index into Masters; len is the number of slots
	Ends        []End    // in the order in which origins entered a later epoch

	// Epochs holds, by master, the epoch in which the master's counter runs. Nil, before the first move
	// and after a restore: all counters run in Epoch.
	Epochs map[string]int64
	// Voters names the partitions a majority of which decides which map counts. Nil, before the first
	// move: no map but the founding one was ever proposed.
	Voters []string
	// Moves are the moves of slots, in the order in which they began. Finished moves stay: they say
	// which origins the older entries of a slot can have.
	Moves []Move
	// Halted says why the ledger takes no writes; "": it takes writes.
	Halted string
	// Leases says how long a process may answer for masters without a majority of the voters.
	Leases Leases
	// Failover says when a process replaces a lost master by itself.
	Failover Failover

	// The ballots order the proposals of maps; 0: none ever. Accepted is the ballot of this map, and
	// Promised the highest ballot that the partition has heard of. Chosen is the highest ballot that a
	// majority of the voters is known to have accepted: this map counts if Chosen is Accepted.
	Promised, Accepted, Chosen int64
}

// Leases are the master leases of processes. A process commits and answers for a master only while a majority of the voters has
// shown, within the length of a lease, no later map than the process knows.
type Leases struct {
	Length time.Duration `json:"length"` // in nanoseconds; 0: there are no leases, and processes need no majority
	// Held says that every master has accepted a map with leases of this length: no process writes to a master without one.
	Held bool `json:"held,omitempty"`
}

// Failover says when a process replaces a lost master by itself.
type Failover struct {
	After    time.Duration `json:"after"`    // in nanoseconds, how long nobody has reached the master; 0: processes replace none
	Cooldown time.Duration `json:"cooldown"` // in nanoseconds, after such a replacement, before another
	// Cooling is the epoch in which the last such replacement began, until its cooldown has ended; 0: it has ended, or there was none.
	Cooling int64 `json:"cooling,omitempty"`
}

// Move is a move of slots from a master to another.
type Move struct {
	Slots SlotSet `json:"slots"`
	From  string  `json:"from"`
	To    string  `json:"to"`
	// Began is the epoch of the map with which the move began. For the slots count exactly the
	// revisions of From below Floor(Began).
	Began int64 `json:"began"`
	// Done is the epoch of the map with which To became the master; 0: the slots have no master.
	Done int64 `json:"done,omitempty"`
	// Lost says that From cannot be reached: To takes what a majority of the voters holds of its writes, and an end says how
	// far that is. Until the move is done, no partition but To takes copies of From's entries.
	Lost bool `json:"lost,omitempty"`
	// Stopped says that no process can write to From, as an operator has declared: nobody waits for the end of leases.
	Stopped bool `json:"stopped,omitempty"`
}

// check fails unless a map can have the move.
func (m *Move) check(slots int) error {
	if len(m.Slots) != (slots+7)/8 || m.Done != 0 && m.Done < m.Began {
		return fmt.Errorf("the move from %s to %s has %d bytes for %d slots, and is of the epochs %d to %d", m.From, m.To, len(m.Slots), slots, m.Began, m.Done)
	}
	return nil
}

// SlotSet is a set of slots, as a bitmap.
type SlotSet []byte

// NewSlotSet returns a set of some of n slots.
func NewSlotSet(n int, slots ...uint16) SlotSet {
	s := make(SlotSet, (n+7)/8)
	for _, slot := range slots {
		s[slot/8] |= 1 << (slot % 8)
	}
	return s
}

// Has reports whether the set contains a slot.
func (s SlotSet) Has(slot uint16) bool {
	return int(slot/8) < len(s) && s[slot/8]&(1<<(slot%8)) != 0
}

// All returns the slots of the set in ascending order.
func (s SlotSet) All() (slots []uint16) {
	for slot := range 8 * len(s) {
		if s.Has(uint16(slot)) {
			slots = append(slots, uint16(slot))
		}
	}
	return slots
}

// RestoringEpoch is the epoch of a database that lacks entries of the backup being restored. The
// epoch −E means: all entries of a backup of epoch E have arrived, and a new epoch must begin before
// a store uses the database, because the writes after the backup, which are lost, had revisions of
// epochs up to E. No store uses a database whose epoch is below 1.
const RestoringEpoch = -1 << 40

// End is the end of an origin's revisions below a later epoch. Revisions beyond the cut
// are lost: no partition holds them, but sessions, tokens and tags can name them.
type End struct {
	Origin Origin   `json:"origin"`
	Cut    Revision `json:"cut"`
	Below  Revision `json:"below"` // Floor of the new epoch
}

// Lost reports whether the origin once used the revision but the revision is lost.
func (c *Cluster) Lost(o Origin, r Revision) bool {
	return slices.ContainsFunc(c.Ends, func(e End) bool { return e.Origin == o && e.Cut < r && r < e.Below })
}

// CheckPosition fails with ErrRefused if the ends contradict a partition, called name, that is at
// revision at of origin o.
func (c *Cluster) CheckPosition(name string, o Origin, at Revision) error {
	if c.Lost(o, at) {
		return fmt.Errorf("%w: it holds writes of %s up to %d, which did not count when a restore or a promotion began a new epoch without this partition: export what is needed of it, then empty it, and it is filled afresh", ErrRefused, o, at)
	}
	if name != string(o) || !slices.Contains(c.Masters, name) {
		return nil // a partition that writes nothing more may be filled afresh
	}
	for _, e := range c.Ends {
		if e.Origin == o && at < e.Cut {
			return fmt.Errorf("%w: its newest revision is %d, but %d counts: it has lost writes, which 'runnel restore' takes back from the others", ErrRefused, at, e.Cut)
		}
	}
	return nil
}

// Renew returns the position with which a partition, called name, fills an origin afresh, if the partition is amid a catch-up to a
// revision that is lost: nobody can complete the catch-up, and the partition holds a mixture of moments.
func (c *Cluster) Renew(name string, p Position) (renewed Position, isLost bool) {
	for _, e := range c.Ends {
		if string(p.Origin) != name && p.Origin == e.Origin && p.CatchingUp() && e.Cut < p.Goal && p.Goal < e.Below {
			return Position{Origin: p.Origin, Goal: e.Cut, Collected: p.Collected}, true
		}
	}
	return p, false
}

// CheckMoves fails if a move contradicts itself or the slots.
func (c *Cluster) CheckMoves() error {
	var errs []error
	for i := range c.Moves {
		errs = append(errs, c.Moves[i].check(len(c.Slots)))
	}
	return errors.Join(errs...)
}

// NeedsBallots reports whether a binary that knows neither ballots nor moves would misread the map.
func (c *Cluster) NeedsBallots() bool {
	return c.Accepted > 0 || len(c.Voters) > 0 || len(c.Moves) > 0
}

// Promise is the rule of Identity.Promise: it returns the row that follows row c.
func (c Cluster) Promise(ballot int64) (Cluster, error) {
	switch {
	case c.Epoch < 1:
		return c, fmt.Errorf("%w: a backup is being restored to this database", ErrRefused)
	case ballot <= c.Promised:
		return c, fmt.Errorf("%w: ballot %d, and %d is promised", ErrOutvoted, ballot, c.Promised)
	}
	c.Promised = ballot
	return c, nil
}

// Accept is the rule of Identity.Accept: it returns the row that follows row c when m is proposed.
// replaces: the map of the row is another one then, which Ends and positions must not contradict.
func (c Cluster) Accept(m Cluster) (row Cluster, replaces bool, err error) {
	isChosen := m.Accepted > 0 && m.Chosen == m.Accepted
	switch {
	case c.ID != m.ID:
		return c, false, fmt.Errorf("%w: this database belongs to another cluster (%s, not %s)", ErrRefused, c.ID, m.ID)
	case m.Accepted == 0 && (c.Promised > 0 || c.Epoch >= m.Epoch):
		return c, false, nil
	case m.Accepted > 0 && c.Accepted == m.Accepted:
		if !c.hasMapOf(&m) {
			return c, false, fmt.Errorf("%w: two maps were proposed under ballot %d", ErrRefused, m.Accepted)
		}
		if isChosen {
			c.Chosen = m.Accepted
		}
		return c, false, nil
	case m.Accepted > 0 && c.Promised > m.Accepted:
		return c, false, nil
	case c.Accepted == c.Chosen && (m.Epoch < c.Epoch || m.Epoch == c.Epoch && !c.hasMapOf(&m)):
		return c, false, fmt.Errorf("%w: ballot %d proposes a map of epoch %d, and another map of epoch %d was chosen before", ErrRefused, m.Accepted, m.Epoch, c.Epoch)
	}
	if err := m.CheckMoves(); err != nil {
		return c, false, fmt.Errorf("%w: the proposed map is damaged: %w", ErrRefused, err)
	}
	m.PartitionID, m.Name, m.Promised = c.PartitionID, c.Name, m.Accepted
	if !isChosen {
		m.Chosen = c.Chosen
	}
	return m, true, nil
}

// Raise returns the counter to which the row c raises that of a partition with the own position p; 0:
// the counter stays. The counter of a former master that lacks entries of its own stays, so that they are missed.
func (c *Cluster) Raise(name Origin, p Position) (Revision, error) {
	floor := c.floorOf(name)
	switch {
	case p.Revision >= floor, p.Revision < c.lastBelow(name, floor) && !slices.Contains(c.Masters, string(name)):
		return 0, nil
	case p.CatchingUp() && !c.Lost(name, p.Goal):
		return 0, fmt.Errorf("%w: it is to be a master, and holds its own entries up to %d of %d only", ErrRefused, p.Revision, p.Goal)
	}
	return floor, nil
}

// floorOf returns the revision that the counter of a partition reaches at least by the map: the beginning of a master's epoch,
// or of the epoch in which a former master's writes ended, so that no process takes it for the master. 0: none.
func (c *Cluster) floorOf(name Origin) (floor Revision) {
	if slices.Contains(c.Masters, string(name)) {
		return Floor(c.EpochOf(string(name)))
	}
	for _, e := range c.Ends {
		if e.Origin == name {
			floor = max(floor, e.Below)
		}
	}
	return floor
}

// hasMapOf reports whether the map is that of m.
func (c *Cluster) hasMapOf(m *Cluster) bool {
	return c.Epoch == m.Epoch && c.Halted == m.Halted && c.Leases == m.Leases && c.Failover == m.Failover && slices.Equal(c.Masters, m.Masters) && slices.Equal(c.Slots, m.Slots) && slices.Equal(c.Ends, m.Ends) &&
		maps.Equal(c.Epochs, m.Epochs) && slices.Equal(c.Voters, m.Voters) && slices.EqualFunc(c.Moves, m.Moves, func(a, b Move) bool {
		return bytes.Equal(a.Slots, b.Slots) && a.From == b.From && a.To == b.To && a.Began == b.Began && a.Done == b.Done && a.Lost == b.Lost && a.Stopped == b.Stopped
	})
}

// EpochOf returns the epoch in which a master's counter runs.
func (c *Cluster) EpochOf(master string) int64 {
	if e, ok := c.Epochs[master]; ok {
		return e
	}
	return c.Epoch
}

// MoveOf returns the move under way that a slot is part of, or nil.
func (c *Cluster) MoveOf(slot uint16) *Move {
	for i := range c.Moves {
		if m := &c.Moves[i]; m.Done == 0 && m.Slots.Has(slot) {
			return m
		}
	}
	return nil
}

// CheckTarget fails with ErrTooFar if a partition with this map, called name, takes no copies of an origin: the origin is being
// replaced, and the end of its writes would otherwise be read too early.
func (c *Cluster) CheckTarget(name string, o Origin) error {
	for i := range c.Moves {
		if m := &c.Moves[i]; m.Done == 0 && m.Lost && m.From == string(o) && m.To != name {
			return fmt.Errorf("%w: %s is being replaced by %s", ErrTooFar, o, m.To)
		}
	}
	return nil
}

// GaveAway returns the revision below which an origin has written entries of slots that other masters
// own by now, or 0. A partition below it may lack such an entry without holding the later master's.
// A move under way does not count: nobody has written to its slots since.
func (c *Cluster) GaveAway(o Origin) (below Revision) {
	for i := range c.Moves {
		if m := &c.Moves[i]; m.From == string(o) && m.Done > 0 {
			below = max(below, c.lastBelow(o, Floor(m.Began)))
		}
	}
	return below
}

// lastBelow returns a floor, or the last revision that counts below the floor if the origin ended there: no partition can pass
// that revision by copying.
func (c *Cluster) lastBelow(o Origin, floor Revision) Revision {
	for _, e := range c.Ends {
		if e.Origin == o && e.Below == floor {
			return e.Cut
		}
	}
	return floor
}

// Origins returns the masters, in their order, and then all other partitions that have ever been a master. The candidate of a
// move under way has written nothing.
func (c *Cluster) Origins() (origins []Origin) {
	for _, name := range c.Masters {
		origins = append(origins, Origin(name))
	}
	for i := range c.Moves {
		if from := Origin(c.Moves[i].From); !slices.Contains(origins, from) {
			origins = append(origins, from)
		}
	}
	return origins
}
