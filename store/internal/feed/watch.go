package feed

import (
	"context"
	"errors"
	"time"

	"github.com/runnelkv/runnel/store/internal/backend"
)

// Watch is a reader that waits for changes. A Watch is used by a single goroutine.
type Watch struct {
	feed   *Feed
	o      Selection
	at     Token
	number int64 // of the tail's next round for this watch; negative: the watch reads by itself
}

// Watch returns a reader of the changes after since. The caller closes it.
func (f *Feed) Watch(since Token, o Selection) *Watch {
	f.tail.addWatcher()
	return &Watch{feed: f, o: o, at: since, number: -1}
}

// Close ends the watch.
func (w *Watch) Close() { w.feed.tail.removeWatcher() }

// Token is the progress of the watch.
func (w *Watch) Token() Token { return w.at }

// Next waits for changes and returns at most a page of them. If ctx ends first, the error
// is that of ctx, or ErrNoPartition if that is the reason; Next may be called again. Other
// errors are those of Changes, and ErrClosed.
func (w *Watch) Next(ctx context.Context) (Page, error) {
	for {
		page, wait, err := w.nextPage(ctx)
		switch {
		case ctx.Err() != nil && (err != nil || len(page.Entries) == 0):
			return Page{}, endCause(ctx, err)
		case errors.Is(err, backend.ErrNoPartition):
			_, _, wait = w.feed.tail.head()
		case err != nil:
			return Page{}, err
		case len(page.Entries) > 0:
			return page, nil
		}
		if wait != nil && !w.waitForChange(ctx, wait) {
			return Page{}, endCause(ctx, err)
		}
	}
}

// endCause is why nothing was returned before ctx ended.
func endCause(ctx context.Context, err error) error {
	if errors.Is(err, backend.ErrNoPartition) {
		return err
	}
	return ctx.Err()
}

// waitForChange returns when the tail has changed, or after the poll interval if the watch reads
// by itself. false: ctx has ended.
func (w *Watch) waitForChange(ctx context.Context, changed <-chan struct{}) bool {
	var expired <-chan time.Time
	if w.number < 0 {
		timer := time.NewTimer(w.feed.poll)
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case <-changed:
	case <-expired:
	case <-ctx.Done():
		return false
	}
	return true
}

// nextPage returns the next page, which may be empty, or a channel to wait for.
func (w *Watch) nextPage(ctx context.Context) (page Page, wait <-chan struct{}, err error) {
	round, wait, err := w.nextRound()
	switch {
	case err != nil:
		return Page{}, nil, err
	case round != nil:
		page, err = w.pageFromRound(ctx, round)
		return page, nil, err
	case w.number >= 0:
		return Page{}, wait, nil
	}
	head, caughtUp, wait := w.feed.tail.head()
	if !caughtUp || !head.covers(w.at) && !w.at.IsBeginning() {
		return Page{}, wait, nil // the tail will get there
	}
	page, err = w.feed.readFeed(ctx, w.o.pageQuery(w.at, head, &head))
	if err == nil {
		w.at = page.Next
	}
	return page, nil, err
}

// nextRound returns the tail's next round for this watch, or a channel to wait for.
func (w *Watch) nextRound() (*Page, <-chan struct{}, error) {
	t := w.feed.tail
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, nil, backend.ErrClosed
	}
	if w.number < 0 || w.number < t.first {
		w.number = t.roundStartingAt(w.at)
	}
	end := t.first + int64(len(t.rounds))
	if w.number < 0 || w.number == end {
		return nil, t.changed.Next(), nil
	}
	round := t.rounds[w.number-t.first]
	return &round, nil, nil
}

// roundStartingAt is the number of the round that starts at the token, -1 if there is none.
// A watch may join only there: compared with any different position the tail may be behind for
// an origin and ahead for another. t.mu is held.
func (t *tail) roundStartingAt(at Token) int64 {
	if !t.caughtUp || at.IsBeginning() {
		return -1
	}
	if t.at.equals(at) {
		return t.first + int64(len(t.rounds))
	}
	for i := range t.rounds {
		if t.rounds[i].since.equals(at) {
			return t.first + int64(i)
		}
	}
	return -1
}

// pageFromRound makes a page of a round, or of the rest of it. If a value is damaged, the
// page is read from another source.
func (w *Watch) pageFromRound(ctx context.Context, round *Page) (Page, error) {
	page := Page{since: w.at, Next: round.Next, Partition: round.Partition}
	wants := w.o.wants()
	for i := range round.Entries {
		if e := &round.Entries[i]; wants(e.Key) && e.Revision > w.at.upTo(e.Origin) {
			page.Entries = append(page.Entries, *e)
		}
	}
	if err := w.feed.present(&page, w.o); err != nil {
		if page, err = w.feed.readFeed(ctx, w.o.pageQuery(w.at, round.Next, &round.Next)); err != nil {
			return Page{}, err
		}
	}
	page.truncate(w.o.Limit)
	w.at = page.Next
	if w.at.equals(round.Next) {
		w.number++
	}
	return page, nil
}
