package exchange

import (
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/api/internal/problem"
)

// StreamBody returns a reader of a body of any length. It gives a client that sends slowly its time, and leaves the time for
// the answer once the body was read.
func (w *Response) StreamBody(r *Request) (io.Reader, error) {
	if r.ContentLength == 0 && r.Header["Content-Length"] == nil {
		return nil, problem.New(problem.LengthRequired, "The request has neither a Content-Length nor a Transfer-Encoding.")
	}
	return &streamedBody{w.patient(r), w}, nil
}

type streamedBody struct {
	io.Reader
	w *Response
}

func (b *streamedBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		b.w.Unread = false
		b.w.SetWriteDeadline(time.Now().Add(b.w.Timeouts.Write)) // fails in tests
	}
	if err != nil && err != io.EOF {
		err = BodyError(err)
	}
	return n, err
}

// ReadBody reads a whole body of at most limit bytes; tooLarge makes the error for a larger body.
func (w *Response) ReadBody(r *Request, limit int64, tooLarge func(limit int64) *problem.Error) ([]byte, error) {
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
	return nil, BodyError(err)
}

// readAll reads a whole body of at most limit bytes. It reserves memory first.
func (w *Response) readAll(r *Request, limit int64) (body []byte, err error) {
	size := r.ContentLength
	if size >= 0 {
		if err := w.Held.Grow(r.Context(), budget.BodyCopies*size); err != nil {
			return nil, err
		}
		body = make([]byte, size)
		_, err = io.ReadFull(w.patient(r), body)
	} else {
		body, err = w.readUnknown(r, limit)
	}
	w.Unread = w.Unread && err != nil
	if len(body) > budget.FreeBytes { // reading may have used up the deadline
		w.SetWriteDeadline(time.Now().Add(w.Timeouts.Write))
	}
	return body, err
}

// readUnknown reads a body of unknown length.
func (w *Response) readUnknown(r *Request, limit int64) ([]byte, error) {
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
			if err := w.Held.Grow(r.Context(), budget.BodyCopies*int64(cap(body))); err != nil {
				return nil, err
			}
			body = slices.Grow(body, cap(body))
		}
	}
}

// patient returns a reader of the body that moves the deadline after every budget.FreeBytes: slow clients may take
// their time, silent clients may not.
func (w *Response) patient(r *Request) io.Reader {
	if r.ContentLength >= 0 && r.ContentLength <= budget.FreeBytes {
		return r.Body
	}
	return &timedReader{Reader: r.Body, control: http.NewResponseController(w.ResponseWriter), timeout: w.Timeouts.Body, least: budget.FreeBytes}
}

// BodyError explains why reading a body failed. All causes lie with the client or the connection.
func BodyError(err error) error {
	own, ok := errors.AsType[*problem.Error](err)
	switch {
	case ok:
		return own
	case errors.Is(err, os.ErrDeadlineExceeded):
		return problem.New(problem.Timeout, "The body did not arrive in time.")
	}
	return problem.New(problem.IncompleteBody, "The body ended before its announced end, or its encoding is broken.")
}

// timedReader moves the client's deadline after every least bytes.
type timedReader struct {
	io.Reader
	control *http.ResponseController
	timeout time.Duration
	least   int
	since   int // bytes since the last move
}

func (r *timedReader) Read(p []byte) (int, error) {
	if r.since >= r.least {
		r.since = 0
		r.control.SetReadDeadline(time.Now().Add(r.timeout)) // fails in tests
	}
	n, err := r.Reader.Read(p)
	r.since += n
	return n, err
}
