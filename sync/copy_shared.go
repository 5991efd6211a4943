package sync

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/runnelkv/runnel/store/partition"
)

// sharedSnapshot is a snapshot of an origin that several targets copy from, so that
// its rows are read once. The first target to need a chunk reads it; the rest
// find the chunk in a window of the last few. A target that falls behind the window or
// loses the snapshot by another target's failure, gets errDetached and opens a
// snapshot of its own.
//
// With three SQLite targets, sharing saves 7 % of the processor time of a pass that copies
// 256 entries, and 17 % with 4,096.
type sharedSnapshot struct {
	after partition.Revision // lowest position of the targets; fixed before the first use

	mu       sync.Mutex         // held during reads, which are bounded; guards the fields below
	snap     partition.Snapshot // nil before open, and after ended is set
	position partition.Position // of snap
	window   [][]partition.Entry
	first    int   // number of the window's first chunk
	ended    error // io.EOF: no chunk follows the window; errDetached: a failure; nil: more may follow
	users    int
}

// windowChunks bounds the chunks that are kept for slower targets.
const windowChunks = 4

var errDetached = errors.New("the target no longer shares the snapshot")

// sharedKey identifies copies that can share a snapshot.
type sharedKey struct {
	from   *replica
	origin partition.Origin
}

// shareSnapshot returns the snapshot that a job can share with the jobs of the pass at
// most maxDistance revisions away; nil if there is none.
func (p *pass) shareSnapshot(j *job, maxDistance int) *sharedSnapshot {
	if j.confirmAt != 0 || j.at.Revision == 0 {
		return nil
	}
	key := sharedKey{j.from, j.origin}
	sh, ok := p.shared[key]
	if !ok {
		sh = &sharedSnapshot{after: j.at.Revision}
		p.shared[key] = sh
	}
	if max(j.at.Revision, sh.after)-min(j.at.Revision, sh.after) > partition.Revision(maxDistance) {
		return nil
	}
	sh.after = min(sh.after, j.at.Revision)
	return sh
}

// openCursor returns the part of the snapshot after the job's position. The first call opens the snapshot.
func (sh *sharedSnapshot) openCursor(ctx context.Context, j *job) (partition.Snapshot, error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.snap == nil && sh.ended == nil {
		snap, err := j.from.Snapshot(ctx, j.origin, sh.after)
		if err != nil {
			sh.ended = errDetached
			return nil, err
		}
		sh.snap, sh.position = snap, snap.Position()
	}
	if errors.Is(sh.ended, errDetached) {
		return nil, errDetached
	}
	sh.users++
	return &sharedCursor{shared: sh, after: j.at.Revision}, nil
}

// readChunk reads the next chunk into the window. mu is held.
func (sh *sharedSnapshot) readChunk(ctx context.Context, maxEntries int, maxBytes int64) error {
	entries, err := sh.snap.Next(ctx, maxEntries, maxBytes)
	switch {
	case errors.Is(err, io.EOF):
		sh.end(io.EOF)
		return nil
	case err != nil:
		sh.end(errDetached)
		return err
	}
	if sh.window = append(sh.window, entries); len(sh.window) > windowChunks {
		sh.window[0] = nil
		sh.window = sh.window[1:]
		sh.first++
	}
	if entries[len(entries)-1].Revision >= sh.position.Revision {
		sh.end(io.EOF)
	}
	return nil
}

func (sh *sharedSnapshot) end(reason error) {
	sh.ended = reason
	_ = sh.snap.Close() // read-only
	sh.snap = nil
}

// sharedCursor is a target's view of a shared snapshot, and implements partition.Snapshot.
type sharedCursor struct {
	shared *sharedSnapshot
	after  partition.Revision // the target's position
	next   int                // number of the next chunk
	closed bool
}

// Position implements partition.Snapshot.
func (c *sharedCursor) Position() partition.Position { return c.shared.position }

// Next implements partition.Snapshot. The limits apply to a chunk that this call reads.
func (c *sharedCursor) Next(ctx context.Context, maxEntries int, maxBytes int64) ([]partition.Entry, error) {
	sh := c.shared
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for {
		switch {
		case ctx.Err() != nil: // must not end the snapshot for the remaining targets
			return nil, ctx.Err()
		case c.next < sh.first:
			return nil, errDetached
		case c.next < sh.first+len(sh.window):
			if entries := c.take(); len(entries) > 0 {
				return entries, nil
			}
		case sh.ended != nil:
			return nil, sh.ended
		default:
			if err := sh.readChunk(ctx, maxEntries, maxBytes); err != nil {
				return nil, err
			}
		}
	}
}

// take returns the entries of the next chunk that the target lacks, perhaps none.
func (c *sharedCursor) take() []partition.Entry {
	entries := c.shared.window[c.next-c.shared.first]
	c.next++
	for len(entries) > 0 && entries[0].Revision <= c.after {
		entries = entries[1:]
	}
	return entries
}

// Close implements partition.Snapshot. The last Close ends the shared snapshot.
func (c *sharedCursor) Close() error {
	sh := c.shared
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	if sh.users--; sh.users == 0 && sh.ended == nil {
		sh.end(errDetached)
	}
	return nil
}
