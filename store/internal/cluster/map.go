package cluster

import (
	"crypto/rand"
	"encoding/hex"
	"slices"

	"github.com/zeebo/xxh3"

	"github.com/runnelkv/runnel/store/internal/version"
	"github.com/runnelkv/runnel/store/partition"
)

// Map is the cluster map as this process knows the map. A Map is immutable.
type Map struct {
	partition.Cluster
	Tag    version.ClusterTag   // of the cluster's id
	moving []bool               // by slot: the slot has no master; nil: every slot has
	former [][]partition.Origin // by slot: see FormerMasters; nil: no slot has moved
}

// newMapOf makes the map of a cluster row.
func newMapOf(c partition.Cluster) *Map {
	m := &Map{Cluster: c, Tag: version.TagOf(c.ID)}
	if len(c.Moves) > 0 {
		m.former = make([][]partition.Origin, len(c.Slots))
	}
	for i := range c.Moves {
		from := partition.Origin(c.Moves[i].From)
		for _, slot := range c.Moves[i].Slots.All() {
			if former := m.former[slot]; string(from) != c.Masters[c.Slots[slot]] && !slices.Contains(former, from) {
				m.former[slot] = append(former, from)
			}
		}
	}
	for slot := range c.Slots {
		if c.MoveOf(uint16(slot)) != nil {
			if m.moving == nil {
				m.moving = make([]bool, len(c.Slots))
			}
			m.moving[slot] = true
		}
	}
	return m
}

// IsConfirmed reports whether a majority of the voters is known to have accepted the map.
func (c *Map) IsConfirmed() bool { return isConfirmed(&c.Cluster) }

func isConfirmed(c *partition.Cluster) bool { return c.Chosen == c.Accepted }

// IsMoving reports whether the key's slot has no master, because a move is under way. Master then names the former master.
func (c *Map) IsMoving(k partition.Key) bool { return c.moving != nil && c.moving[SlotOf(k)] }

// HasMoveUnderWay reports whether some slots have no master.
func (c *Map) HasMoveUnderWay() bool { return c.moving != nil }

// firstEpoch is the epoch of a cluster in which no mastership has moved yet.
const firstEpoch = 1

// maxEpoch is the last epoch with revisions that fit into an int64.
const maxEpoch = 1<<23 - 1

// Master is the name of the key's master.
func (c *Map) Master(k partition.Key) string { return c.Masters[c.Slots[SlotOf(k)]] }

// HasLost reports whether the vector includes revisions that a restore has undone.
func (c *Map) HasLost(v version.Vector) bool {
	for o, r := range v.All() {
		if c.Lost(o, r) {
			return true
		}
	}
	return false
}

// IsOlderThan reports whether the vector has marks of a later epoch than c: the masters may
// have changed.
func (c *Map) IsOlderThan(v version.Vector) bool {
	for _, r := range v.All() {
		if r.Epoch() > c.Epoch {
			return true
		}
	}
	return false
}

// HasMoved reports whether slots have ever moved. Before, the entries of a key have a single origin, in every epoch.
func (c *Map) HasMoved() bool { return c.former != nil }

// FormerMasters returns the origins that entries of a key can have besides the key's master.
func (c *Map) FormerMasters(k partition.Key) []partition.Origin {
	if c.former == nil {
		return nil
	}
	return c.former[SlotOf(k)]
}

// newMap makes the map of a new cluster, in the first epoch.
func newMap(masters []string) partition.Cluster {
	var id [16]byte
	rand.Read(id[:]) // never fails
	return partition.Cluster{ID: hex.EncodeToString(id[:]), Epoch: firstEpoch, Masters: masters, Slots: assignSlots(masters)}
}

// assignSlots gives each slot to the master with the highest hash of name and slot
// (rendezvous hashing), so that a further master takes only a fair share.
func assignSlots(masters []string) []uint16 {
	slots := make([]uint16, Slots)
	for slot := range slots {
		var best uint64
		for i, name := range masters {
			if h := xxh3.HashStringSeed(name, uint64(slot)); i == 0 || h > best {
				slots[slot], best = uint16(i), h
			}
		}
	}
	return slots
}
