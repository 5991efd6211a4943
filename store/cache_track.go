package store

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// track knows how far a member had come when what is cached of it was right.
// Whatever this process applies to the member is applied to the cache too, and
// moves the track along. What another process does to it shows in the
// positions, whenever they are read: then the changes up to there are read too
// (see trail), or, where that is not worth it, what is cached of the member
// counts no more and the track begins a new era.
//
// A member's own rows move without an Apply; they are not what is cached of it.
type track struct {
	cache *cache                  // nil: nothing is cached
	now   atomic.Pointer[tracked] // nil: nothing that is cached of the member counts
	hit   atomic.Bool             // since it was last looked at
	wake  chan struct{}           // one token: look at the member now

	mu     sync.Mutex // guards the fields below, and that now is what the cache holds
	era    uint64
	moving int       // changes of the member by this process that are under way
	moves  uint64    // how often tickets became worthless
	ledAt  time.Time // when this process last changed the member
	recent bool      // it was hit before it was last looked at
	behind bool      // another process has moved the member: trail it
}

// tracked is a state of a track.
type tracked struct {
	known
	era uint64
}

// ticket is a moment of a track; noTicket while changes are under way.
type ticket uint64

const noTicket = ticket(0)

// ticket is the present moment. t.mu is held.
func (t *track) ticket() ticket {
	if t.moving > 0 {
		return noTicket
	}
	return ticket(t.moves + 1)
}

// take returns a ticket for what is read from now on.
func (t *track) take() ticket {
	if t.cache == nil {
		return noTicket
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ticket()
}

// begin announces a change of the member. end has to follow.
func (t *track) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.moving++
	t.moves++
}

// end finishes a change: then runs with t.mu held, before anybody can keep anything again.
func (t *track) end(then func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	then()
	t.moving--
	t.moves++
	t.ledAt = time.Now()
}

// forget ends the era: nothing that is cached counts any more. t.mu is held.
func (t *track) forget() { t.now.Store(nil) }

// lose is forget, for who cannot reach the member.
func (t *track) lose() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget()
}

// begins starts an era at positions. t.mu is held.
func (t *track) begins(p partition.Positions) {
	t.era++
	t.moves++ // what was read before may be older
	t.behind = false
	now := &tracked{known: known{Positions: copyOf(p)}, era: t.era}
	now.hold(nil)
	t.now.Store(now)
}

// applied follows a copy that the member was given.
func (t *track) applied(m *member, c *partition.Copy, err error) {
	now := t.now.Load()
	if now == nil {
		return
	}
	at := now.Origins[c.Origin]
	if err != nil || at.Revision != c.From { // who knows what happened, or somebody else was there
		t.forget()
		return
	}
	t.cache.renew(m, now.era, c.Entries)
	t.now.Store(&tracked{known: *now.with(at.Follow(*c), time.Time{}), era: now.era})
}

// reconcile compares the track with positions that were read after the ticket
// was given out.
func (t *track) reconcile(own Origin, from ticket, p partition.Positions) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if from == noTicket || from != t.ticket() {
		return // they may be from before a change that is in the cache already
	}
	now := t.now.Load()
	switch {
	case now == nil:
		t.begins(p)
	case now.stands(own, p):
		next := &tracked{known: known{Positions: copyOf(p)}, era: now.era}
		next.hold(&now.known)
		t.now.Store(next)
	case (t.recent || t.hit.Load()) && now.isNear(own, p):
		t.behind = true
		t.look()
	default:
		t.begins(p)
	}
}

// copyOf is p for the track: whoever has read it may still change it.
func copyOf(p partition.Positions) partition.Positions {
	p.Origins = maps.Clone(p.Origins)
	return p
}

// stands reports whether the member still is where it is known to be: only
// when it held everything may have moved.
func (t *tracked) stands(own Origin, p partition.Positions) bool {
	if len(p.Origins) != len(t.Origins) {
		return false
	}
	for o, at := range p.Origins {
		was := t.Origins[o]
		if o != own && (at.Revision != was.Revision || at.Goal != was.Goal || at.SyncedAt < was.SyncedAt) {
			return false
		}
	}
	return true
}

// Apply is the partition's, and the cache's.
func (m *member) Apply(ctx context.Context, c partition.Copy) error {
	t := &m.track
	if t.cache == nil {
		return m.Partition.Apply(ctx, c)
	}
	t.begin()
	err := m.Partition.Apply(ctx, c)
	t.end(func() { t.applied(m, &c, err) })
	return err
}

// Reset is the partition's, and the cache's.
func (m *member) Reset(ctx context.Context, o Origin) error {
	t := &m.track
	if t.cache == nil {
		return m.Partition.Reset(ctx, o)
	}
	t.begin()
	err := m.Partition.Reset(ctx, o)
	t.end(t.forget)
	return err
}

// Positions is the partition's, and shows the cache whether anybody else was there.
func (m *member) Positions(ctx context.Context) (partition.Positions, error) {
	t := &m.track
	if t.cache == nil {
		return m.Partition.Positions(ctx)
	}
	from := t.take()
	p, err := m.Partition.Positions(ctx)
	if err == nil {
		t.reconcile(Origin(m.Name()), from, p)
	}
	return p, err
}
