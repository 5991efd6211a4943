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
type recall struct {
	last  Revision  // up to which it is known; zero: nothing is
	alone time.Time // relied on from then: others were writing shortly before

	// Keys with the time at which their entries expire. The old ones make
	// room when the young ones have become many.
	young, old map[Key]Instant
	bytes      int // of the young
}

const (
	// recallBytes bounds the young keys, so that twice as much is held.
	recallBytes = 8 << 20
	// recallOverhead is about what the map takes for a key beside its bytes.
	recallOverhead = 64
	// alongOthers is how long recall is not relied on after somebody else has
	// written: those who write in turns would have most commits refused.
	alongOthers = time.Second

	// gone is the expiry of what does not stand: absent keys, and tombstones.
	gone Instant = -1
)

func newRecall() *recall { return &recall{young: make(map[Key]Instant)} }

// relied reports whether a commit that begins now may rely on r.
func (r *recall) relied(now time.Time) bool { return r.last != 0 && !now.Before(r.alone) }

// expiry is when the entry that stands for a key expires, if that is known.
func (r *recall) expiry(k Key) (at Instant, known bool) {
	if at, known = r.young[k]; !known {
		at, known = r.old[k]
	}
	return at, known
}

// learn takes what stands after a commit.
func (r *recall) learn(claim partition.Claim, b *batch, now time.Time) {
	if r.last != 0 && claim.First != r.last+1 {
		r.interrupted(now)
	}
	r.last = claim.First + Revision(b.revs) - 1
	for i := range b.stand {
		if s := &b.stand[i]; s.found && !s.entry.Deleted {
			r.note(s.key, s.entry.ExpiresAt)
		} else {
			r.note(s.key, gone)
		}
	}
}

func (r *recall) note(k Key, expiry Instant) {
	if _, known := r.young[k]; known {
		r.young[k] = expiry
		return
	}
	size := len(k) + recallOverhead
	if r.bytes+size > recallBytes {
		r.old, r.young, r.bytes = r.young, make(map[Key]Instant, len(r.young)), 0
	}
	r.young[k] = expiry
	r.bytes += size
}

// interrupted: others have written.
func (r *recall) interrupted(now time.Time) {
	r.forget()
	r.alone = now.Add(alongOthers)
}

// forget: it is not known what happened.
func (r *recall) forget() {
	r.last, r.old, r.bytes = 0, nil, 0
	clear(r.young)
}
