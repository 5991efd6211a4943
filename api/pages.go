package api

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"path"
	"strings"

	"github.com/runnelkv/runnel/api/wire"
)

//go:embed pages
var pageFiles embed.FS

// pages are the HTML forms of documents. They load nothing: the style stands in
// the page, and the policy allows it by its hash and nothing else.
type pages struct {
	templates map[string]*template.Template
	style     template.CSS
	version   string
	policy    []string // Content-Security-Policy
}

func newPages(version string) *pages {
	style, err := pageFiles.ReadFile("pages/style.css")
	if err != nil {
		panic(err) // it is embedded
	}
	sum := sha256.Sum256(style)
	p := &pages{
		templates: map[string]*template.Template{}, style: template.CSS(style), version: version,
		policy: []string{"default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'; img-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'"},
	}
	files, err := pageFiles.ReadDir("pages")
	if err != nil {
		panic(err)
	}
	for _, f := range files {
		if path.Ext(f.Name()) != ".html" || f.Name() == "layout.html" {
			continue
		}
		t := template.New("layout.html").Funcs(template.FuncMap{
			"path": func(prefix string, name wire.Text) string { return wire.Path(prefix, string(name)) },
			"here": here,
		})
		p.templates[f.Name()] = template.Must(t.ParseFS(pageFiles, "pages/layout.html", "pages/"+f.Name()))
	}
	return p
}

// here makes a path of this server relative to the base of every page, so that
// links work below the path prefix of a proxy too.
func here(url string) string { return strings.TrimPrefix(url, "/") }

// baseOf is the root of the server, relative to a path of it.
func baseOf(url string) string {
	return "./" + strings.Repeat("../", max(0, strings.Count(url, "/")-1))
}

// execute writes the page of a document that is answered at the path url.
func (p *pages) execute(b *bytes.Buffer, d document, url string) error {
	return p.templates[d.page()].Execute(b, struct {
		Doc     document
		Style   template.CSS
		Version string
		Base    string
	}{d, p.style, p.version, baseOf(url)})
}
