package terraform

import (
	"encoding/xml"
	"fmt"
	"net/http"

	"github.com/runnelkv/runnel/api/internal/cursor"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/terraform"
)

// History is GET /v1/terraform/{name}/history, answered by the master: the kept versions, the newest first.
func (s *Service) History(w *exchange.Response, r *exchange.Request) error {
	name := store.Name(r.Key)
	kept, stands, err := s.states.History(r.Context(), name)
	if err != nil {
		return asProblem(err)
	}
	d := &historyDocument{wire.TerraformHistory{Name: wire.Text(name), Versions: make([]*wire.TerraformVersion, len(kept))}}
	for i := range kept {
		d.Versions[i] = documentOf(&kept[i], stands && i == 0)
	}
	w.Header()["Cache-Control"] = exchange.NoStore
	return s.Respond(w, r, http.StatusOK, "lines", d)
}

// List is GET /v1/terraform, answered by any partition: a state of the list may have changed meanwhile.
func (s *Service) List(w *exchange.Response, r *exchange.Request) error {
	o, err := listOptions(r)
	if err != nil {
		return err
	}
	lines, page, err := s.states.List(r.Context(), o)
	if err != nil {
		return err
	}
	d := &listDocument{TerraformPage: wire.TerraformPage{States: make([]*wire.TerraformState, len(lines))}}
	for i := range lines {
		l := &lines[i]
		d.States[i] = &wire.TerraformState{Name: wire.Text(l.Name), Present: *documentOf(&l.Version, true), Kept: l.Kept}
	}
	h := w.Header()
	h["Cache-Control"] = exchange.NoStore
	if page.Next != "" {
		d.Next = cursor.Cursor{Prefix: o.Prefix, After: page.Next}.String()
		q := r.URL.Query()
		q.Set("after", d.Next)
		d.nextPath = wire.TerraformPath + "?" + q.Encode()
		h["Link"] = []string{"<" + d.nextPath + `>; rel="next"`}
	}
	return s.Respond(w, r, http.StatusOK, "lines", d)
}

func listOptions(r *exchange.Request) (o store.ListOptions, err error) {
	if o.Prefix, err = exchange.Part(r.Query, "prefix"); err != nil {
		return o, err
	}
	if o.Limit, err = exchange.PageLimit(r.Query); err != nil || !r.Query.Has("after") {
		return o, err
	}
	c, ok := cursor.Parse(r.Query.Get("after"))
	if !ok || c.Delimiter != "" || r.Query.Has("prefix") && o.Prefix != c.Prefix {
		return o, problem.New(problem.InvalidCursor, "The parameter after is not a cursor that this list gave.")
	}
	o.Prefix, o.After = c.Prefix, c.After
	return o, nil
}

// listedPrefix returns the prefix of a list, which a cursor contains.
func listedPrefix(r *exchange.Request) (string, error) {
	o, err := listOptions(r)
	return o.Prefix, err
}

// documentOf returns the document of a version.
func documentOf(v *terraform.Version, stands bool) *wire.TerraformVersion {
	return &wire.TerraformVersion{ID: int64(v.ID), Serial: v.Serial, Lineage: wire.Text(v.Lineage), Tool: wire.Text(v.Tool), Size: v.Size, StoredAt: v.At.Time(),
		By: wire.Text(v.By), Stands: stands}
}

// versionDocument is a version with its HTML page and plain text.
type versionDocument struct{ wire.TerraformVersion }

// Heading, Lines and NextPage are for the templates, here and below.
func (d *versionDocument) Heading() string  { return "Version of a state" }
func (d *versionDocument) Lines() []string  { return []string{d.Line()} }
func (d *versionDocument) NextPage() string { return "" }

// lockDocument is a lock, as versionDocument.
type lockDocument struct {
	XMLName xml.Name `json:"-" xml:"lock"`
	wire.TerraformLock
}

func (d *lockDocument) Heading() string  { return "Lock of a state" }
func (d *lockDocument) NextPage() string { return "" }
func (d *lockDocument) Lines() []string {
	return []string{fmt.Sprintf("%q has locked the state, with the ID %q", d.Who, d.ID)}
}

// historyDocument is a history, as versionDocument.
type historyDocument struct{ wire.TerraformHistory }

func (d *historyDocument) Heading() string  { return "Versions of a state" }
func (d *historyDocument) NextPage() string { return "" }
func (d *historyDocument) Lines() (lines []string) {
	for _, v := range d.Versions {
		lines = append(lines, v.Line())
	}
	return lines
}

// listDocument is a page of states.
type listDocument struct {
	wire.TerraformPage
	nextPath string
}

func (d *listDocument) Heading() string  { return "States of Terraform and OpenTofu" }
func (d *listDocument) NextPage() string { return d.nextPath }
func (d *listDocument) Lines() (lines []string) {
	for _, s := range d.States {
		lines = append(lines, fmt.Sprintf("%q: %s, %d kept", s.Name, s.Present.Line(), s.Kept))
	}
	return lines
}
