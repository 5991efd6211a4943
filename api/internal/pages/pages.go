package pages

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"html/template"
	"io/fs"
	"net/url"
	"path"
	"strings"
	texttemplate "text/template"

	"github.com/runnelkv/runnel/api/wire"
)

//go:embed templates
var pageFiles embed.FS

// Pages renders documents as HTML and as plain text. Pages load nothing: the style is inline, and the policy allows
// exactly this style by its hash.
type Pages struct {
	templates map[string]*template.Template     // HTML, by page
	text      map[string]*texttemplate.Template // plain text, by page
	style     template.CSS
	Policy    []string // Content-Security-Policy
}

// New returns the pages of a server.
func New() *Pages {
	style, err := pageFiles.ReadFile("templates/style.css")
	if err != nil {
		panic(err) // embedded files can be read
	}
	sum := sha256.Sum256(style)
	p := &Pages{
		templates: map[string]*template.Template{}, text: map[string]*texttemplate.Template{}, style: template.CSS(style),
		Policy: []string{"default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'; img-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'"},
	}
	files, err := fs.Glob(pageFiles, "templates/*.*")
	below, failed := fs.Glob(pageFiles, "templates/*/*.*")
	if err := errors.Join(err, failed); err != nil {
		panic(err)
	}
	functions := template.FuncMap{
		"path": func(prefix string, name wire.Text) string { return wire.Path(prefix, string(name)) },
		"here": here,
		"dir":  func(name wire.Text) string { return directory(string(name)) },
	}
	for _, file := range append(files, below...) {
		switch page, extension, _ := strings.Cut(path.Base(file), "."); {
		case extension == "txt":
			p.text[page] = texttemplate.Must(texttemplate.ParseFS(pageFiles, file))
		case extension == "html" && page != "layout":
			t := template.New("layout.html").Funcs(functions)
			p.templates[page] = template.Must(t.ParseFS(pageFiles, "templates/layout.html", file))
		}
	}
	return p
}

// here makes a path relative to the base of the page, so that links work behind a proxy that adds a path prefix.
func here(url string) string { return strings.TrimPrefix(url, "/") }

// directory returns the path of a directory of files, with its slashes.
func directory(name string) string {
	segments := strings.Split(name, "/")
	for i := range segments {
		segments[i] = url.PathEscape(segments[i])
	}
	return wire.FilesPath + strings.Join(segments, "/")
}

// baseOf returns the root of the server relative to url.
func baseOf(url string) string {
	return "./" + strings.Repeat("../", max(0, strings.Count(url, "/")-1))
}

// View is a document as a page shows it.
type View struct {
	Document any
	URL      string // path of the request
	Version  string // of the program; "" shows none
}

// Execute renders a document as HTML.
func (p *Pages) Execute(b *bytes.Buffer, page string, v View) error {
	return p.templates[page].Execute(b, struct {
		Doc     any
		Style   template.CSS
		Version string
		Base    string
	}{v.Document, p.style, v.Version, baseOf(v.URL)})
}

// ExecuteText renders a document as plain text.
func (p *Pages) ExecuteText(b *bytes.Buffer, page string, d any) error {
	return p.text[page].Execute(b, d)
}

// Icon is shown by browsers beside the title.
//
//go:embed icon.svg
var Icon []byte
