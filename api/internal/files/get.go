package files

import (
	"encoding/base64"
	"io"
	"net/http"
	"strconv"

	"github.com/runnelkv/runnel/api/internal/etag"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/internal/write"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/file"
)

// ReadParams are the parameters of GET.
var ReadParams = append([]string{"manifest", "chunk", "download", "prefix", "delimiter", "after", "limit"}, exchange.ReadParams...)

// Get is GET /v1/files/{path}.
func (s *Service) Get(w *exchange.Response, r *exchange.Request) error {
	if isDirectory(nameOf(r)) {
		return s.list(w, r)
	}
	f, err := s.open(w, r)
	if err != nil {
		return err
	}
	setValidators(w, &f.Read.Entry)
	switch {
	case r.Query.Has("manifest"):
		return s.writeManifest(w, r, f)
	case r.Query.Has("chunk"):
		return s.writeChunk(w, r, f)
	}
	same, err := write.NotModified(r.Header, w.Header()["Etag"][0], f.Read.Entry.ModifiedAt.Time())
	if err != nil {
		return err
	}
	if same {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return s.writeContent(w, r, f)
}

// checkRead returns the error in the parameters of a read of a file.
func (s *Service) checkRead(r *exchange.Request) error {
	for _, name := range []string{"prefix", "delimiter"} {
		if r.Query.Has(name) {
			return problem.Parameter(name, "%s is for directories, whose paths end in a slash.", name)
		}
	}
	if _, err := chunkNumber(r, "chunk"); err != nil {
		return err
	}
	if r.Query.Has("manifest") && r.Query.Has("chunk") {
		return problem.Parameter("chunk", "A request reads the manifest or a chunk.")
	}
	if err := exchange.CheckDownload(r.Query); err != nil {
		return err
	}
	if _, err := exchange.PageLimit(r.Query); err != nil {
		return err
	}
	if _, err := chunkNumber(r, "after"); err != nil {
		return err
	}
	_, err := s.ReadOptions(r.Header, r.Query)
	return err
}

// open reads the manifest of the request's file, and sets the headers about the partition that answered.
func (s *Service) open(w *exchange.Response, r *exchange.Request) (*file.File, error) {
	o, err := s.ReadOptions(r.Header, r.Query)
	if err != nil {
		return nil, err
	}
	f, read, err := s.files.Open(r.Context(), store.Name(r.Key), o)
	if read.Partition != "" {
		s.SetSession(w, o.Session, read.Seen)
		w.SetField("Runnel-Partition", read.Partition)
		if read.Staleness >= 0 {
			w.SetField("Runnel-Staleness", strconv.FormatFloat(read.Staleness.Seconds(), 'f', -1, 64))
		}
	}
	w.Header()["Cache-Control"] = exchange.NoCache
	if err != nil {
		return nil, err
	}
	return f, w.Held.Grow(r.Context(), int64(len(read.Entry.Value)))
}

// setValidators sets entity tag, date and revision of a file.
func setValidators(w *exchange.Response, e *store.Entry) {
	w.SetField("Etag", etag.Of(e.Revision, negotiate.FormatRaw))
	w.SetField("Last-Modified", e.ModifiedAt.Time().Format(http.TimeFormat))
	w.SetField("Runnel-Revision", strconv.FormatInt(int64(e.Revision), 10))
}

// setDigest sets Repr-Digest (RFC 9530), if the digest of the whole content is known.
func setDigest(h http.Header, sum []byte) {
	if sum != nil {
		h["Repr-Digest"] = []string{"sha-256=:" + base64.StdEncoding.EncodeToString(sum) + ":"}
	}
}

// writeContent answers with the content, or with ranges of it.
func (s *Service) writeContent(w *exchange.Response, r *exchange.Request, f *file.File) error {
	h := w.Header()
	e := &f.Read.Entry
	h["Accept-Ranges"] = []string{"bytes"}
	h["Content-Security-Policy"] = exchange.SandboxOf(e.ContentType)
	setDigest(h, f.Digest())
	for name, text := range f.Meta {
		h.Set(wire.MetaHeader+name, text)
	}
	w.SetField("Content-Type", e.ContentType)
	exchange.SetDownload(h, r.Query)
	if err := w.Held.Grow(r.Context(), f.DownloadBytes()); err != nil {
		return err
	}
	if r.Header["Range"] != nil && r.Method == http.MethodGet && ifRange(r.Header, e) {
		return s.writeRanges(w, r, f)
	}
	w.SetField("Content-Length", strconv.FormatInt(f.Size, 10))
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	return explain(f.WriteRange(r.Context(), body{w}, 0, f.Size, func() { w.WriteHeader(http.StatusOK) }))
}

// ifRange reports whether If-Range permits a partial answer: it is absent or equals the entity tag.
func ifRange(h http.Header, e *store.Entry) bool {
	given := h["If-Range"]
	return len(given) == 0 || len(given) == 1 && given[0] == etag.Of(e.Revision, negotiate.FormatRaw)
}

// body writes pieces of an answer, each with a fresh deadline.
type body struct{ w *exchange.Response }

// Write implements io.Writer.
func (b body) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		piece := p[n:min(n+exchange.FlushBytes, len(p))]
		if err = b.w.Send(piece); err == nil {
			n += len(piece)
		}
	}
	if err != nil {
		return n, &goneError{err}
	}
	return n, nil
}

// goneError says that the client takes no more of the answer. The answer has begun, so the connection breaks.
type goneError struct{ error }

var _ io.Writer = body{}
