package api

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"strings"
	texttemplate "text/template"

	"github.com/runnelkv/runnel/api/wire"
)

//go:embed pages
var pageFiles embed.FS

// pages renders documents as HTML and as plain text. Pages load nothing: the style is inline, and the policy allows
// exactly this style by its hash.
type pages struct {
	templates map[string]*template.Template     // HTML, by page
	text      map[string]*texttemplate.Template // plain text, by page
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
		templates: map[string]*template.Template{}, text: map[string]*texttemplate.Template{}, style: template.CSS(style), version: version,
		policy: []string{"default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'; img-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'"},
	}
	files, err := pageFiles.ReadDir("pages")
	if err != nil {
		panic(err)
	}
	functions := template.FuncMap{
		"path": func(prefix string, name wire.Text) string { return wire.Path(prefix, string(name)) },
		"here": here,
	}
	for _, f := range files {
		switch page, extension, _ := strings.Cut(f.Name(), "."); {
		case extension == "txt":
			p.text[page] = texttemplate.Must(texttemplate.ParseFS(pageFiles, "pages/"+f.Name()))
		case extension == "html" && page != "layout":
			t := template.New("layout.html").Funcs(functions)
			p.templates[page] = template.Must(t.ParseFS(pageFiles, "pages/layout.html", "pages/"+f.Name()))
		}
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
func (p *pages) execute(b *bytes.Buffer, page string, d any, url string) error {
	return p.templates[page].Execute(b, struct {
		Doc     any
		Style   template.CSS
		Version string
		Base    string
	}{d, p.style, p.version, baseOf(url)})
}
