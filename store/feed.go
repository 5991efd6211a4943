package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
)

// ChangeOptions selects what a reader of changes is given.
type ChangeOptions struct {
	Space  Space
	Prefix string // of the name
	Values bool   // with values
	Limit  int    // most changes of one page, 1..MaxLimit, default DefaultLimit
}

// Changes is a part of the feed of changes: for each key that changed, its
// latest state, in the order of revisions per origin. A deleted key's entry is
// a tombstone; so is that of a key that has expired.
type ChangePage struct {
	Entries   []Entry
	Next      ChangeToken // everything up to here was given
	More      bool        // more is there already
	Partition string      // who answered

	since ChangeToken
}

// All yields the entries, each with the token of who was given it and all
// before it.
func (c *ChangePage) All() iter.Seq2[*Entry, ChangeToken] {
	return func(yield func(*Entry, ChangeToken) bool) {
		t := c.since
		for i := range c.Entries {
			e := &c.Entries[i]
			if t = t.at(e.Origin, e.Revision); i == len(c.Entries)-1 {
				t = c.Next
			}
			if !yield(e, t) {
				return
			}
		}
	}
}

// cut ends the part after n entries.
func (c *ChangePage) cut(n int) {
	if len(c.Entries) <= n {
		return
	}
	i := 0
	for _, t := range c.All() {
		if i++; i == n {
			c.Next, c.More = t, true
			break
		}
	}
	c.Entries = c.Entries[:n]
}

// Bounds of what is read for one page, so that a prefix that matches little
// costs no more than one that matches everything.
const (
	scanEntries = 10_000
	scanBytes   = 8 << 20
)

// ChangesNow is the token of a reader who wants only what changes from now on,
// as one partition sees it.
func (s *Store) ChangesNow(ctx context.Context) (t ChangeToken, err error) {
	err = s.withSource(ctx, ChangeToken{}, func(src *changeSource) error {
		if err := src.ensureDurable(ctx, src.positions.Origins[Origin(src.m.Name())].Revision); err != nil {
			return err
		}
		t = src.head()
		return nil
	})
	return t, err
}

// Changes reads a page of what changed after since, without waiting for
// anything. The page may be empty, and still have come further through what
// does not match. ErrResync: tombstones that the reader has not seen are gone.
// ErrForeignToken: see there. ErrNoPartition: no partition
// that is whole and holds everything that the reader has seen can answer.
func (s *Store) Changes(ctx context.Context, since ChangeToken, o ChangeOptions) (ChangePage, error) {
	return s.readChanges(ctx, since, nil, o)
}

// readChanges reads a page up to upTo at most, if that is given, from the first
// partition that can answer.
func (s *Store) readChanges(ctx context.Context, since ChangeToken, upTo *ChangeToken, o ChangeOptions) (ChangePage, error) {
	reach := since
	if upTo != nil {
		reach = *upTo
	}
	var page ChangePage
	read := func(src *changeSource) error {
		if err := src.mayContinue(since); err != nil {
			return err
		}
		r := newChangeRead(src, since, upTo)
		r.wants = o.wants()
		r.matches, r.scans, r.bytes = clampLimit(o.Limit), scanEntries, scanBytes
		if err := r.readOrigins(ctx); err != nil {
			return err
		}
		page = r.page
		return s.present(&page, o)
	}
	err := s.withSource(ctx, reach, read)
	if since.IsBeginning() && errors.Is(err, ErrResync) { // something was collected just then: nothing was given yet
		err = s.withSource(ctx, reach, read)
	}
	return page, err
}

func clampLimit(limit int) int {
	if limit < 1 {
		return DefaultLimit
	}
	return min(limit, MaxLimit)
}

// wants reports whether a key is among those that the options select.
func (o ChangeOptions) wants() func(Key) bool {
	prefix := string(o.Space.Key(o.Prefix))
	return func(k Key) bool { return strings.HasPrefix(string(k), prefix) }
}

// present makes entries as read fit for a reader: values only if they are
// wanted, and then checked; expired ones as deleted.
func (s *Store) present(c *ChangePage, o ChangeOptions) error {
	for i := range c.Entries {
		e := &c.Entries[i]
		switch {
		case !e.Live(s.now(e.Origin)):
			e.Deleted, e.ContentType, e.Metadata, e.Size, e.Value = true, "", nil, 0, nil
		case !o.Values:
			e.Value = nil
		case !e.Intact():
			if m := s.backend(c.Partition); m != nil {
				m.damages.report(e)
			}
			return fmt.Errorf("%s of %s: %w", e.Key, c.Partition, errDamaged)
		}
	}
	return nil
}

// isFinal reports whether an error of a source would be every source's.
func isFinal(err error) bool {
	return errors.Is(err, ErrResync) || errors.Is(err, ErrForeignToken) || errors.Is(err, ErrClosed)
}
