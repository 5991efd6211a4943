package load

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// bufferBytes is what is read at a time. The first half is for the header, so that a body does not overwrite it.
const bufferBytes = 32 << 10

// A responseReader reads HTTP/1.1 answers from a connection and keeps of each only what is checked. It allocates
// nothing for an answer.
type responseReader struct {
	source io.Reader
	buffer []byte
	from   int // what is buffered and not yet taken is buffer[from:to]
	to     int
	count  counter
}

// response is what is kept of an answer. The ETag is valid until the next one is read.
type response struct {
	status    int
	bodyBytes int64
	counted   int
	etag      []byte
	last      bool // the server closes the connection after it
}

var (
	errLongHeader = errors.New("the answer's header is longer than 16 KiB")
	errFraming    = errors.New("the answer has no length and is not chunked")
)

func newResponseReader(source io.Reader) *responseReader {
	return &responseReader{source: source, buffer: make([]byte, bufferBytes)}
}

// read reads one answer to its end. hasBody is false for answers to HEAD.
func (r *responseReader) read(hasBody bool) (response, error) {
	header, err := r.header()
	if err != nil {
		return response{}, err
	}
	a, length, err := parseHeader(header)
	if err != nil {
		return a, err
	}
	r.from += len(header)
	r.count.begin()
	switch {
	case a.status < 200:
		return r.read(hasBody) // an interim answer
	case !hasBody || a.status == 204 || a.status == 304:
		return a, nil
	case length == lengthChunked:
		a.etag = bytes.Clone(a.etag) // chunks move the buffer
		a.bodyBytes, err = r.chunks()
	case length >= 0:
		a.bodyBytes = length
		err = r.skip(length)
	default:
		err = errFraming
	}
	a.counted = r.count.n
	return a, err
}

// header moves the next header to the front of the buffer and returns it with its empty line.
func (r *responseReader) header() ([]byte, error) {
	r.to = copy(r.buffer, r.buffer[r.from:r.to]) // usually nothing
	r.from = 0
	for seen := 0; ; {
		if i := bytes.Index(r.buffer[r.from+seen:r.to], []byte("\r\n\r\n")); i >= 0 {
			if seen+i+4 > len(r.buffer)/2 {
				return nil, errLongHeader
			}
			return r.buffer[r.from : r.from+seen+i+4], nil
		}
		seen = max(0, r.to-r.from-3)
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
}

// fill reads more behind what is buffered, which it moves to the front first.
func (r *responseReader) fill() error {
	if r.from > 0 {
		r.to = copy(r.buffer, r.buffer[r.from:r.to])
		r.from = 0
	}
	if r.to == len(r.buffer) {
		return errLongHeader
	}
	n, err := r.source.Read(r.buffer[r.to:])
	r.to += n
	if n > 0 {
		return nil
	}
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// skip drops the next n bytes. It leaves the first half of the buffer, and with it an ETag, as it is.
func (r *responseReader) skip(n int64) error {
	for n > int64(r.to-r.from) {
		n -= int64(r.to - r.from)
		r.count.see(r.buffer[r.from:r.to])
		r.from = r.to // what is buffered is dropped
		got, err := r.source.Read(r.buffer[len(r.buffer)/2:])
		if got == 0 {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		r.from, r.to = len(r.buffer)/2, len(r.buffer)/2+got
	}
	r.count.see(r.buffer[r.from : r.from+int(n)])
	r.from += int(n)
	return nil
}

// chunks drops a chunked body with its trailer and returns how many bytes it had.
func (r *responseReader) chunks() (total int64, err error) {
	for {
		line, err := r.line()
		if err != nil {
			return total, err
		}
		size, _, _ := bytes.Cut(line, []byte(";"))
		n, err := strconv.ParseInt(string(bytes.TrimSpace(size)), 16, 64)
		if err != nil || n < 0 {
			return total, fmt.Errorf("chunk size %q is no number", line)
		}
		if n == 0 {
			return total, r.trailer()
		}
		if err := r.skip(n); err != nil {
			return total, err
		}
		if end, err := r.line(); err != nil || len(end) > 0 {
			return total, cmp.Or(err, errFraming)
		}
		total += n
	}
}

// trailer drops the lines up to and with the empty one.
func (r *responseReader) trailer() error {
	for {
		line, err := r.line()
		if err != nil || len(line) == 0 {
			return err
		}
	}
}

// line takes a line, which is valid until the next read.
func (r *responseReader) line() ([]byte, error) {
	for {
		if i := bytes.Index(r.buffer[r.from:r.to], []byte("\r\n")); i >= 0 {
			line := r.buffer[r.from : r.from+i]
			r.from += i + 2
			return line, nil
		}
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
}

// Lengths of a body that are no number of bytes.
const (
	lengthUnknown = -1
	lengthChunked = -2
)

// parseHeader returns what a header says, and the length of the body.
func parseHeader(header []byte) (a response, length int64, err error) {
	line, rest, _ := bytes.Cut(header, []byte("\r\n"))
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) {
		return a, 0, fmt.Errorf("%.40q is no HTTP/1 answer", line)
	}
	if a.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return a, 0, fmt.Errorf("%.40q has no status", line)
	}
	a.last = line[7] == '0'
	length = lengthUnknown
	for len(rest) > 2 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		switch value := []byte(nil); {
		case headerField(line, "content-length", &value):
			if length, err = strconv.ParseInt(string(value), 10, 64); err != nil || length < 0 {
				return a, 0, fmt.Errorf("Content-Length %q is no number", value)
			}
		case headerField(line, "transfer-encoding", &value):
			length = lengthChunked
		case headerField(line, "etag", &value):
			a.etag = value
		case headerField(line, "connection", &value):
			a.last = bytes.EqualFold(value, []byte("close")) || a.last && !bytes.EqualFold(value, []byte("keep-alive"))
		}
	}
	return a, length, nil
}

// headerField reports whether line is the named field, and gives its value.
func headerField(line []byte, name string, value *[]byte) bool {
	if len(line) <= len(name) || line[len(name)] != ':' || line[0]|0x20 != name[0] || !bytes.EqualFold(line[:len(name)], []byte(name)) {
		return false
	}
	*value = bytes.TrimSpace(line[len(name)+1:])
	return true
}
