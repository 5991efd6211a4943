package store

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/zeebo/xxh3"

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

// User is the space of the keys under /v1/keys.
const User Space = "k"

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
const Slots = 1024

// Slot is a share of the key space. Each slot belongs to a master.
type Slot uint16

// SlotOf is the slot of a key: the xxh3 hash of its route.
func SlotOf(k Key) Slot { return Slot(xxh3.HashString(route(Name(k))) % Slots) }

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
