package commit

import (
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// writtenKeys records, for keys that a committer has written lately, whether a live entry
// exists and when it expires, so that Puts need not read the rows they replace. The record
// is exact only while this process is the master's sole writer. A commit that uses the
// record therefore names the last revision it knows (Batch.After). If another process has
// claimed a revision since, the database rejects the commit, and the committer retries
// after reading the rows.
type writtenKeys struct {
	last        partition.Revision // the record is exact as of this revision; 0: nothing is recorded
	trustedFrom time.Time          // the record is not used before: another process wrote shortly ago

	// Keys with their entries. When newGen is full it becomes oldGen, and the keys of the former
	// oldGen are dropped.
	newGen, oldGen map[partition.Key]knownEntry
	bytes          int // of newGen
}

// knownEntry is what the record knows of an entry.
type knownEntry struct {
	expiry partition.Instant
	size   int64 // of the value
}

const (
	// writtenKeysBytes bounds a generation; two are held.
	writtenKeysBytes = 8 << 20
	// writtenKeyOverhead is about the memory that the map needs for a key besides its bytes.
	writtenKeyOverhead = 72
	// otherWriterPause is how long the record is not used after another process has
	// written. Between processes that write in turns most commits would be rejected.
	otherWriterPause = time.Second

	// absent is the expiry of keys without an entry, and of tombstones.
	absent partition.Instant = -1
)

func newWrittenKeys() *writtenKeys {
	return &writtenKeys{newGen: make(map[partition.Key]knownEntry)}
}

// usableAt reports whether a commit that begins now may use the record.
func (w *writtenKeys) usableAt(now time.Time) bool { return w.last != 0 && !now.Before(w.trustedFrom) }

// entry is the key's current entry, if the record knows the key.
func (w *writtenKeys) entry(k partition.Key) (e knownEntry, known bool) {
	if e, known = w.newGen[k]; !known {
		e, known = w.oldGen[k]
	}
	return e, known
}

// recordBatch takes the rows of a batch after its commit.
func (w *writtenKeys) recordBatch(claim partition.Claim, b *batch, now time.Time) {
	if w.last != 0 && claim.First != w.last+1 {
		w.noteOtherWriter(now)
	}
	w.last = claim.First + partition.Revision(b.revs) - 1
	for i := range b.rows {
		if row := &b.rows[i]; row.found && !row.entry.Deleted {
			w.recordKey(row.key, knownEntry{row.entry.ExpiresAt, row.entry.Size})
		} else {
			w.recordKey(row.key, knownEntry{expiry: absent})
		}
	}
}

func (w *writtenKeys) recordKey(k partition.Key, e knownEntry) {
	if _, known := w.newGen[k]; known {
		w.newGen[k] = e
		return
	}
	size := len(k) + writtenKeyOverhead
	if w.bytes+size > writtenKeysBytes {
		w.oldGen, w.newGen, w.bytes = w.newGen, make(map[partition.Key]knownEntry, len(w.newGen)), 0
	}
	w.newGen[k] = e
	w.bytes += size
}

// noteOtherWriter drops the record and pauses its use: another process has written.
func (w *writtenKeys) noteOtherWriter(now time.Time) {
	w.invalidate()
	w.trustedFrom = now.Add(otherWriterPause)
}

// invalidate drops the record.
func (w *writtenKeys) invalidate() {
	w.last, w.oldGen, w.bytes = 0, nil, 0
	clear(w.newGen)
}
