package files

import (
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"slices"

	"github.com/runnelkv/runnel/api/audit"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/internal/write"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/file"
)

// Post is POST /v1/files/{path}: a form to a directory, or /verify or /copy behind the name of a file.
func (s *Service) Post(w *exchange.Response, r *exchange.Request) error {
	source, act := cutAct(nameOf(r))
	switch {
	case isDirectory(nameOf(r)):
		return s.postForm(w, r)
	case act == verify:
		return s.verify(w, r)
	}
	return s.copy(w, r, source)
}

// copy stores a file under another name, which is the request's key.
func (s *Service) copy(w *exchange.Response, r *exchange.Request, source string) error {
	o, err := s.ReadOptions(r.Header, nil)
	if err != nil {
		return err
	}
	copies, err := copiesOf(r)
	if err != nil {
		return err
	}
	decide, err := s.decide(r)
	if err != nil {
		return err
	}
	o.Consistency = store.FromMaster
	f, _, err := s.files.Open(r.Context(), source, o)
	if err != nil {
		return err
	}
	stored, err := s.files.Copy(r.Context(), f, store.Name(r.Key), file.PutOptions{Copies: copies, Decide: decide})
	if err != nil {
		return explain(err)
	}
	setDigest(w.Header(), stored.Manifest.Digest())
	s.answerStored(w, r, o.Session, stored)
	return nil
}

// verify reads every copy of a file, and restores damaged and missing copies.
func (s *Service) verify(w *exchange.Response, r *exchange.Request) error {
	f, err := s.open(w, r)
	if err != nil {
		return err
	}
	v, err := f.Verify(r.Context())
	if err != nil {
		return explain(err)
	}
	d := &wire.FileVerification{Path: wire.Text(store.Name(r.Key)), Chunks: v.Chunks, Copies: v.Copies, Whole: v.Whole, Damaged: v.Damaged,
		Missing: v.Missing, Repaired: v.Repaired, Lost: v.Lost, Away: v.Away, Clean: v.IsClean()}
	return s.respondJSON(w, r, http.StatusOK, d)
}

func (s *Service) respondJSON(w *exchange.Response, r *exchange.Request, status int, d any) (err error) {
	if r.Variant, err = negotiate.Choose(r.Header["Accept"], []negotiate.Variant{negotiate.JSON}); err != nil {
		return err
	}
	return s.Respond(w, r, status, "", d)
}

// maxParts bounds the files of a form.
const maxParts = 1000

// postForm stores the files of a form below a directory, one after the other while they arrive. A file that cannot be
// stored does not stop the rest.
func (s *Service) postForm(w *exchange.Response, r *exchange.Request) error {
	source, err := w.StreamBody(r)
	if err != nil {
		return err
	}
	r.Body = io.NopCloser(source)
	reader, err := r.MultipartReader()
	if err != nil {
		e := problem.New(problem.MediaType, "A form with files is multipart/form-data.")
		e.Members.Available = []string{"multipart/form-data"}
		return e
	}
	copies, err := copiesOf(r)
	if err != nil {
		return err
	}
	if err := w.Held.Grow(r.Context(), s.files.UploadBytes()); err != nil {
		return err
	}
	d := &wire.StoredFiles{Files: []*wire.StoredFile{}}
	for {
		part, err := reader.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return exchange.BodyError(err)
		}
		if part.FileName() == "" {
			continue // a field of the form that is no file
		}
		if len(d.Files) == maxParts {
			return problem.New(problem.TooLarge, "A form has at most %d files; those before were stored.", maxParts)
		}
		d.Files = append(d.Files, s.storePart(w, r, part, copies))
	}
	r.Key = file.Key(nameOf(r)) // of the audit line, after those of the parts
	return s.respondJSON(w, r, http.StatusCreated, d)
}

// storePart stores a file of a form.
func (s *Service) storePart(w *exchange.Response, r *exchange.Request, part *multipart.Part, copies int) *wire.StoredFile {
	name := nameOf(r) + part.FileName()
	result := &wire.StoredFile{Path: wire.Text(name)}
	stored, err := s.putPart(w, r, name, part, copies)
	if err != nil {
		e := exchange.AsProblem(explain(err))
		result.Status, result.Problem = e.Type.Status, &exchange.NewProblemDocument(w, e).Problem
		w.RecordItem(audit.Write, file.Key(name), &store.Entry{}, result.Status)
		return result
	}
	if result.Status = http.StatusNoContent; stored.Created {
		result.Status = http.StatusCreated
	}
	w.RecordItem(audit.Write, file.Key(name), &stored.Entry, result.Status)
	result.Size, result.SHA256, result.ETag = stored.Manifest.Size, stored.Manifest.SHA256, tagOf(&stored.Entry)
	return result
}

func (s *Service) putPart(w *exchange.Response, r *exchange.Request, name string, part *multipart.Part, copies int) (*file.Stored, error) {
	if err := s.parseName(r, name); err != nil {
		return nil, err
	}
	contentType, err := write.ContentTypeOf(http.Header(part.Header))
	if err != nil {
		return nil, err
	}
	if err := w.RequireItems(slices.Values([]exchange.Item{{Act: audit.Write, Key: r.Key}})); err != nil {
		return nil, err
	}
	return s.files.Put(r.Context(), name, part, file.PutOptions{ContentType: contentType, Copies: copies})
}
