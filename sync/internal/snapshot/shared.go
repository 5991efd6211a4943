package snapshot

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/runnelkv/runnel/store/partition"
)

// Shared is a snapshot of an origin that several targets copy from. The first target to need a chunk reads it; the rest find
// the chunk in a window of the last few. A target that falls behind the window, or loses the snapshot by another target's
// failure, gets ErrDetached and opens a snapshot of its own.
type Shared struct {
	source partition.Partition
	origin partition.Origin
	after  partition.Revision // lowest position of the targets; fixed before the first use

	mu       sync.Mutex         // held during reads, which are bounded; guards the fields below
	snap     partition.Snapshot // nil before open, and after ended is set
	position partition.Position // of snap
	epoch    int64              // of snap
	heads    map[partition.Origin]partition.Position
	window   [][]partition.Entry
	first    int   // number of the window's first chunk
	ended    error // io.EOF: no chunk follows the window; ErrDetached: a failure; nil: more may follow
	users    int
}

// windowChunks bounds the chunks that are kept for slower targets.
const windowChunks = 4

// ErrDetached: the target has fallen behind the window, or reading for another target has failed.
var ErrDetached = errors.New("the target no longer shares the snapshot")

// NewShared returns a snapshot of the origin's entries on the source after a target's position. Nothing is opened yet.
func NewShared(source partition.Partition, origin partition.Origin, after partition.Revision) *Shared {
	return &Shared{source: source, origin: origin, after: after}
}

// Admit reports whether a target at a position may share the snapshot: whether the position is at most maxDistance revisions
// away from the lowest so far. Every Admit must return before the first Open.
func (sh *Shared) Admit(at partition.Revision, maxDistance int) bool {
	if max(at, sh.after)-min(at, sh.after) > partition.Revision(maxDistance) {
		return false
	}
	sh.after = min(sh.after, at)
	return true
}

// Open returns the part of the snapshot after the position of a target. The first call opens the snapshot, and gets the error
// of that; later calls then get ErrDetached.
func (sh *Shared) Open(ctx context.Context, at partition.Revision) (partition.Snapshot, error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.snap == nil && sh.ended == nil {
		snap, err := sh.source.Snapshot(ctx, sh.origin, sh.after)
		if err != nil {
			sh.ended = ErrDetached
			return nil, err
		}
		sh.snap, sh.position = snap, snap.Position()
		sh.epoch, sh.heads = snap.Heads()
	}
	if errors.Is(sh.ended, ErrDetached) {
		return nil, ErrDetached
	}
	sh.users++
	return &cursor{shared: sh, after: at}, nil
}

// readChunk reads the next chunk into the window. mu is held.
func (sh *Shared) readChunk(ctx context.Context, maxEntries int, maxBytes int64) error {
	entries, err := sh.snap.Next(ctx, maxEntries, maxBytes)
	switch {
	case errors.Is(err, io.EOF):
		sh.end(io.EOF)
		return nil
	case err != nil:
		sh.end(ErrDetached)
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

func (sh *Shared) end(reason error) {
	sh.ended = reason
	_ = sh.snap.Close() // read-only
	sh.snap = nil
}

// cursor is a target's view of a shared snapshot, and implements partition.Snapshot.
type cursor struct {
	shared *Shared
	after  partition.Revision // the target's position
	next   int                // number of the next chunk
	closed bool
}

// Position implements partition.Snapshot.
func (c *cursor) Position() partition.Position { return c.shared.position }

// Heads implements partition.Snapshot. The map is shared and must not be changed.
func (c *cursor) Heads() (int64, map[partition.Origin]partition.Position) {
	return c.shared.epoch, c.shared.heads
}

// Next implements partition.Snapshot. The limits apply to a chunk that this call reads.
func (c *cursor) Next(ctx context.Context, maxEntries int, maxBytes int64) ([]partition.Entry, error) {
	sh := c.shared
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for {
		switch {
		case ctx.Err() != nil: // must not end the snapshot for the remaining targets
			return nil, ctx.Err()
		case c.next < sh.first:
			return nil, ErrDetached
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
func (c *cursor) take() []partition.Entry {
	entries := c.shared.window[c.next-c.shared.first]
	c.next++
	for len(entries) > 0 && entries[0].Revision <= c.after {
		entries = entries[1:]
	}
	return entries
}

// Close implements partition.Snapshot. The last Close ends the shared snapshot.
func (c *cursor) Close() error {
	sh := c.shared
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	if sh.users--; sh.users == 0 && sh.ended == nil {
		sh.end(ErrDetached)
	}
	return nil
}
