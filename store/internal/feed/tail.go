package feed

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnelkv/runnel/store/internal/broadcast"
	"github.com/runnelkv/runnel/store/internal/version"
	"github.com/runnelkv/runnel/store/partition"
)

// tail reads each new change once for all watchers of this process that have caught up, and
// keeps the latest rounds. A watcher that is further behind reads by itself until it has
// caught up, so that nothing is buffered per watcher and no watcher delays another.
//
// The tail reads while there are watchers, and for linger afterwards, because clients that
// poll return. The cache takes the tail's rounds and makes the tail read more (see
// advanceCache).
type tail struct {
	feed    *Feed
	wakeCh  chan struct{}     // buffered, 1: there may be changes
	changed broadcast.Channel // of the fields below
	on      atomic.Bool       // there are watchers, or were shortly ago

	usedAt, polledAt time.Time // of the cache; used by FollowLoop's goroutine alone

	mu       sync.Mutex // guards the fields below
	watchers int
	leftAt   time.Time // when the last watcher left
	caughtUp bool      // at is set
	at       Token
	rounds   []Page // their entries are immutable
	first    int64  // number of rounds[0]
	entries  int    // in rounds
	bytes    int64  // in rounds
	closed   bool
}

// Bounds of the rounds that a tail keeps, and of a single round.
const (
	tailEntries  = 8192
	tailBytes    = 8 << 20
	roundEntries = 1000
	roundBytes   = 2 << 20
)

// linger is how long the tail continues to read without watchers.
const linger = 30 * time.Second

func newTail(f *Feed) *tail {
	return &tail{feed: f, wakeCh: make(chan struct{}, 1)}
}

// wakeIfWatched makes the tail read, if there are watchers, and never blocks.
func (t *tail) wakeIfWatched() {
	if t.on.Load() {
		t.wake()
	}
}

// wake makes the tail read, and never blocks.
func (t *tail) wake() {
	select {
	case t.wakeCh <- struct{}{}:
	default:
	}
}

// followLoop reads until ctx ends.
func (t *tail) followLoop(ctx context.Context) {
	defer t.stopAndInvalidate()
	for {
		timer := time.NewTimer(t.waitTime())
		if !t.watched() && !t.feed.cache.Active() {
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
		if t.feed.cache.Active() {
			t.advanceCache(ctx)
		}
	}
}

// watched reports whether there are watchers to read for. If there are none it drops the
// rounds.
func (t *tail) watched() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.watchers > 0 || t.caughtUp && time.Since(t.leftAt) < linger {
		return true
	}
	t.dropRounds()
	t.on.Store(false)
	return false
}

// dropRounds drops the rounds and the position. t.mu is held.
func (t *tail) dropRounds() {
	t.first += int64(len(t.rounds)) + 1 // a watcher at the end of the rounds has lost its place
	t.caughtUp, t.at, t.rounds, t.entries, t.bytes = false, Token{}, nil, 0, 0
}

// readNewRounds reads rounds until there is nothing new.
func (t *tail) readNewRounds(ctx context.Context) {
	for more := true; more && ctx.Err() == nil; {
		n, again, err := t.readNext(ctx)
		if errors.Is(err, ErrResync) { // the tail could not read for too long
			t.mu.Lock()
			t.dropRounds()
			t.mu.Unlock()
			again = true
		} else if err != nil {
			return // repeated at the next wake or timer
		}
		more = again
		throttle(ctx, n)
	}
}

// throttle pauses after a round of many entries: a master under full load is left to its
// writers, and the next round is large too.
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

// readNext reads the next round, or the current positions if the tail has none yet.
func (t *tail) readNext(ctx context.Context) (entries int, more bool, err error) {
	at, caughtUp, _ := t.head()
	if !caughtUp {
		now, err := t.feed.Now(ctx)
		if err == nil {
			t.startAt(now)
		}
		return 0, false, err
	}
	if !t.feed.mayHaveMore(at) {
		return 0, false, nil
	}
	page, err := t.feed.readRound(ctx, at, at)
	if err == nil && !page.Next.equals(at) {
		t.addRound(&page)
	}
	return len(page.Entries), page.More, err
}

// readRound reads the changes after at, of all keys, from a source that holds everything up
// to reach.
func (f *Feed) readRound(ctx context.Context, at, reach Token) (Page, error) {
	return f.readFeed(ctx, changeQuery{since: at, reach: reach, share: readShare{roundEntries, roundEntries, roundBytes}})
}

// mayHaveMore reports whether changes after the token may exist. There are none if the
// source would be a replica that is known to hold no more.
func (f *Feed) mayHaveMore(t Token) bool {
	c := f.cluster.Map()
	if c == nil {
		return false
	}
	candidates := f.feedCandidates(c, t)
	if len(candidates) == 0 {
		return false
	}
	k := candidates[0].Observed()
	return f.sourceRank(c, candidates[0], k, t) != sourceGood || !t.seen.Covers(version.OfPositions(k.Positions))
}

func (t *tail) startAt(at Token) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.at, t.caughtUp = at, true
	t.changed.Send()
}

// addRound keeps a round for the watchers, and drops the oldest rounds beyond the bounds.
func (t *tail) addRound(page *Page) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.feed.cache.ApplyRound(page.since.seen, page.Next.seen, page.epoch, page.Partition, page.Entries)
	t.rounds = append(t.rounds, *page)
	t.at = page.Next
	t.entries += len(page.Entries)
	t.bytes += bytesOf(page.Entries)
	for len(t.rounds) > 1 && (t.entries > tailEntries || t.bytes > tailBytes || len(t.rounds) > tailEntries) {
		t.entries -= len(t.rounds[0].Entries)
		t.bytes -= bytesOf(t.rounds[0].Entries)
		t.rounds[0] = Page{}
		t.rounds, t.first = t.rounds[1:], t.first+1
	}
	t.changed.Send()
}

func bytesOf(entries []partition.Entry) (sum int64) {
	for i := range entries {
		sum += entries[i].Size
	}
	return sum
}

func (t *tail) stopAndInvalidate() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.feed.cache.Invalidate()
	t.dropRounds()
	t.changed.Send()
}

func (t *tail) addWatcher() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watchers++
	t.on.Store(true)
	t.wake()
}

func (t *tail) removeWatcher() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watchers--
	t.leftAt = time.Now()
	t.wakeIfWatched() // to notice when to stop
}

// head is the tail's position, if it has any, and a channel that is closed when the tail
// changes.
func (t *tail) head() (at Token, caughtUp bool, changed <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.at, t.caughtUp, t.changed.Next()
}
