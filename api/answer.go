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

// document is a structured answer: JSON and XML come from its tags, HTML from
// its page, plain text from itself.
type document interface {
	page() string // the name of its template
	writeText(b *bytes.Buffer)
}

// answer is a document about to be written.
type answer struct {
	status   int
	document document
	offer    negotiate.Variant
}

// respond negotiates the form of a document and writes it.
func (s *Server) respond(w http.ResponseWriter, r *http.Request, status int, d document) error {
	return s.respondAs(w, r, answer{status: status, document: d}, negotiate.Documents)
}

// respondAs is respond for another choice of forms.
func (s *Server) respondAs(w http.ResponseWriter, r *http.Request, a answer, among []negotiate.Variant) error {
	o, err := negotiate.Choose(r.Header["Accept"], among)
	if err != nil {
		return err
	}
	a.offer = o
	s.write(w, r, a)
	return nil
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// keepBytes is the largest buffer that is kept for another answer.
const keepBytes = 1 << 20

// write encodes a document whole before it sends anything. That it cannot be
// encoded is a mistake of the program.
func (s *Server) write(w http.ResponseWriter, r *http.Request, a answer) {
	b := buffers.Get().(*bytes.Buffer)
	defer func() {
		if b.Cap() <= keepBytes {
			b.Reset()
			buffers.Put(b)
		}
	}()
	if err := s.encode(b, a, r.URL.EscapedPath()); err != nil {
		panic(fmt.Errorf("encode %T: %w", a.document, err))
	}
	h := w.Header()
	h["Content-Type"] = []string{a.offer.ContentType}
	h["Content-Length"] = []string{strconv.Itoa(b.Len())}
	h["Vary"] = varyAccept
	if a.offer.Format == negotiate.FormatHTML {
		h["Content-Security-Policy"] = s.pages.policy
		setCookie(h, r.Header)
	}
	w.WriteHeader(a.status)
	if r.Method != http.MethodHead {
		w.(*response).writeBody(b.Bytes())
	}
}

func (s *Server) encode(b *bytes.Buffer, a answer, path string) error {
	switch a.offer.Format {
	case negotiate.FormatJSON, negotiate.FormatNDJSON:
		return json.NewEncoder(b).Encode(a.document)
	case negotiate.FormatXML:
		b.WriteString(xml.Header)
		return xml.NewEncoder(b).Encode(a.document)
	case negotiate.FormatHTML:
		return s.pages.execute(b, a.document, path)
	case negotiate.FormatText:
		a.document.writeText(b)
		return nil
	}
	return fmt.Errorf("no document has form %d", a.offer.Format)
}
