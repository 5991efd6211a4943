package store

import (
	"context"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
)

// changeRead reads changes of all origins from one source.
type changeRead struct {
	src   *changeSource
	upTo  *ChangeToken   // nil: as far as the source is
	wants func(Key) bool // nil: all

	matches, scans int // entries that may still be taken, and looked at
	bytes          int64
	page           ChangePage
}

func newChangeRead(src *changeSource, since ChangeToken, upTo *ChangeToken) *changeRead {
	if since.IsBeginning() {
		since = src.startToken()
	}
	r := &changeRead{src: src, upTo: upTo}
	r.page = ChangePage{since: since, Next: since, Partition: src.m.Name()}
	return r
}

// run reads every origin that has something. Each may use an equal share
// of the room that is left, and any may be the first, so that a busy one does
// not starve the others.
func (r *changeRead) readOrigins(ctx context.Context) error {
	origins := r.dueOrigins()
	if len(origins) == 0 {
		return nil
	}
	first := rand.IntN(len(origins))
	for i := range origins {
		left := len(origins) - i
		share := readShare{matches: ceil(r.matches, left), scans: ceil(r.scans, left), bytes: max(1, r.bytes/int64(left))}
		if err := r.readOrigin(ctx, origins[(first+i)%len(origins)], share); err != nil {
			return err
		}
	}
	return nil
}

func ceil(n, parts int) int { return (n + parts - 1) / parts }

// room is how much may be read of one origin.
type readShare struct {
	matches, scans int
	bytes          int64
}

// due lists the origins of which the source holds something that was not seen.
func (r *changeRead) dueOrigins() []Origin {
	var due []Origin
	for _, o := range slices.Sorted(maps.Keys(r.src.positions.Origins)) {
		head := r.src.positions.Origins[o].Revision
		if r.upTo != nil {
			head = min(head, r.upTo.upTo(o))
		}
		if head > r.page.Next.upTo(o) {
			due = append(due, o)
		}
	}
	return due
}

// readChunk is how many entries are asked for at once.
const readChunk = 500

// origin reads one origin, up to the position of the snapshot at most.
func (r *changeRead) readOrigin(ctx context.Context, o Origin, room readShare) error {
	at := r.page.Next.upTo(o)
	snap, err := r.src.m.Snapshot(ctx, o, at)
	if err != nil {
		return err
	}
	defer func() { _ = snap.Close() }() // of a view that was only read
	position := snap.Position()
	switch err := checkPosition(r.src.m, o, position); {
	case err != nil:
		return err
	case position.Revision < at: // it was emptied meanwhile
		return ErrNoPartition
	case r.page.Next.lacks(o, position):
		return ErrResync
	}
	end := position.Revision
	if r.upTo != nil {
		end = min(end, r.upTo.upTo(o))
	}
	if r.src.m.Name() == string(o) {
		if err := r.src.ensureDurable(ctx, end); err != nil {
			return err
		}
	}
	for room.left() {
		entries, err := snap.Next(ctx, min(readChunk, room.scans), room.bytes)
		if errors.Is(err, io.EOF) {
			r.page.Next = r.page.Next.at(o, end)
			return nil
		}
		if err != nil {
			return err
		}
		if r.addEntries(o, entries, end, &room) {
			return nil
		}
	}
	r.page.More = true
	return nil
}

func (r readShare) left() bool { return r.matches > 0 && r.scans > 0 && r.bytes > 0 }

// take takes entries up to the end; done says that it was reached, or the room
// is used up.
func (r *changeRead) addEntries(o Origin, entries []Entry, end Revision, room *readShare) (done bool) {
	last := r.page.Next.upTo(o)
	for i := range entries {
		e := &entries[i]
		if e.Revision > end {
			r.page.Next = r.page.Next.at(o, end)
			return true
		}
		if !room.left() {
			r.page.More, done = true, true
			break
		}
		last = e.Revision
		room.scans, r.scans = room.scans-1, r.scans-1
		room.bytes, r.bytes = room.bytes-e.Size, r.bytes-e.Size
		if r.wants == nil || r.wants(e.Key) {
			room.matches, r.matches = room.matches-1, r.matches-1
			r.page.Entries = append(r.page.Entries, *e)
		}
	}
	r.page.Next = r.page.Next.at(o, last)
	return done
}
