package api

import (
	_ "embed"
	"encoding/xml"
	"net/http"

	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/wire"
)

// getIndex is GET /: the console for browsers, and links to everything for programs. Node and version are for admins.
func (s *Server) getIndex(w *exchange.Response, r *exchange.Request) error {
	if r.Variant.Format == negotiate.FormatHTML {
		return s.console.Home(w, r)
	}
	d := &indexDocument{
		Name: "runnel", Links: []link{
			{"keys", "/v1/keys", "the keys, and their values below"},
			{"status", "/v1/status", "partitions, masters, lag and the sync process"},
			{"health", "/healthz", "whether this process makes progress"},
			{"ready", "/readyz", "whether requests can be served"},
			{"metrics", "/metrics", "figures for Prometheus"},
			{"openapi", "/openapi.yaml", "every route, request and answer"},
			{"problems", "/problems", "every kind of error, explained"},
			{"bucket", exchange.BucketPath, "the classic paths: one node"},
			{"canonicalbucket", exchange.CanonicalPath, "the classic paths: all nodes together"},
		},
	}
	if r.Grants.MaySeeDetails() {
		d.Node, d.Version = wire.Text(s.options.Node), wire.Text(s.options.Version)
	}
	return s.shared.Respond(w, r, http.StatusOK, "index", d)
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

// openAPI describes all routes.
//
//go:embed openapi.yaml
var openAPI []byte

// serveFile returns the open method that answers with an embedded file.
func serveFile(contentType, cacheControl string, file []byte) exchange.Method {
	return answer(exchange.Open, func(w *exchange.Response, r *exchange.Request) error {
		w.SetField("Content-Type", contentType)
		w.SetField("Cache-Control", cacheControl)
		exchange.WriteWhole(w, r, file)
		return nil
	}, nil)
}
