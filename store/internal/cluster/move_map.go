package cluster

import (
	"fmt"
	"slices"
	"strings"

	"github.com/runnelkv/runnel/store/partition"
)

// The functions of this file compute the map that follows another. They change only what cloneMap has copied.

// reopen lets a frozen master go on in a new epoch, unless the map has changed.
func reopen(now partition.Cluster, c *Map, name string) (partition.Cluster, error) {
	if now.Epoch != c.Epoch {
		return now, nil
	}
	if err := nextEpoch(&now); err != nil {
		return now, err
	}
	now.Epochs[name] = now.Epoch
	return now, nil
}

// hasEnded reports whether the move is in the map as done.
func hasEnded(c *partition.Cluster, m partition.Move) bool {
	return slices.ContainsFunc(c.Moves, func(o partition.Move) bool { return o.Began == m.Began && o.Done > 0 })
}

func underWay(c *partition.Cluster) *partition.Move {
	for i := range c.Moves {
		if c.Moves[i].Done == 0 {
			return &c.Moves[i]
		}
	}
	return nil
}

// nextEpoch makes the epochs of the masters explicit and begins the next epoch.
func nextEpoch(c *partition.Cluster) error {
	if c.Epoch >= maxEpoch {
		return fmt.Errorf("%w: epoch %d is the last", ErrMoveRefused, c.Epoch)
	}
	if c.Epochs == nil {
		c.Epochs = make(map[string]int64)
		for _, name := range c.Masters {
			c.Epochs[name] = c.Epoch
		}
	}
	c.Epoch++
	return nil
}

// nextEpochOfAll begins the next epoch for all masters: no process with an earlier map can commit after its master has accepted
// the map.
func nextEpochOfAll(c *partition.Cluster) error {
	if err := nextEpoch(c); err != nil {
		return err
	}
	for _, name := range c.Masters {
		c.Epochs[name] = c.Epoch
	}
	return nil
}

// beginMove takes slots from their master.
func beginMove(c partition.Cluster, q MoveRequest) (partition.Cluster, error) {
	from := slices.Index(c.Masters, q.From)
	switch m := underWay(&c); {
	case m != nil:
		return c, fmt.Errorf("%w: a move from %s to %s is under way", ErrMoveRefused, m.From, m.To)
	case from < 0:
		return c, fmt.Errorf("%w: %s is not a master; the masters are %s", ErrMoveRefused, q.From, strings.Join(c.Masters, ", "))
	case q.From == q.To:
		return c, fmt.Errorf("%w: %s is the master already", ErrMoveRefused, q.To)
	}
	var slots []uint16
	for slot, owner := range c.Slots {
		if int(owner) == from && (q.Slots == nil || slices.Contains(q.Slots, Slot(slot))) {
			slots = append(slots, uint16(slot))
		}
	}
	if len(slots) == 0 || q.Slots != nil && len(slots) < len(q.Slots) {
		return c, fmt.Errorf("%w: %s is the master of %d of the %d slots", ErrMoveRefused, q.From, len(slots), len(q.Slots))
	}
	if err := nextEpoch(&c); err != nil {
		return c, err
	}
	c.Epochs[q.From] = c.Epoch
	c.Moves = append(c.Moves, partition.Move{Slots: partition.NewSlotSet(len(c.Slots), slots...), From: q.From, To: q.To, Began: c.Epoch})
	return c, nil
}

// endMove makes the new master the owner of the slots, unless the move has ended.
func endMove(c partition.Cluster, ending partition.Move) (partition.Cluster, error) {
	m := underWay(&c)
	if m == nil || m.Began != ending.Began {
		return c, nil
	}
	if err := nextEpoch(&c); err != nil {
		return c, err
	}
	giveSlots(&c, m)
	return c, nil
}

// giveSlots ends a move: its new master owns the slots from the current epoch on.
func giveSlots(c *partition.Cluster, m *partition.Move) {
	m.Done, c.Epochs[m.To] = c.Epoch, c.Epoch
	to := slices.Index(c.Masters, m.To)
	if to < 0 {
		to = len(c.Masters)
		c.Masters = append(c.Masters, m.To)
	}
	for _, slot := range m.Slots.All() {
		c.Slots[slot] = uint16(to)
	}
	dropMaster(c, m.From)
}

// dropMaster takes a master without slots off the list.
func dropMaster(c *partition.Cluster, name string) {
	at := slices.Index(c.Masters, name)
	if at < 0 || slices.Contains(c.Slots, uint16(at)) {
		return
	}
	c.Masters = slices.Delete(c.Masters, at, at+1)
	delete(c.Epochs, name)
	for slot, owner := range c.Slots {
		if int(owner) > at {
			c.Slots[slot]--
		}
	}
}

// abortMove gives the slots back to the old master, in an epoch in which it takes writes again.
func abortMove(c partition.Cluster, aborted partition.Move) (partition.Cluster, error) {
	m := underWay(&c)
	if m == nil || m.Began != aborted.Began {
		return c, nil
	}
	if err := nextEpoch(&c); err != nil {
		return c, err
	}
	c.Epochs[m.From] = c.Epoch
	c.Moves = c.Moves[:len(c.Moves)-1]
	return c, nil
}

// PlanMoves returns the moves after which the slots are distributed as asked for: with From and To, the slots move from a
// master to another; with To alone, that partition becomes a master with its share of the slots; with From alone, that
// master gives all slots to the remaining masters.
func (r *Register) PlanMoves(q MoveRequest) ([]MoveRequest, error) {
	c := r.Map()
	if c == nil {
		return nil, fmt.Errorf("%w: no partition that belongs to a cluster was reached", ErrMoveRefused)
	}
	if q.To != "" && r.backends.Named(q.To) == nil {
		return nil, fmt.Errorf("%w: no partition named %q is configured", ErrMoveRefused, q.To)
	}
	if q.From != "" && q.To != "" {
		_, err := beginMove(cloneMap(c.Cluster), q)
		return []MoveRequest{q}, err
	}
	masters := slices.Clone(c.Masters)
	switch {
	case q.To != "" && slices.Contains(masters, q.To):
		return nil, fmt.Errorf("%w: %s is a master already", ErrMoveRefused, q.To)
	case q.To != "":
		masters = append(masters, q.To)
	case !slices.Contains(masters, q.From):
		return nil, fmt.Errorf("%w: %s is not a master; the masters are %s", ErrMoveRefused, q.From, strings.Join(masters, ", "))
	case len(masters) == 1:
		return nil, fmt.Errorf("%w: %s is the only master; name the new master too", ErrMoveRefused, q.From)
	default:
		masters = slices.DeleteFunc(masters, func(name string) bool { return name == q.From })
	}
	return movesTo(c, masters, q), nil
}

// movesTo returns the moves to a distribution over masters that take slots to q.To, or from q.From.
func movesTo(c *Map, masters []string, q MoveRequest) (moves []MoveRequest) {
	for slot, wanted := range assignSlots(masters) {
		m := MoveRequest{From: c.Masters[c.Slots[slot]], To: masters[wanted]}
		if m.From == m.To || q.To != "" && m.To != q.To || q.To == "" && m.From != q.From {
			continue
		}
		at := slices.IndexFunc(moves, func(o MoveRequest) bool { return o.From == m.From && o.To == m.To })
		if at < 0 {
			at, moves = len(moves), append(moves, m)
		}
		moves[at].Slots = append(moves[at].Slots, Slot(slot))
	}
	return moves
}
