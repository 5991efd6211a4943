package keys

import (
	"bytes"
	"net/http"
	"strconv"

	"github.com/runnelkv/runnel/api/internal/document"
	"github.com/runnelkv/runnel/api/internal/etag"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/internal/ranges"
	"github.com/runnelkv/runnel/api/internal/write"
	"github.com/runnelkv/runnel/store"
)

var acceptRanges = []string{"bytes"}

// writeValue answers with the stored bytes of a value.
func writeValue(w *exchange.Response, r *exchange.Request, e *store.Entry) error {
	h := w.Header()
	setValidators(w, e, negotiate.FormatRaw)
	h["Accept-Ranges"] = acceptRanges
	h["Content-Security-Policy"] = exchange.SandboxOf(e.ContentType)
	if write.Conditional(r.Header) {
		same, err := write.NotModified(r.Header, h["Etag"][0], e.ModifiedAt.Time())
		if err != nil {
			return err
		}
		if same {
			delete(h, "Accept-Ranges")
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	if len(e.Metadata) > 0 {
		document.SetMetadata(h, e.Metadata)
	}
	contentType := e.ContentType
	if contentType == "" {
		contentType = write.DefaultContentType // net/http would guess a missing type
	}
	w.SetField("Content-Type", contentType)
	exchange.SetDownload(h, r.Query)
	if r.Header["Range"] != nil && r.Method == http.MethodGet && ifRange(r.Header, e) {
		return writeRange(w, r, e)
	}
	exchange.WriteWhole(w, r, e.Value)
	return nil
}

// writeRange answers a request with a Range header. Unknown units and malformed headers are ignored (RFC 9110, section
// 14.2).
func writeRange(w *exchange.Response, r *exchange.Request, e *store.Entry) error {
	spans, ok := ranges.Parse(r.Header["Range"], e.Size)
	h := w.Header()
	switch {
	case !ok:
		exchange.WriteWhole(w, r, e.Value)
		return nil
	case len(spans) == 0:
		h["Content-Range"] = []string{"bytes */" + strconv.FormatInt(e.Size, 10)}
		return problem.New(problem.Range, "The value has %d bytes.", e.Size)
	case len(spans) == 1:
		h["Content-Range"] = []string{spans[0].ContentRange(e.Size)}
		h["Content-Length"] = []string{strconv.FormatInt(spans[0].Length(), 10)}
		w.WriteHeader(http.StatusPartialContent)
		w.WriteBody(e.Value[spans[0].First : spans[0].Last+1])
		return nil
	}
	// http.ServeContent writes the multipart answer. It sees only the Range header, because all other conditions are
	// decided.
	plain := r.Clone(r.Context())
	plain.Header = http.Header{"Range": {ranges.Header(spans)}}
	http.ServeContent(w, plain, "", e.ModifiedAt.Time(), bytes.NewReader(e.Value))
	return nil
}

// ifRange reports whether If-Range permits a partial answer: it is absent or equals the entity tag. Dates never match:
// two writes can share a second, so a date is not a strong validator (RFC 9110, sections 8.8.2.2 and 13.1.5).
func ifRange(h http.Header, e *store.Entry) bool {
	given := h["If-Range"]
	return len(given) == 0 || len(given) == 1 && given[0] == etag.Of(e.Revision, negotiate.FormatRaw)
}
