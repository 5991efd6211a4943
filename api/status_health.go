package api

import (
	"encoding/xml"
	"net/http"
	"time"

	"github.com/runnelkv/runnel/api/internal/problem"
)

// getHealth is GET /healthz. It fails when the sync process of this process makes no progress; unavailable partitions
// do not matter.
func (s *Server) getHealth(w *response, r *request) error {
	s.store.Status() // blocks if the store is stuck
	if due := s.passDue(); !due.IsZero() && time.Since(due) > passDelay {
		return problem.New(problem.Unhealthy, "The sync process should have made a pass at %s.", due.UTC().Format(time.RFC3339))
	}
	return s.respondHealth(w, r)
}

// passDelay is how late a pass may be.
const passDelay = time.Minute

// passDue returns when the sync process must make its next pass; zero if no pass is due, or if another process makes
// them.
func (s *Server) passDue() time.Time {
	if s.syncer == nil {
		return time.Time{}
	}
	switch st := s.syncer.SyncStatus(); {
	case st.Standby:
		return time.Time{}
	case st.LastPass.IsZero():
		return s.started
	default:
		return st.NextPass
	}
}

// getReady is GET /readyz: whether reads can be served; with ?write, whether writes can.
func (s *Server) getReady(w *response, r *request) error {
	if s.draining.Err() != nil {
		return problem.New(problem.ShuttingDown, "The server is shutting down.")
	}
	st := s.store.Status()
	switch {
	case !st.Readable():
		return problem.New(problem.NotReady, "The keys of some master cannot be read from any partition.")
	case r.query.Has("write") && !st.Writable():
		return problem.New(problem.NotReady, "No master takes writes; /v1/status says why.")
	}
	return s.respondHealth(w, r)
}

func (s *Server) respondHealth(w *response, r *request) error {
	w.Header()["Cache-Control"] = noStore
	return s.respond(w, r, http.StatusOK, "health", &healthDocument{Status: "ok"})
}

type healthDocument struct {
	XMLName xml.Name `json:"-" xml:"health"`
	Status  string   `json:"status" xml:"status"`
}
