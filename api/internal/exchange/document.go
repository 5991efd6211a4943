package exchange

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/internal/pages"
)

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// KeepBytes is the largest buffer that is kept for reuse.
const KeepBytes = 1 << 20

func recycleBuffer(b *bytes.Buffer) {
	if b.Cap() <= KeepBytes {
		b.Reset()
		buffers.Put(b)
	}
}

// Respond writes a document in the negotiated variant: as JSON or XML by the tags of d, otherwise by the templates of
// page. It encodes the whole document before it sends anything.
func (s *Shared) Respond(w *Response, r *Request, status int, page string, d any) error {
	b := buffers.Get().(*bytes.Buffer)
	defer recycleBuffer(b)
	if err := s.encode(b, page, d, r); err != nil {
		return fmt.Errorf("encode %T: %w", d, err)
	}
	h := w.header
	h["Content-Type"] = []string{r.Variant.ContentType}
	h["Content-Length"] = []string{strconv.Itoa(b.Len())}
	h["Vary"] = VaryAccept
	if r.Variant.Format == negotiate.FormatHTML {
		h["Content-Security-Policy"] = s.Pages.Policy
		setCookie(h, r.Header)
	}
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.WriteBody(b.Bytes())
	}
	return nil
}

func (s *Shared) encode(b *bytes.Buffer, page string, d any, r *Request) error {
	switch r.Variant.Format {
	case negotiate.FormatJSON, negotiate.FormatNDJSON:
		return json.NewEncoder(b).Encode(d)
	case negotiate.FormatXML:
		b.WriteString(xml.Header)
		return xml.NewEncoder(b).Encode(d)
	case negotiate.FormatHTML:
		version := ""
		if r.Grants.MaySeeDetails() {
			version = s.Version
		}
		return s.Pages.Execute(b, page, pages.View{Document: d, URL: r.URL.EscapedPath(), Version: version})
	case negotiate.FormatText:
		return s.Pages.ExecuteText(b, page, d)
	}
	return fmt.Errorf("no document has form %d", r.Variant.Format)
}

// WriteWhole answers with a body.
func WriteWhole(w *Response, r *Request, value []byte) {
	w.SetField("Content-Length", strconv.Itoa(len(value)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		w.WriteBody(value)
	}
}

// sandboxedPage is the policy for stored pages. It gives them an origin of their own, so that they cannot act as pages of
// this server, run scripts, send forms or stand in frames. They may load other stored values.
var sandboxedPage = []string{"sandbox; default-src 'self' data:; style-src 'self' 'unsafe-inline'; script-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}

// SandboxOf returns the Content-Security-Policy of a stored value.
func SandboxOf(contentType string) []string {
	if strings.Contains(contentType, "ml") || strings.Contains(contentType, "ML") || strings.Contains(contentType, "svg") {
		return sandboxedPage // HTML, XHTML, XML, SVG
	}
	return sandbox
}
