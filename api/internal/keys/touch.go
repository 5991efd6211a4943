package keys

import (
	"net/http"

	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/internal/write"
	"github.com/runnelkv/runnel/store"
)

// CheckTouch returns the error in the parameters of Touch.
func CheckTouch(r *exchange.Request) error {
	ttl, err := write.TimeToLive(r.Query)
	if err == nil && ttl == 0 {
		err = problem.Parameter("ttl", "POST on a key renews its expiry, and needs ttl; PUT stores a value.")
	}
	if err == nil {
		_, err = write.Durable(r.Query)
	}
	return err
}

// Touch is POST /v1/keys/{key}?ttl=, which renews the expiry of an entry and keeps value, media type and metadata.
func (s *Service) Touch(w *exchange.Response, r *exchange.Request) error {
	p, err := s.readWriteOptions(r)
	if err != nil {
		return err
	}
	if r.ContentLength != 0 {
		return problem.Header("Content-Length", "POST on a key renews its expiry, and has no body; PUT stores a value.")
	}
	var touched store.Entry
	o := store.UpdateOptions{Bytes: s.store.MaxValueBytes()}
	if err := s.store.Update(r.Context(), []store.Key{r.Key}, o, p.TouchFunc(&touched)); err != nil {
		return err
	}
	setWritten(w, &touched)
	s.SetSession(w, p.Session, store.Mark{Origin: touched.Origin, Revision: touched.Revision})
	status := http.StatusNoContent
	if !s.secure(w, r, &touched) {
		status = http.StatusAccepted
	}
	w.WriteHeader(status)
	return nil
}
