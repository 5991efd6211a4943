package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
)

// pageKeys is how many keys a page of the list holds: the most the contract allows.
const pageKeys = 1000

// keyQuery chooses keys of GET /v1/keys.
type keyQuery struct {
	prefix    string
	delimiter string
	values    bool
	from      string // only keys after this one; empty for all

	read readFlags // who may answer
}

func (q keyQuery) params(after string) url.Values {
	v := url.Values{}
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	set("prefix", q.prefix)
	set("delimiter", q.delimiter)
	set("after", after)
	q.read.set(v)
	if q.values {
		v.Set("values", "true")
	}
	return v
}

// listedKey is one line of the list: its key, and all of it as the server wrote it.
type listedKey struct {
	key string
	raw json.RawMessage
}

// keys streams the keys of q in byte order, in constant memory. A stream that breaks is taken up again behind the last
// key it gave, as long as each attempt brings something. The last pair holds the error, if there is one. q has no
// delimiter: prefixes come with pages only.
func (c *client) keys(ctx context.Context, q keyQuery) iter.Seq2[listedKey, error] {
	return func(yield func(listedKey, error) bool) {
		s := &keyStream{c: c, q: q, last: q.from, yield: yield}
		for {
			before := s.last
			err := s.read(ctx)
			if err == nil || s.stopped {
				return
			}
			if !serverAway(err) || s.last == before || ctx.Err() != nil {
				yield(listedKey{}, err)
				return
			}
		}
	}
}

// keyStream is one walk over the list, across broken connections.
type keyStream struct {
	c       *client
	q       keyQuery
	last    string // the last key given
	stopped bool   // the consumer wants no more
	yield   func(listedKey, error) bool
}

// read streams from behind s.last to the end.
func (s *keyStream) read(ctx context.Context) error {
	after := ""
	if s.last != "" {
		var more bool
		var err error
		if after, more, err = s.c.seek(ctx, s.q, s.last); err != nil || !more {
			return err
		}
	}
	resp, err := s.c.do(ctx, request{
		method: http.MethodGet, path: "/v1/keys", query: s.q.params(after), repeatable: true, proof: "application/x-ndjson",
		header: http.Header{"Accept": {"application/x-ndjson"}},
	})
	if err != nil {
		return err
	}
	for line, err := range answerLines(resp) {
		if err == nil {
			err = s.give(line)
		}
		if err != nil || s.stopped {
			return err
		}
	}
	return nil
}

// give passes one line on, unless its key has been given before.
func (s *keyStream) give(line []byte) error {
	if len(bytes.TrimSpace(line)) == 0 {
		return nil
	}
	key, err := keyOf(line)
	if err != nil {
		return err
	}
	if key <= s.last {
		return nil
	}
	s.last = key
	s.stopped = !s.yield(listedKey{key: key, raw: line}, nil)
	return nil
}

// keyOf returns the key of one listed entry. A line that holds a problem instead is that error.
func keyOf(raw []byte) (string, error) {
	var line struct {
		Key string `json:"key"`
		problem
	}
	if err := json.Unmarshal(raw, &line); err != nil {
		return "", fmt.Errorf("the server's list is not what it should be: %w", err)
	}
	if line.Key != "" {
		return line.Key, nil
	}
	if line.Status != 0 {
		return "", &line.problem
	}
	return "", errors.New("the server's list has a line without a key")
}

// seek returns the cursor behind key: cursors are opaque and only pages give them, so it pages, without values, to the
// one that key falls into and asks for exactly the part of it up to key. more is false when nothing follows key.
func (c *client) seek(ctx context.Context, q keyQuery, key string) (after string, more bool, err error) {
	q.values = false
	for {
		page, err := c.page(ctx, q, after, pageKeys)
		if err != nil {
			return "", false, err
		}
		passed, err := countUpTo(page.Keys, key)
		if err != nil {
			return "", false, err
		}
		switch {
		case passed == len(page.Keys) && page.Next == "":
			return "", false, nil
		case passed == len(page.Keys):
			after = page.Next
			continue
		case passed == 0:
			return after, true, nil
		}
		part, err := c.page(ctx, q, after, passed)
		if err != nil {
			return "", false, err
		}
		return part.Next, part.Next != "", nil
	}
}

// countUpTo counts the keys of a page that are not after key.
func countUpTo(keys []json.RawMessage, key string) (int, error) {
	for i, raw := range keys {
		k, err := keyOf(raw)
		if err != nil {
			return 0, err
		}
		if k > key {
			return i, nil
		}
	}
	return len(keys), nil
}

// page returns one page of at most limit keys and prefixes from behind the cursor after.
func (c *client) page(ctx context.Context, q keyQuery, after string, limit int) (*keyPage, error) {
	query := q.params(after)
	query.Set("limit", strconv.Itoa(limit))
	page := &keyPage{}
	return page, c.getJSON(ctx, "/v1/keys", query, page)
}

// getJSON decodes the JSON that the server answers into into.
func (c *client) getJSON(ctx context.Context, path string, query url.Values, into any) error {
	resp, err := c.do(ctx, request{
		method: http.MethodGet, path: path, query: query, repeatable: true, proof: "application/json",
		header: http.Header{"Accept": {"application/json"}},
	})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("the server's answer to GET %s is not what it should be: %w", path, err)
	}
	return nil
}
