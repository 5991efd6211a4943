package api

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
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
			"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
	}
	files, err := pageFiles.ReadDir("pages")
	if err != nil {
		panic(err)
	}
	for _, f := range files {
		if f.Name() == "layout.html" || f.Name() == "style.css" {
			continue
		}
		t := template.New("layout.html").Funcs(template.FuncMap{"path": func(prefix string, name text) string { return pathOf(prefix, string(name)) }})
		p.templates[f.Name()] = template.Must(t.ParseFS(pageFiles, "pages/layout.html", "pages/"+f.Name()))
	}
	return p
}

func (p *pages) execute(b *bytes.Buffer, d document) error {
	return p.templates[d.page()].Execute(b, struct {
		Doc     document
		Style   template.CSS
		Version string
	}{d, p.style, p.version})
}
