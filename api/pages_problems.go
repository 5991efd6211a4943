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
	d := &kindList{Kinds: make([]*kindDocument, len(problem.Types))}
	for i, k := range problem.Types {
		d.Kinds[i] = documentOf(k)
	}
	return s.respond(w, r, http.StatusOK, d)
}

// getProblem is GET /problems/{slug}, which the type of every problem leads to.
func (s *Server) getProblem(w *response, r *request) error {
	slug := strings.TrimPrefix(r.URL.Path, problemsPath)
	for _, k := range problem.Types {
		if k.Slug == slug {
			return s.respond(w, r, http.StatusOK, documentOf(k))
		}
	}
	return problem.New(problem.UnknownRoute, "There is no problem of this name; /problems lists them all.")
}

// kindDocument explains one kind of problem.
type kindDocument struct {
	XMLName     xml.Name `json:"-" xml:"problem_type"`
	Type        string   `json:"type" xml:"type"`
	Slug        string   `json:"slug" xml:"slug"`
	Status      int      `json:"status" xml:"status"`
	Title       string   `json:"title" xml:"title"`
	Explanation string   `json:"explanation" xml:"explanation"`
}

func documentOf(k *problem.Type) *kindDocument {
	return &kindDocument{Type: problemsPath + k.Slug, Slug: k.Slug, Status: k.Status, Title: k.Title, Explanation: k.Explanation}
}

func (d *kindDocument) page() string { return "kind.html" }

func (d *kindDocument) writeText(b *bytes.Buffer) {
	fmt.Fprintf(b, "%s\n%d %s\n\n%s\n", d.Type, d.Status, d.Title, d.Explanation)
}

// kindList is the index of all problem.Types.
type kindList struct {
	XMLName xml.Name        `json:"-" xml:"problem_types"`
	Kinds   []*kindDocument `json:"problems" xml:"problem_type"`
}

func (d *kindList) page() string { return "problem.Types.html" }

func (d *kindList) writeText(b *bytes.Buffer) {
	for _, k := range d.Kinds {
		fmt.Fprintf(b, "%d %s: %s\n", k.Status, k.Type, k.Title)
	}
}
