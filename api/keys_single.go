package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/api/internal/etag"
	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
)

// getKey is GET /v1/keys/{key}. With entry=true the answer is the entry document, even if the client prefers the
// value's own media type.
func (s *Server) getKey(w *response, r *request) error {
	o, err := s.readOptions(r.Header, r.query)
	if err != nil {
		return err
	}
	whole, err := flag(r.query, "entry")
	if err != nil {
		return err
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
	r.variant, err = negotiate.Choose(accept, forms)
	switch {
	case err != nil:
		return err
	case r.variant.Format == negotiate.FormatRaw:
		return writeValue(w, r, &read.Entry)
	}
	e := read.Entry // the document keeps e on the heap; plain answers avoid the allocation
	return s.writeEntry(w, r, &e)
}

// readEntry reads the entry of the request's key. It sets the headers that name the partition and its staleness, also
// when the key does not exist.
func (s *Server) readEntry(w *response, r *request, o store.ReadOptions) (store.Read, error) {
	if n := s.budget.Expected(string(r.key)); n > 0 {
		if err := w.held.Grow(r.Context(), n); err != nil {
			return store.Read{}, err
		}
	}
	read, err := s.store.Get(r.Context(), r.key, o)
	if err == nil {
		s.budget.Learn(string(r.key), read.Entry.Size)
		err = w.held.Resize(r.Context(), int64(len(read.Entry.Value)), 0)
	}
	h := w.header
	if read.Partition != "" {
		s.setSession(w, o.Session, read.Seen)
		w.setField("Runnel-Partition", read.Partition)
		if read.Staleness > 0 {
			w.setField("Runnel-Staleness", seconds(read.Staleness))
		} else {
			setStaleness(h, read.Staleness)
		}
	}
	h["Vary"] = varyAccept
	h["Cache-Control"] = noCache
	return read, err
}

var notStale = []string{"0"}

// setStaleness sets an upper bound in seconds; nothing if the bound is unknown.
func setStaleness(h http.Header, d time.Duration) {
	switch {
	case d == 0:
		h["Runnel-Staleness"] = notStale
	case d > 0:
		h["Runnel-Staleness"] = []string{seconds(d)}
	}
}

// roundUp rounds up to milliseconds.
func roundUp(d time.Duration) time.Duration {
	return (d + time.Millisecond - 1).Truncate(time.Millisecond)
}

// setValidators sets the entity tag for the format, the date and the revision of an entry.
func setValidators(w *response, e *store.Entry, f negotiate.Format) {
	var b [96]byte
	modified := e.ModifiedAt.Time()
	if now := time.Now(); modified.After(now) {
		modified = now // the master's clock is ahead, but the date must not be later than the answer (RFC 9110, section 8.8.2.1)
	}
	date := appendHTTPDate(b[:0], modified)
	all := string(etag.Append(date, e.Revision, f)) // one allocation for all three headers
	tag := all[len(date):]
	revision, _, _ := strings.Cut(tag[1:len(tag)-1], ".")
	w.setField("Etag", tag)
	w.setField("Last-Modified", all[:len(date)])
	w.setField("Runnel-Revision", revision)
	if e.ExpiresAt != 0 {
		w.setField("Runnel-Expires-At", e.ExpiresAt.Time().Format(time.RFC3339Nano))
	}
}

// writeEntry answers with the entry document.
func (s *Server) writeEntry(w *response, r *request, e *store.Entry) error {
	setValidators(w, e, r.variant.Format)
	if err := w.held.Grow(r.Context(), budget.EncodeCopies*int64(len(e.Value))); err != nil {
		return err
	}
	if conditional(r.Header) {
		same, err := notModified(r.Header, w.Header()["Etag"][0], e.ModifiedAt.Time())
		if err != nil {
			return err
		}
		if same {
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	return s.respond(w, r, http.StatusOK, "entry", newEntry(e, r.variant.Format))
}

// putKey is PUT /v1/keys/{key}.
func (s *Server) putKey(w *response, r *request) error {
	copies, err := s.copies(r.query)
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
		w.setField("Location", wire.Path(keysPath, store.Name(r.key)))
		status = http.StatusCreated
	}
	if copies > 0 && !s.copyEntry(w, r, written.Entry, copies) {
		status = http.StatusAccepted
	}
	setWritten(w, &written.Entry)
	s.setSession(w, p.session, store.Mark{Origin: written.Entry.Origin, Revision: written.Entry.Revision})
	w.WriteHeader(status)
	return nil
}

// putRequest is a decoded write of a key.
type putRequest struct {
	entry      store.Entry
	ttl        time.Duration // 0: no expiry
	conditions conditions
	session    store.Vector // of the client
}

// readPut decodes a write. The body comes last, so that most refusals come before a client that expects a 100 sends its
// body.
func (s *Server) readPut(w *response, r *request) (p putRequest, err error) {
	if p, err = s.readWriteOptions(r); err != nil {
		return p, err
	}
	expires, err := expiresAt(r.query)
	if err != nil {
		return p, err
	}
	p.entry, err = s.decodeEntry(w, r)
	p.entry.ExpiresAt = expires
	return p, err
}

// readWriteOptions decodes a write without its body.
func (s *Server) readWriteOptions(r *request) (p putRequest, err error) {
	p.entry.Key = r.key
	if p.ttl, err = timeToLive(r.query); err != nil {
		return p, err
	}
	if p.conditions, err = readConditions(r.Header); err != nil {
		return p, err
	}
	p.session, err = s.readSession(r.Header)
	return p, err
}

// putEntry stores an entry, without reading the current entry if possible.
func (s *Server) putEntry(ctx context.Context, p putRequest) (store.PutResult, error) {
	s.budget.Learn(string(p.entry.Key), int64(len(p.entry.Value)))
	if p.unconditional() {
		return s.store.Put(ctx, p.entry)
	}
	var written store.PutResult
	o := store.UpdateOptions{WithoutValues: true, Bytes: int64(len(p.entry.Value))}
	err := s.store.Update(ctx, []store.Key{p.entry.Key}, o, p.putFunc(&written))
	return written, err
}

// unconditional reports that the write does not depend on the current entry or the master's clock.
func (p *putRequest) unconditional() bool { return p.ttl == 0 && p.conditions.empty() }

// putFunc returns the function for Store.Update.
func (p *putRequest) putFunc(written *store.PutResult) func(*store.Tx) error {
	return func(v *store.Tx) error {
		exists, err := p.conditions.evaluate(v, p.entry.Key)
		if err != nil {
			return err
		}
		e := p.entry
		if p.ttl > 0 {
			e.ExpiresAt = v.Now().Add(p.ttl)
		}
		*written = store.PutResult{Entry: v.Put(e), Created: !exists}
		return nil
	}
}

// setWritten sets the headers of a committed entry. Its origin is its master.
func setWritten(w *response, e *store.Entry) {
	setValidators(w, e, negotiate.FormatRaw)
	w.setField("Runnel-Partition", string(e.Origin))
	w.header["Runnel-Staleness"] = notStale
}

// deleteKey is DELETE /v1/keys/{key}.
func (s *Server) deleteKey(w *response, r *request) error {
	session, err := s.readSession(r.Header)
	if err != nil {
		return err
	}
	tombstone, err := s.deleteEntry(w, r)
	if err != nil {
		return err
	}
	s.setSession(w, session, store.Mark{Origin: tombstone.Origin, Revision: tombstone.Revision})
	w.Header()["Runnel-Revision"] = []string{strconv.FormatInt(int64(tombstone.Revision), 10)}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// deleteEntry deletes the request's key on its master if the preconditions hold, and returns the tombstone. The error is
// store.ErrNotFound if the key does not exist.
func (s *Server) deleteEntry(w *response, r *request) (tombstone store.Entry, err error) {
	c, err := readConditions(r.Header)
	if err != nil {
		return tombstone, err
	}
	master := s.store.Master(r.key)
	err = s.store.Update(r.Context(), []store.Key{r.key}, store.UpdateOptions{WithoutValues: true}, c.deleteFunc(r.key, &tombstone))
	if err == nil || errors.Is(err, store.ErrNotFound) {
		w.Header()["Runnel-Partition"] = []string{master}
		w.Header()["Runnel-Staleness"] = notStale
	}
	return tombstone, err
}

// deleteFunc returns the function for Store.Update that deletes key if the conditions hold.
func (c *conditions) deleteFunc(key store.Key, tombstone *store.Entry) func(*store.Tx) error {
	return func(v *store.Tx) error {
		current, exists := v.Get(key)
		if !exists { // even if the preconditions hold (RFC 9110, section 13.2.1)
			return &conditionError{store.ErrNotFound, v.Seen(key)}
		}
		if err := c.verify(&current, exists); err != nil {
			return &conditionError{err, v.Seen(key)}
		}
		*tombstone, _ = v.Delete(key)
		return nil
	}
}
