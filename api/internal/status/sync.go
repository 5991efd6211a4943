package status

import (
	"net/http"

	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/wire"
)

// Sync is POST /v1/sync: it makes a pass and reports the result.
func (s *Service) Sync(w *exchange.Response, r *exchange.Request) error {
	if s.syncer == nil {
		return problem.New(problem.SyncElsewhere, "This server runs without the sync process.")
	}
	report, err := s.syncer.Trigger(r.Context())
	if err != nil {
		return err
	}
	w.Header()["Cache-Control"] = exchange.NoStore
	return s.Respond(w, r, http.StatusOK, "sync", &report)
}

// newSyncStatus returns the status of the sync process; a nil syncer runs elsewhere.
func newSyncStatus(syncer Syncer) wire.SyncStatus {
	if syncer == nil {
		return wire.SyncStatus{Targets: []wire.SyncTarget{}}
	}
	st := syncer.SyncStatus()
	return wire.SyncStatus{
		Running: st.Running, Standby: st.Standby, LastPassAt: timePointer(st.LastPass), LastPassMS: milliseconds(st.Took),
		Passes: st.Passes, Targets: append([]wire.SyncTarget{}, st.Targets...),
	}
}
