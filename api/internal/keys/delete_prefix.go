package keys

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/runnelkv/runnel/api/internal/cursor"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/internal/write"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
)

// DeletePrefix is DELETE /v1/keys, which deletes up to limit keys with a prefix. Each key is deleted separately, even if
// the key changed after the list; at no single moment are all of them gone.
func (s *Service) DeletePrefix(w *exchange.Response, r *exchange.Request) error {
	o, err := s.deletionOptions(r.Header, r.Query)
	if err != nil {
		return err
	}
	for _, name := range [...]string{"If-Match", "If-None-Match", "If-Unmodified-Since"} {
		if r.Header[name] != nil {
			return problem.Header(name, "%s is about one key, and this deletes many.", name)
		}
	}
	fences, err := write.Fences(r.Header)
	if err != nil {
		return err
	}
	page, err := s.store.List(r.Context(), o)
	if err != nil {
		return err
	}
	d := &wire.Deletion{}
	wrote, err := s.deleteAll(r, page.Entries, fences, d)
	if err != nil {
		return err
	}
	w.Header()[exchange.SessionHeader] = []string{s.SessionToken(o.Session.Merge(page.Seen).Merge(wrote))}
	if page.Next != "" {
		d.Next = cursor.Cursor{Prefix: o.Prefix, After: page.Next}.String()
	}
	w.Header()["Cache-Control"] = exchange.NoStore
	return s.Respond(w, r, http.StatusOK, "deleted", d)
}

// DeletedPrefix returns the prefix of the keys to delete, "" for all keys.
func (s *Service) DeletedPrefix(r *exchange.Request) (string, error) {
	o, err := s.deletionOptions(r.Header, r.Query)
	return o.Prefix, err
}

// deletionOptions reads which keys to delete. Only all=true deletes all keys.
func (s *Service) deletionOptions(h http.Header, q url.Values) (o store.ListOptions, err error) {
	if o, err = s.listOptions(h, q); err != nil {
		return o, err
	}
	all, err := exchange.Flag(q, "all")
	switch {
	case err != nil:
		return o, err
	case q.Get("prefix") == "" && !all: // required beside a cursor too: cursors can be forged
		return o, problem.Parameter("prefix", "The parameter prefix says what to delete, beside a cursor too. all=true deletes every key.")
	case o.Prefix != "" && all:
		return o, problem.Parameter("all", "Either prefix or all=true says what to delete.")
	}
	if o.Delimiter != "" {
		return o, problem.New(problem.InvalidCursor, "The cursor belongs to a list with a delimiter.")
	}
	if o.Limit == 0 {
		o.Limit = store.MaxLimit
	}
	o.Consistency = store.FromMaster
	return o, nil
}

// deleteAll deletes entries and counts those that still existed, and returns the session positions.
func (s *Service) deleteAll(r *exchange.Request, entries []store.Entry, fences []store.Fence, d *wire.Deletion) (wrote store.Vector, err error) {
	changes := make([]store.Write, len(entries))
	tombstones := make([]store.Entry, len(entries))
	var none write.Conditions
	for i := range entries {
		changes[i].Entry.Key, changes[i].Options.Fences = entries[i].Key, fences
		changes[i].Update = none.DeleteFunc(entries[i].Key, &tombstones[i])
	}
	s.store.UpdateEach(r.Context(), changes)
	for i := range changes {
		switch e := changes[i].Err; {
		case e == nil:
			d.Deleted++
			wrote = wrote.With(store.Mark{Origin: tombstones[i].Origin, Revision: tombstones[i].Revision})
		case errors.Is(e, store.ErrNotFound):
			seen, _ := write.RevealedBy(e)
			wrote = wrote.With(seen)
		case !errors.Is(err, store.ErrOutcomeUnknown):
			err = e
		}
	}
	return wrote, err
}
