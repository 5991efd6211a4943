package api

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"strconv"
	"sync"

	"github.com/runnelkv/runnel/api/internal/negotiate"
)

// document is an answer that the server can encode in every format: JSON and XML by struct tags, HTML by template, text
// by writeText.
type document interface {
	page() string // name of the template
	writeText(b *bytes.Buffer)
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// keepBytes is the largest buffer that is kept for reuse.
const keepBytes = 1 << 20

func recycleBuffer(b *bytes.Buffer) {
	if b.Cap() <= keepBytes {
		b.Reset()
		buffers.Put(b)
	}
}

// respond writes a document in the negotiated variant. It encodes the whole document before it sends anything.
func (s *Server) respond(w *response, r *request, status int, d document) error {
	b := buffers.Get().(*bytes.Buffer)
	defer recycleBuffer(b)
	if err := s.encode(b, d, r); err != nil {
		return fmt.Errorf("encode %T: %w", d, err)
	}
	h := w.header
	h["Content-Type"] = []string{r.variant.ContentType}
	h["Content-Length"] = []string{strconv.Itoa(b.Len())}
	h["Vary"] = varyAccept
	if r.variant.Format == negotiate.FormatHTML {
		h["Content-Security-Policy"] = s.pages.policy
		setCookie(h, r.Header)
	}
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.writeBody(b.Bytes())
	}
	return nil
}

func (s *Server) encode(b *bytes.Buffer, d document, r *request) error {
	switch r.variant.Format {
	case negotiate.FormatJSON, negotiate.FormatNDJSON:
		return json.NewEncoder(b).Encode(d)
	case negotiate.FormatXML:
		b.WriteString(xml.Header)
		return xml.NewEncoder(b).Encode(d)
	case negotiate.FormatHTML:
		return s.pages.execute(b, d, r.URL.EscapedPath())
	case negotiate.FormatText:
		d.writeText(b)
		return nil
	}
	return fmt.Errorf("no document has form %d", r.variant.Format)
}
