package status

import (
	"encoding/xml"
	"net/http"
	"time"

	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/problem"
)

// Health is GET /healthz. It fails when the sync process of this process makes no progress; unavailable partitions
// do not matter.
func (s *Service) Health(w *exchange.Response, r *exchange.Request) error {
	s.store.Status() // blocks if the store is stuck
	if due := s.passDue(); !due.IsZero() && time.Since(due) > passDelay {
		if !r.Grants.MayMonitor() {
			return problem.New(problem.Unhealthy, "The server makes no progress.")
		}
		return problem.New(problem.Unhealthy, "The sync process should have made a pass at %s.", due.UTC().Format(time.RFC3339))
	}
	return s.respondHealth(w, r)
}

// passDelay is how late a pass may be.
const passDelay = time.Minute

// passDue returns when the sync process must make its next pass; zero if no pass is due, or if another process makes
// them.
func (s *Service) passDue() time.Time {
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

// Ready is GET /readyz: whether reads can be served; with ?write, whether writes can; with ?ledger, whether the ledger is not halted.
func (s *Service) Ready(w *exchange.Response, r *exchange.Request) error {
	if s.Leaving.Err() != nil {
		return problem.New(problem.ShuttingDown, "The server is shutting down.")
	}
	st := s.storeStatus()
	judges := s.Keys == nil || s.Keys.Ready()
	halted := ""
	if m := s.store.ClusterMap(); m != nil && r.Query.Has("ledger") {
		halted = m.Halted
	}
	ready := judges && st.Readable() && halted == "" && (!r.Query.Has("write") || st.Writable())
	switch {
	case ready:
		return s.respondHealth(w, r)
	case !r.Grants.MayMonitor():
		return problem.New(problem.NotReady, "The server is not ready.")
	case !judges:
		return problem.New(problem.NotReady, "The API keys could not be read yet.")
	case !st.Readable():
		return problem.New(problem.NotReady, "The keys of some master cannot be read from any partition.")
	case halted != "":
		return problem.New(problem.NotReady, "The ledger is halted: %s.", halted)
	}
	return problem.New(problem.NotReady, "No master takes writes; /v1/status says why.")
}

func (s *Service) respondHealth(w *exchange.Response, r *exchange.Request) error {
	w.Header()["Cache-Control"] = exchange.NoStore
	return s.Respond(w, r, http.StatusOK, "health", &healthDocument{Status: "ok"})
}

type healthDocument struct {
	XMLName xml.Name `json:"-" xml:"health"`
	Status  string   `json:"status" xml:"status"`
}
