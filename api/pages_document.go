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

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// keepBytes is the largest buffer that is kept for reuse.
const keepBytes = 1 << 20

func recycleBuffer(b *bytes.Buffer) {
	if b.Cap() <= keepBytes {
		b.Reset()
		buffers.Put(b)
	}
}

// respond writes a document in the negotiated variant: as JSON or XML by the tags of d, otherwise by the templates of
// page. It encodes the whole document before it sends anything.
func (s *Server) respond(w *response, r *request, status int, page string, d any) error {
	b := buffers.Get().(*bytes.Buffer)
	defer recycleBuffer(b)
	if err := s.encode(b, page, d, r); err != nil {
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

func (s *Server) encode(b *bytes.Buffer, page string, d any, r *request) error {
	switch r.variant.Format {
	case negotiate.FormatJSON, negotiate.FormatNDJSON:
		return json.NewEncoder(b).Encode(d)
	case negotiate.FormatXML:
		b.WriteString(xml.Header)
		return xml.NewEncoder(b).Encode(d)
	case negotiate.FormatHTML:
		return s.pages.execute(b, page, d, r.URL.EscapedPath())
	case negotiate.FormatText:
		return s.pages.text[page].Execute(b, d)
	}
	return fmt.Errorf("no document has form %d", r.variant.Format)
}
