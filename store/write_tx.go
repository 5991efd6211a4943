package store

import (
	"fmt"
	"slices"

	"github.com/runnelkv/runnel/store/partition"
)

// View is what the function of an Update works on: the declared keys' current
// entries on their master, under the lock that orders all its writers. It is
// used only inside the function.
type Tx struct {
	batch   *batch
	request *writeRequest
	base    Revision // the update's first revision; key i gets base+i
	own     []Entry  // what it wrote, in the order of first writing
}

// Get returns the live entry of a declared key. Under UpdateOptions.WithoutValues its value is nil.
func (v *Tx) Get(k Key) (Entry, bool) {
	s := v.batch.row(v.request, v.request.indexOf(k))
	if i := v.writtenIndex(k); i >= 0 {
		e := v.own[i]
		return e, e.Live(v.batch.claim.Now)
	}
	return s.entry, s.found && s.entry.Live(v.batch.claim.Now)
}

// Seen is the mark of what stood for a declared key when the function began, a
// tombstone or an expired entry too: who is told of it, or that there is no live
// one, has seen that. It is zero where there was nothing.
func (v *Tx) Seen(k Key) Mark {
	s := v.batch.row(v.request, v.request.indexOf(k))
	if !s.found {
		return Mark{}
	}
	return Mark{s.entry.Origin, s.entry.Revision}
}

// Put writes an entry, of which Key, ContentType, Metadata, ExpiresAt and Value
// count, and returns it as it will be stored.
func (v *Tx) Put(e Entry) Entry {
	e.Deleted = false
	e.Size = int64(len(e.Value))
	e.Checksum = partition.Checksum(e.Value)
	return v.write(e)
}

// Delete writes a tombstone for a declared key and returns it. Where there is no
// live entry it writes nothing, and says so.
func (v *Tx) Delete(k Key) (tombstone Entry, deleted bool) {
	if _, ok := v.Get(k); !ok {
		return Entry{}, false
	}
	return v.write(Entry{Key: k, Deleted: true, Checksum: partition.Checksum(nil)}), true
}

// Now is the master database's clock.
func (v *Tx) Now() Instant { return v.batch.claim.Now }

// Revision is the lowest revision that this Update gives to an entry: that of
// the first declared key.
func (v *Tx) Revision() Revision { return v.base }

func (v *Tx) write(e Entry) Entry {
	i := v.request.indexOf(e.Key)
	e.Origin = v.batch.origin
	e.Revision = v.base + Revision(i)
	e.ModifiedAt = v.batch.claim.Now
	if j := v.writtenIndex(e.Key); j >= 0 {
		v.own[j] = e
	} else {
		v.own = append(v.own, e)
	}
	return e
}

func (v *Tx) writtenIndex(k Key) int {
	return slices.IndexFunc(v.own, func(e Entry) bool { return e.Key == k })
}

// index is the key's place among the declared ones. An undeclared key is a
// mistake in the program.
func (u *writeRequest) indexOf(k Key) int {
	i := slices.Index(u.keys, k)
	if i < 0 {
		panic(fmt.Sprintf("store: key %q was not declared to Update", k))
	}
	return i
}
