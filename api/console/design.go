package console

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"math"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/wire"
)

//go:embed templates static
var files embed.FS

// design holds the templates, and the files that pages load.
type design struct {
	templates map[string]*template.Template
	names     map[string]string // of the files in a path, with a hash of the content: console.css is console.1f2e….css
	assets    map[string]asset  // by that name
}

// asset is a file that pages load.
type asset struct {
	contentType string
	etag        string
	content     []byte
}

// newDesign reads the embedded files, and panics if one is broken.
func newDesign() *design {
	d := &design{templates: map[string]*template.Template{}, names: map[string]string{}, assets: map[string]asset{}}
	for _, name := range glob("static/*") {
		content, err := files.ReadFile(name)
		if err != nil {
			panic(err) // embedded files can be read
		}
		sum := sha256.Sum256(content)
		hash := hex.EncodeToString(sum[:8])
		base := path.Base(name)
		hashed := strings.TrimSuffix(base, path.Ext(base)) + "." + hash + path.Ext(base)
		d.names[base] = hashed
		d.assets[hashed] = asset{mime.TypeByExtension(path.Ext(base)), `"` + hash + `"`, content}
	}
	for _, name := range glob("templates/*.html") {
		page := strings.TrimSuffix(path.Base(name), ".html")
		if page != "layout" {
			t := template.New("layout.html").Funcs(functions)
			d.templates[page] = template.Must(t.ParseFS(files, "templates/layout.html", name))
		}
	}
	return d
}

func glob(pattern string) []string {
	names, err := fs.Glob(files, pattern)
	if err != nil {
		panic(err) // the patterns are valid
	}
	return names
}

// serve answers with a file.
func (d *design) serve(w *exchange.Response, r *exchange.Request, name string) error {
	a, found := d.assets[name]
	if !found {
		return problem.New(problem.UnknownRoute, "The console has no such file.")
	}
	h := w.Header()
	h["Etag"] = []string{a.etag}
	h["Cache-Control"] = []string{"public, max-age=31536000, immutable"}
	h["Vary"] = exchange.VaryAccept
	if r.Header.Get("If-None-Match") == a.etag {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	w.SetField("Content-Type", a.contentType)
	exchange.WriteWhole(w, r, a.content)
	return nil
}

// functions are those of the templates.
var functions = template.FuncMap{
	"ago":     func(t time.Time) string { return ago(time.Since(t)) },
	"at":      func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	"bytes":   byteSize,
	"digits":  digits,
	"icon":    icon,
	"percent": func(part, whole int) int { return 100 * part / max(1, whole) },
	"rel": func(prefix string, name wire.Text) string {
		return strings.TrimPrefix(wire.Path(prefix, string(name)), "/")
	},
	"stamp":  stamp,
	"words":  func(s string) string { return strings.ReplaceAll(s, "_", " ") },
	"within": func(t time.Time) string { return "in " + span(time.Until(t)) },
}

// stamp is a time for programs.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// ago describes the age of an event.
func ago(d time.Duration) string {
	if d < 5*time.Second {
		return "just now"
	}
	return span(d) + " ago"
}

// span describes a duration by its largest unit.
func span(d time.Duration) string {
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}} {
		if n := int64(d / unit.of); n > 0 {
			return fmt.Sprintf("%d %s", n, unit.name)
		}
	}
	return "0 s"
}

// byteSize describes a number of bytes with three digits.
func byteSize(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	exponent := min(int(math.Log2(float64(n)))/10, 5)
	v := float64(n) / math.Pow(1024, float64(exponent))
	return strconv.FormatFloat(v, 'f', max(0, 2-int(math.Log10(v))), 64) + " " + []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}[exponent]
}

// digits groups the digits of a decimal number by threes.
func digits(n any) string {
	text := fmt.Sprint(n)
	sign := ""
	if rest, negative := strings.CutPrefix(text, "-"); negative {
		text, sign = rest, "−"
	}
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "\u202f" + text[i:]
	}
	return sign + text
}

// icon draws one of the icons.
func icon(name string) template.HTML {
	return template.HTML(`<svg class="icon" width="18" height="18" viewBox="0 0 20 20" aria-hidden="true"><path d="` + icons[name] + `"/></svg>`) // constants alone
}

var icons = map[string]string{
	"overview": "M3 10h3l2-6 4 12 2-6h3",
	"keys":     "M12.5 3a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9ZM9.3 10.7 3 17M5 15l2 2",
	"changes":  "M3 6h10M3 10h7M3 14h10M15 8l3 2-3 2",
	"locks":    "M5 9h10v8H5zM7 9V6.500a3 3 0 0 1 6 0V9",
	"accounts": "M3 6h14v9H3zM3 9h14M6 12h3",
	"files":    "M3 5h5l2 2h7v9H3z",
	"masters":  "M10 3v4M10 7 4 12M10 7l6 5M4 12v4M16 12v4",
	"folder":   "M3 5h5l2 2h7v9H3z",
	"key":      "M4 4h8l4 4v9H4zM12 4v4h4",
	"ok":       "M4 10.500 8 14.500 16 6",
	"warn":     "M10 3 18 17H2zM10 8v4M10 14v.5",
	"bad":      "M5 5 15 15M15 5 5 15",
	"unknown":  "M10 15v.5M7.500 7a2.500 2.500 0 1 1 2.500 3v2",
	"user":     "M10 3a3.500 3.500 0 1 0 0 7 3.500 3.500 0 0 0 0-7ZM3.500 17c1-4 12-4 13 0",
	"search":   "M9 3a6 6 0 1 0 0 12A6 6 0 0 0 9 3ZM13.500 13.500 17 17",
	"plus":     "M10 4v12M4 10h12",
}
