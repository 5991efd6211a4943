package keys

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/google/uuid"

	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/api/internal/cursor"
	"github.com/runnelkv/runnel/api/internal/document"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/internal/write"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
)

// List is GET /v1/keys.
func (s *Service) List(w *exchange.Response, r *exchange.Request) error {
	o, err := s.listOptions(r.Header, r.Query)
	if err != nil {
		return err
	}
	if r.Variant.Format == negotiate.FormatNDJSON {
		return s.streamKeys(w, r, o)
	}
	page, err := s.store.List(r.Context(), o)
	if err == nil {
		err = w.Held.Grow(r.Context(), (1+budget.EncodeCopies)*budget.ValueBytes(page.Entries))
	}
	if err != nil {
		return err
	}
	d := &keysDocument{KeyPage: wire.KeyPage{Keys: make([]*wire.Entry, len(page.Entries)), Prefixes: document.Texts(page.Prefixes)}, Prefix: o.Prefix}
	for i := range page.Entries {
		d.Keys[i] = &document.NewListed(&page.Entries[i], o.Values, r.Variant.Format).Entry
	}
	if page.Next != "" {
		d.Next = cursor.Cursor{Prefix: o.Prefix, Delimiter: o.Delimiter, After: page.Next}.String()
		d.NextPath = nextPath("/v1/keys", r.Query, d.Next)
	}
	setPage(w.Header(), &page, d.NextPath)
	w.Header()[exchange.SessionHeader] = []string{s.SessionToken(o.Session.Merge(page.Seen))}
	return s.Respond(w, r, http.StatusOK, "keys", d)
}

// listOptions reads the parameters of a list. A cursor contains the filters of its list; filters given beside a cursor
// must be the same.
func (s *Service) listOptions(h http.Header, q url.Values) (o store.ListOptions, err error) {
	o.Space = store.User
	if o.ReadOptions, err = s.ReadOptions(h, q); err != nil {
		return o, err
	}
	if o.Consistency == store.Quorum {
		return o, problem.Parameter("consistency", "A list comes from one partition: consistency is any, session, bounded or master.")
	}
	if o.Prefix, err = exchange.Part(q, "prefix"); err != nil {
		return o, err
	}
	if o.Delimiter, err = exchange.Part(q, "delimiter"); err != nil {
		return o, err
	}
	if o.Values, err = exchange.Flag(q, "values"); err != nil {
		return o, err
	}
	if o.Limit, err = exchange.PageLimit(q); err != nil || !q.Has("after") {
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

// ListedPrefix returns the prefix of a list, which a cursor contains.
func (s *Service) ListedPrefix(r *exchange.Request) (string, error) {
	o, err := s.listOptions(r.Header, r.Query)
	return o.Prefix, err
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

// keysDocument is a page of keys.
type keysDocument struct {
	wire.KeyPage
	Prefix   string `json:"-" xml:"-"` // for the HTML page, like NextPath
	NextPath string `json:"-" xml:"-"`
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

// CheckCreate returns the error in the parameters of Create.
func CheckCreate(r *exchange.Request) error {
	_, err := write.TimeToLive(r.Query)
	if err == nil {
		_, err = write.Durable(r.Query)
	}
	return err
}

// Create is POST /v1/keys, which stores an entry under a new key, a UUID of version 7. Later keys sort later.
func (s *Service) Create(w *exchange.Response, r *exchange.Request) error {
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	r.Key = store.User.Key(id.String())
	p, err := s.readPut(w, r)
	if err != nil {
		return err
	}
	p.Conditions = write.Conditions{} // conditions would refer to the list, which has no entity tag
	written, err := s.putEntry(r.Context(), p)
	if err != nil {
		return err
	}
	setWritten(w, &written.Entry)
	s.SetSession(w, p.Session, store.Mark{Origin: written.Entry.Origin, Revision: written.Entry.Revision})
	w.Header()["Location"] = []string{exchange.KeysPath + id.String()}
	status := http.StatusCreated
	if !s.secure(w, r, &written.Entry) {
		status = http.StatusAccepted
	}
	return s.Respond(w, r, status, "entry", document.NewHead(&written.Entry))
}
