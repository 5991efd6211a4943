package files

import (
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/runnelkv/runnel/api/internal/digest"
	"github.com/runnelkv/runnel/api/internal/document"
	"github.com/runnelkv/runnel/api/internal/etag"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/internal/write"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/file"
)

// Put is PUT /v1/files/{path}.
func (s *Service) Put(w *exchange.Response, r *exchange.Request) error {
	session, err := s.ReadSession(r.Header)
	if err != nil {
		return err
	}
	o, verifier, err := s.putOptions(r)
	if err != nil {
		return err
	}
	source, err := w.StreamBody(r)
	if err != nil {
		return err
	}
	if err := w.Held.Grow(r.Context(), s.uploadBytes(r.ContentLength)); err != nil {
		return err
	}
	if verifier != nil {
		source = io.TeeReader(source, verifier)
		o.Verify = func(file.Summary) error { return verifier.Verify() }
	}
	stored, err := s.files.Put(r.Context(), store.Name(r.Key), source, o)
	if err != nil {
		return explain(err)
	}
	setDigest(w.Header(), stored.Manifest.Digest())
	s.answerStored(w, r, session, stored)
	return nil
}

// uploadBytes is the memory of an upload of a known length; negative: unknown.
func (s *Service) uploadBytes(length int64) int64 {
	if all := s.files.UploadBytes(); length < 0 || 4*length > all {
		return all
	}
	return 4 * length
}

// putOptions decodes everything of an upload except its body, and refuses an upload whose conditions do not hold already.
func (s *Service) putOptions(r *exchange.Request) (o file.PutOptions, verifier *digest.Verifier, err error) {
	if o.Copies, err = copiesOf(r); err != nil {
		return o, nil, err
	}
	if o.ContentType, err = write.ContentTypeOf(r.Header); err != nil {
		return o, nil, err
	}
	stored, err := document.ReadMetadata(r.Header)
	if err != nil {
		return o, nil, err
	}
	o.Meta = document.MetadataOf(stored)
	if verifier, err = digest.NewVerifier(r.Header); err != nil {
		return o, nil, err
	}
	o.Decide, err = s.decide(r)
	return o, verifier, err
}

// decide returns the check of the request's conditions inside the Update; nil without conditions. If they do not hold for the
// master's present entry, the error refuses the request before its body is read.
func (s *Service) decide(r *exchange.Request) (func(*store.Tx, *store.Entry, bool) error, error) {
	c, err := write.ReadConditions(r.Header)
	if err != nil || !c.Given() {
		return nil, err
	}
	f, read, err := s.files.Open(r.Context(), store.Name(r.Key), store.ReadOptions{Consistency: store.FromMaster})
	switch {
	case errors.Is(err, store.ErrNotFound):
		err = c.Foresee(nil)
	case err == nil && f != nil:
		err = c.Foresee(&read.Entry)
	}
	key := r.Key
	return func(tx *store.Tx, _ *store.Entry, _ bool) error { return c.Evaluate(tx, key) }, err
}

// answerStored answers a write of a file.
func (s *Service) answerStored(w *exchange.Response, r *exchange.Request, session store.Vector, stored *file.Stored) {
	e := &stored.Entry
	setValidators(w, e)
	w.SetField("Runnel-Partition", string(e.Origin))
	s.SetSession(w, session, store.Mark{Origin: e.Origin, Revision: e.Revision})
	status := http.StatusNoContent
	if stored.Created {
		w.SetField("Location", wire.Path(wire.FilesPath, store.Name(r.Key)))
		status = http.StatusCreated
	}
	if stored.Held < stored.Copies {
		w.Header()["Runnel-Copies"] = []string{strconv.Itoa(stored.Held)}
		status = http.StatusAccepted
	}
	w.WriteHeader(status)
}

// Delete is DELETE /v1/files/{path}.
func (s *Service) Delete(w *exchange.Response, r *exchange.Request) error {
	session, err := s.ReadSession(r.Header)
	if err != nil {
		return err
	}
	c, err := write.ReadConditions(r.Header)
	if err != nil {
		return err
	}
	key := r.Key
	tombstone, err := s.files.Delete(r.Context(), store.Name(key), func(tx *store.Tx, _ *store.Entry, exists bool) error {
		if !exists {
			return store.ErrNotFound // even if the preconditions hold (RFC 9110, section 13.2.1)
		}
		return c.Evaluate(tx, key)
	})
	if err == nil || errors.Is(err, store.ErrNotFound) {
		w.SetField("Runnel-Partition", s.store.Master(key))
	}
	if err != nil {
		return err
	}
	s.SetSession(w, session, store.Mark{Origin: tombstone.Origin, Revision: tombstone.Revision})
	w.SetField("Runnel-Revision", strconv.FormatInt(int64(tombstone.Revision), 10))
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// tagOf is the entity tag of a stored file.
func tagOf(e *store.Entry) string { return etag.Of(e.Revision, negotiate.FormatRaw) }
