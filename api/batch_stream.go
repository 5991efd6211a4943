package api

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// doStream does lines as they come and answers them meanwhile. While a window is
// done the next one is read; a lone line is done at once.
func (b *batch) doStream() error {
	control := b.answer.control
	b.answer.w.duplex = true
	control.EnableFullDuplex() // an error means that it is so already, or cannot be, as in tests
	r := b.server.newLineReader(b.request.Body, control)
	var reading sync.WaitGroup
	reading.Go(r.run)
	err := b.doWindows(r)
	if r.stop() {
		control.SetReadDeadline(time.Unix(1, 0)) // ends a read that is under way
	}
	reading.Wait()
	return err
}

func (b *batch) doWindows(r *lineReader) error {
	var ops []operation
	for {
		var err error
		ops, err = r.take(ops)
		if doing := b.do(ops); doing != nil {
			return doing
		}
		if err == io.EOF {
			b.answer.w.unread = false
			return b.answer.finish()
		}
		if err != nil {
			return b.breakOff(bodyError(err, 0))
		}
		if b.answer.flush() != nil {
			return nil // the client is gone
		}
	}
}

// breakOff ends an answer that has begun with a problem, as its last line, and by
// breaking the connection.
func (b *batch) breakOff(err error) error {
	if b.answer.begun && b.answer.lines {
		b.answer.problem(problemOf(refusalOf(err), b.request, b.answer.w.id))
		b.answer.flush()
	}
	return err
}

// lineReader reads and decodes lines ahead of their being done.
type lineReader struct {
	source  *bufio.Reader
	decode  *operations
	longest int64
	block   []byte // where lines are kept; they stay valid as long as their operations
	one     [1]operation

	mu      sync.Mutex // guards what follows
	changed sync.Cond
	ready   []operation
	bytes   int // that they were decoded from
	err     error
	stopped bool
}

// lineBlock is how much memory for lines is taken at a time.
const lineBlock = 64 << 10

func (s *Server) newLineReader(body io.Reader, control *http.ResponseController) *lineReader {
	timed := &timedReader{Reader: body, control: control, timeout: s.options.Limits.Body}
	r := &lineReader{source: bufio.NewReaderSize(timed, lineBlock), decode: s.newOperations(), longest: s.largestLine()}
	r.changed.L = &r.mu
	return r
}

// timedReader gives the client a fresh deadline for whatever it sends next.
type timedReader struct {
	io.Reader
	control *http.ResponseController
	timeout time.Duration
}

func (r *timedReader) Read(p []byte) (int, error) {
	r.control.SetReadDeadline(time.Now().Add(r.timeout)) // see batchAnswer.send
	return r.Reader.Read(p)
}

// run reads until the lines end or stop is called.
func (r *lineReader) run() {
	for {
		line, err := r.line()
		var one []operation
		switch {
		case err == errLongLine:
			one, err = []operation{{failed: refuseBodyTooLarge(r.longest)}}, nil
		case err == nil, err == io.EOF:
			one = r.decode.appendLine(r.one[:0], line)
		}
		if !r.put(one, len(line), err) {
			return
		}
	}
}

var errLongLine = errors.New("the line is too long")

// line reads a line into memory that nothing else uses.
func (r *lineReader) line() ([]byte, error) {
	line, err := r.source.ReadSlice('\n')
	if err != bufio.ErrBufferFull {
		return r.keep(line), err
	}
	long := bytes.Clone(line)
	for err == bufio.ErrBufferFull {
		line, err = r.source.ReadSlice('\n')
		if int64(len(long)+len(line)) > r.longest {
			return nil, r.skip(err)
		}
		long = append(long, line...)
	}
	return long, err
}

// skip reads on to the end of a line that is too long.
func (r *lineReader) skip(err error) error {
	for err == bufio.ErrBufferFull {
		_, err = r.source.ReadSlice('\n')
	}
	if err == nil || err == io.EOF { // which comes again
		return errLongLine
	}
	return err
}

// keep copies a line into the block, or into the next one.
func (r *lineReader) keep(line []byte) []byte {
	if len(line) > cap(r.block)-len(r.block) {
		r.block = make([]byte, 0, lineBlock)
	}
	start := len(r.block)
	r.block = append(r.block, line...)
	return r.block[start:len(r.block):len(r.block)]
}

// put hands over what was read, as soon as there is room for it, and says
// whether to go on.
func (r *lineReader) put(one []operation, bytes int, err error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for (len(r.ready) >= windowItems || r.bytes >= windowBytes) && !r.stopped {
		r.changed.Wait()
	}
	r.ready = append(r.ready, one...)
	r.bytes += bytes
	r.err = err
	r.changed.Signal()
	return err == nil && !r.stopped
}

// take waits for operations and returns all there are, io.EOF with the last.
// done are those that it returned before, whose memory it uses again.
func (r *lineReader) take(done []operation) ([]operation, error) {
	clear(done)
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.ready) == 0 && r.err == nil {
		r.changed.Wait()
	}
	ops := r.ready
	r.ready, r.bytes = done[:0], 0
	r.changed.Signal()
	return ops, r.err
}

// stop makes run end once it reads nothing, and reports whether it was reading.
func (r *lineReader) stop() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	r.changed.Signal()
	return r.err == nil
}
