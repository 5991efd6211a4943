package locks

import (
	"context"
	"iter"
	"net/http"

	"github.com/runnelkv/runnel/api/audit"
	"github.com/runnelkv/runnel/api/internal/cursor"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/lock"
)

// List is GET /v1/locks, answered by any partition: a lock of the list may have ended meanwhile.
func (s *Service) List(w *exchange.Response, r *exchange.Request) error {
	o, err := listOptions(r)
	if err != nil {
		return err
	}
	locks, page, err := s.locks.List(r.Context(), o)
	if err != nil {
		return err
	}
	d := &listDocument{LockPage: wire.LockPage{Locks: make([]*wire.Lock, len(locks))}}
	for i := range locks {
		d.Locks[i] = document(locks[i])
	}
	h := w.Header()
	h["Cache-Control"] = exchange.NoStore
	if page.Next != "" {
		d.Next = cursor.Cursor{Prefix: o.Prefix, After: page.Next}.String()
		q := r.URL.Query()
		q.Set("after", d.Next)
		d.nextPath = wire.LocksPath + "?" + q.Encode()
		h["Link"] = []string{"<" + d.nextPath + `>; rel="next"`}
	}
	return s.Respond(w, r, http.StatusOK, "lines", d)
}

// listDocument is a page of locks.
type listDocument struct {
	wire.LockPage
	nextPath string
}

// Heading, Lines and NextPage are for the templates.
func (d *listDocument) Heading() string  { return "Locks" }
func (d *listDocument) NextPage() string { return d.nextPath }
func (d *listDocument) Lines() (lines []string) {
	for _, l := range d.Locks {
		lines = append(lines, l.Line())
	}
	return lines
}

func listOptions(r *exchange.Request) (o store.ListOptions, err error) {
	if o.Prefix, err = exchange.Part(r.Query, "prefix"); err != nil {
		return o, err
	}
	if o.Limit, err = exchange.PageLimit(r.Query); err != nil || !r.Query.Has("after") {
		return o, err
	}
	c, ok := cursor.Parse(r.Query.Get("after"))
	if !ok || c.Delimiter != "" || r.Query.Has("prefix") && o.Prefix != c.Prefix {
		return o, problem.New(problem.InvalidCursor, "The parameter after is not a cursor that this list gave.")
	}
	o.Prefix, o.After = c.Prefix, c.After
	return o, nil
}

// ListedPrefix returns the prefix of a list, which a cursor contains.
func ListedPrefix(r *exchange.Request) (string, error) {
	o, err := listOptions(r)
	return o.Prefix, err
}

// PostAll is POST /v1/locks: it acquires several locks together, in the order of their names.
func (s *Service) PostAll(w *exchange.Response, r *exchange.Request) error {
	wait, err := readWait(r.Header)
	if err != nil {
		return err
	}
	b, err := readRequest(w, r)
	if err != nil {
		return err
	}
	requests := make([]lock.Request, len(b.names))
	for i, name := range b.names {
		if err := s.Store.CheckName(name); err != nil {
			return err
		}
		if !r.Grants.CanWrite(name) {
			return exchange.Forbidden()
		}
		requests[i] = b.Request
		requests[i].Name = name
	}
	if err := w.RequireItems(itemsOf(b.names)); err != nil {
		return err
	}
	var held []lock.Lock
	err = s.patiently(w, r, func(ctx context.Context) error {
		held, err = s.locks.AcquireAll(ctx, requests, wait)
		return err
	})
	if err != nil {
		err = asProblem(err)
		for item := range itemsOf(b.names) {
			w.RecordItem(item.Act, item.Key, &store.Entry{}, exchange.AsProblem(err).Type.Status)
		}
		return err
	}
	d := &listDocument{LockPage: wire.LockPage{Locks: make([]*wire.Lock, len(held))}}
	for i := range held {
		d.Locks[i] = document(held[i])
		w.RecordItem(audit.Write, store.User.Key(held[i].Name), &store.Entry{Revision: held[i].Fence}, http.StatusCreated)
	}
	w.Header()["Cache-Control"] = exchange.NoStore
	return s.Respond(w, r, http.StatusCreated, "lines", d)
}

// itemsOf returns the items of the audit log for locks with these names.
func itemsOf(names []string) iter.Seq[exchange.Item] {
	return func(yield func(exchange.Item) bool) {
		for _, name := range names {
			if !yield(exchange.Item{Act: audit.Write, Key: store.User.Key(name)}) {
				return
			}
		}
	}
}
