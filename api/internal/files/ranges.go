package files

import (
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strconv"

	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/internal/ranges"
	"github.com/runnelkv/runnel/store/file"
)

// writeRanges answers a request with a Range header. Unknown units and malformed headers are ignored (RFC 9110, section
// 14.2).
func (s *Service) writeRanges(w *exchange.Response, r *exchange.Request, f *file.File) error {
	spans, ok := ranges.Parse(r.Header["Range"], f.Size)
	h := w.Header()
	switch {
	case !ok:
		w.SetField("Content-Length", strconv.FormatInt(f.Size, 10))
		return explain(f.WriteRange(r.Context(), body{w}, 0, f.Size, func() { w.WriteHeader(http.StatusOK) }))
	case len(spans) == 0:
		h["Content-Range"] = []string{"bytes */" + strconv.FormatInt(f.Size, 10)}
		delete(h, "Repr-Digest")
		return problem.New(problem.Range, "The file has %d bytes.", f.Size)
	case len(spans) == 1:
		h["Content-Range"] = []string{spans[0].ContentRange(f.Size)}
		w.SetField("Content-Length", strconv.FormatInt(spans[0].Length(), 10))
		return explain(f.WriteRange(r.Context(), body{w}, spans[0].First, spans[0].Length(), func() { w.WriteHeader(http.StatusPartialContent) }))
	}
	return s.writeParts(w, r, f, spans)
}

// writeParts answers with several ranges, as multipart/byteranges.
func (s *Service) writeParts(w *exchange.Response, r *exchange.Request, f *file.File, spans []ranges.Span) error {
	contentType := f.Read.Entry.ContentType
	var count counter
	framing := multipart.NewWriter(&count)
	boundary := framing.Boundary()
	for _, span := range spans {
		if _, err := framing.CreatePart(partHeader(contentType, span, f.Size)); err != nil {
			return err
		}
		count += counter(span.Length())
	}
	if err := framing.Close(); err != nil {
		return err
	}
	w.SetField("Content-Type", "multipart/byteranges; boundary="+boundary)
	w.SetField("Content-Length", strconv.FormatInt(int64(count), 10))
	parts := multipart.NewWriter(body{w})
	if err := parts.SetBoundary(boundary); err != nil {
		return err
	}
	for _, span := range spans {
		part := &partWriter{parts: parts, header: partHeader(contentType, span, f.Size)}
		err := f.WriteRange(r.Context(), part, span.First, span.Length(), func() {
			if w.Status == 0 {
				w.WriteHeader(http.StatusPartialContent)
			}
		})
		if err != nil {
			return explain(err)
		}
	}
	return parts.Close()
}

// partWriter begins its part with the first bytes.
type partWriter struct {
	parts  *multipart.Writer
	header textproto.MIMEHeader
	part   io.Writer
}

// Write implements io.Writer.
func (p *partWriter) Write(b []byte) (n int, err error) {
	if p.part == nil {
		if p.part, err = p.parts.CreatePart(p.header); err != nil {
			return 0, err
		}
	}
	return p.part.Write(b)
}

func partHeader(contentType string, span ranges.Span, size int64) textproto.MIMEHeader {
	return textproto.MIMEHeader{"Content-Range": {span.ContentRange(size)}, "Content-Type": {contentType}}
}

// counter counts bytes.
type counter int64

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// chunkNumber parses a parameter that is the index of a chunk; -1 if absent.
func chunkNumber(r *exchange.Request, name string) (int, error) {
	if !r.Query.Has(name) {
		return -1, nil
	}
	n, err := strconv.Atoi(r.Query.Get(name))
	if err != nil || n < 0 {
		return 0, problem.Parameter(name, "%s is the index of a chunk, from 0, not %q.", name, r.Query.Get(name))
	}
	return n, nil
}

// writeChunk answers with the bytes of a chunk.
func (s *Service) writeChunk(w *exchange.Response, r *exchange.Request, f *file.File) error {
	i, err := chunkNumber(r, "chunk")
	if err != nil {
		return err
	}
	total := max(len(f.Chunks), 1)
	if i >= total {
		return problem.Parameter("chunk", "The file has %d chunks; %d is not the index of a chunk.", total, i)
	}
	if err := w.Held.Grow(r.Context(), 2*f.ChunkBytes); err != nil {
		return err
	}
	data, err := f.Chunk(r.Context(), i)
	if err != nil {
		return explain(err)
	}
	h := w.Header()
	h["Content-Security-Policy"] = exchange.SandboxOf("")
	w.SetField("Etag", fmt.Sprintf(`"%s.%d"`, strconv.FormatInt(int64(f.Read.Entry.Revision), 10), i))
	w.SetField("Content-Type", "application/octet-stream")
	exchange.WriteWhole(w, r, data)
	return nil
}
