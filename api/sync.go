package api

import (
	"bytes"
	"fmt"
	"net/http"
	"time"
)

// postSync is POST /v1/sync: a pass now, and its report.
func (s *Server) postSync(w http.ResponseWriter, r *http.Request) error {
	if _, err := parameters(r); err != nil {
		return err
	}
	if _, ok := negotiate(r.Header["Accept"], offers); !ok {
		return refuseForm(offers) // before anything is done
	}
	if s.syncer == nil {
		return refuse(kindSyncElsewhere, "This server runs without the sync process.")
	}
	report, err := s.syncer.Trigger(r.Context())
	if err != nil {
		return err
	}
	w.Header()["Cache-Control"] = noStore
	return s.respond(w, r, http.StatusOK, &syncReportDocument{
		TookMS: milliseconds(report.Took), Targets: targetsOf(report.Targets),
	})
}

// syncReportDocument is the outcome of one pass.
type syncReportDocument struct {
	XMLName xmlName          `json:"-" xml:"sync"`
	TookMS  float64          `json:"took_ms" xml:"took_ms"`
	Targets []targetDocument `json:"targets" xml:"targets>target"`
}

func (d *syncReportDocument) page() string { return "sync.html" }

func (d *syncReportDocument) writeText(b *bytes.Buffer) {
	for _, t := range d.Targets {
		fmt.Fprintf(b, "%s: %s, %d copied, %d remaining %s\n", t.Name, t.State, t.Copied, t.Remaining, t.Error)
	}
	fmt.Fprintf(b, "took %.3f ms\n", d.TookMS)
}

// syncDocument is the state of the sync process.
type syncDocument struct {
	Running    bool             `json:"running" xml:"running"`
	Standby    bool             `json:"standby" xml:"standby"`
	LastPassAt *time.Time       `json:"last_pass_at,omitempty" xml:"last_pass_at,omitempty"`
	LastPassMS float64          `json:"last_pass_ms" xml:"last_pass_ms"`
	Passes     int64            `json:"passes" xml:"passes"`
	Targets    []targetDocument `json:"targets" xml:"targets>target"`
}

type targetDocument struct {
	Name      text   `json:"name" xml:"name"`
	State     string `json:"state" xml:"state"`
	Error     text   `json:"error,omitempty" xml:"error,omitempty"`
	Copied    int64  `json:"copied" xml:"copied"`
	Remaining int64  `json:"remaining" xml:"remaining"`
	Swept     int64  `json:"swept,omitempty" xml:"swept,omitempty"`
	Collected int64  `json:"collected,omitempty" xml:"collected,omitempty"`
}

// syncStatusOf documents the sync process; nil is one that runs elsewhere.
func syncStatusOf(syncer Syncer) syncDocument {
	if syncer == nil {
		return syncDocument{Targets: []targetDocument{}}
	}
	st := syncer.SyncStatus()
	return syncDocument{
		Running: st.Running, Standby: st.Standby, LastPassAt: timeOf(st.LastPass), LastPassMS: milliseconds(st.Took),
		Passes: st.Passes, Targets: targetsOf(st.Targets),
	}
}

func targetsOf(targets []SyncTarget) []targetDocument {
	out := make([]targetDocument, len(targets))
	for i, t := range targets {
		out[i] = targetDocument{Name: text(t.Name), State: t.State, Copied: t.Copied, Remaining: t.Remaining, Swept: t.Swept, Collected: t.Collected}
		if t.Err != nil {
			out[i].Error = text(t.Err.Error())
		}
	}
	return out
}

// Line sums the sync process up, for people.
func (d syncDocument) Line() string {
	switch {
	case !d.Running:
		return "not in this process"
	case d.Standby:
		return "standing by for another process"
	case d.LastPassAt == nil:
		return "no pass yet"
	}
	return fmt.Sprintf("%d passes, the last at %s took %.3f ms", d.Passes, d.LastPassAt.Format(time.RFC3339), d.LastPassMS)
}
