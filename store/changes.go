package store

import (
	"context"

	"github.com/runnelkv/runnel/store/internal/feed"
)

// ChangeOptions selects the changes that a reader gets.
type ChangeOptions struct {
	Space  Space
	Prefix string // of the name
	Values bool   // with values
	Limit  int    // of changes in a page, 1..MaxLimit, default DefaultLimit
}

// ChangePage is a page of the change feed: for each key that changed, its latest state in Entries, in the order of
// revisions of each origin. The entry of a deleted or expired key is a tombstone. Next includes every change up to the end
// of the page, More says that further changes exist already, and Partition names the partition that answered.
type ChangePage = feed.Page

// ChangeToken is the progress of a reader of changes: of each origin, every change up to a revision was received. A token
// is valid in every process and partition of its cluster; String makes it a text. The zero token is the beginning.
type ChangeToken = feed.Token

// ParseChangeToken reverses ChangeToken.String. Any text that String does not produce is ErrToken.
func ParseChangeToken(text string) (ChangeToken, error) { return feed.ParseToken(text) }

// Watch is a reader that waits for changes: see Next, Token and Close. It is used by one goroutine.
type Watch = feed.Watch

// ErrResync: the reader has not seen tombstones that are collected by now, or has seen
// writes that a restore has undone. It may hold keys that no longer exist, and must start
// again at the beginning.
var ErrResync = feed.ErrResync

// selection is o as the feed takes it.
func (o ChangeOptions) selection() feed.Selection {
	limit := min(o.Limit, MaxLimit)
	if limit < 1 {
		limit = DefaultLimit
	}
	return feed.Selection{Prefix: o.Space.Key(o.Prefix), Values: o.Values, Limit: limit}
}

// ChangesNow is the token of a reader that wants only changes from now on, by the positions
// of a single partition.
func (s *Store) ChangesNow(ctx context.Context) (ChangeToken, error) { return s.feed.Now(ctx) }

// Changes reads a page of the changes after since, without waiting for any. An empty page
// may advance Next past changes that do not match.
//
// ErrResync: tombstones that the reader has not seen are collected. ErrForeignToken: since
// is of another cluster. ErrNoPartition: no partition that is complete, and holds everything
// that the reader has seen, can answer.
func (s *Store) Changes(ctx context.Context, since ChangeToken, o ChangeOptions) (ChangePage, error) {
	return s.feed.ReadPage(ctx, since, o.selection())
}

// Watch returns a reader of the changes after since. The caller closes it.
func (s *Store) Watch(since ChangeToken, o ChangeOptions) *Watch {
	return s.feed.Watch(since, o.selection())
}
