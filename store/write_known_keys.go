package store

import (
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// recall is what a committer knows of keys from its own commits: whether an
// entry stands, as of the last revision it was given. While nobody else
// claims revisions of the master, that is what the master would say, so that
// Puts need not ask it. A commit that relies on it says so (Batch.After), and
// is refused if somebody did.
type writtenKeys struct {
	last        Revision  // up to which it is known; zero: nothing is
	trustedFrom time.Time // relied on from then: others were writing shortly before

	// Keys with the time at which their entries expire. The old ones make
	// room when the young ones have become many.
	newGen, oldGen map[Key]Instant
	bytes          int // of the young
}

const (
	// recallBytes bounds the young keys, so that twice as much is held.
	writtenKeysBytes = 8 << 20
	// recallOverhead is about what the map takes for a key beside its bytes.
	writtenKeyOverhead = 64
	// alongOthers is how long recall is not relied on after somebody else has
	// written: those who write in turns would have most commits refused.
	otherWriterPause = time.Second

	// gone is the expiry of what does not stand: absent keys, and tombstones.
	absent Instant = -1
)

func newWrittenKeys() *writtenKeys { return &writtenKeys{newGen: make(map[Key]Instant)} }

// relied reports whether a commit that begins now may rely on r.
func (r *writtenKeys) usable(now time.Time) bool { return r.last != 0 && !now.Before(r.trustedFrom) }

// expiry is when the entry that stands for a key expires, if that is known.
func (r *writtenKeys) expiry(k Key) (at Instant, known bool) {
	if at, known = r.newGen[k]; !known {
		at, known = r.oldGen[k]
	}
	return at, known
}

// learn takes what stands after a commit.
func (r *writtenKeys) record(claim partition.Claim, b *batch, now time.Time) {
	if r.last != 0 && claim.First != r.last+1 {
		r.noteOtherWriter(now)
	}
	r.last = claim.First + Revision(b.revs) - 1
	for i := range b.rows {
		if s := &b.rows[i]; s.found && !s.entry.Deleted {
			r.recordKey(s.key, s.entry.ExpiresAt)
		} else {
			r.recordKey(s.key, absent)
		}
	}
}

func (r *writtenKeys) recordKey(k Key, expiry Instant) {
	if _, known := r.newGen[k]; known {
		r.newGen[k] = expiry
		return
	}
	size := len(k) + writtenKeyOverhead
	if r.bytes+size > writtenKeysBytes {
		r.oldGen, r.newGen, r.bytes = r.newGen, make(map[Key]Instant, len(r.newGen)), 0
	}
	r.newGen[k] = expiry
	r.bytes += size
}

// interrupted: others have written.
func (r *writtenKeys) noteOtherWriter(now time.Time) {
	r.invalidate()
	r.trustedFrom = now.Add(otherWriterPause)
}

// forget: it is not known what happened.
func (r *writtenKeys) invalidate() {
	r.last, r.oldGen, r.bytes = 0, nil, 0
	clear(r.newGen)
}
