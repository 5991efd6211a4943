package api

import (
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/api/internal/digest"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
)

// readValue reads the body as a value, and its content type. A body over the limit is refused before it is read if its
// length is announced, and while it is read otherwise.
func (s *Server) readValue(w *response, r *request) (value []byte, contentType string, err error) {
	if contentType, err = contentTypeOf(r.Header); err != nil {
		return nil, "", err
	}
	if value, err = w.readBody(r, s.store.MaxValueBytes(), problem.ValueTooLarge); err != nil {
		return nil, "", err
	}
	return value, contentType, digest.Check(r.Header, value)
}

// readBody reads a whole body of at most limit bytes; tooLarge makes the error for a larger body.
func (w *response) readBody(r *request, limit int64, tooLarge func(limit int64) *problem.Error) ([]byte, error) {
	if r.ContentLength == 0 && r.Header["Content-Length"] == nil {
		return nil, problem.New(problem.LengthRequired, "The request has neither a Content-Length nor a Transfer-Encoding.")
	}
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	body, err := w.readAll(r, limit)
	if err == nil {
		return body, nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooLarge(limit)
	}
	return nil, bodyError(err)
}

// readAll reads a whole body of at most limit bytes. It reserves memory first.
func (w *response) readAll(r *request, limit int64) (body []byte, err error) {
	size := r.ContentLength
	if size >= 0 {
		if err := w.held.Grow(r.Context(), budget.BodyCopies*size); err != nil {
			return nil, err
		}
		body = make([]byte, size)
		_, err = io.ReadFull(w.patient(r), body)
	} else {
		body, err = w.readUnknown(r, limit)
	}
	w.unread = w.unread && err != nil
	if len(body) > budget.FreeBytes { // reading may have used up the deadline
		http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(w.limits.Write))
	}
	return body, err
}

// readUnknown reads a body of unknown length.
func (w *response) readUnknown(r *request, limit int64) ([]byte, error) {
	source := http.MaxBytesReader(w.ResponseWriter, io.NopCloser(w.patient(r)), limit)
	body := make([]byte, 0, 4<<10)
	for {
		n, err := source.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case err == io.EOF:
			return body, nil
		case err != nil:
			return nil, err
		case len(body) == cap(body):
			if err := w.held.Grow(r.Context(), budget.BodyCopies*int64(cap(body))); err != nil {
				return nil, err
			}
			body = slices.Grow(body, cap(body))
		}
	}
}

// patient returns a reader of the body that moves the deadline after every budget.FreeBytes: slow clients may take
// their time, silent clients may not.
func (w *response) patient(r *request) io.Reader {
	if r.ContentLength >= 0 && r.ContentLength <= budget.FreeBytes {
		return r.Body
	}
	return &timedReader{Reader: r.Body, control: http.NewResponseController(w.ResponseWriter), timeout: w.limits.Body, least: budget.FreeBytes}
}

// bodyError explains why reading a body failed. All causes lie with the client or the connection.
func bodyError(err error) error {
	own, ok := errors.AsType[*problem.Error](err)
	switch {
	case ok:
		return own
	case errors.Is(err, os.ErrDeadlineExceeded):
		return problem.New(problem.Timeout, "The body did not arrive in time.")
	}
	return problem.New(problem.IncompleteBody, "The body ended before its announced end, or its encoding is broken.")
}

const (
	defaultContentType  = "application/octet-stream"
	maxContentTypeBytes = 255
)

// contentTypeOf returns the content type to store with a value.
func contentTypeOf(h http.Header) (string, error) {
	if h["Content-Range"] != nil {
		return "", problem.Header("Content-Range", "A part of a value cannot be written (RFC 9110, section 14.5).")
	}
	if coding := strings.Join(h["Content-Encoding"], ", "); coding != "" && !strings.EqualFold(coding, "identity") {
		return "", problem.New(problem.Encoding, "The body's Content-Encoding %s is not kept.", printable(coding))
	}
	given := h["Content-Type"]
	if len(given) > 1 {
		return "", problem.Header("Content-Type", "Content-Type is given %d times, and a value has one.", len(given))
	}
	if len(given) == 0 || given[0] == "" {
		return defaultContentType, nil
	}
	if !isMediaType(given[0]) {
		return "", problem.Header("Content-Type", "Content-Type is a media type like text/plain, of at most %d ASCII characters.", maxContentTypeBytes)
	}
	return given[0], nil
}

// isMediaType reports whether s is printable ASCII that begins with type/subtype. Parameters are not checked.
func isMediaType(s string) bool {
	if len(s) > maxContentTypeBytes {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	mediaType, _, _ := strings.Cut(s, ";")
	typ, subtype, ok := strings.Cut(strings.TrimSpace(mediaType), "/")
	return ok && wire.IsToken(typ) && wire.IsToken(subtype)
}

// decodeEntry reads the entry to store under the key of the request.
func (s *Server) decodeEntry(w *response, r *request) (e store.Entry, err error) {
	e.Key = r.key
	if e.Metadata, err = readMetadata(r.Header); err != nil {
		return e, err
	}
	e.Value, e.ContentType, err = s.readValue(w, r)
	return e, err
}
