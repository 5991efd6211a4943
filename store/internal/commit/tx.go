package commit

import (
	"fmt"
	"slices"

	"github.com/runnelkv/runnel/store/internal/version"
	"github.com/runnelkv/runnel/store/partition"
)

// Tx is the argument of an Update's function. A Tx gives access to the current entries of
// the declared keys on their master, under the row lock that orders all writers of that
// master, and collects the writes. A Tx is valid only inside the function. Using a key
// that was not declared panics.
type Tx struct {
	batch   *batch
	request *Request
	base    partition.Revision // the request's first revision; the i-th key is written at base+i
	own     []partition.Entry  // written so far, in the order of the first write of each key
	fresh   []partition.Entry  // appended so far
}

// Get returns the live entry of a declared key, including earlier writes of the same
// function. Under UpdateOptions.WithoutValues its value is nil.
func (tx *Tx) Get(k partition.Key) (partition.Entry, bool) {
	row := tx.batch.row(tx.request, tx.request.indexOf(k))
	if i := tx.writtenIndex(k); i >= 0 {
		e := tx.own[i]
		return e, e.Live(tx.Now())
	}
	return row.entry, row.found && row.entry.Live(tx.Now())
}

// Stored returns the entry of a declared key as it stands on the master, even if the entry has
// expired. Writes of the same function do not count.
func (tx *Tx) Stored(k partition.Key) (partition.Entry, bool) {
	row := tx.batch.row(tx.request, tx.request.indexOf(k))
	return row.entry, row.found && !row.entry.Deleted
}

// RevisionOf is the revision that a Put of the declared key gets.
func (tx *Tx) RevisionOf(k partition.Key) partition.Revision {
	return tx.base + partition.Revision(tx.request.indexOf(k))
}

// Master is the master of the declared keys: the origin of what the function writes.
func (tx *Tx) Master() partition.Origin { return tx.batch.origin }

// Seen is the mark of the row that a declared key had when the function began; the row may
// be a tombstone or an expired entry. A client that is answered from this row has seen
// that mark. Seen is zero if there was no row.
func (tx *Tx) Seen(k partition.Key) version.Mark {
	row := tx.batch.row(tx.request, tx.request.indexOf(k))
	if !row.found {
		return version.Mark{}
	}
	return version.Mark{Origin: row.entry.Origin, Revision: row.entry.Revision}
}

// Put writes an entry and returns it as it will be stored. Of e only Key, ContentType,
// Metadata, ExpiresAt and Value count.
func (tx *Tx) Put(e partition.Entry) partition.Entry {
	e.Deleted = false
	e.Size = int64(len(e.Value))
	e.Checksum = partition.Checksum(e.Value)
	return tx.writeEntry(e)
}

// Delete writes a tombstone for a declared key and returns it. If the key has no live
// entry, Delete writes nothing and returns false.
func (tx *Tx) Delete(k partition.Key) (tombstone partition.Entry, deleted bool) {
	if _, ok := tx.Get(k); !ok {
		return partition.Entry{}, false
	}
	return tx.writeEntry(partition.Entry{Key: k, Deleted: true, Checksum: partition.Checksum(nil)}), true
}

// FreshDigits is the number of characters that Append adds to a prefix.
const FreshDigits = 16

// Append writes an entry under a new key and returns the entry as it will be stored: the key is the prefix, followed by the
// inverted revision as 16 hexadecimal digits. Keys of one prefix therefore list the newest entry first. Such a key
// is unique, because a slot never gets a revision twice: Append neither reads nor declares the key.
//
// The prefix has the slot of a declared key, and the function appends at most UpdateOptions.Appends entries; otherwise Append
// panics. Of e only ContentType, Metadata and Value count.
func (tx *Tx) Append(prefix partition.Key, e partition.Entry) partition.Entry {
	n := len(tx.fresh)
	switch slot := tx.batch.slotOf(prefix); {
	case n >= tx.request.Appends:
		panic(fmt.Sprintf("store: more than %d entries are appended by an Update", tx.request.Appends))
	case !slices.ContainsFunc(tx.request.Keys, func(k partition.Key) bool { return tx.batch.slotOf(k) == slot }):
		panic(fmt.Sprintf("store: no declared key has the slot of the appended key %q", prefix))
	}
	e.Origin, e.Revision, e.ModifiedAt = tx.batch.origin, tx.base+partition.Revision(len(tx.request.Keys)+n), tx.Now()
	e.Key = prefix + partition.Key(fmt.Sprintf("%0*x", FreshDigits, ^uint64(e.Revision)))
	e.Deleted, e.ExpiresAt, e.Size, e.Checksum = false, 0, int64(len(e.Value)), partition.Checksum(e.Value)
	tx.fresh = append(tx.fresh, e)
	return e
}

// Now is the clock of the master's database.
func (tx *Tx) Now() partition.Instant { return tx.batch.claim.Now }

// Revision is the lowest revision that this Update can give to an entry: the revision of
// the first declared key.
func (tx *Tx) Revision() partition.Revision { return tx.base }

func (tx *Tx) writeEntry(e partition.Entry) partition.Entry {
	e.Origin = tx.batch.origin
	e.Revision = tx.RevisionOf(e.Key)
	e.ModifiedAt = tx.Now()
	if i := tx.writtenIndex(e.Key); i >= 0 {
		tx.own[i] = e
	} else {
		tx.own = append(tx.own, e)
	}
	return e
}

// writtenIndex is the index of the key in own, negative if the function has not written it.
func (tx *Tx) writtenIndex(k partition.Key) int {
	return slices.IndexFunc(tx.own, func(e partition.Entry) bool { return e.Key == k })
}
