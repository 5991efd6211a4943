package keys

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/api/internal/document"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/internal/write"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
)

// Get is GET /v1/keys/{key}. With entry=true the answer is the entry document, even if the client prefers the
// value's own media type.
func (s *Service) Get(w *exchange.Response, r *exchange.Request) error {
	o, err := s.ReadOptions(r.Header, r.Query)
	if err != nil {
		return err
	}
	whole, err := exchange.Flag(r.Query, "entry")
	if err != nil {
		return err
	}
	if r.Query.Has("locked") {
		if err := s.refuseLocked(r, &o); err != nil {
			return err
		}
	}
	read, err := s.readEntry(w, r, o)
	if err != nil {
		return err
	}
	accept := r.Header["Accept"]
	if negotiate.AcceptsAnything(accept) && !whole {
		return writeValue(w, r, &read.Entry)
	}
	all := [...]negotiate.Variant{negotiate.Raw(read.Entry.ContentType), negotiate.JSON, negotiate.XML, negotiate.HTML, negotiate.Text, negotiate.TextXML}
	forms := all[:]
	if whole {
		forms = all[1:]
	}
	r.Variant, err = negotiate.Choose(accept, forms)
	switch {
	case err != nil:
		return err
	case r.Variant.Format == negotiate.FormatRaw:
		return writeValue(w, r, &read.Entry)
	}
	e := read.Entry // the document keeps e on the heap; plain answers avoid the allocation
	return s.writeEntry(w, r, &e)
}

// CheckGet returns the error in the parameters of Get.
func (s *Service) CheckGet(r *exchange.Request) error {
	if len(r.Query) == 0 {
		return nil
	}
	if _, err := s.ReadOptions(r.Header, r.Query); err != nil {
		return err
	}
	if err := exchange.CheckDownload(r.Query); err != nil {
		return err
	}
	_, err := exchange.Flag(r.Query, "entry")
	return err
}

// readEntry reads the entry of the request's key. It sets the headers that name the partition and its staleness, also
// when the key does not exist.
func (s *Service) readEntry(w *exchange.Response, r *exchange.Request, o store.ReadOptions) (store.Read, error) {
	if n := s.Budget.Expected(string(r.Key)); n > 0 {
		if err := w.Held.Grow(r.Context(), n); err != nil {
			return store.Read{}, err
		}
	}
	read, err := s.store.Get(r.Context(), r.Key, o)
	if err == nil {
		s.Budget.Learn(string(r.Key), read.Entry.Size)
		err = w.Held.Resize(r.Context(), int64(len(read.Entry.Value)), 0)
	}
	h := w.Header()
	if read.Partition != "" {
		s.SetSession(w, o.Session, read.Seen)
		w.SetField("Runnel-Partition", read.Partition)
		if read.Staleness > 0 {
			w.SetField("Runnel-Staleness", seconds(read.Staleness))
		} else {
			setStaleness(h, read.Staleness)
		}
	}
	h["Vary"] = exchange.VaryAccept
	h["Cache-Control"] = exchange.NoCache
	return read, err
}

// writeEntry answers with the entry document.
func (s *Service) writeEntry(w *exchange.Response, r *exchange.Request, e *store.Entry) error {
	setValidators(w, e, r.Variant.Format)
	if err := w.Held.Grow(r.Context(), budget.EncodeCopies*int64(len(e.Value))); err != nil {
		return err
	}
	if write.Conditional(r.Header) {
		same, err := write.NotModified(r.Header, w.Header()["Etag"][0], e.ModifiedAt.Time())
		if err != nil {
			return err
		}
		if same {
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	return s.Respond(w, r, http.StatusOK, "entry", document.NewEntry(e, r.Variant.Format))
}

// Put is PUT /v1/keys/{key}.
func (s *Service) Put(w *exchange.Response, r *exchange.Request) error {
	copies, err := s.copies(r.Query)
	if err != nil {
		return err
	}
	p, err := s.readPut(w, r)
	if err != nil {
		return err
	}
	written, err := s.putEntry(r.Context(), p)
	if err != nil {
		return err
	}
	status := http.StatusNoContent
	if written.Created {
		w.SetField("Location", wire.Path(exchange.KeysPath, store.Name(r.Key)))
		status = http.StatusCreated
	}
	if !s.copyWritten(w, r, &written.Entry, copies) {
		status = http.StatusAccepted
	}
	setWritten(w, &written.Entry)
	s.SetSession(w, p.Session, store.Mark{Origin: written.Entry.Origin, Revision: written.Entry.Revision})
	w.WriteHeader(status)
	return nil
}

// CheckPut returns the error in the parameters of Put.
func (s *Service) CheckPut(r *exchange.Request) error {
	if len(r.Query) == 0 {
		return nil
	}
	if _, err := s.copies(r.Query); err != nil {
		return err
	}
	if _, err := write.Durable(r.Query); err != nil {
		return err
	}
	if _, err := write.TimeToLive(r.Query); err != nil {
		return err
	}
	_, err := write.ExpiresAt(r.Query)
	return err
}

// readPut decodes a write. The body comes last, so that most refusals come before a client that expects a 100 sends its
// body.
func (s *Service) readPut(w *exchange.Response, r *exchange.Request) (p write.Request, err error) {
	if p, err = s.readWriteOptions(r); err != nil {
		return p, err
	}
	expires, err := write.ExpiresAt(r.Query)
	if err != nil {
		return p, err
	}
	p.Entry, err = s.decodeEntry(w, r)
	p.Entry.ExpiresAt = expires
	return p, err
}

// readWriteOptions decodes a write without its body.
func (s *Service) readWriteOptions(r *exchange.Request) (p write.Request, err error) {
	p.Entry.Key = r.Key
	if p.TTL, err = write.TimeToLive(r.Query); err != nil {
		return p, err
	}
	if p.Conditions, err = write.ReadConditions(r.Header); err != nil {
		return p, err
	}
	if p.Fences, err = write.Fences(r.Header); err != nil {
		return p, err
	}
	p.Session, err = s.ReadSession(r.Header)
	return p, err
}

// putEntry stores an entry, without reading the current entry if possible.
func (s *Service) putEntry(ctx context.Context, p write.Request) (store.PutResult, error) {
	s.Budget.Learn(string(p.Entry.Key), int64(len(p.Entry.Value)))
	if p.Unconditional() {
		return s.store.Put(ctx, p.Entry)
	}
	var written store.PutResult
	o := store.UpdateOptions{WithoutValues: true, Bytes: int64(len(p.Entry.Value)), Fences: p.Fences}
	err := s.store.Update(ctx, []store.Key{p.Entry.Key}, o, p.PutFunc(&written))
	return written, err
}

// Delete is DELETE /v1/keys/{key}.
func (s *Service) Delete(w *exchange.Response, r *exchange.Request) error {
	session, err := s.ReadSession(r.Header)
	if err != nil {
		return err
	}
	tombstone, err := s.deleteEntry(w, r)
	if err != nil {
		return err
	}
	s.SetSession(w, session, store.Mark{Origin: tombstone.Origin, Revision: tombstone.Revision})
	w.Header()["Runnel-Revision"] = []string{strconv.FormatInt(int64(tombstone.Revision), 10)}
	if !s.secure(w, r, &tombstone) {
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// CheckDelete returns the error in the parameters of Delete.
func CheckDelete(r *exchange.Request) error {
	_, err := write.Durable(r.Query)
	return err
}

// deleteEntry deletes the request's key on its master if the preconditions hold, and returns the tombstone. The error is
// store.ErrNotFound if the key does not exist.
func (s *Service) deleteEntry(w *exchange.Response, r *exchange.Request) (tombstone store.Entry, err error) {
	c, err := write.ReadConditions(r.Header)
	if err != nil {
		return tombstone, err
	}
	fences, err := write.Fences(r.Header)
	if err != nil {
		return tombstone, err
	}
	master := s.store.Master(r.Key)
	err = s.store.Update(r.Context(), []store.Key{r.Key}, store.UpdateOptions{WithoutValues: true, Fences: fences}, c.DeleteFunc(r.Key, &tombstone))
	if err == nil || errors.Is(err, store.ErrNotFound) {
		w.Header()["Runnel-Partition"] = []string{master}
		w.Header()["Runnel-Staleness"] = notStale
	}
	return tombstone, err
}
