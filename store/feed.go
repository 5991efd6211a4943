package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
)

// ChangeOptions selects the changes that a reader gets.
type ChangeOptions struct {
	Space  Space
	Prefix string // of the name
	Values bool   // with values
	Limit  int    // of changes in a page, 1..MaxLimit, default DefaultLimit
}

// ChangePage is a page of the change feed: for each key that changed, its latest state, in
// the order of revisions of each origin. The entry of a deleted or expired key is a
// tombstone.
type ChangePage struct {
	Entries   []Entry
	Next      ChangeToken // includes every change up to the end of the page
	More      bool        // further changes exist already
	Partition string      // that answered

	since ChangeToken
}

// All yields the entries, each with the token of a reader that has received the page up to
// and including that entry.
func (p *ChangePage) All() iter.Seq2[*Entry, ChangeToken] {
	return func(yield func(*Entry, ChangeToken) bool) {
		t := p.since
		for i := range p.Entries {
			e := &p.Entries[i]
			if t = t.at(e.Origin, e.Revision); i == len(p.Entries)-1 {
				t = p.Next
			}
			if !yield(e, t) {
				return
			}
		}
	}
}

// truncate ends the page after n entries.
func (p *ChangePage) truncate(n int) {
	if len(p.Entries) <= n {
		return
	}
	i := 0
	for _, t := range p.All() {
		if i++; i == n {
			p.Next, p.More = t, true
			break
		}
	}
	p.Entries = p.Entries[:n]
}

// Bounds of the entries and bytes that are read for a page, so that a prefix that matches
// little costs no more than a prefix that matches everything.
const (
	scanEntries = 10_000
	scanBytes   = 8 << 20
)

// ChangesNow is the token of a reader that wants only changes from now on, by the positions
// of a single partition.
func (s *Store) ChangesNow(ctx context.Context) (t ChangeToken, err error) {
	err = s.withSource(ctx, ChangeToken{}, func(src *changeSource) error {
		if err := src.ensureDurable(ctx, src.positions.Origins[Origin(src.backend.Name())].Revision); err != nil {
			return err
		}
		t = ChangeToken{cluster: src.tag, seen: vectorOf(src.positions)}
		return nil
	})
	return t, err
}

// Changes reads a page of the changes after since, without waiting for any. An empty page
// may advance Next past changes that do not match.
//
// ErrResync: tombstones that the reader has not seen are collected. ErrForeignToken: since
// is of another cluster. ErrNoPartition: no partition that is complete, and holds everything
// that the reader has seen, can answer.
func (s *Store) Changes(ctx context.Context, since ChangeToken, o ChangeOptions) (ChangePage, error) {
	return s.readFeed(ctx, o.pageQuery(since, since, nil))
}

// pageQuery is the query of a page that ends at upTo at the latest, if upTo is given. The
// source must hold everything up to reach.
func (o ChangeOptions) pageQuery(since, reach ChangeToken, upTo *ChangeToken) changeQuery {
	return changeQuery{
		since: since, reach: reach, upTo: upTo, wants: o.wants(), options: &o,
		share: readShare{matches: o.limit(), scans: scanEntries, bytes: scanBytes},
	}
}

func (o ChangeOptions) limit() int {
	if o.Limit < 1 {
		return DefaultLimit
	}
	return min(o.Limit, MaxLimit)
}

// wants returns a function that reports whether the options select a key.
func (o ChangeOptions) wants() func(Key) bool {
	prefix := string(o.Space.Key(o.Prefix))
	return func(k Key) bool { return strings.HasPrefix(string(k), prefix) }
}

// present turns the entries of a page into those that a reader gets: values only if wanted,
// and checked; expired entries as tombstones.
func (s *Store) present(p *ChangePage, o ChangeOptions) error {
	for i := range p.Entries {
		e := &p.Entries[i]
		switch {
		case !e.Live(s.now(e.Origin)):
			e.Deleted, e.ContentType, e.Metadata, e.Size, e.Value = true, "", nil, 0, nil
		case !o.Values:
			e.Value = nil
		case !e.Intact():
			if b := s.backend(p.Partition); b != nil {
				b.damages.logDamage(e)
			}
			return fmt.Errorf("%s of %s: %w", e.Key, p.Partition, errDamaged)
		}
	}
	return nil
}

// readFeed reads a page from the first source that can answer.
func (s *Store) readFeed(ctx context.Context, q changeQuery) (page ChangePage, err error) {
	read := func(src *changeSource) error {
		if err := src.mayContinue(q.since); err != nil {
			return err
		}
		r := newChangeRead(src, q)
		if err := r.readOrigins(ctx); err != nil {
			return err
		}
		page = r.page
		if q.options != nil {
			return s.present(&page, *q.options)
		}
		return nil
	}
	err = s.withSource(ctx, q.reach, read)
	if q.since.IsBeginning() && errors.Is(err, ErrResync) { // tombstones were collected during the reading, of which nothing was returned yet
		err = s.withSource(ctx, q.reach, read)
	}
	return page, err
}
