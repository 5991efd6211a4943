package api

import (
	"net/http"

	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/store"
)

// touchKey is POST /v1/keys/{key}?ttl=: it renews the expiry of an entry and keeps value, media type and metadata.
func (s *Server) touchKey(w *response, r *request) error {
	p, err := s.readWriteOptions(r)
	if err != nil {
		return err
	}
	if p.ttl == 0 {
		return problem.Parameter("ttl", "POST on a key renews its expiry, and needs ttl; PUT stores a value.")
	}
	if r.ContentLength != 0 {
		return problem.Header("Content-Length", "POST on a key renews its expiry, and has no body; PUT stores a value.")
	}
	var touched store.Entry
	o := store.UpdateOptions{Bytes: s.store.MaxValueBytes()}
	if err := s.store.Update(r.Context(), []store.Key{r.key}, o, p.touchFunc(&touched)); err != nil {
		return err
	}
	setWritten(w, &touched)
	s.setSession(w, p.session, store.Mark{Origin: touched.Origin, Revision: touched.Revision})
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// touchFunc returns the function for Store.Update.
func (p *putRequest) touchFunc(touched *store.Entry) func(*store.Tx) error {
	return func(v *store.Tx) error {
		exists, err := p.conditions.evaluate(v, p.entry.Key)
		if err != nil {
			return err
		}
		if !exists {
			return &conditionError{store.ErrNotFound, v.Seen(p.entry.Key)}
		}
		e, _ := v.Get(p.entry.Key)
		if !e.Intact() {
			return problem.New(problem.NoPartition, "The master's copy of the value is damaged.")
		}
		e.ExpiresAt = v.Now().Add(p.ttl)
		*touched = v.Put(e)
		return nil
	}
}
