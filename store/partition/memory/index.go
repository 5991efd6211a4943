package memory

import (
	"github.com/runnelkv/runnel/store/partition"
)

import "slices"

// keyIndex holds keys in the order of their bytes. New keys are sorted only before the next read,
// so that many writes between two reads cost a single merge.
type keyIndex struct {
	sorted []partition.Key
	fresh  []partition.Key
}

// add adds a key that the index lacks.
func (x *keyIndex) add(k partition.Key) { x.fresh = append(x.fresh, k) }

// keep removes the keys that do not match.
func (x *keyIndex) keep(match func(partition.Key) bool) {
	x.merge()
	x.sorted = slices.DeleteFunc(x.sorted, func(k partition.Key) bool { return !match(k) })
}

// from returns the keys from k on, in order; valid until the index changes.
func (x *keyIndex) from(k partition.Key) []partition.Key {
	x.merge()
	i, _ := slices.BinarySearch(x.sorted, k)
	return x.sorted[i:]
}

// merge merges fresh into sorted, from the end, in place.
func (x *keyIndex) merge() {
	if len(x.fresh) == 0 {
		return
	}
	slices.Sort(x.fresh)
	i, j := len(x.sorted)-1, len(x.fresh)-1
	x.sorted = append(x.sorted, x.fresh...)
	for to := len(x.sorted) - 1; j >= 0; to-- {
		if i >= 0 && x.sorted[i] > x.fresh[j] {
			x.sorted[to] = x.sorted[i]
			i--
		} else {
			x.sorted[to] = x.fresh[j]
			j--
		}
	}
	x.fresh = x.fresh[:0]
}
