package keys

import (
	"net/http"

	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/internal/write"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/lock"
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

// refuseLocked is locked=refuse of a GET: the read comes from the master, and is refused while another owner holds the lock
// of the key's name. The lock is looked at before the key is read.
func (s *Service) refuseLocked(r *exchange.Request, o *store.ReadOptions) error {
	if r.Query.Get("locked") != "refuse" {
		return problem.Parameter("locked", "locked is refuse, not %q.", r.Query.Get("locked"))
	}
	if r.Query.Has("consistency") && o.Consistency != store.FromMaster {
		return problem.Parameter("locked", "locked=refuse reads from the master, and does not go with consistency=%s.", o.Consistency)
	}
	fences, err := write.Fences(r.Header)
	if err != nil {
		return err
	}
	o.Consistency = store.FromMaster
	return lock.New(s.store).Admit(r.Context(), store.Name(r.Key), fences)
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
	o := store.UpdateOptions{Bytes: s.store.MaxValueBytes(), Fences: p.Fences}
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
