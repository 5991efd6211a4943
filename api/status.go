package api

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/runnelkv/runnel/store"
)

// getStatus is GET /v1/status.
func (s *Server) getStatus(w http.ResponseWriter, r *http.Request) error {
	if _, err := parameters(r); err != nil {
		return err
	}
	w.Header()["Cache-Control"] = noStore
	return s.respond(w, r, http.StatusOK, s.status())
}

// failed is the state of a partition that answers and takes no copies.
const failed store.State = "failed"

// storeStatus is the status of the store, with what the sync process knows of its partitions.
func (s *Server) storeStatus() store.Status {
	st := s.store.Status()
	if s.syncer == nil {
		return st
	}
	for _, t := range s.syncer.SyncStatus().Targets {
		i := slices.IndexFunc(st.Partitions, func(p store.PartitionStatus) bool { return p.Name == t.Name })
		if i >= 0 && st.Partitions[i].Err == nil && (t.State == "failed" || t.State == "refused") {
			st.Partitions[i].State, st.Partitions[i].Err = failed, fmt.Errorf("takes no copies: %w", t.Err)
		}
	}
	return st
}

func (s *Server) status() *statusDocument {
	st := s.storeStatus()
	d := &statusDocument{
		Node:       text(s.options.Node),
		Version:    text(s.options.Version),
		ClusterID:  st.ClusterID,
		Epoch:      st.Epoch,
		Masters:    texts(st.Masters),
		Partitions: make([]partitionDocument, len(st.Partitions)),
		Sync:       syncStatusOf(s.syncer),
	}
	for i := range st.Partitions {
		d.Partitions[i] = partitionOf(&st.Partitions[i])
	}
	return d
}

// statusDocument is what this process knows of the store.
type statusDocument struct {
	XMLName    xmlName             `json:"-" xml:"status"`
	Node       text                `json:"node" xml:"node"`
	Version    text                `json:"version" xml:"version"`
	ClusterID  string              `json:"cluster_id" xml:"cluster_id"`
	Epoch      int64               `json:"epoch" xml:"epoch"`
	Masters    []text              `json:"masters" xml:"masters>master"`
	Partitions []partitionDocument `json:"partitions" xml:"partitions>partition"`
	Sync       syncDocument        `json:"sync" xml:"sync"`
	Orphans    int64               `json:"orphans" xml:"orphans"`
}

type partitionDocument struct {
	Name      text             `json:"name" xml:"name"`
	Kind      string           `json:"kind" xml:"kind"`
	Role      string           `json:"role" xml:"role"`
	State     string           `json:"state" xml:"state"`
	Error     text             `json:"error,omitempty" xml:"error,omitempty"`
	LatencyMS float64          `json:"latency_ms" xml:"latency_ms"`
	Readable  bool             `json:"readable" xml:"readable"`
	Writable  bool             `json:"writable" xml:"writable"`
	Warnings  []text           `json:"warnings,omitempty" xml:"warnings>warning,omitempty"`
	Origins   []originDocument `json:"origins" xml:"origins>origin"`
}

type originDocument struct {
	Origin       text       `json:"origin" xml:"name"`
	Revision     int64      `json:"revision" xml:"revision"`
	LagRevisions int64      `json:"lag_revisions" xml:"lag_revisions"`
	LagSeconds   *float64   `json:"lag_seconds" xml:"lag_seconds,omitempty"` // null: it was never whole
	AgeSeconds   *float64   `json:"age_seconds" xml:"age_seconds,omitempty"` // likewise
	SyncedAt     *time.Time `json:"synced_at,omitempty" xml:"synced_at,omitempty"`
}

func partitionOf(p *store.PartitionStatus) partitionDocument {
	d := partitionDocument{
		Name: text(p.Name), Kind: p.Kind, Role: "replica", State: string(p.State),
		LatencyMS: milliseconds(p.Latency), Readable: p.Readable, Writable: p.Writable,
		Origins: make([]originDocument, len(p.Origins)),
	}
	if p.Master {
		d.Role = "master"
	}
	if p.Err != nil {
		d.Error = text(p.Err.Error())
	}
	for _, w := range p.Warnings {
		d.Warnings = append(d.Warnings, text(w))
	}
	for i, o := range p.Origins {
		d.Origins[i] = originDocument{Origin: text(o.Origin), Revision: int64(o.Revision), LagRevisions: o.LagRevisions, SyncedAt: timeOf(o.SyncedAt)}
		if o.Lag >= 0 {
			lag, age := o.Lag.Seconds(), o.Age.Seconds()
			d.Origins[i].LagSeconds, d.Origins[i].AgeSeconds = &lag, &age
		}
	}
	return d
}

// timeOf is nil for the zero time.
func timeOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// milliseconds rounds to microseconds.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (d *statusDocument) page() string { return "status.html" }

func (d *statusDocument) writeText(b *bytes.Buffer) {
	fmt.Fprintf(b, "node %s, version %s, cluster %s, epoch %d, masters %s\n\n", d.Node, d.Version, d.ClusterID, d.Epoch, d.Masters)
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
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
	fmt.Fprintf(b, "\nsync: %s\norphans: %d\n", d.Sync.Line(), d.Orphans)
}

// Lag says how far behind that is, for people.
func (o originDocument) Lag() string {
	if o.LagSeconds == nil {
		return "not filled yet"
	}
	return fmt.Sprintf("%d revisions, %.3fs", o.LagRevisions, *o.LagSeconds)
}
