package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
)

// getStatus is GET /v1/status.
func (s *Server) getStatus(w *response, r *request) error {
	w.Header()["Cache-Control"] = noStore
	return s.respond(w, r, http.StatusOK, "status", s.status())
}

// failed is the state of a reachable partition that refuses copies.
const failed store.State = "failed"

// storeStatus returns the status of the store, amended by the sync process.
func (s *Server) storeStatus() store.Status {
	st := s.store.Status()
	if s.syncer == nil {
		return st
	}
	for _, t := range s.syncer.SyncStatus().Targets {
		i := slices.IndexFunc(st.Partitions, func(p store.PartitionStatus) bool { return p.Name == string(t.Name) })
		if i >= 0 && st.Partitions[i].Err == nil && (t.State == "failed" || t.State == "refused") {
			st.Partitions[i].State, st.Partitions[i].Err = failed, fmt.Errorf("takes no copies: %s", t.Error)
		}
	}
	return st
}

func (s *Server) status() *statusDocument {
	st := s.storeStatus()
	d := &statusDocument{wire.Status{
		Node:       wire.Text(s.options.Node),
		Version:    wire.Text(s.options.Version),
		ClusterID:  st.ClusterID,
		Epoch:      st.Epoch,
		Masters:    texts(st.Masters),
		Partitions: make([]wire.PartitionStatus, len(st.Partitions)),
		Sync:       newSyncStatus(s.syncer),
	}}
	for i := range st.Partitions {
		d.Partitions[i] = newPartitionStatus(&st.Partitions[i])
	}
	return d
}

// statusDocument is the status of the store and the sync process.
type statusDocument struct{ wire.Status }

func newPartitionStatus(p *store.PartitionStatus) wire.PartitionStatus {
	d := wire.PartitionStatus{
		Name: wire.Text(p.Name), Kind: p.Kind, Role: "replica", State: string(p.State),
		LatencyMS: milliseconds(p.Latency), Readable: p.Readable, Writable: p.Writable,
		Origins: make([]wire.OriginStatus, len(p.Origins)),
	}
	if p.Master {
		d.Role = "master"
	}
	if p.Err != nil {
		d.Error = wire.Text(p.Err.Error())
	}
	for _, w := range p.Warnings {
		d.Warnings = append(d.Warnings, wire.Text(w))
	}
	for i, o := range p.Origins {
		d.Origins[i] = wire.OriginStatus{Origin: wire.Text(o.Origin), Revision: int64(o.Revision), LagRevisions: o.LagRevisions, SyncedAt: timePointer(o.SyncedAt)}
		if o.Lag >= 0 {
			lag, age := o.Lag.Seconds(), o.Age.Seconds()
			d.Origins[i].LagSeconds, d.Origins[i].AgeSeconds = &lag, &age
		}
	}
	return d
}

// timePointer returns nil for the zero time.
func timePointer(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// milliseconds converts a duration, with microsecond precision.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// Table describes the partitions, for the plain text.
func (d *statusDocument) Table() string {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PARTITION\tKIND\tROLE\tSTATE\tORIGIN\tREVISION\tLAG\tERROR")
	for _, p := range d.Partitions {
		for _, o := range p.Origins {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", p.Name, p.Kind, p.Role, p.State, o.Origin, o.Revision, o.Lag(), p.Error)
		}
		if len(p.Origins) == 0 {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t-\t-\t-\t%s\n", p.Name, p.Kind, p.Role, p.State, p.Error)
		}
	}
	t.Flush()
	return b.String()
}
