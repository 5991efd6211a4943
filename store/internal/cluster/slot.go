package cluster

import (
	"strings"

	"github.com/zeebo/xxh3"

	"github.com/runnelkv/runnel/store/partition"
)

// Slots is the fixed number of slots that keys hash to.
const Slots = 1024

// Slot is a share of the key space. Each slot belongs to a master.
type Slot uint16

// SlotOf is the slot of a key: the xxh3 hash of its route.
func SlotOf(k partition.Key) Slot {
	_, name, _ := strings.Cut(string(k), "/") // without the space
	return Slot(xxh3.HashString(route(name)) % Slots)
}

// route is the part of a name that is hashed: the tag in the first {…}, so that keys that
// share a tag share a master; the whole name if there is no tag or the tag is empty.
func route(name string) string {
	_, rest, ok := strings.Cut(name, "{")
	if !ok {
		return name
	}
	if tag, _, ok := strings.Cut(rest, "}"); ok && tag != "" {
		return tag
	}
	return name
}
