package feed

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/internal/cache"
	"github.com/runnelkv/runnel/store/internal/cluster"
	"github.com/runnelkv/runnel/store/internal/version"
	"github.com/runnelkv/runnel/store/partition"
)

// Feed reads the changes of all partitions. All methods are safe for concurrent use.
type Feed struct {
	backends *backend.Set
	cluster  *cluster.Register
	cache    *cache.Cache  // advanced by the tail; may be nil
	timeout  time.Duration // of a database operation
	poll     time.Duration // how often a watch that reads by itself looks for changes
	tail     *tail         // reads for all watchers
}

// New makes a feed. The cache may be nil.
func New(backends *backend.Set, cluster *cluster.Register, c *cache.Cache, timeout, poll time.Duration) *Feed {
	f := &Feed{backends: backends, cluster: cluster, cache: c, timeout: timeout, poll: poll}
	f.tail = newTail(f)
	return f
}

// FollowLoop reads new changes for all watchers, and for the cache, until ctx ends.
func (f *Feed) FollowLoop(ctx context.Context) { f.tail.followLoop(ctx) }

// Wake makes the feed look for changes, and never blocks.
func (f *Feed) Wake() { f.tail.wake() }

// NoteCommit is called after each commit of this process, and never blocks.
func (f *Feed) NoteCommit() { f.tail.wakeIfWatched() }

// NotePositions is called after positions of a backend were observed, and never blocks.
func (f *Feed) NotePositions() {
	f.tail.wakeIfWatched()
	if f.cache.Active() {
		f.tail.wake()
	}
}

// Selection selects the changes that a reader gets.
type Selection struct {
	Prefix partition.Key // of the stored key
	Values bool          // with values
	Limit  int           // of changes in a page, at least 1
}

// Page is a page of the change feed: for each key that changed, its latest state, in
// the order of revisions of each origin. The entry of a deleted or expired key is a
// tombstone.
type Page struct {
	Entries   []partition.Entry
	Next      Token  // includes every change up to the end of the page
	More      bool   // further changes exist already
	Partition string // that answered

	since Token
	epoch int64 // the highest of the source's cluster row, as of the reading
}

// All yields the entries, each with the token of a reader that has received the page up to
// and including that entry.
func (p *Page) All() iter.Seq2[*partition.Entry, Token] {
	return func(yield func(*partition.Entry, Token) bool) {
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
func (p *Page) truncate(n int) {
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

// Now returns the token of a reader that has seen everything so far.
func (f *Feed) Now(ctx context.Context) (Token, error) {
	t, _, err := f.now(ctx)
	return t, err
}

// now returns the token of everything that a source holds, and the epoch of the source's cluster row.
func (f *Feed) now(ctx context.Context) (t Token, epoch int64, err error) {
	err = f.withSource(ctx, Token{}, func(src *changeSource) error {
		if err := src.ensureDurable(ctx, src.positions.Origins[partition.Origin(src.backend.Name())].Revision); err != nil {
			return err
		}
		t, epoch = Token{cluster: src.tag, seen: version.OfPositions(src.positions)}, src.positions.Epoch
		return nil
	})
	return t, epoch, err
}

// ReadPage reads a page of the changes after since, without waiting for any.
func (f *Feed) ReadPage(ctx context.Context, since Token, o Selection) (Page, error) {
	return f.readFeed(ctx, o.pageQuery(since, since, nil))
}

// pageQuery is the query of a page that ends at UpTo at the latest, if UpTo is given. The
// source must hold everything up to reach.
func (o Selection) pageQuery(since, reach Token, upTo *Token) changeQuery {
	return changeQuery{
		since: since, reach: reach, upTo: upTo, wants: o.wants(), options: &o,
		share: readShare{matches: o.Limit, scans: scanEntries, bytes: scanBytes},
	}
}

// wants returns a function that reports whether the options select a key.
func (o Selection) wants() func(partition.Key) bool {
	prefix := string(o.Prefix)
	return func(k partition.Key) bool { return strings.HasPrefix(string(k), prefix) }
}

// present turns the entries of a page into those that a reader gets: values only if wanted,
// and checked; expired entries as tombstones.
func (f *Feed) present(p *Page, o Selection) error {
	for i := range p.Entries {
		e := &p.Entries[i]
		switch {
		case !e.Intact():
			if b := f.backends.Named(p.Partition); b != nil {
				b.LogDamage(e)
			}
			return fmt.Errorf("%s of %s: %w", e.Key, p.Partition, backend.ErrDamaged)
		case !e.Live(f.backends.Now(e.Origin)):
			e.Deleted, e.ContentType, e.Metadata, e.Size, e.Value = true, "", nil, 0, nil
		case !o.Values:
			e.Value = nil
		}
	}
	return nil
}

// readFeed reads a page from the first source that can answer.
func (f *Feed) readFeed(ctx context.Context, q changeQuery) (page Page, err error) {
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
			return f.present(&page, *q.options)
		}
		return nil
	}
	err = f.withSource(ctx, q.reach, read)
	if q.since.IsBeginning() && errors.Is(err, ErrResync) { // tombstones were collected during the reading, of which nothing was returned yet
		err = f.withSource(ctx, q.reach, read)
	}
	return page, err
}
