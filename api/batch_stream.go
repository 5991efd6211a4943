package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/api/internal/problem"
)

// doStream does lines as they come and answers them meanwhile. While a window is
// done the next one is read; a lone line is done at once.
func (b *batch) doStream() error {
	control := b.answer.control
	b.answer.w.duplex = true
	control.EnableFullDuplex() // an error means that it is so already, or cannot be, as in tests
	r := b.server.newLineReader(b.request, control)
	defer r.release()
	var reading sync.WaitGroup
	reading.Go(r.run)
	undrain := context.AfterFunc(b.server.draining, func() {
		r.end(problem.New(problem.ShuttingDown, "The server ends what it accepted. The operations that have no answer before this line were not done."))
	})
	b.answer.sender = newSender(b.answer.write, control.Flush)
	b.answer.sender.budget = b.server.budget
	err := b.doWindows(r)
	undrain()
	r.stop()
	reading.Wait()
	b.endAnswer(err)
	return err
}

var longPast = time.Unix(1, 0)

// endAnswer waits until the answer is written. A client that has not sent
// everything may read nothing until it has: what it sends is dropped meanwhile.
func (b *batch) endAnswer(err error) {
	a := b.answer
	if err == nil || !a.begun {
		a.sender.end() // an error means that the client is gone
		return
	}
	a.control.SetWriteDeadline(time.Now().Add(lingerTime)) // for the write that waits already
	a.control.SetReadDeadline(time.Now().Add(lingerTime))
	var dropping sync.WaitGroup
	dropping.Go(func() { a.w.drop(b.request.Request) })
	a.sender.end()
	a.control.SetReadDeadline(longPast)
	dropping.Wait()
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
			return b.breakOff(err)
		}
		if err := b.answer.flush(); err == errUnread {
			b.server.options.Logger.Warn("a batch was ended: its client sends without reading the answers", "request", b.answer.w.id, "done", b.answer.done)
			return b.breakOff(err)
		} else if err != nil {
			return nil // the client is gone
		}
	}
}

// breakOff ends an answer that has begun with a problem, as its last line, and by
// breaking the connection.
func (b *batch) breakOff(err error) error {
	if b.answer.begun && b.answer.lines {
		b.answer.ending = true
		b.answer.problem(documentOfProblem(problemOf(err), b.request, b.answer.w.id))
		b.answer.send()
	}
	return err
}

// lineReader reads and decodes lines ahead of their being done.
type lineReader struct {
	body    io.Reader
	control *http.ResponseController
	source  *bufio.Reader // of Read
	decode  *operations
	longest int64
	budget  *budget.Budget
	context context.Context // ends when no lines are wanted any more
	cancel  context.CancelFunc
	timeout time.Duration // until memory is free
	pending int64         // of the budget, for lines that are not in ready yet; the reader's own
	block   []byte        // where lines are kept; they stay valid as long as their operations
	one     [1]operation

	mu      sync.Mutex // guards what follows
	changed sync.Cond
	ready   []operation
	bytes   int   // that they were decoded from
	held    int64 // of the budget, for them
	doing   int64 // of the budget, for those that take returned last
	err     error
	stopped bool
	over    bool // run has ended, or is about to
}

// lineBlock is how much memory for lines is taken at a time.
const lineBlock = 64 << 10

func (s *Server) newLineReader(request *request, control *http.ResponseController) *lineReader {
	r := &lineReader{body: request.Body, control: control, decode: s.newOperations(), longest: s.largestLine(),
		budget: s.budget, timeout: s.options.Limits.Body}
	r.source = bufio.NewReaderSize(r, lineBlock)
	r.context, r.cancel = context.WithCancel(request.Context())
	r.changed.L = &r.mu
	return r
}

// Read reads the body with a fresh deadline. The lock keeps that deadline from
// replacing the deadline by which stop ends a read.
func (r *lineReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	stopped := r.stopped
	if !stopped {
		r.control.SetReadDeadline(time.Now().Add(r.timeout)) // see batchAnswer.write
	}
	r.mu.Unlock()
	if stopped {
		return 0, os.ErrDeadlineExceeded
	}
	return r.body.Read(p)
}

// timedReader gives the client a fresh deadline for the next bytes that it
// sends, at least as many as least.
type timedReader struct {
	io.Reader
	control *http.ResponseController
	timeout time.Duration
	least   int
	since   int // bytes, since the deadline was moved
}

func (r *timedReader) Read(p []byte) (int, error) {
	if r.since >= r.least {
		r.since = 0
		r.control.SetReadDeadline(time.Now().Add(r.timeout)) // see batchAnswer.write
	}
	n, err := r.Reader.Read(p)
	r.since += n
	return n, err
}

// run reads until the lines end or stop is called.
func (r *lineReader) run() {
	for {
		line, err := r.line()
		var one []operation
		switch {
		case err == errLongLine:
			one, err = []operation{{failed: problem.BodyTooLarge(r.longest)}}, nil
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
		kept, reserved := r.keep(line)
		if reserved != nil {
			return nil, reserved
		}
		return kept, err
	}
	long := bytes.Clone(line)
	for err == bufio.ErrBufferFull {
		if err := r.reserve(budget.Wait); err != nil { // not longer: others may wait for what this line holds
			return nil, err
		}
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
func (r *lineReader) keep(line []byte) ([]byte, error) {
	if len(line) > cap(r.block)-len(r.block) {
		if r.block != nil {
			if err := r.reserve(r.timeout); err != nil {
				return nil, err
			}
		}
		r.block = make([]byte, 0, lineBlock)
	}
	start := len(r.block)
	r.block = append(r.block, line...)
	return r.block[start:len(r.block):len(r.block)], nil
}

// reserve waits for the memory of another block of lines.
func (r *lineReader) reserve(wait time.Duration) error {
	r.mu.Lock()
	n := min(budget.BodyCopies*lineBlock, r.budget.Total()-r.pending-r.held-r.doing)
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(r.context, wait)
	defer cancel()
	if r.budget.Acquire(ctx, n) != nil {
		return problem.New(problem.Overloaded, "The memory for requests (%d MiB) is in use.", r.budget.Total()>>20)
	}
	r.pending += n
	return nil
}

// release gives the memory back when nobody reads or does lines any more.
func (r *lineReader) release() { r.budget.Release(r.pending + r.held + r.doing) }

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
	r.held, r.pending = r.held+r.pending, 0
	if err != nil && err != io.EOF {
		err = bodyError(err, 0)
	}
	if r.err == nil {
		r.err = err
	}
	r.changed.Signal()
	r.over = r.err != nil || r.stopped
	return !r.over
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
	r.budget.Release(r.doing)
	r.doing, r.held = r.held, 0
	r.changed.Signal()
	return ops, r.err
}

// end has take return an error behind what has been read whole.
func (r *lineReader) end(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
	r.changed.Signal()
}

// stop makes run end, also amid a read.
func (r *lineReader) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	r.cancel()
	r.changed.Signal()
	if !r.over {
		r.control.SetReadDeadline(longPast)
	}
}
