package files

import (
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"

	"github.com/runnelkv/runnel/api/internal/cursor"
	"github.com/runnelkv/runnel/api/internal/document"
	"github.com/runnelkv/runnel/api/internal/etag"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/file"
)

// list answers with a page of the files of a directory.
func (s *Service) list(w *exchange.Response, r *exchange.Request) (err error) {
	if s.files == nil {
		return problem.New(problem.UnknownRoute, "This server has no files.")
	}
	o, err := s.listOptions(r)
	if err != nil {
		return err
	}
	if r.Variant, err = negotiate.Choose(r.Header["Accept"], negotiate.Documents); err != nil {
		return err
	}
	page, err := s.files.List(r.Context(), o)
	if err != nil {
		return err
	}
	d := &filesDocument{FilePage: wire.FilePage{Files: make([]*wire.File, len(page.Entries)), Prefixes: document.Texts(page.Prefixes)}, Prefix: o.Prefix}
	for i := range page.Entries {
		d.Files[i] = newFile(&page.Entries[i])
	}
	h := w.Header()
	h["Cache-Control"] = exchange.NoCache
	if page.Next != "" {
		d.Next = cursor.Cursor{Prefix: o.Prefix, Delimiter: o.Delimiter, After: page.Next}.String()
		following := url.Values{"after": {d.Next}}
		for name, values := range r.Query {
			if name != "after" {
				following[name] = values
			}
		}
		d.NextPath = r.URL.EscapedPath() + "?" + following.Encode()
		h["Link"] = []string{"<" + d.NextPath + `>; rel="next"`}
	}
	if page.Partition != "" {
		h["Runnel-Partition"] = []string{page.Partition}
	}
	h[exchange.SessionHeader] = []string{s.SessionToken(o.Session.Merge(page.Seen))}
	return s.Respond(w, r, http.StatusOK, "files", d)
}

// listOptions reads the options of a list. The prefix is the directory and the parameter prefix. A cursor contains the
// prefix of its list, and must belong to the directory.
func (s *Service) listOptions(r *exchange.Request) (o store.ListOptions, err error) {
	for _, name := range []string{"manifest", "chunk", "download", "r"} {
		if r.Query.Has(name) {
			return o, problem.Parameter(name, "%s is for files; this path is a directory.", name)
		}
	}
	if o.ReadOptions, err = s.ReadOptions(r.Header, r.Query); err != nil {
		return o, err
	}
	if o.Consistency == store.Quorum {
		return o, problem.Parameter("consistency", "A list comes from one partition: consistency is any, session, bounded or master.")
	}
	prefix, err := exchange.Part(r.Query, "prefix")
	if err != nil {
		return o, err
	}
	o.Prefix, o.Delimiter = nameOf(r)+prefix, "/"
	if r.Query.Has("delimiter") {
		if o.Delimiter, err = exchange.Part(r.Query, "delimiter"); err != nil {
			return o, err
		}
	}
	if o.Limit, err = exchange.PageLimit(r.Query); err != nil || !r.Query.Has("after") {
		return o, err
	}
	c, ok := cursor.Parse(r.Query.Get("after"))
	if !ok || c.Prefix != o.Prefix || c.Delimiter != o.Delimiter {
		return o, problem.New(problem.InvalidCursor, "The parameter after is not a cursor that a list of this directory gave.")
	}
	o.After = c.After
	return o, nil
}

// newFile describes the file of an entry by the summary in its metadata.
func newFile(e *store.Entry) *wire.File {
	summary, err := file.SummaryOf(e)
	if err != nil {
		summary.Size = e.Size // a damaged summary; the manifest itself has a checksum
	}
	return &wire.File{Path: wire.Text(store.Name(e.Key)), Size: summary.Size, ContentType: e.ContentType, SHA256: summary.SHA256, MD5: summary.MD5,
		ETag: etag.Of(e.Revision, negotiate.FormatRaw), Revision: int64(e.Revision), ModifiedAt: e.ModifiedAt.Time(), Metadata: summary.Meta}
}

// filesDocument is a page of files.
type filesDocument struct {
	wire.FilePage
	Prefix   string `json:"-" xml:"-"` // for the HTML page, like NextPath
	NextPath string `json:"-" xml:"-"`
}

// Names merges files and directories in order, for the plain text.
func (d *filesDocument) Names() []wire.Text {
	names := slices.Clone(d.Prefixes)
	for _, f := range d.Files {
		names = append(names, f.Path)
	}
	slices.Sort(names)
	return names
}

// writeManifest answers with the structure of a file and a page of its chunks.
func (s *Service) writeManifest(w *exchange.Response, r *exchange.Request, f *file.File) (err error) {
	if r.Variant, err = negotiate.Choose(r.Header["Accept"], []negotiate.Variant{negotiate.JSON}); err != nil {
		return err
	}
	limit, err := exchange.PageLimit(r.Query)
	if err != nil {
		return err
	}
	after, err := chunkNumber(r, "after")
	if err != nil {
		return err
	}
	first := min(after+1, len(f.Chunks))
	holders, err := f.Holders(r.Context(), first)
	if err != nil {
		return err
	}
	if limit > 0 {
		holders = holders[:min(limit, len(holders))]
	}
	d := &wire.FileManifest{File: *newFile(&f.Read.Entry), Copies: f.Copies, Inline: f.Inline, ChunkBytes: f.ChunkBytes, Total: len(f.Chunks), Chunks: []*wire.FileChunk{}}
	for i, names := range holders {
		hash := f.Chunks[first+i]
		d.Chunks = append(d.Chunks, &wire.FileChunk{Index: first + i, SHA256: hex.EncodeToString(hash[:]), Size: f.ChunkSize(first + i), Partitions: append([]string{}, names...)})
	}
	if last := first + len(holders) - 1; last+1 < len(f.Chunks) {
		d.Next = last
	}
	return s.Respond(w, r, http.StatusOK, "", d)
}
