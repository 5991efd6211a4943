package partition

import (
	"fmt"
	"slices"
)

// A guard is an entry that other writes of its master have to look at, such as a lock that protects
// a key. Each master counts its guards in its own row of positions, so that a write without any
// guard in its way learns so from its claim, at no cost: see Batch.Unguarded. A commit changes the
// count together with the guards.

// GuardContentType marks an entry between GuardsFrom and GuardsTo as a guard.
const GuardContentType = "application/vnd.runnel.guard+json"

// The range of keys that guards can have.
const (
	GuardsFrom Key = "lock/"
	GuardsTo   Key = "lock0" // exclusive
)

// GuardsUnknown is added to the count of guards when a master gains or loses slots. A larger count
// says that the guards must be counted: see Master.CountGuards.
const GuardsUnknown int64 = 1 << 40

// CanGuard reports whether an entry of the key may be a guard.
func CanGuard(k Key) bool { return k >= GuardsFrom && k < GuardsTo }

// Guards reports whether the entry is a guard. An expired entry is a guard until a tombstone
// replaces it.
func (e *Entry) Guards() bool {
	return !e.Deleted && CanGuard(e.Key) && e.ContentType == GuardContentType
}

// GuardDelta returns how many guards more there are after entries were written under the claim.
func (b *Batch) GuardDelta(c Claim, entries []Entry) (delta int64) {
	for i := range entries {
		e := &entries[i]
		if !CanGuard(e.Key) {
			continue
		}
		if e.Guards() {
			delta++
		}
		if j := slices.IndexFunc(c.Current, func(old Entry) bool { return old.Key == e.Key }); j >= 0 && c.Current[j].Guards() {
			delta--
		}
	}
	return delta
}

// checkGuardsRead refuses to write keys of guards that the batch has not read: their number could
// not be kept.
func (b *Batch) checkGuardsRead(entries []Entry) error {
	for i := range entries {
		if k := entries[i].Key; CanGuard(k) && !slices.Contains(b.Read, k) && !slices.Contains(b.Heads, k) {
			return fmt.Errorf("key %q is written without having been read", k)
		}
	}
	return nil
}
