package client

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"iter"
)

// maxLineBytes bounds a line of NDJSON in a response.
const maxLineBytes = 1 << 30

var errLongLine = errors.New("a line of the response is longer than 1 GiB")

// readLines yields the lines of a body without their newlines, and closes the body. The caller may keep a line. The
// last pair holds the error, if any.
func readLines(body io.ReadCloser) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		defer body.Close()
		r := bufio.NewReaderSize(body, 64<<10)
		for {
			var line []byte
			part, err := r.ReadSlice('\n')
			for line = append(line, part...); err == bufio.ErrBufferFull; line = append(line, part...) {
				if len(line) > maxLineBytes {
					err = errLongLine
					break
				}
				part, err = r.ReadSlice('\n')
			}
			if err != nil && (err != io.EOF || len(line) == 0) {
				if err != io.EOF {
					yield(nil, err)
				}
				return
			}
			if line = bytes.TrimSpace(line); len(line) > 0 && !yield(line, nil) {
				return
			}
		}
	}
}
