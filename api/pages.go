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

// pages renders documents as HTML. Pages load nothing: the style is inline, and the policy allows exactly this style by
// its hash.
type pages struct {
	templates map[string]*template.Template
	style     template.CSS
	version   string
	policy    []string // Content-Security-Policy
}

func newPages(version string) *pages {
	style, err := pageFiles.ReadFile("pages/style.css")
	if err != nil {
		panic(err) // embedded files can be read
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

// here makes a path relative to the base of the page, so that links work behind a proxy that adds a path prefix.
func here(url string) string { return strings.TrimPrefix(url, "/") }

// baseOf returns the root of the server relative to url.
func baseOf(url string) string {
	return "./" + strings.Repeat("../", max(0, strings.Count(url, "/")-1))
}

// execute renders a document for the path url.
func (p *pages) execute(b *bytes.Buffer, d document, url string) error {
	return p.templates[d.page()].Execute(b, struct {
		Doc     document
		Style   template.CSS
		Version string
		Base    string
	}{d, p.style, p.version, baseOf(url)})
}
