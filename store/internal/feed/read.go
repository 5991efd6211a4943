package feed

import (
	"context"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/partition"
)

// changeQuery selects a page of the feed.
type changeQuery struct {
	since   Token                    // the page begins after since
	reach   Token                    // the source holds everything up to reach
	upTo    *Token                   // the page ends here at the latest; nil: at the source's positions
	wants   func(partition.Key) bool // nil: all keys
	share   readShare                // bounds the page
	options *Selection               // how the entries are presented; nil: as stored
}

// readShare bounds a reading.
type readShare struct {
	matches int // entries returned
	scans   int // entries read
	bytes   int64
}

func (s readShare) isLeft() bool { return s.matches > 0 && s.scans > 0 && s.bytes > 0 }

// changeRead reads the changes of all origins from a source.
type changeRead struct {
	changeQuery // share is the remaining bound
	src         *changeSource
	page        Page
}

func newChangeRead(src *changeSource, q changeQuery) *changeRead {
	if q.since.IsBeginning() {
		q.since = src.startToken()
	}
	return &changeRead{changeQuery: q, src: src, page: Page{since: q.since, Next: q.since, Partition: src.backend.Name()}}
}

// readOrigins reads every origin that has changes. Each origin gets an equal share of the
// remaining bounds, and the first origin is random, so that a busy origin does not starve
// the rest.
func (r *changeRead) readOrigins(ctx context.Context) error {
	origins := r.dueOrigins()
	if len(origins) == 0 {
		return nil
	}
	first := rand.IntN(len(origins))
	for i := range origins {
		left := len(origins) - i
		share := readShare{ceil(r.share.matches, left), ceil(r.share.scans, left), max(1, r.share.bytes/int64(left))}
		if err := r.readOrigin(ctx, origins[(first+i)%len(origins)], share); err != nil {
			return err
		}
	}
	return nil
}

func ceil(n, parts int) int { return (n + parts - 1) / parts }

// dueOrigins lists the origins of which the source holds unseen changes.
func (r *changeRead) dueOrigins() []partition.Origin {
	var due []partition.Origin
	for _, o := range slices.Sorted(maps.Keys(r.src.positions.Origins)) {
		if r.endOf(o, r.src.positions.Origins[o].Revision) > r.page.Next.upTo(o) {
			due = append(due, o)
		}
	}
	return due
}

// endOf is the last revision to read of an origin, given the source's position.
func (r *changeRead) endOf(o partition.Origin, position partition.Revision) partition.Revision {
	if r.upTo != nil {
		return min(position, r.upTo.upTo(o))
	}
	return position
}

// readChunk is how many entries are fetched at once.
const readChunk = 500

// readOrigin reads changes of an origin from a snapshot, up to its position at most.
func (r *changeRead) readOrigin(ctx context.Context, o partition.Origin, share readShare) error {
	at := r.page.Next.upTo(o)
	snap, err := r.src.backend.Snapshot(ctx, o, at)
	if err != nil {
		return err
	}
	defer func() { _ = snap.Close() }() // nothing was written
	position := snap.Position()
	epoch, _ := snap.Heads()
	r.page.epoch = max(r.page.epoch, epoch)
	switch err := checkPosition(r.src.backend, o, position); {
	case err != nil:
		return err
	case position.Revision < at: // the source was emptied meanwhile
		return backend.ErrNoPartition
	case r.page.Next.lacks(o, position):
		return ErrResync
	}
	end := r.endOf(o, position.Revision)
	if r.src.backend.Name() == string(o) {
		if err := r.src.ensureDurable(ctx, end); err != nil {
			return err
		}
	}
	for share.isLeft() {
		entries, err := snap.Next(ctx, min(readChunk, share.scans), share.bytes)
		if errors.Is(err, io.EOF) {
			r.page.Next = r.page.Next.at(o, end)
			return nil
		}
		if err != nil {
			return err
		}
		if r.addEntries(o, entries, end, &share) {
			return nil
		}
	}
	r.page.More = true
	return nil
}

// addEntries adds wanted entries up to end. done: end was reached, or the share is used up.
func (r *changeRead) addEntries(o partition.Origin, entries []partition.Entry, end partition.Revision, share *readShare) (done bool) {
	last := r.page.Next.upTo(o)
	for i := range entries {
		e := &entries[i]
		if e.Revision > end {
			r.page.Next = r.page.Next.at(o, end)
			return true
		}
		if !share.isLeft() {
			r.page.More, done = true, true
			break
		}
		last = e.Revision
		used := readShare{scans: 1, bytes: e.Size}
		if r.wants == nil || r.wants(e.Key) {
			used.matches = 1
			r.page.Entries = append(r.page.Entries, *e)
		}
		share.subtract(used)
		r.share.subtract(used)
	}
	r.page.Next = r.page.Next.at(o, last)
	return done
}

func (s *readShare) subtract(used readShare) {
	s.matches -= used.matches
	s.scans -= used.scans
	s.bytes -= used.bytes
}
