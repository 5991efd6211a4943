package client

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// maxLineBytes bounds a line of NDJSON in a response.
const maxLineBytes = 1 << 30

var errLongLine = errors.New("a line of the response is longer than 1 GiB")

// eachLine passes the lines of a body without their newlines to f, which may keep them, until f wants no more or fails.
// Empty lines are skipped. eachLine closes the body.
func eachLine(body io.ReadCloser, f func(line []byte) (more bool, err error)) error {
	defer body.Close()
	r := bufio.NewReaderSize(body, 64<<10)
	for more := true; more; {
		line, err := readLine(r)
		if err == io.EOF {
			return nil
		}
		if err == nil && len(line) > 0 {
			more, err = f(line)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readLine returns the next line without surrounding space. The last line may lack a newline; behind the last line the
// error is io.EOF.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == bufio.ErrBufferFull && len(line) <= maxLineBytes:
			continue
		case err == bufio.ErrBufferFull:
			return nil, errLongLine
		case err == io.EOF && len(line) > 0:
			err = nil
		}
		return bytes.TrimSpace(line), err
	}
}
