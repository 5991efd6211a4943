package api

import (
	_ "embed"
	"encoding/xml"
	"net/http"

	"github.com/runnelkv/runnel/api/wire"
)

// getIndex is GET /: links to everything.
func (s *Server) getIndex(w *response, r *request) error {
	return s.respond(w, r, http.StatusOK, "index", &indexDocument{
		Name: "runnel", Node: wire.Text(s.options.Node), Version: wire.Text(s.options.Version), Links: []link{
			{"keys", "/v1/keys", "the keys, and their values below"},
			{"status", "/v1/status", "partitions, masters, lag and the sync process"},
			{"health", "/healthz", "whether this process makes progress"},
			{"ready", "/readyz", "whether requests can be served"},
			{"metrics", "/metrics", "figures for Prometheus"},
			{"openapi", "/openapi.yaml", "every route, request and answer"},
			{"problems", "/problems", "every kind of error, explained"},
			{"bucket", bucketPath, "the classic paths: one node"},
			{"canonicalbucket", canonicalPath, "the classic paths: all nodes together"},
		},
	})
}

type indexDocument struct {
	XMLName xml.Name  `json:"-" xml:"index"`
	Name    string    `json:"name" xml:"name"`
	Node    wire.Text `json:"node" xml:"node"`
	Version wire.Text `json:"version" xml:"version"`
	Links   []link    `json:"links" xml:"link"`
}

type link struct {
	Name  string `json:"name" xml:"name,attr"`
	Path  string `json:"path" xml:"path,attr"`
	Title string `json:"title" xml:"title,attr"`
}

// icon is shown by browsers beside the title.
//
//go:embed pages/icon.svg
var icon []byte

// openAPI describes all routes.
//
//go:embed openapi.yaml
var openAPI []byte

// serveFile returns the handler of an embedded file.
func serveFile(contentType, cacheControl string, file []byte) handler {
	return func(w *response, r *request) error {
		w.setField("Content-Type", contentType)
		w.setField("Cache-Control", cacheControl)
		writeWhole(w, r, file)
		return nil
	}
}
