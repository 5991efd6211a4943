package store

import (
	"context"
	"errors"
	"time"
)

// Watch is a reader of changes that waits for more. It is used by one goroutine.
type Watch struct {
	s      *Store
	o      ChangeOptions
	at     ChangeToken
	number int64 // of the tail's round that comes next; negative: it reads by itself
}

// Watch returns a reader of what changes after since. Close it.
func (s *Store) Watch(since ChangeToken, o ChangeOptions) *Watch {
	s.tail.addWatcher()
	return &Watch{s: s, o: o, at: since, number: -1}
}

// Close ends the watch.
func (w *Watch) Close() { w.s.tail.removeWatcher() }

// Token is how far the watch has come.
func (w *Watch) Token() ChangeToken { return w.at }

// Next waits until something has changed and returns it, at most as much as a
// page holds. When ctx ends first its error is returned, or ErrNoPartition if
// that is why there was nothing; the watch can go on then. Other errors are
// those of Changes, and ErrClosed.
func (w *Watch) Next(ctx context.Context) (ChangePage, error) {
	for {
		page, wait, err := w.nextPage(ctx)
		switch {
		case ctx.Err() != nil && (err != nil || len(page.Entries) == 0):
			return ChangePage{}, cause(ctx, err)
		case errors.Is(err, ErrNoPartition):
			wait = w.s.tail.changed()
		case err != nil:
			return ChangePage{}, err
		case len(page.Entries) > 0:
			return page, nil
		}
		if wait != nil && !w.wait(ctx, wait) {
			return ChangePage{}, cause(ctx, err)
		}
	}
}

// cause is why there was nothing until ctx ended.
func cause(ctx context.Context, err error) error {
	if errors.Is(err, ErrNoPartition) {
		return err
	}
	return ctx.Err()
}

// wait returns when something has changed, or after a while; false: ctx has ended.
func (w *Watch) wait(ctx context.Context, changed <-chan struct{}) bool {
	if w.number >= 0 { // it is level: the tail tells it everything
		select {
		case <-changed:
			return true
		case <-ctx.Done():
			return false
		}
	}
	timer := time.NewTimer(w.s.options.Poll)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	return true
}

// step takes the next part, which may have nothing for this reader in it, or
// says what to wait for.
func (w *Watch) nextPage(ctx context.Context) (page ChangePage, wait <-chan struct{}, err error) {
	round, wait, err := w.tailRound()
	switch {
	case err != nil:
		return ChangePage{}, nil, err
	case round != nil:
		return w.pageFromRound(ctx, round)
	case w.number >= 0:
		return ChangePage{}, wait, nil
	}
	head, level, wait := w.s.tail.head()
	if !level || !head.covers(w.at) && !w.at.IsBeginning() {
		return ChangePage{}, wait, nil // the tail is on its way
	}
	page, err = w.s.readChanges(ctx, w.at, &head, w.o)
	if err == nil {
		w.at = page.Next
	}
	return page, nil, err
}

// fromTail returns the tail's next round, or else what to wait for; number says
// whether the reader is level with the tail at all.
func (w *Watch) tailRound() (*tailRound, <-chan struct{}, error) {
	t := w.s.tail
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, nil, ErrClosed
	}
	if w.number >= 0 && w.number < t.first {
		w.number = -1
	}
	if w.number < 0 {
		w.number = t.roundStartingAt(w.at)
	}
	end := t.first + int64(len(t.rounds))
	if w.number < 0 || w.number == end {
		return nil, t.changedCh, nil
	}
	round := t.rounds[w.number-t.first]
	return &round, nil, nil
}

// find is the number of the round that begins where the token is: only there may
// a reader join, as the tail may be behind it or ahead of it anywhere else.
// -1 if there is none. t.mu is held.
func (t *tail) roundStartingAt(at ChangeToken) int64 {
	if !t.caughtUp || at.IsBeginning() {
		return -1
	}
	if t.at.equals(at) {
		return t.first + int64(len(t.rounds))
	}
	for i := range t.rounds {
		if t.rounds[i].before.equals(at) {
			return t.first + int64(i)
		}
	}
	return -1
}

// take makes a page of a round, or of what is left of it. A damaged value is
// read elsewhere.
func (w *Watch) pageFromRound(ctx context.Context, round *tailRound) (ChangePage, <-chan struct{}, error) {
	page := ChangePage{since: w.at, Next: round.after, Partition: round.partition}
	wants := w.o.wants()
	for i := range round.entries {
		if e := &round.entries[i]; wants(e.Key) && e.Revision > w.at.upTo(e.Origin) {
			page.Entries = append(page.Entries, *e)
		}
	}
	if err := w.s.present(&page, w.o); err != nil {
		if page, err = w.s.readChanges(ctx, w.at, &round.after, w.o); err != nil {
			return ChangePage{}, nil, err
		}
	}
	page.cut(clampLimit(w.o.Limit))
	w.at = page.Next
	if w.at.equals(round.after) {
		w.number++
	}
	return page, nil, nil
}

// head is where the tail is, if it is anywhere, and what tells when that changes.
func (t *tail) head() (at ChangeToken, level bool, changed <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.at, t.caughtUp, t.changedCh
}

func (t *tail) changed() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.changedCh
}
