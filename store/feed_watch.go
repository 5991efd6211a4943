package store

import (
	"context"
	"errors"
	"time"
)

// Watch is a reader that waits for changes. It is used by one goroutine.
type Watch struct {
	s      *Store
	o      ChangeOptions
	at     ChangeToken
	number int64 // of the tail's next round for this watch; negative: the watch reads by itself
}

// Watch returns a reader of the changes after since. The caller closes it.
func (s *Store) Watch(since ChangeToken, o ChangeOptions) *Watch {
	s.tail.addWatcher()
	return &Watch{s: s, o: o, at: since, number: -1}
}

// Close ends the watch.
func (w *Watch) Close() { w.s.tail.removeWatcher() }

// Token is the progress of the watch.
func (w *Watch) Token() ChangeToken { return w.at }

// Next waits for changes and returns at most a page of them. If ctx ends first, the error
// is that of ctx, or ErrNoPartition if that is the reason; Next may be called again. Other
// errors are those of Changes, and ErrClosed.
func (w *Watch) Next(ctx context.Context) (ChangePage, error) {
	for {
		page, wait, err := w.nextPage(ctx)
		switch {
		case ctx.Err() != nil && (err != nil || len(page.Entries) == 0):
			return ChangePage{}, endCause(ctx, err)
		case errors.Is(err, ErrNoPartition):
			_, _, wait = w.s.tail.head()
		case err != nil:
			return ChangePage{}, err
		case len(page.Entries) > 0:
			return page, nil
		}
		if wait != nil && !w.waitForChange(ctx, wait) {
			return ChangePage{}, endCause(ctx, err)
		}
	}
}

// endCause is why nothing was returned before ctx ended.
func endCause(ctx context.Context, err error) error {
	if errors.Is(err, ErrNoPartition) {
		return err
	}
	return ctx.Err()
}

// waitForChange returns when the tail has changed, or after Options.Poll if the watch reads
// by itself. false: ctx has ended.
func (w *Watch) waitForChange(ctx context.Context, changed <-chan struct{}) bool {
	var expired <-chan time.Time
	if w.number < 0 {
		timer := time.NewTimer(w.s.options.Poll)
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
func (w *Watch) nextPage(ctx context.Context) (page ChangePage, wait <-chan struct{}, err error) {
	round, wait, err := w.nextRound()
	switch {
	case err != nil:
		return ChangePage{}, nil, err
	case round != nil:
		page, err = w.pageFromRound(ctx, round)
		return page, nil, err
	case w.number >= 0:
		return ChangePage{}, wait, nil
	}
	head, caughtUp, wait := w.s.tail.head()
	if !caughtUp || !head.covers(w.at) && !w.at.IsBeginning() {
		return ChangePage{}, wait, nil // the tail will get there
	}
	page, err = w.s.readFeed(ctx, w.o.pageQuery(w.at, head, &head))
	if err == nil {
		w.at = page.Next
	}
	return page, nil, err
}

// nextRound returns the tail's next round for this watch, or a channel to wait for.
func (w *Watch) nextRound() (*ChangePage, <-chan struct{}, error) {
	t := w.s.tail
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, nil, ErrClosed
	}
	if w.number < 0 || w.number < t.first {
		w.number = t.roundStartingAt(w.at)
	}
	end := t.first + int64(len(t.rounds))
	if w.number < 0 || w.number == end {
		return nil, t.changed.nextBroadcast(), nil
	}
	round := t.rounds[w.number-t.first]
	return &round, nil, nil
}

// roundStartingAt is the number of the round that starts at the token, -1 if there is none.
// A watch may join only there: compared with any other position the tail may be behind for
// an origin and ahead for another. t.mu is held.
func (t *tail) roundStartingAt(at ChangeToken) int64 {
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
func (w *Watch) pageFromRound(ctx context.Context, round *ChangePage) (ChangePage, error) {
	page := ChangePage{since: w.at, Next: round.Next, Partition: round.Partition}
	wants := w.o.wants()
	for i := range round.Entries {
		if e := &round.Entries[i]; wants(e.Key) && e.Revision > w.at.upTo(e.Origin) {
			page.Entries = append(page.Entries, *e)
		}
	}
	if err := w.s.present(&page, w.o); err != nil {
		if page, err = w.s.readFeed(ctx, w.o.pageQuery(w.at, round.Next, &round.Next)); err != nil {
			return ChangePage{}, err
		}
	}
	page.truncate(w.o.limit())
	w.at = page.Next
	if w.at.equals(round.Next) {
		w.number++
	}
	return page, nil
}
