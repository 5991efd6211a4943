package store

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/runnelkv/runnel/store/internal/cluster"
	"github.com/runnelkv/runnel/store/partition"
)

// The types of the data model, defined in package partition.
type (
	Key      = partition.Key
	Entry    = partition.Entry
	Origin   = partition.Origin
	Revision = partition.Revision
	Instant  = partition.Instant
)

// Space is the first segment of a stored key. A service sees only its own space.
type Space string

const (
	User Space = "k"    // of the keys under /v1/keys
	Lock Space = "lock" // of the locks, see package lock
)

// Files is the space of the manifests of package store/file.
const Files Space = "file"

// Key is the stored key of a name in the space.
func (s Space) Key(name string) Key { return Key(string(s) + "/" + name) }

// Name is the key's name without its space.
func Name(k Key) string {
	_, name, _ := strings.Cut(string(k), "/")
	return name
}

// MaxKeyBytes is the largest length of a name, in bytes, that Options can allow.
const MaxKeyBytes = 512

// CheckName returns a *KeyError unless name is 1..maxBytes of valid UTF-8
// without control characters (U+0000..U+001F, U+007F..U+009F).
func CheckName(name string, maxBytes int) error {
	switch {
	case name == "":
		return &KeyError{Reason: "is empty"}
	case len(name) > maxBytes:
		return &KeyError{Reason: fmt.Sprintf("is longer than %d bytes", maxBytes)}
	case !utf8.ValidString(name):
		return &KeyError{Reason: "is not valid UTF-8"}
	}
	for i, r := range name {
		if r < 0x20 || (r >= 0x7f && r < 0xa0) {
			return &KeyError{Reason: fmt.Sprintf("holds the control character U+%04X at byte %d", r, i)}
		}
	}
	return nil
}

// Slots is the fixed number of slots that keys hash to.
const Slots = cluster.Slots

// Slot is a share of the key space, a number below Slots. Each slot belongs to a master.
type Slot = cluster.Slot

// SlotOf is the slot of a key. Keys that share a {tag} share a slot.
func SlotOf(k Key) Slot { return cluster.SlotOf(k) }
