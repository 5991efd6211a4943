package api

import (
	"encoding/xml"
	"net/http"
	"strings"

	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/problem"
)

// listProblems is GET /problems.
func (s *Server) listProblems(w *exchange.Response, r *exchange.Request) error {
	d := &typeList{Types: make([]*typeDocument, len(problem.Types))}
	for i, k := range problem.Types {
		d.Types[i] = newTypeDocument(k)
	}
	return s.shared.Respond(w, r, http.StatusOK, "problem_types", d)
}

// getProblem is GET /problems/{slug}, the type URI of problems.
func (s *Server) getProblem(w *exchange.Response, r *exchange.Request) error {
	slug := strings.TrimPrefix(r.URL.Path, exchange.ProblemsPath)
	for _, k := range problem.Types {
		if k.Slug == slug {
			return s.shared.Respond(w, r, http.StatusOK, "problem_type", newTypeDocument(k))
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
	return &typeDocument{URI: exchange.ProblemsPath + k.Slug, Type: k}
}

// typeList is the index of problem types.
type typeList struct {
	XMLName xml.Name        `json:"-" xml:"problem_types"`
	Types   []*typeDocument `json:"problems" xml:"problem_type"`
}
