package transfer

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"github.com/dustin/go-humanize"
)

// maxLineBytes bounds a line of NDJSON. Otherwise a file of another format might be read into memory as a single line.
const maxLineBytes = 1 << 30

// lineReader reads lines of any length and counts lines and bytes.
type lineReader struct {
	r      *bufio.Reader
	offset int64 // of the next line, in bytes from the start of the source
	line   int64 // number of lines read
}

func newLineReader(r io.Reader, offset, line int64) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 64<<10), offset: offset, line: line}
}

// readLine returns the next line without its newline. The caller may keep the line. The last line may lack a newline. After
// the last line the error is io.EOF.
func (l *lineReader) readLine() ([]byte, error) {
	var line []byte
	for {
		part, err := l.r.ReadSlice('\n')
		line = append(line, part...)
		l.offset += int64(len(part))
		switch {
		case err == bufio.ErrBufferFull && len(line) <= maxLineBytes:
			continue
		case err == bufio.ErrBufferFull:
			return nil, fmt.Errorf("line %d is longer than %s", l.line+1, humanize.IBytes(maxLineBytes))
		case err == io.EOF && len(line) > 0:
			err = nil
		}
		if err != nil {
			return nil, err
		}
		l.line++
		return bytes.TrimSuffix(line, []byte("\n")), nil
	}
}
