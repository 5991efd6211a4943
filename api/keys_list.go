package api

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/google/uuid"

	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/api/internal/cursor"
	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
)

// listKeys is GET /v1/keys.
func (s *Server) listKeys(w *response, r *request) error {
	o, err := s.listOptions(r.Header, r.query)
	if err != nil {
		return err
	}
	if o.Values, err = flag(r.query, "values"); err != nil {
		return err
	}
	if r.variant.Format == negotiate.FormatNDJSON {
		return s.streamKeys(w, r, o)
	}
	page, err := s.store.List(r.Context(), o)
	if err == nil {
		err = w.held.Grow(r.Context(), (1+budget.EncodeCopies)*budget.ValueBytes(page.Entries))
	}
	if err != nil {
		return err
	}
	d := &keysDocument{KeyPage: wire.KeyPage{Keys: make([]*wire.Entry, len(page.Entries)), Prefixes: texts(page.Prefixes)}, Prefix: o.Prefix}
	for i := range page.Entries {
		d.Keys[i] = &newListed(&page.Entries[i], o.Values, r.variant.Format).Entry
	}
	if page.Next != "" {
		d.Next = cursor.Cursor{Prefix: o.Prefix, Delimiter: o.Delimiter, After: page.Next}.String()
		d.NextPath = nextPath("/v1/keys", r.query, d.Next)
	}
	setPage(w.Header(), &page, d.NextPath)
	w.Header()[sessionHeader] = []string{s.sessionToken(o.Session.Merge(page.Seen))}
	return s.respond(w, r, http.StatusOK, "keys", d)
}

// newListed returns the document of an entry in a list.
func newListed(e *store.Entry, values bool, f negotiate.Format) *entryDocument {
	if values {
		return newEntry(e, f)
	}
	return newHead(e)
}

// listOptions reads the parameters of a list. A cursor contains the filters of its list; filters given beside a cursor
// must be the same.
func (s *Server) listOptions(h http.Header, q url.Values) (o store.ListOptions, err error) {
	o.Space = store.User
	if o.ReadOptions, err = s.readOptions(h, q); err != nil {
		return o, err
	}
	if o.Consistency == store.Quorum {
		return o, problem.Parameter("consistency", "A list comes from one partition: consistency is any, session, bounded or master.")
	}
	if o.Prefix, err = part(q, "prefix"); err != nil {
		return o, err
	}
	if o.Delimiter, err = part(q, "delimiter"); err != nil {
		return o, err
	}
	if o.Limit, err = pageLimit(q); err != nil || !q.Has("after") {
		return o, err
	}
	c, ok := cursor.Parse(q.Get("after"))
	switch {
	case !ok:
		return o, problem.New(problem.InvalidCursor, "The parameter after is not a cursor that a list gave.")
	case q.Has("prefix") && o.Prefix != c.Prefix, q.Has("delimiter") && o.Delimiter != c.Delimiter:
		return o, problem.New(problem.InvalidCursor, "The cursor belongs to a list with another prefix or delimiter.")
	}
	o.Prefix, o.Delimiter, o.After = c.Prefix, c.Delimiter, c.After
	return o, nil
}

// nextPath returns the path of the next page.
func nextPath(path string, q url.Values, next string) string {
	following := url.Values{"after": {next}}
	for name, values := range q {
		if name != "after" {
			following[name] = values
		}
	}
	return path + "?" + following.Encode()
}

// setPage sets the headers of a page.
func setPage(h http.Header, page *store.Page, nextPath string) {
	h["Cache-Control"] = noCache
	if page.Partition != "" {
		h["Runnel-Partition"] = []string{page.Partition}
		setStaleness(h, page.Staleness)
	}
	if nextPath != "" {
		h["Link"] = []string{"<" + nextPath + `>; rel="next"`}
	}
}

// keysDocument is a page of keys.
type keysDocument struct {
	wire.KeyPage
	Prefix   string `json:"-" xml:"-"` // for the HTML page, like NextPath
	NextPath string `json:"-" xml:"-"`
}

func texts(names []string) []wire.Text {
	out := make([]wire.Text, len(names))
	for i, name := range names {
		out[i] = wire.Text(name)
	}
	return out
}

// Names merges keys and groups in order, for the plain text.
func (d *keysDocument) Names() []wire.Text {
	names := slices.Clone(d.Prefixes)
	for _, e := range d.Keys {
		names = append(names, e.Key)
	}
	slices.Sort(names)
	return names
}

// postKey is POST /v1/keys: it stores an entry under a new key, a UUID of version 7. Later keys sort later.
func (s *Server) postKey(w *response, r *request) error {
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	r.key = store.User.Key(id.String())
	p, err := s.readPut(w, r)
	if err != nil {
		return err
	}
	p.conditions = conditions{} // conditions would refer to the list, which has no entity tag
	written, err := s.putEntry(r.Context(), p)
	if err != nil {
		return err
	}
	setWritten(w, &written.Entry)
	s.setSession(w, p.session, store.Mark{Origin: written.Entry.Origin, Revision: written.Entry.Revision})
	w.Header()["Location"] = []string{keysPath + id.String()}
	return s.respond(w, r, http.StatusCreated, "entry", newHead(&written.Entry))
}
