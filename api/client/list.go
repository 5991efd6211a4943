package client

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/runnelkv/runnel/api/wire"
)

const (
	listPath = "/v1/keys"
	// pageKeys is the largest page of a list that the API allows.
	pageKeys = 1000
)

// ListOptions choose keys.
type ListOptions struct {
	Prefix    string // the keys begin with this text; empty for all
	Delimiter string // keys that continue behind their next delimiter appear once, as a common prefix; empty for none
	After     string // only keys behind this one, in byte order; empty for all. Not with a Delimiter
	Values    bool   // with the values
	Limit     int    // at most this many keys and prefixes; 0 for all
	Read      ReadOptions
}

func (o ListOptions) query(after string) url.Values {
	q := o.Read.query()
	setNonEmpty(q, "prefix", o.Prefix)
	setNonEmpty(q, "delimiter", o.Delimiter)
	setNonEmpty(q, "after", after)
	if o.Values {
		q.Set("values", "true")
	}
	return q
}

// Item is a line of a list: a key, or with ListOptions.Delimiter a common prefix of keys.
type Item struct {
	Key string
	// Raw is the entry as JSON, as the server sent it; nil for a common prefix.
	Raw json.RawMessage
}

// IsPrefix reports whether the item stands for all keys that begin with Key.
func (i Item) IsPrefix() bool { return i.Raw == nil }

// Entry decodes the entry of a key; its value only if the list was asked for values.
func (i Item) Entry() (e Entry, err error) {
	if err := json.Unmarshal(i.Raw, &e); err != nil {
		return e, malformed("entry of "+strconv.Quote(i.Key), err)
	}
	return e, nil
}

// List yields keys in byte order, in constant memory. The list is no snapshot: each entry is as the server read it at
// some time during the call. After a lost connection List continues behind the last key, for as long as every attempt
// yields keys. The last pair holds the error, if any.
func (c *Client) List(ctx context.Context, o ListOptions) iter.Seq2[Item, error] {
	// A stream that is abandoned brings no session token, and common prefixes come in pages only.
	paged := o.Delimiter != "" || o.Limit > 0 && (o.Limit <= pageKeys || c.o.Session != nil)
	return func(yield func(Item, error) bool) {
		given := 0
		limited := func(i Item, err error) bool {
			given++
			return yield(i, err) && given != o.Limit
		}
		if paged {
			c.listPages(ctx, o, limited)
			return
		}
		s := &listStream{c: c, o: o, last: o.After, yield: limited}
		for {
			before := s.last
			err := s.readStream(ctx)
			if err == nil || s.stopped {
				return
			}
			if !errors.Is(err, ErrServer) || s.last == before || ctx.Err() != nil {
				yield(Item{}, err)
				return
			}
		}
	}
}

// listPages lists page by page.
func (c *Client) listPages(ctx context.Context, o ListOptions, yield func(Item, error) bool) {
	cursor, more := "", true
	var err error
	if o.After != "" {
		cursor, more, err = c.cursorBehind(ctx, o, o.After)
	}
	for more && err == nil {
		var page listPage
		if page, err = c.requestPage(ctx, o, cursor, cmp.Or(min(o.Limit, pageKeys), pageKeys)); err != nil {
			break
		}
		for _, item := range page.items {
			if !yield(item, nil) {
				return
			}
		}
		cursor, more = page.next, page.next != ""
	}
	if err != nil {
		yield(Item{}, err)
	}
}

// listStream reads a list across lost connections.
type listStream struct {
	c       *Client
	o       ListOptions
	last    string // the last key yielded
	stopped bool   // the consumer wants no more
	yield   func(Item, error) bool
}

// readStream reads from behind s.last to the end.
func (s *listStream) readStream(ctx context.Context) error {
	cursor := ""
	if s.last != "" {
		var more bool
		var err error
		if cursor, more, err = s.c.cursorBehind(ctx, s.o, s.last); err != nil || !more {
			return err
		}
	}
	resp, err := s.c.send(ctx, request{method: http.MethodGet, path: listPath, query: s.o.query(cursor), idempotent: true, accept: mediaLines})
	if err != nil {
		return err
	}
	return eachLine(resp.Body, s.yieldLine)
}

// yieldLine yields the key of a line, unless the key was yielded before.
func (s *listStream) yieldLine(line []byte) (more bool, err error) {
	item, err := parseItem(line)
	if err != nil || item.Key <= s.last {
		return err == nil, err
	}
	s.last = item.Key
	s.stopped = !s.yield(item, nil)
	return !s.stopped, nil
}

// parseItem reads the key of a listed entry. A line with a problem instead returns that *Error.
func parseItem(raw json.RawMessage) (Item, error) {
	var line struct {
		Key string `json:"key"`
		wire.Problem
	}
	switch err := json.Unmarshal(raw, &line); {
	case err != nil:
		return Item{}, malformed("list", err)
	case line.Key != "":
		return Item{Key: line.Key, Raw: raw}, nil
	case line.Status != 0:
		return Item{}, &Error{Problem: line.Problem}
	}
	return Item{}, malformed("list", errors.New("a line has no key"))
}

// cursorBehind returns the cursor that continues a list behind key; more is false if nothing follows. Cursors are
// opaque and only pages return them, so cursorBehind reads pages without values up to the page that key falls into, and
// then exactly the part of that page up to key.
func (c *Client) cursorBehind(ctx context.Context, o ListOptions, key string) (cursor string, more bool, err error) {
	o.Values = false
	for {
		page, err := c.requestPage(ctx, o, cursor, pageKeys)
		if err != nil {
			return "", false, err
		}
		passed, _ := slices.BinarySearchFunc(page.items, key, func(i Item, key string) int {
			if i.Key <= key {
				return -1
			}
			return 1
		})
		switch {
		case passed == 0:
			return cursor, true, nil
		case passed < len(page.items):
			page, err = c.requestPage(ctx, o, cursor, passed)
			return page.next, page.next != "", err
		case page.next == "":
			return "", false, nil
		}
		cursor = page.next
	}
}

// listPage is a page of a list, in byte order. next is empty for the last.
type listPage struct {
	items []Item
	next  string
}

// requestPage returns at most limit keys and prefixes from behind the cursor.
func (c *Client) requestPage(ctx context.Context, o ListOptions, cursor string, limit int) (p listPage, err error) {
	query := o.query(cursor)
	query.Set("limit", strconv.Itoa(limit))
	var document struct {
		Keys     []json.RawMessage `json:"keys"`
		Prefixes []string          `json:"prefixes"`
		Next     string            `json:"next"`
	}
	if _, err := c.getJSON(ctx, request{method: http.MethodGet, path: listPath, query: query, idempotent: true}, &document); err != nil {
		return p, err
	}
	for _, raw := range document.Keys {
		item, err := parseItem(raw)
		if err != nil {
			return p, err
		}
		p.items = append(p.items, item)
	}
	for _, prefix := range document.Prefixes {
		p.items = append(p.items, Item{Key: prefix})
	}
	slices.SortFunc(p.items, func(a, b Item) int { return cmp.Compare(a.Key, b.Key) })
	p.next = document.Next
	return p, nil
}

// DeletePrefix deletes the keys that begin with prefix, which must not be empty, 1,000 at a time, and yields how many
// each step has deleted. A key that is written meanwhile may be deleted or not. The last pair may hold an error; the
// deletions of earlier steps stay, and calling DeletePrefix again continues.
func (c *Client) DeletePrefix(ctx context.Context, prefix string) iter.Seq2[int64, error] {
	if prefix == "" {
		return func(yield func(int64, error) bool) { yield(0, ErrInvalid) }
	}
	return c.deleteMatching(ctx, url.Values{"prefix": {prefix}})
}

// DeleteAll deletes every key, as DeletePrefix does.
func (c *Client) DeleteAll(ctx context.Context) iter.Seq2[int64, error] {
	return c.deleteMatching(ctx, url.Values{"all": {"true"}})
}

func (c *Client) deleteMatching(ctx context.Context, query url.Values) iter.Seq2[int64, error] {
	query.Set("limit", strconv.Itoa(pageKeys))
	return func(yield func(int64, error) bool) {
		query := maps.Clone(query)
		for {
			var step wire.Deletion
			_, err := c.getJSON(ctx, request{method: http.MethodDelete, path: listPath, query: query, idempotent: true, isWrite: true}, &step)
			if err != nil {
				yield(0, err)
				return
			}
			if !yield(int64(step.Deleted), nil) || step.Next == "" {
				return
			}
			if ctx.Err() != nil {
				yield(0, ctx.Err())
				return
			}
			query.Set("after", step.Next)
		}
	}
}
