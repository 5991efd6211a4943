package store

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// Who else moves a member shows only in its positions: while reads are answered
// from the cache, these are read every leadPoll, unless this process has moved
// the member itself within leadTime, as the one that syncs it does.
const (
	leadPoll = 100 * time.Millisecond
	leadTime = 1500 * time.Millisecond
)

// used notes that the cache has answered for the member.
func (t *track) used() {
	if !t.hit.Load() && t.hit.CompareAndSwap(false, true) {
		t.look()
	}
}

// look has whoever follows the member look at it, soon if others lead it. It never blocks.
func (t *track) look() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// looked notes that the member is looked at now.
func (t *track) looked() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.recent = t.hit.Swap(false)
}

// led reports whether others may have moved the member while the cache answered for it.
func (t *track) led() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.behind || t.hit.Load() && time.Since(t.ledAt) > leadTime
}

// Bounds of what is read to follow a member that others have moved. More
// changes than that, and the cache begins anew instead.
const (
	trailEntries = 4096
	trailBytes   = 8 << 20
)

// isNear reports whether it is worth reading what moved a member to p.
func (t *tracked) isNear(own Origin, p partition.Positions) bool {
	far := Revision(0)
	for o, at := range p.Origins {
		was := t.Origins[o]
		if o == own {
			continue
		}
		if at.Revision < was.Revision || at.Collected > was.Revision || at.SyncedAt < was.SyncedAt {
			return false
		}
		far += at.Revision - was.Revision
	}
	return far <= trailEntries && len(p.Origins) >= len(t.Origins)
}

// trail brings the cache to where others have moved the member.
func (m *member) trail(ctx context.Context) {
	t := &m.track
	t.mu.Lock()
	now, behind := t.now.Load(), t.behind
	t.behind = false
	t.mu.Unlock()
	if !behind || now == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, m.options.Timeout)
	defer cancel()
	next, entries, err := m.since(ctx, now)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.now.Load() != now || t.moving > 0:
		// This process was there too: the positions will tell whether that was all.
	case err != nil:
		t.forget()
	default:
		t.moves++ // what was read before may be older than what the track says from here on
		t.cache.renew(m, now.era, entries)
		t.now.Store(next)
	}
}

var errTooFar = errors.New("too much has changed to follow it")

// since reads what has changed since a state of the track, of all origins but
// the member's own.
func (m *member) since(ctx context.Context, from *tracked) (*tracked, []Entry, error) {
	next := &tracked{known: known{Positions: partition.Positions{Now: from.Now, Origins: make(map[Origin]partition.Position)}}, era: from.era}
	p, err := m.Partition.Positions(ctx)
	if err != nil {
		return nil, nil, err
	}
	var changed []Entry
	for o, at := range p.Origins {
		next.Origins[o] = at
		was := from.Origins[o]
		if o == Origin(m.Name()) || at == was {
			continue
		}
		entries, at, err := m.sinceOf(ctx, o, was.Revision)
		if err != nil {
			return nil, nil, err
		}
		next.Origins[o], changed = at, append(changed, entries...)
	}
	next.hold(&from.known)
	return next, changed, nil
}

// sinceOf reads what has changed of one origin after a revision, and where that brings the member.
func (m *member) sinceOf(ctx context.Context, o Origin, after Revision) (changed []Entry, at partition.Position, err error) {
	snap, err := m.Snapshot(ctx, o, after)
	if err != nil {
		return nil, at, err
	}
	defer func() { _ = snap.Close() }() // of a view that was only read
	if at = snap.Position(); at.Revision < after || at.Collected > after {
		return nil, at, errTooFar
	}
	size := int64(0)
	for {
		entries, err := snap.Next(ctx, trailEntries, trailBytes)
		if errors.Is(err, io.EOF) {
			return changed, at, nil
		}
		if err != nil {
			return nil, at, err
		}
		changed = append(changed, entries...)
		if size += bytesOf(entries); len(changed) > trailEntries || size > trailBytes {
			return nil, at, errTooFar
		}
	}
}
