package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// Bounds of ListOptions.Limit.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
)

// List reads one page of a space's names from one partition. ErrNoPartition
// when none can answer.
func (s *Store) List(ctx context.Context, o ListOptions) (Page, error) {
	c := s.cluster.Load()
	if c == nil {
		return Page{}, ErrNoPartition
	}
	if o.Consistency == FromMaster && o.Partition == "" && len(c.Masters) > 1 {
		return s.listMasters(ctx, c, o)
	}
	q := s.newReadRequest(c, Origin(c.Masters[0]), o.ReadOptions)
	q.allOrigins = true
	var page Page
	err := s.tryCandidates(ctx, &q, func(m *backend, _ time.Duration) (err error) {
		page, err = s.listOne(ctx, m, o, &q)
		return err
	})
	if err != nil && q.strict && len(c.Masters) > 1 && ctx.Err() == nil {
		return s.listMasters(ctx, c, o) // no single one holds all that was seen
	}
	if err != nil {
		return Page{}, err
	}
	return page, nil
}

// listOf reads one page from one member. If more than Any is asked of it, it
// must still be what it was once the page is read: keys that are absent prove
// nothing else.
func (s *Store) listOne(ctx context.Context, m *backend, o ListOptions, q *readRequest) (Page, error) {
	staleness := s.stalenessLater(m, q.c)
	page, err := s.listWithPositions(ctx, m, o, nil)
	if err != nil {
		return Page{}, err
	}
	if q.strict && !(q.isComplete(m) && q.hasReached(m)) {
		return Page{}, errTooFarBehind
	}
	page.Partition, page.Staleness = m.Name(), staleness()
	if q.tooStale(page.Staleness) {
		return Page{}, errTooFarBehind
	}
	return page, nil
}

// listMasters reads one page from all masters together, from each the keys
// whose master it is.
func (s *Store) listMasters(ctx context.Context, c *clusterMap, o ListOptions) (Page, error) {
	pages := make([]Page, len(c.Masters))
	errs := make([]error, len(c.Masters))
	var group sync.WaitGroup
	for i, name := range c.Masters {
		m := s.backend(name)
		q := s.newReadRequest(c, Origin(name), o.ReadOptions)
		if m == nil || !m.isReadable.Load() || m.mayLackWrites.Load() {
			return Page{}, q.readError()
		}
		group.Go(func() {
			if errs[i] = s.ensureQualifies(ctx, m, &q); errs[i] != nil {
				return
			}
			pages[i], errs[i] = s.listWithPositions(ctx, m, o, func(k Key) bool { return c.master(k) == name })
		})
	}
	group.Wait()
	for i, err := range errs {
		if err != nil {
			q := s.newReadRequest(c, Origin(c.Masters[i]), o.ReadOptions)
			q.failure, q.tried = err, 1
			return Page{}, q.readError()
		}
	}
	return union(pages, cmp.Or(o.Limit, DefaultLimit)), nil
}

// listSeen is listFrom with all that the page shows. What is deleted is absent, so
// that it shows everything up to the positions that are read after it.
func (s *Store) listWithPositions(ctx context.Context, m *backend, o ListOptions, counts func(Key) bool) (Page, error) {
	page, err := s.listFrom(ctx, m, o, counts)
	if err != nil {
		return Page{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	p, err := m.readPositions(ctx)
	if err != nil {
		return Page{}, err
	}
	for o, at := range p.Origins {
		page.Seen = page.Seen.With(Mark{o, at.Revision})
	}
	return page, nil
}

// wholeFor reports whether the member may answer a listing: it must have held
// everything of every origin.
func (m *backend) isCompleteFor(c *clusterMap) bool {
	return !slices.ContainsFunc(c.Masters, func(name string) bool { return !m.isComplete(Origin(name)) })
}

// stalest bounds how old what the member holds of any origin can be; negative
// while that is unknown of one.
func (s *Store) stalest(m *backend, c *clusterMap) time.Duration { return s.stalenessLater(m, c)() }

// provenOf is stalest later on, by what is proven of the member now.
func (s *Store) stalenessLater(m *backend, c *clusterMap) func() time.Duration {
	proven := make([]Instant, len(c.Masters))
	for i, name := range c.Masters {
		proven[i] = m.syncedAt(Origin(name))
	}
	return func() (d time.Duration) {
		for i, name := range c.Masters {
			one := s.age(m, Origin(name), proven[i])
			if one < 0 {
				return one
			}
			d = max(d, one)
		}
		return d
	}
}

// Union reads one page of the names of all reachable partitions together; of a
// key that several hold, the newest entry. Page.Partition is empty.
func (s *Store) Union(ctx context.Context, o ListOptions) (Page, error) {
	members := *s.backends.Load()
	pages := make([]Page, len(members))
	errs := make([]error, len(members))
	var group sync.WaitGroup
	for i, m := range members {
		if errs[i] = m.lastError(); errs[i] == nil {
			errs[i] = m.behindError()
		}
		if m.isReadable.Load() && !m.mayLackWrites.Load() {
			group.Go(func() { pages[i], errs[i] = s.listFrom(ctx, m, o, nil) })
		}
	}
	group.Wait()
	if !slices.Contains(errs, nil) {
		return Page{}, fmt.Errorf("%w: %w", ErrNoPartition, errors.Join(errs...))
	}
	return union(pages, cmp.Or(o.Limit, DefaultLimit)), nil
}

// union merges pages of the same options. Each is complete up to its Next, so
// what lies beyond the lowest of these must wait for the next page.
func union(pages []Page, limit int) Page {
	items := make(map[string]*Entry) // nil: a group
	horizon := ""
	for _, p := range pages {
		for i := range p.Entries {
			e := &p.Entries[i]
			if old, ok := items[Name(e.Key)]; !ok || old != nil && old.Revision < e.Revision {
				items[Name(e.Key)] = e
			}
		}
		for _, name := range p.Prefixes {
			items[name] = nil
		}
		if p.Next != "" && (horizon == "" || p.Next < horizon) {
			horizon = p.Next
		}
	}
	names := make([]string, 0, len(items))
	for name := range items {
		if horizon == "" || name <= horizon {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	page := Page{Next: horizon}
	for _, p := range pages {
		page.Seen = page.Seen.Merge(p.Seen)
	}
	if len(names) > limit {
		names = names[:limit]
		page.Next = names[limit-1]
	}
	for _, name := range names {
		if e := items[name]; e != nil {
			page.Entries = append(page.Entries, *e)
		} else {
			page.Prefixes = append(page.Prefixes, name)
		}
	}
	return page
}

// listFrom reads one page from one partition, in as many spans as groups and
// entries that do not count make necessary. Those count for which counts, if
// given, says so.
func (s *Store) listFrom(ctx context.Context, m *backend, o ListOptions, counts func(Key) bool) (Page, error) {
	l := pageReader{s: s, m: m, o: o, belongs: counts, limit: min(cmp.Or(max(o.Limit, 0), DefaultLimit), MaxLimit)}
	l.from = o.Space.Key(max(o.Prefix, after(o)))
	l.to = successor(o.Space.Key(o.Prefix))
	more := true
	for more && l.room() > 0 {
		var err error
		if more, err = l.readSpan(ctx); err != nil {
			return Page{}, err
		}
	}
	if more {
		l.page.Next = l.last
	}
	l.page.Seen = VectorOf(l.seen...)
	return l.page, nil
}

// after is the first name that may follow o.After: behind the whole group when
// it names one.
func after(o ListOptions) string {
	rest, ok := strings.CutPrefix(o.After, o.Prefix)
	switch {
	case o.After == "":
		return ""
	case ok && o.Delimiter != "" && strings.Index(rest, o.Delimiter) == len(rest)-len(o.Delimiter) && len(rest) >= len(o.Delimiter):
		return string(successor(Key(o.After)))
	}
	return o.After + "\x00"
}

// successor is the first key after all keys that begin with prefix, "" if there
// is none.
func successor(prefix Key) Key {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			return prefix[:i] + Key([]byte{prefix[i] + 1})
		}
	}
	return ""
}

// lister gathers one page.
type pageReader struct {
	s       *Store
	m       *backend
	o       ListOptions
	belongs func(Key) bool // nil: all
	limit   int
	from    Key // where the next span begins
	to      Key
	bytes   int64
	cut     bool // the page ends early for its bytes
	page    Page
	seen    marks
	last    string // the last name or group of the page
}

// pageBytes bounds the values of one page.
const pageBytes = 8 << 20

func (l *pageReader) room() int {
	if l.cut {
		return 0
	}
	return l.limit - len(l.page.Entries) - len(l.page.Prefixes)
}

// span reads the next span and takes what belongs to the page; more says that
// the listing goes on.
func (l *pageReader) readSpan(ctx context.Context) (more bool, err error) {
	began := time.Now()
	entries, more, err := l.read(ctx)
	if err != nil {
		return false, err
	}
	for i := range entries {
		e := &entries[i]
		if e.Key < l.from || l.belongs != nil && !l.belongs(e.Key) {
			continue // of a group that was taken, or another's
		}
		live := e.Live(l.s.nowAt(e.Origin, began))
		if live && l.room() == 0 {
			return true, nil
		}
		l.seen.add(Mark{e.Origin, e.Revision})
		if !live {
			continue
		}
		if err := l.addEntry(ctx, e); err != nil {
			return false, err
		}
	}
	if n := len(entries); n > 0 && l.from <= entries[n-1].Key {
		l.from = entries[n-1].Key + "\x00"
	}
	return more && (l.to == "" || l.from < l.to), nil
}

func (l *pageReader) read(ctx context.Context) ([]Entry, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, l.s.options.Timeout)
	defer cancel()
	return l.m.List(ctx, partition.Span{
		From: l.from, To: l.to, Limit: l.room() + 1, Values: l.o.Values, Bytes: pageBytes,
	})
}

// take adds an entry, or the group it belongs to, to the page.
func (l *pageReader) addEntry(ctx context.Context, e *Entry) error {
	name := Name(e.Key)
	if rest := name[len(l.o.Prefix):]; l.o.Delimiter != "" {
		if i := strings.Index(rest, l.o.Delimiter); i >= 0 {
			l.last = name[:len(l.o.Prefix)+i+len(l.o.Delimiter)]
			l.page.Prefixes = append(l.page.Prefixes, l.last)
			l.from = successor(l.o.Space.Key(l.last))
			return nil
		}
	}
	if l.o.Values && !e.Intact() {
		if l.o.Partition != "" {
			return fmt.Errorf("%s of %s: %w", e.Key, l.m.Name(), errDamaged)
		}
		r, err := l.s.Get(ctx, e.Key, l.o.ReadOptions) // another copy
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		} else if err != nil {
			return nil
		}
		*e = r.Entry
	}
	l.last = name
	l.page.Entries = append(l.page.Entries, *e)
	l.bytes += int64(len(e.Value))
	l.cut = l.o.Values && l.bytes >= pageBytes
	return nil
}
