package store

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// tail reads each new change once for all readers of this process that have
// seen everything before. It keeps the last of what it has read: a reader that
// is further behind reads by itself until it is level again, so that no reader
// is buffered for, and none slows another.
//
// It reads while somebody watches, and for a moment after, as who polls comes back.
// The cache of reads takes what it reads, and has it read more (see feedCache).
type tail struct {
	s      *Store
	wakeCh chan struct{} // buffered, 1: there may be something new
	on     atomic.Bool   // somebody watches, or did just now

	usedAt, polledAt time.Time // of the cache; run's alone

	mu        sync.Mutex // guards the fields below
	watchers  int
	leftAt    time.Time // when the last of them left
	caughtUp  bool      // at is set
	at        ChangeToken
	rounds    []tailRound
	first     int64 // number of rounds[0]
	entries   int
	bytes     int64
	changedCh chan struct{} // closed, and replaced, when something above has changed
	closed    bool
	barriers  map[Origin]Revision // up to where a barrier made origins durable
}

// tailRound is what one round read. It never changes.
type tailRound struct {
	before, after ChangeToken
	entries       []Entry
	partition     string
}

// Bounds of what a tail keeps, and of one round.
const (
	tailEntries  = 8192
	tailBytes    = 8 << 20
	roundEntries = 1000
	roundBytes   = 2 << 20
)

// linger is how long a tail goes on reading when nobody watches.
const linger = 30 * time.Second

func newTail(s *Store) *tail {
	return &tail{s: s, wakeCh: make(chan struct{}, 1), changedCh: make(chan struct{}), barriers: make(map[Origin]Revision)}
}

// wakeTail has the tail look for something new whenever there may be.
func (o *Options) addTail(t *tail) {
	committed := o.OnCommit
	o.OnCommit = func() {
		committed()
		t.wakeIfWatched()
	}
	o.onPositions = func() {
		if t.wakeIfWatched(); t.s.cache.active() {
			t.wake()
		}
	}
}

// stir makes the tail look for something new, if anybody watches. It never blocks.
func (t *tail) wakeIfWatched() {
	if t.on.Load() {
		t.wake()
	}
}

// look makes the tail look for something new. It never blocks.
func (t *tail) wake() {
	select {
	case t.wakeCh <- struct{}{}:
	default:
	}
}

// run reads until ctx ends.
func (t *tail) followLoop(ctx context.Context) {
	defer t.stopAndInvalidate()
	for {
		timer := time.NewTimer(t.waitTime())
		if !t.watched() && !t.s.cache.active() {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-t.wakeCh:
		case <-timer.C:
		}
		timer.Stop()
		if t.watched() {
			t.readNewRounds(ctx)
		}
		if t.s.cache.active() {
			t.advanceCache(ctx)
		}
	}
}

// watched reports whether there is anybody to read for, and forgets everything
// if there is not.
func (t *tail) watched() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.watchers > 0 || t.caughtUp && time.Since(t.leftAt) < linger {
		return true
	}
	t.reset()
	t.on.Store(false)
	return false
}

// reset makes the tail begin anew. t.mu is held.
func (t *tail) reset() {
	t.first += int64(len(t.rounds)) + 1 // whoever stood at the end does not stand there any more
	t.caughtUp, t.at, t.rounds, t.entries, t.bytes = false, ChangeToken{}, nil, 0, 0
}

// catchUp reads rounds until there is nothing new.
func (t *tail) readNewRounds(ctx context.Context) {
	for more := true; more && ctx.Err() == nil; {
		n, again, err := t.readNext(ctx)
		if errors.Is(err, ErrResync) { // it could not read for so long
			t.mu.Lock()
			t.reset()
			t.mu.Unlock()
			again = true
		} else if err != nil {
			return // the next wake, or the timer, tries again
		}
		more = again
		throttle(ctx, n)
	}
}

// rest leaves a master that is written flat out to its writers for a moment
// after a round of many entries: the next one is of many too then.
func throttle(ctx context.Context, entries int) {
	const few, most = 16, 50 * time.Millisecond
	if entries < few {
		return
	}
	timer := time.NewTimer(min(time.Duration(entries)*100*time.Microsecond, most))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// round reads what is new, or where everything stands if the tail is not level
// with anything yet.
func (t *tail) readNext(ctx context.Context) (entries int, more bool, err error) {
	t.mu.Lock()
	at, level := t.at, t.caughtUp
	t.mu.Unlock()
	if !level {
		now, err := t.s.ChangesNow(ctx)
		if err == nil {
			t.startAt(now)
		}
		return 0, false, err
	}
	if !t.s.mayHaveMore(at) {
		return 0, false, nil
	}
	page, err := t.s.readRound(ctx, at, at)
	if err == nil && !page.Next.equals(at) {
		t.addRound(&page)
	}
	return len(page.Entries), page.More, err
}

// readRound reads what comes after at from a source that covers reach.
func (s *Store) readRound(ctx context.Context, at, reach ChangeToken) (page ChangePage, err error) {
	err = s.withSource(ctx, reach, func(src *changeSource) error {
		if err := src.mayContinue(at); err != nil {
			return err
		}
		r := newChangeRead(src, at, nil)
		r.matches, r.scans, r.bytes = roundEntries, roundEntries, roundBytes
		err := r.readOrigins(ctx)
		page = r.page
		return err
	})
	return page, err
}

// mayHold reports whether it is worth asking for what comes after the token: not
// if the source would be a replica that is known to hold no more.
func (s *Store) mayHaveMore(t ChangeToken) bool {
	c := s.cluster.Load()
	if c == nil {
		return false
	}
	members := s.feedCandidates(c, t)
	if len(members) == 0 {
		return false
	}
	k := members[0].observed.Load()
	if s.sourceRank(c, members[0], k, t) != sourceGood {
		return true
	}
	for o, at := range k.Origins {
		if at.Revision > t.upTo(o) {
			return true
		}
	}
	return false
}

func (t *tail) startAt(at ChangeToken) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.at, t.caughtUp = at, true
	t.broadcast()
}

// push keeps a round for the readers, and drops the oldest that are too many.
func (t *tail) addRound(page *ChangePage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	round := tailRound{before: t.at, after: page.Next, entries: page.Entries, partition: page.Partition}
	t.s.cache.applyRound(&round)
	t.rounds = append(t.rounds, round)
	t.at = page.Next
	t.entries += len(page.Entries)
	t.bytes += bytesOf(page.Entries)
	for len(t.rounds) > 1 && (t.entries > tailEntries || t.bytes > tailBytes || len(t.rounds) > tailEntries) {
		t.entries -= len(t.rounds[0].entries)
		t.bytes -= bytesOf(t.rounds[0].entries)
		t.rounds[0] = tailRound{}
		t.rounds, t.first = t.rounds[1:], t.first+1
	}
	t.broadcast()
}

func bytesOf(entries []Entry) (sum int64) {
	for i := range entries {
		sum += entries[i].Size
	}
	return sum
}

// announce wakes everybody who waits. t.mu is held.
func (t *tail) broadcast() {
	close(t.changedCh)
	t.changedCh = make(chan struct{})
}

func (t *tail) stopAndInvalidate() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.s.cache.invalidate()
	t.reset()
	t.broadcast()
}

// enter and leave count a reader.
func (t *tail) addWatcher() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watchers++
	t.on.Store(true)
	t.wakeIfWatched()
}

func (t *tail) removeWatcher() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watchers--
	t.leftAt = time.Now()
	t.wakeIfWatched() // so that it notices when to stop
}

// settled is up to where a barrier has made an origin durable.
func (t *tail) durableUpTo(o Origin) Revision {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.barriers[o]
}

func (t *tail) noteDurable(o Origin, r Revision) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.barriers[o] = max(t.barriers[o], r)
}
