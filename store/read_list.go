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

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/internal/cluster"
	"github.com/runnelkv/runnel/store/internal/routing"
	"github.com/runnelkv/runnel/store/internal/version"
	"github.com/runnelkv/runnel/store/partition"
)

// Bounds of ListOptions.Limit.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
)

// List reads a page of a space's names from a single partition, or, where no single one
// satisfies the options, from all masters. Its errors are those of Get, except ErrNotFound.
func (s *Store) List(ctx context.Context, o ListOptions) (Page, error) {
	c := s.cluster.Map()
	if c == nil {
		return Page{}, backend.ErrNoPartition
	}
	if o.Consistency == FromMaster && o.Partition == "" {
		var err error
		if c, err = s.confirmMasters(ctx, c); err != nil {
			return Page{}, err
		}
		if len(c.Masters) > 1 {
			return s.listMasters(ctx, c, o)
		}
	}
	q := s.router.NewListRequest(c, o.demand())
	var page Page
	err := q.TryCandidates(ctx, func(b *backend.Backend, _ time.Duration) (err error) {
		page, err = s.listOne(ctx, b, o, &q)
		return err
	})
	if err != nil && q.IsStrict() && len(c.Masters) > 1 && ctx.Err() == nil {
		if c, err = s.confirmMasters(ctx, c); err == nil {
			return s.listMasters(ctx, c, o)
		}
	}
	if err != nil {
		return Page{}, err
	}
	return page, nil
}

// listOne reads a page from a backend. A strict read checks the backend again after the
// page was read, because only then is the absence of a key proven.
func (s *Store) listOne(ctx context.Context, b *backend.Backend, o ListOptions, q *routing.Request) (Page, error) {
	proof := q.Prove(b)
	page, err := s.listWithPositions(ctx, b, o, nil)
	if err != nil {
		return Page{}, err
	}
	page.Partition, page.Staleness = b.Name(), proof.Staleness()
	if q.IsStrict() && !(q.IsComplete(b) && q.HasReached(b)) || q.TooStale(page.Staleness) {
		return Page{}, routing.ErrTooFarBehind
	}
	return page, nil
}

// listMasters reads a page from all masters, from each only the keys that belong to it.
func (s *Store) listMasters(ctx context.Context, c *cluster.Map, o ListOptions) (Page, error) {
	pages := make([]Page, len(c.Masters))
	errs := make([]error, len(c.Masters))
	var group sync.WaitGroup
	for i, name := range c.Masters {
		b := s.backends.Named(name)
		q := s.router.NewRequest(c, Origin(name), o.demand())
		if b == nil || !b.IsReadable() || b.MayLackWrites() {
			return Page{}, q.ReadError()
		}
		group.Go(func() {
			if errs[i] = q.EnsureQualifies(ctx, b); errs[i] == nil {
				pages[i], errs[i] = s.listWithPositions(ctx, b, o, func(k Key) bool { return c.Master(k) == name })
			}
			if errs[i] != nil {
				errs[i] = q.FailedWith(errs[i])
			}
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return Page{}, err
		}
	}
	return mergePages(pages, cmp.Or(o.Limit, DefaultLimit)), nil
}

// listWithPositions reads a page and sets Seen. Deleted keys do not appear, so the page
// reflects every change up to the positions that are read after it.
func (s *Store) listWithPositions(ctx context.Context, b *backend.Backend, o ListOptions, belongs func(Key) bool) (Page, error) {
	page, err := s.listFrom(ctx, b, o, belongs)
	if err != nil {
		return Page{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	p, err := b.ReadPositions(ctx)
	if err != nil {
		return Page{}, err
	}
	page.Seen = page.Seen.Merge(version.OfPositions(p))
	return page, nil
}

// Union reads a page of the names that any reachable partition holds; of each key the
// newest entry. Page.Partition is empty. ErrNoPartition: no partition can answer.
func (s *Store) Union(ctx context.Context, o ListOptions) (Page, error) {
	backends := s.backends.All()
	pages := make([]Page, len(backends))
	errs := make([]error, len(backends))
	var group sync.WaitGroup
	for i, b := range backends {
		st := b.State()
		errs[i] = cmp.Or(st.Err, st.Behind)
		if b.IsReadable() && !b.MayLackWrites() {
			group.Go(func() { pages[i], errs[i] = s.listFrom(ctx, b, o, nil) })
		}
	}
	group.Wait()
	if !slices.Contains(errs, nil) {
		return Page{}, fmt.Errorf("%w: %w", backend.ErrNoPartition, errors.Join(errs...))
	}
	return mergePages(pages, cmp.Or(o.Limit, DefaultLimit)), nil
}

// mergePages merges pages of equal options. Each page is complete up to its Next, so names
// beyond the lowest Next are left to the next page.
func mergePages(pages []Page, limit int) (page Page) {
	items := make(map[string]*Entry) // by name; nil: a group
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
		if p.Next != "" && (page.Next == "" || p.Next < page.Next) {
			page.Next = p.Next
		}
		page.Seen = page.Seen.Merge(p.Seen)
	}
	names := make([]string, 0, len(items))
	for name := range items {
		if page.Next == "" || name <= page.Next {
			names = append(names, name)
		}
	}
	slices.Sort(names)
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

// listFrom reads a page from a backend, in several spans if groups are skipped or entries
// are left out. belongs selects the keys; nil selects all.
func (s *Store) listFrom(ctx context.Context, b *backend.Backend, o ListOptions, belongs func(Key) bool) (Page, error) {
	l := pageReader{s: s, backend: b, o: o, belongs: belongs, limit: min(cmp.Or(max(o.Limit, 0), DefaultLimit), MaxLimit)}
	l.from = o.Space.Key(max(o.Prefix, firstAfter(o)))
	l.to = partition.PrefixEnd(o.Space.Key(o.Prefix))
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
	l.page.Seen = version.Of(l.seen...)
	return l.page, nil
}

// firstAfter is the first name that may follow o.After. If o.After is a group, that is a
// name behind the whole group.
func firstAfter(o ListOptions) string {
	rest, ok := strings.CutPrefix(o.After, o.Prefix)
	switch {
	case o.After == "":
		return ""
	case ok && o.Delimiter != "" && strings.Index(rest, o.Delimiter) == len(rest)-len(o.Delimiter) && len(rest) >= len(o.Delimiter):
		return string(partition.PrefixEnd(Key(o.After)))
	}
	return o.After + "\x00"
}

// pageReader reads a page from a backend.
type pageReader struct {
	s       *Store
	backend *backend.Backend
	o       ListOptions
	belongs func(Key) bool // nil: all
	limit   int
	from    Key // where the next span begins
	to      Key
	bytes   int64 // of the page's values
	page    Page
	seen    version.Marks
	last    string // the last name or group of the page
}

// pageBytes is the size of the values at which a page ends early.
const pageBytes = 8 << 20

func (l *pageReader) room() int {
	if l.o.Values && l.bytes >= pageBytes {
		return 0
	}
	return l.limit - len(l.page.Entries) - len(l.page.Prefixes)
}

// readSpan reads the next span and adds its entries to the page. more: the listing
// continues.
func (l *pageReader) readSpan(ctx context.Context) (more bool, err error) {
	began := time.Now()
	bound, cancel := context.WithTimeout(ctx, l.s.options.Timeout)
	entries, more, err := l.backend.List(bound, partition.Span{
		From: l.from, To: l.to, Limit: l.room() + 1, Values: l.o.Values, Bytes: pageBytes,
	})
	cancel()
	if err != nil {
		return false, err
	}
	for i := range entries {
		e := &entries[i]
		if e.Key < l.from || l.belongs != nil && !l.belongs(e.Key) {
			continue // in a group that is listed already, or another master's
		}
		live := e.Live(l.s.backends.NowAt(e.Origin, began))
		if live && l.room() == 0 {
			return true, nil
		}
		l.seen.Add(Mark{Origin: e.Origin, Revision: e.Revision})
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

// addEntry adds an entry, or the group of the entry, to the page.
func (l *pageReader) addEntry(ctx context.Context, e *Entry) error {
	name := Name(e.Key)
	if l.o.Delimiter != "" {
		if group, _, ok := strings.Cut(name[len(l.o.Prefix):], l.o.Delimiter); ok {
			l.last = name[:len(l.o.Prefix)+len(group)+len(l.o.Delimiter)]
			l.page.Prefixes = append(l.page.Prefixes, l.last)
			l.from = partition.PrefixEnd(l.o.Space.Key(l.last))
			return nil
		}
	}
	if l.o.Values && !e.Intact() {
		l.backend.LogDamage(e)
		if l.o.Partition != "" {
			return fmt.Errorf("%s of %s: %w", e.Key, l.backend.Name(), backend.ErrDamaged)
		}
		r, err := l.s.Get(ctx, e.Key, l.o.ReadOptions) // from another backend
		if errors.Is(err, ErrNotFound) {
			return nil
		} else if err != nil {
			return err
		}
		*e = r.Entry
	}
	l.last = name
	l.page.Entries = append(l.page.Entries, *e)
	l.bytes += int64(len(e.Value))
	return nil
}
