package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Body is the content of a request. It can be opened more than once, so that the request can be repeated.
type Body struct {
	Open func() (io.ReadCloser, error) // returns a new reader of the same bytes each time
	Size int64                         // in bytes; exact. -1 if unknown, for PutFile alone
}

// Bytes returns a Body that reads b, which must not be changed before the request has ended.
func Bytes(b []byte) Body {
	return Body{Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }, Size: int64(len(b))}
}

// requestBody reads a Body and checks its announced size.
type requestBody struct {
	io.ReadCloser
	left     int64  // -1: unknown
	progress func() // called whenever bytes were read
}

var (
	errShrunk = errors.New("it became shorter while it was read")
	errGrown  = errors.New("it became longer while it was read")
)

// Read returns a *bodyError.
func (b *requestBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	known := b.left >= 0
	if known {
		b.left -= int64(n)
	}
	switch {
	case known && b.left < 0:
		return 0, &bodyError{errGrown}
	case err == io.EOF && known && b.left > 0:
		return n, &bodyError{errShrunk}
	case err != nil && err != io.EOF:
		return n, &bodyError{err}
	}
	if n > 0 {
		b.progress()
	}
	return n, err
}

// bodyError is a failure to read the caller's Body.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return fmt.Sprintf("read the value: %v", e.err) }
func (e *bodyError) Unwrap() error { return e.err }

// responseBody is the body of a response. Every read that returns bytes restarts the timeout, so that silence ends the
// request but size does not.
type responseBody struct {
	io.ReadCloser
	ctx      context.Context // of the attempt; its cause says why the client ended the attempt
	resp     *http.Response
	session  func(http.Header) error // receives the trailer
	progress func()
	release  func()
}

// Read returns a *ConnectionError for a truncated response, or the error of the Session.
func (b *responseBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.progress()
	}
	switch {
	case err == io.EOF:
		if err := b.session(b.resp.Trailer); err != nil {
			return n, err
		}
	case err != nil:
		if cause := context.Cause(b.ctx); cause != nil {
			err = cause
		}
		return n, truncated(err)
	}
	return n, err
}

func (b *responseBody) Close() error {
	err := b.ReadCloser.Close()
	b.release()
	return err
}
