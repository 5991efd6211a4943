package api

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"

	"github.com/runnelkv/runnel/api/internal/problem"
)

// listProblems is GET /problems.
func (s *Server) listProblems(w *response, r *request) error {
	d := &typeList{Kinds: make([]*typeDocument, len(problem.Types))}
	for i, k := range problem.Types {
		d.Kinds[i] = newTypeDocument(k)
	}
	return s.respond(w, r, http.StatusOK, d)
}

// getProblem is GET /problems/{slug}, the type URI of problems.
func (s *Server) getProblem(w *response, r *request) error {
	slug := strings.TrimPrefix(r.URL.Path, problemsPath)
	for _, k := range problem.Types {
		if k.Slug == slug {
			return s.respond(w, r, http.StatusOK, newTypeDocument(k))
		}
	}
	return problem.New(problem.UnknownRoute, "There is no problem of this name; /problems lists them all.")
}

// typeDocument explains a problem type.
type typeDocument struct {
	XMLName xml.Name `json:"-" xml:"problem_type"`
	URI     string   `json:"type" xml:"type"`
	*problem.Type
}

func newTypeDocument(k *problem.Type) *typeDocument {
	return &typeDocument{URI: problemsPath + k.Slug, Type: k}
}

func (d *typeDocument) page() string { return "kind.html" }

func (d *typeDocument) writeText(b *bytes.Buffer) {
	fmt.Fprintf(b, "%s\n%d %s\n\n%s\n", d.URI, d.Status, d.Title, d.Explanation)
}

// typeList is the index of problem types.
type typeList struct {
	XMLName xml.Name        `json:"-" xml:"problem_types"`
	Kinds   []*typeDocument `json:"problems" xml:"problem_type"`
}

func (d *typeList) page() string { return "kinds.html" }

func (d *typeList) writeText(b *bytes.Buffer) {
	for _, k := range d.Kinds {
		fmt.Fprintf(b, "%d %s: %s\n", k.Status, k.URI, k.Title)
	}
}
