package api

import (
	"bytes"
	"encoding/xml"
	"net/http"
	"time"

	"github.com/runnelkv/runnel/api/internal/problem"
)

// getHealth is GET /healthz: whether this process makes progress, which is more
// than that it lives. Partitions that are down are not its fault.
func (s *Server) getHealth(w *response, r *request) error {
	s.store.Status() // a store that is stuck must not look healthy
	if due := s.passDue(); !due.IsZero() && time.Since(due) > passDelay {
		return problem.New(problem.Unhealthy, "The sync process should have made a pass at %s.", due.UTC().Format(time.RFC3339))
	}
	return s.respondHealth(w, r)
}

// passDelay is how late a healthy sync process may be.
const passDelay = time.Minute

// passDue is when the sync process of this process has to make its next pass: the first one
// at once. Zero: none is due, or another process makes them.
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

// getReady is GET /readyz: whether requests can be served; with ?write, whether
// writes can.
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
	return s.respond(w, r, http.StatusOK, &healthDocument{Status: "ok"})
}

type healthDocument struct {
	XMLName xml.Name `json:"-" xml:"health"`
	Status  string   `json:"status" xml:"status"`
}

func (d *healthDocument) page() string              { return "health.html" }
func (d *healthDocument) writeText(b *bytes.Buffer) { b.WriteString(d.Status + "\n") }
