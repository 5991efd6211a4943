package keys

import (
	"encoding/xml"
	"net/http"

	"github.com/runnelkv/runnel/api/internal/cursor"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
)

// classic is one of the two resources of Runnel's predecessor. /bucket/ uses any node and spreads writes lazily;
// /canonicalbucket/ reads from the key's master and writes to every reachable node before the answer.
type classic struct {
	s    *Service
	path string
}

// Classic returns the classic resource at a path.
func (s *Service) Classic(path string) classic { return classic{s, path} }

func (c classic) isCanonical() bool { return c.path == exchange.CanonicalPath }

// List is GET of the path itself: the URLs of keys on one node, or on all reachable nodes together.
func (c classic) List(w *exchange.Response, r *exchange.Request) error {
	o, err := c.s.listOptions(nil, r.Query)
	if err != nil {
		return err
	}
	list := c.s.store.List
	if c.isCanonical() {
		list = c.s.store.Union
	}
	page, err := list(r.Context(), o)
	if err != nil {
		return err
	}
	d := &classicList{URLs: []string{}}
	for i := range page.Entries {
		d.URLs = append(d.URLs, wire.Path(exchange.BucketPath, store.Name(page.Entries[i].Key)))
	}
	for _, name := range page.Prefixes {
		d.Prefixes = append(d.Prefixes, wire.Text(name))
	}
	if page.Next != "" {
		d.Next = cursor.Cursor{Prefix: o.Prefix, Delimiter: o.Delimiter, After: page.Next}.String()
		d.NextPath = nextPath(c.path, r.Query, d.Next)
	}
	setPage(w.Header(), &page, d.NextPath)
	return c.s.Respond(w, r, http.StatusOK, "bucket", d)
}

// Get is GET of a key.
func (c classic) Get(w *exchange.Response, r *exchange.Request) error {
	// Reads one node and not the cache, so that a canonical write, which reached every node, is seen through every
	// process.
	o := store.ReadOptions{Consistency: store.Quorum, Copies: 1}
	if c.isCanonical() {
		o = store.ReadOptions{Consistency: store.FromMaster}
	}
	read, err := c.s.readEntry(w, r, o)
	if err != nil {
		return err
	}
	return c.s.writeEntry(w, r, &read.Entry)
}

// Put is PUT and POST of a key. The answer is always 201, with the key's URL in Location and in the body.
func (c classic) Put(w *exchange.Response, r *exchange.Request) error {
	p, err := c.s.readPut(w, r)
	if err != nil {
		return err
	}
	written, err := c.s.putEntry(r.Context(), p)
	if err != nil {
		return err
	}
	status := c.spread(w, r, written.Entry, http.StatusCreated)
	setWritten(w, &written.Entry)
	url := wire.Path(c.path, store.Name(r.Key))
	w.Header()["Location"] = []string{url}
	return c.s.Respond(w, r, status, "stored", &classicStored{URL: url})
}

// Delete is DELETE of a key. The answer is 202, because the deletion spreads lazily.
func (c classic) Delete(w *exchange.Response, r *exchange.Request) error {
	tombstone, err := c.s.deleteEntry(w, r)
	if err != nil {
		return err
	}
	w.WriteHeader(c.spread(w, r, tombstone, http.StatusAccepted))
	return nil
}

// spread copies a committed entry to every reachable node if the path is canonical, and returns the status: done, or 202
// if a reachable node lacks the entry.
func (c classic) spread(w *exchange.Response, r *exchange.Request, e store.Entry, done int) int {
	if !c.isCanonical() {
		return done
	}
	if !c.s.copyEntry(w, r, &e, store.EveryReachable) {
		return http.StatusAccepted
	}
	return done
}

// classicStored is the answer to a write.
type classicStored struct {
	XMLName xml.Name `json:"-" xml:"stored"`
	URL     string   `json:"url" xml:"url"`
}

// classicList is a page of key URLs.
type classicList struct {
	XMLName  xml.Name    `json:"-" xml:"keys"`
	URLs     []string    `json:"keys" xml:"url"`
	Prefixes []wire.Text `json:"prefixes,omitempty" xml:"prefix"`
	Next     string      `json:"next,omitempty" xml:"next,omitempty"`
	NextPath string      `json:"-" xml:"-"` // for the HTML page
}
