package sync

import (
	"context"
	"errors"
	"io"

	"github.com/runnelkv/runnel/store/partition"
)

// share is a snapshot of an origin that several targets copy from side by side:
// it is read once. Whoever is first reads, the others find the batch in the window.
// One that is further behind than the window reaches, or whose share was
// broken by somebody else's failure, gets errAlone and reads for itself.
type share struct {
	after partition.Revision // the lowest position of those that take part; set before any begins
	turn  chan struct{}      // holds a token while somebody opens, reads or looks; guards what follows

	snap   partition.Snapshot // nil: not open yet, or not any more
	at     partition.Position // the snapshot's
	window [][]partition.Entry
	first  int  // number of the window's first batch
	opened bool // at some time
	end    bool // nothing follows the window
	broken bool
	users  int
}

// windowBatches bounds what is kept for those that are slower.
const windowBatches = 4

var errAlone = errors.New("the shared snapshot has gone on")

func newShare(after partition.Revision) *share {
	return &share{after: after, turn: make(chan struct{}, 1)}
}

// shareKey names what can be read together.
type shareKey struct {
	from   *peer
	origin partition.Origin
}

// shareFor returns the share of a job that can read with others of the same
// pass, if it can: those whose positions are close to each other.
func (p *pass) shareFor(j *job, close int) *share {
	if j.beat != 0 || j.at.Revision == 0 {
		return nil
	}
	key := shareKey{j.from, j.origin}
	sh, ok := p.shares[key]
	if !ok {
		sh = newShare(j.at.Revision)
		p.shares[key] = sh
	}
	if max(j.at.Revision, sh.after)-min(j.at.Revision, sh.after) > partition.Revision(close) {
		return nil
	}
	sh.after = min(sh.after, j.at.Revision)
	return sh
}

func (sh *share) lock(ctx context.Context) error {
	select {
	case sh.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (sh *share) unlock() { <-sh.turn }

// tap returns what the share's snapshot holds after a revision.
func (sh *share) tap(ctx context.Context, j *job) (partition.Snapshot, error) {
	if err := sh.lock(ctx); err != nil {
		return nil, err
	}
	defer sh.unlock()
	if !sh.opened {
		sh.opened = true
		snap, err := j.from.Snapshot(ctx, j.origin, sh.after)
		if err != nil {
			sh.broken = true
			return nil, err
		}
		sh.snap, sh.at = snap, snap.Position()
	}
	if sh.broken {
		return nil, errAlone
	}
	sh.users++
	return &tap{share: sh, after: j.at.Revision}, nil
}

// read reads another batch into the window. The turn is held.
func (sh *share) read(ctx context.Context, maxEntries int, maxBytes int64) error {
	entries, err := sh.snap.Next(ctx, maxEntries, maxBytes)
	switch {
	case errors.Is(err, io.EOF):
		sh.end = true
	case err != nil:
		sh.broken = true
	default:
		sh.window = append(sh.window, entries)
		sh.end = entries[len(entries)-1].Revision >= sh.at.Revision
		if len(sh.window) > windowBatches {
			sh.window[0] = nil
			sh.window = sh.window[1:]
			sh.first++
		}
		err = nil
	}
	if sh.end || sh.broken {
		sh.close()
	}
	if sh.end {
		return nil
	}
	return err
}

func (sh *share) close() {
	if sh.snap != nil {
		_ = sh.snap.Close() // of a view that was only read
		sh.snap = nil
	}
}

// tap is a target's part of a share; a Snapshot itself.
type tap struct {
	share  *share
	after  partition.Revision // the target's position
	next   int                // number of the batch
	closed bool
}

// Position implements partition.Snapshot.
func (t *tap) Position() partition.Position { return t.share.at }

// Next implements partition.Snapshot. The limits are those of whoever reads.
func (t *tap) Next(ctx context.Context, maxEntries int, maxBytes int64) ([]partition.Entry, error) {
	if err := t.share.lock(ctx); err != nil {
		return nil, err
	}
	defer t.share.unlock()
	for {
		entries, err := t.batch(ctx, maxEntries, maxBytes)
		if err != nil || len(entries) > 0 {
			return entries, err
		}
	}
}

// batch returns what the next batch has for the target, perhaps nothing.
func (t *tap) batch(ctx context.Context, maxEntries int, maxBytes int64) ([]partition.Entry, error) {
	sh := t.share
	if t.next < sh.first {
		return nil, errAlone
	}
	if t.next == sh.first+len(sh.window) {
		switch {
		case sh.end:
			return nil, io.EOF
		case sh.broken:
			return nil, errAlone
		}
		if err := sh.read(ctx, maxEntries, maxBytes); err != nil {
			return nil, err
		}
		return nil, nil
	}
	entries := sh.window[t.next-sh.first]
	t.next++
	for len(entries) > 0 && entries[0].Revision <= t.after {
		entries = entries[1:]
	}
	return entries, nil
}

// Close implements partition.Snapshot. The last one closes what is shared.
func (t *tap) Close() error {
	t.share.turn <- struct{}{} // reading is bounded, and so is this
	defer t.share.unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	if t.share.users--; t.share.users == 0 && !t.share.end {
		t.share.broken = true
		t.share.close()
	}
	return nil
}
