package s3

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/rclone/gofakes3"
)

// checksums are the algorithms of the headers and trailers x-amz-checksum-….
var checksums = map[string]func() hash.Hash{
	"crc32":     func() hash.Hash { return crc32.NewIEEE() },
	"crc32c":    func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) },
	"crc64nvme": func() hash.Hash { return crc64.New(crc64.MakeTable(0x9a6c9329ac4bc9b5)) },
	"sha1":      sha1.New,
	"sha256":    sha256.New,
}

const checksumPrefix = "X-Amz-Checksum-"

// decodeBody replaces the body of a request by a reader of the bytes that the client means. The reader fails, at the last
// byte at the latest, if the body is another than the client states: by X-Amz-Content-Sha256, by a checksum in a header, or by
// a checksum behind an aws-chunked body. The signatures of single chunks are not verified: a checksum and TLS do better.
func (d *Door) decodeBody(w *response, r *http.Request) *failure {
	b := &body{source: &timedReader{r.Body, w, d.o.Body, 0}, left: r.ContentLength, sums: make(map[string]hash.Hash), want: make(map[string]string)}
	stated := r.Header.Get("X-Amz-Content-Sha256")
	if strings.HasPrefix(stated, "STREAMING-") {
		length, err := strconv.ParseInt(r.Header.Get("X-Amz-Decoded-Content-Length"), 10, 64)
		if err != nil || length < 0 {
			return &failure{http.StatusLengthRequired, "MissingContentLength", "An aws-chunked body needs X-Amz-Decoded-Content-Length."}
		}
		b.left, b.chunks = length, bufio.NewReader(b.source)
		for name := range strings.SplitSeq(strings.Join(r.Header.Values("X-Amz-Trailer"), ","), ",") {
			b.expect(strings.TrimSpace(name), "")
		}
		unwrap(r, length)
	} else if sum, err := hex.DecodeString(stated); err == nil && len(sum) == sha256.Size {
		b.sums["sha256"], b.want["sha256"] = sha256.New(), base64.StdEncoding.EncodeToString(sum)
	}
	if r.Method == http.MethodPut {
		for name, values := range r.Header {
			if strings.HasPrefix(name, checksumPrefix) && len(values) == 1 {
				b.expect(name, values[0])
			}
		}
	}
	r.Body = b
	if b.left == 0 {
		if err := b.finish(); err != nil {
			return &failure{http.StatusBadRequest, "BadDigest", "The body is not the one that the request states."}
		}
	}
	return nil
}

// unwrap removes the traces of the aws-chunked coding from a request.
func unwrap(r *http.Request, length int64) {
	r.ContentLength, r.TransferEncoding = length, nil
	r.Header.Set("Content-Length", strconv.FormatInt(length, 10))
	r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
	r.Header.Del("X-Amz-Decoded-Content-Length")
	var codings []string
	for coding := range strings.SplitSeq(r.Header.Get("Content-Encoding"), ",") {
		if coding = strings.TrimSpace(coding); coding != "" && !strings.EqualFold(coding, "aws-chunked") {
			codings = append(codings, coding)
		}
	}
	if r.Header.Del("Content-Encoding"); len(codings) > 0 {
		r.Header.Set("Content-Encoding", strings.Join(codings, ", "))
	}
}

// body reads and verifies the body of a request.
type body struct {
	source io.ReadCloser
	chunks *bufio.Reader // of an aws-chunked body; nil: plain
	left   int64         // bytes to come; negative: unknown
	chunk  int64         // of the present chunk, bytes to come
	begun  bool          // a chunk was read
	sums   map[string]hash.Hash
	want   map[string]string // in base64; "": stands behind the body
	failed error
}

// expect computes a checksum to compare it with a value in base64; "": the value comes behind the body.
func (b *body) expect(header, value string) {
	algorithm, found := strings.CutPrefix(strings.ToLower(header), strings.ToLower(checksumPrefix))
	if newHash := checksums[algorithm]; found && newHash != nil {
		b.sums[algorithm], b.want[algorithm] = newHash(), value
	}
}

// Close implements io.Closer.
func (b *body) Close() error { return b.source.Close() }

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	switch {
	case b.failed != nil:
		return 0, b.failed
	case b.left == 0:
		return 0, io.EOF
	case b.left > 0 && int64(len(p)) > b.left:
		p = p[:b.left]
	}
	n, err := b.readPlain(p)
	for _, sum := range b.sums {
		sum.Write(p[:n])
	}
	if b.left > 0 {
		b.left -= int64(n)
	}
	switch {
	case b.left == 0:
		err = b.finish() // before the last bytes are given away
	case err == io.EOF && b.left < 0:
		if b.left, err = 0, b.finish(); err == nil {
			err = io.EOF
		}
	case err == io.EOF:
		err = gofakes3.ErrIncompleteBody
	}
	if err != nil && err != io.EOF {
		b.failed = err
		return 0, err
	}
	return n, err
}

// readPlain reads decoded bytes.
func (b *body) readPlain(p []byte) (int, error) {
	if b.chunks == nil {
		return b.source.Read(p)
	}
	if b.chunk == 0 {
		if err := b.nextChunk(); err != nil {
			return 0, err
		}
		if b.chunk == 0 {
			return 0, io.EOF
		}
	}
	n, err := b.chunks.Read(p[:min(int64(len(p)), b.chunk)])
	b.chunk -= int64(n)
	return n, err
}

// nextChunk reads the line before a chunk: its size in hex, and a signature.
func (b *body) nextChunk() error {
	if b.begun {
		if line, err := b.line(); err != nil || line != "" {
			return errors.Join(gofakes3.ErrIncompleteBody, err)
		}
	}
	b.begun = true
	line, err := b.line()
	if err != nil {
		return gofakes3.ErrIncompleteBody
	}
	size, _, _ := strings.Cut(line, ";")
	if b.chunk, err = strconv.ParseInt(size, 16, 64); err != nil || b.chunk < 0 {
		return gofakes3.ErrIncompleteBody
	}
	return nil
}

func (b *body) line() (string, error) {
	line, err := b.chunks.ReadSlice('\n')
	return string(bytes.TrimRight(line, "\r\n")), err
}

// finish reads the rest behind the content, and compares the checksums.
func (b *body) finish() error {
	if b.chunks != nil {
		if err := b.nextChunk(); err != nil || b.chunk != 0 {
			return gofakes3.ErrIncompleteBody
		}
		for {
			line, err := b.line()
			if line == "" {
				break // an aws-chunked body without trailer may lack the last line break
			}
			name, value, _ := strings.Cut(line, ":")
			algorithm := strings.TrimPrefix(strings.ToLower(name), strings.ToLower(checksumPrefix))
			if b.sums[algorithm] != nil {
				b.want[algorithm] = strings.TrimSpace(value)
			}
			if err != nil {
				break
			}
		}
	}
	for algorithm, sum := range b.sums {
		if base64.StdEncoding.EncodeToString(sum.Sum(nil)) != b.want[algorithm] {
			return gofakes3.ErrBadDigest
		}
	}
	return nil
}

// timedReader gives the client a fresh deadline for each piece of a body.
type timedReader struct {
	io.ReadCloser
	w       *response
	timeout time.Duration
	since   int
}

// Read implements io.Reader.
func (r *timedReader) Read(p []byte) (int, error) {
	if r.since >= 64<<10 || r.since == 0 {
		r.since = 0
		if r.timeout > 0 {
			_ = r.w.control.SetReadDeadline(time.Now().Add(r.timeout)) // fails in tests
		}
	}
	n, err := r.ReadCloser.Read(p)
	r.since += n
	return n, err
}
