package status

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/runnelkv/runnel/api/internal/document"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
)

// Status is GET /v1/status.
func (s *Service) Status(w *exchange.Response, r *exchange.Request) error {
	w.Header()["Cache-Control"] = exchange.NoStore
	d := s.status()
	if !r.Grants.MaySeeDetails() {
		d.redact()
	}
	return s.Respond(w, r, http.StatusOK, "status", d)
}

// failed is the state of a reachable partition that refuses copies.
const failed store.State = "failed"

// refuseWithoutSlots notes that a master takes no writes while all its slots are moving.
func refuseWithoutSlots(st *store.Status, m *store.ClusterMap) {
	for i := range st.Partitions {
		p := &st.Partitions[i]
		if slices.ContainsFunc(m.Masters, func(o store.MasterInfo) bool { return o.Name == p.Name && o.Slots == 0 }) {
			p.Writable = false
		}
	}
}

// storeStatus returns the status of the store, amended by the cluster map and the sync process.
func (s *Service) storeStatus() store.Status {
	st := s.store.Status()
	if m := s.store.ClusterMap(); m != nil {
		refuseWithoutSlots(&st, m)
	}
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

// Lags returns the lag of every partition of which the lag is known: the largest of its origins.
func (s *Service) Lags() map[string]time.Duration {
	lags := map[string]time.Duration{}
	for _, p := range s.store.Status().Partitions {
		most := time.Duration(-1)
		for _, o := range p.Origins {
			if o.Lag < 0 {
				most = -1
				break
			}
			most = max(most, o.Lag)
		}
		if most >= 0 {
			lags[p.Name] = most
		}
	}
	return lags
}

func (s *Service) status() *statusDocument {
	st := s.storeStatus()
	d := &statusDocument{wire.Status{
		Node:       wire.Text(s.node),
		Version:    wire.Text(s.version),
		ClusterID:  st.ClusterID,
		Epoch:      st.Epoch,
		Masters:    document.Texts(st.Masters),
		Partitions: make([]wire.PartitionStatus, len(st.Partitions)),
		Sync:       newSyncStatus(s.syncer),
	}}
	if s.files != nil {
		d.Files = s.files()
	}
	if m := s.store.ClusterMap(); m != nil {
		d.ClusterMap = newClusterMap(m)
	}
	for i := range st.Partitions {
		d.Partitions[i] = newPartitionStatus(&st.Partitions[i])
	}
	for _, q := range st.Quotas {
		d.Quotas = append(d.Quotas, wire.QuotaStatus{
			Prefix: wire.Text(q.Prefix), Keys: q.Used.Keys, Bytes: q.Used.Bytes, MaxKeys: q.MaxKeys, MaxBytes: q.MaxBytes, MeasuredAt: timePointer(q.MeasuredAt),
		})
	}
	return d
}

// statusDocument is the status of the store and the sync process.
type statusDocument struct{ wire.Status }

// redact removes what only admins see: node, version, and texts that may name addresses.
func (d *statusDocument) redact() {
	d.Node, d.Version = "", ""
	for i := range d.Partitions {
		d.Partitions[i].Error, d.Partitions[i].Warnings = "", nil
	}
	for i := range d.Sync.Targets {
		d.Sync.Targets[i].Error = ""
	}
	if d.Files != nil {
		d.Files.Error = ""
	}
}

func newClusterMap(m *store.ClusterMap) *wire.ClusterMap {
	d := &wire.ClusterMap{Epoch: m.Epoch, Confirmed: m.Confirmed, Masters: make([]wire.Master, len(m.Masters)), Voters: document.Texts(m.Voters), Halted: wire.Text(m.Halted)}
	for i, o := range m.Masters {
		d.Masters[i] = wire.Master{Name: wire.Text(o.Name), Slots: o.Slots, Epoch: o.Epoch}
	}
	if m.Move != nil {
		d.Move = &wire.Move{From: wire.Text(m.Move.From), To: wire.Text(m.Move.To), Slots: m.Move.Slots, Lost: m.Move.Lost}
	}
	if m.Lease > 0 {
		d.LeaseMS, d.HasLease = m.Lease.Milliseconds(), &m.HasLease
	}
	if f := m.Failover; f.After > 0 {
		d.Failover = &wire.Failover{AfterMS: f.After.Milliseconds(), CooldownMS: f.Cooldown.Milliseconds(), Cooling: f.Cooling}
	}
	return d
}

func newPartitionStatus(p *store.PartitionStatus) wire.PartitionStatus {
	d := wire.PartitionStatus{
		Name: wire.Text(p.Name), Schema: p.Schema.Version, Migration: p.Schema.Available(), Kind: p.Kind, Role: "replica", State: string(p.State),
		LatencyMS: milliseconds(p.Latency), Readable: p.Readable, Writable: p.Writable, VerifiedAt: timePointer(p.Verified),
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
