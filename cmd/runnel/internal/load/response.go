package load

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// bufferBytes is the size of a read. The first half of the buffer is for the header, so that a body does not overwrite
// the ETag there.
const bufferBytes = 32 << 10

// responseReader reads HTTP/1.1 responses from a connection and keeps only the facts that a plan checks. Reading a
// response without chunks allocates nothing.
type responseReader struct {
	source io.Reader
	buffer []byte
	from   int // buffer[from:to] was read from source and is not consumed yet
	to     int
	count  counter
}

// response holds the facts of a response. The ETag is valid until the next response is read.
type response struct {
	status    int
	bodyBytes int64
	counted   int
	etag      []byte
	last      bool // the server closes the connection after this response
}

var (
	errLongHeader = errors.New("the response's header is longer than 16 KiB")
	errFraming    = errors.New("the response has no length and is not chunked")
)

func newResponseReader(source io.Reader) *responseReader {
	return &responseReader{source: source, buffer: make([]byte, bufferBytes)}
}

// readResponse reads a response to its end. hasBody is false for responses to HEAD.
func (r *responseReader) readResponse(hasBody bool) (response, error) {
	header, err := r.readHeader()
	if err != nil {
		return response{}, err
	}
	a, length, err := parseHeader(header)
	if err != nil {
		return a, err
	}
	r.from += len(header)
	r.count.startBody()
	switch {
	case a.status < 200:
		return r.readResponse(hasBody) // an interim response
	case !hasBody || a.status == 204 || a.status == 304:
		return a, nil
	case length == lengthChunked:
		a.etag = bytes.Clone(a.etag) // chunks move the buffer
		a.bodyBytes, err = r.skipChunks()
	case length >= 0:
		a.bodyBytes = length
		err = r.skipBytes(length)
	default:
		err = errFraming
	}
	a.counted = r.count.n
	return a, err
}

// readHeader moves the next header to the front of the buffer and returns the header with its empty line.
func (r *responseReader) readHeader() ([]byte, error) {
	r.to = copy(r.buffer, r.buffer[r.from:r.to]) // usually no bytes
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

// fill moves the buffered bytes to the front and reads more behind them.
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

// skipBytes drops the next n bytes. skipBytes does not touch the first half of the buffer, where the ETag is.
func (r *responseReader) skipBytes(n int64) error {
	for n > int64(r.to-r.from) {
		n -= int64(r.to - r.from)
		r.count.countIn(r.buffer[r.from:r.to])
		r.from = r.to // the buffered bytes are dropped
		got, err := r.source.Read(r.buffer[len(r.buffer)/2:])
		if got == 0 {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		r.from, r.to = len(r.buffer)/2, len(r.buffer)/2+got
	}
	r.count.countIn(r.buffer[r.from : r.from+int(n)])
	r.from += int(n)
	return nil
}

// skipChunks drops a chunked body with its trailer and returns the size of the body.
func (r *responseReader) skipChunks() (total int64, err error) {
	for {
		line, err := r.takeLine()
		if err != nil {
			return total, err
		}
		size, _, _ := bytes.Cut(line, []byte(";"))
		n, err := strconv.ParseInt(string(bytes.TrimSpace(size)), 16, 64)
		if err != nil || n < 0 {
			return total, fmt.Errorf("chunk size %q is no number", line)
		}
		if n == 0 {
			return total, r.skipTrailer()
		}
		if err := r.skipBytes(n); err != nil {
			return total, err
		}
		if end, err := r.takeLine(); err != nil || len(end) > 0 {
			return total, cmp.Or(err, errFraming)
		}
		total += n
	}
}

// skipTrailer drops the lines up to the empty line, and the empty line.
func (r *responseReader) skipTrailer() error {
	for {
		line, err := r.takeLine()
		if err != nil || len(line) == 0 {
			return err
		}
	}
}

// takeLine returns the next line, which is valid until the next read.
func (r *responseReader) takeLine() ([]byte, error) {
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

// Special lengths of a body.
const (
	lengthUnknown = -1
	lengthChunked = -2
)

// parseHeader returns the facts of a header, and the length of the body.
func parseHeader(header []byte) (a response, length int64, err error) {
	line, rest, _ := bytes.Cut(header, []byte("\r\n"))
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) {
		return a, 0, fmt.Errorf("%.40q is no HTTP/1 response", line)
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

// headerField reports whether a line is the named field, and sets value.
func headerField(line []byte, name string, value *[]byte) bool {
	if len(line) <= len(name) || line[len(name)] != ':' || line[0]|0x20 != name[0] || !bytes.EqualFold(line[:len(name)], []byte(name)) {
		return false
	}
	*value = bytes.TrimSpace(line[len(name)+1:])
	return true
}
