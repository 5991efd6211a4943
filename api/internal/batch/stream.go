package batch

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
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/problem"
)

// runStream runs lines as they arrive and answers meanwhile. While a window runs, the next window is read. A single
// line runs at once.
func (b *batch) runStream() error {
	ctx, unguard, err := b.service.Guard(b.answer.w, b.request)
	if err != nil {
		return err
	}
	defer unguard()
	control := http.NewResponseController(b.answer.w)
	b.answer.w.Duplex = true
	control.EnableFullDuplex() // fails if the connection is full duplex already, and in tests
	b.answer.sender = newSender(b.answer.w, b.service.Budget)
	r := b.service.newLineReader(b.request, control, b.answer.sender.isSending)
	defer r.releaseBudget()
	var reading sync.WaitGroup
	reading.Go(r.readLines)
	undrain := context.AfterFunc(b.service.Draining, func() {
		r.endWith(problem.New(problem.ShuttingDown, "The server ends what it accepted. The operations that have no answer before this line were not done."))
	})
	unwatch := context.AfterFunc(ctx, func() {
		if err := exchange.Ended(ctx); err != nil {
			r.endWith(err)
		}
	})
	err = b.runWindows(r)
	undrain()
	unwatch()
	r.stopReading()
	reading.Wait()
	b.endAnswer(err)
	return err
}

var longPast = time.Unix(1, 0)

// endAnswer waits until the answer is written. A client that is still sending may not read before all is sent, so the
// rest of the body is discarded meanwhile.
func (b *batch) endAnswer(err error) {
	a := b.answer
	if err == nil || a.w.Status == 0 {
		a.sender.drain() // an error means that the client is gone
		a.sendTrailer()
		return
	}
	control := http.NewResponseController(a.w)
	a.w.SetWriteDeadline(time.Now().Add(exchange.LingerTime)) // for a write in progress
	control.SetReadDeadline(time.Now().Add(exchange.LingerTime))
	var dropping sync.WaitGroup
	dropping.Go(func() { a.w.DiscardBody(b.request.Request) })
	a.sender.drain()
	control.SetReadDeadline(longPast)
	dropping.Wait()
}

func (b *batch) runWindows(r *lineReader) error {
	var ops []op
	for {
		var err error
		ops, err = r.takeOps(ops)
		if doing := b.runWindow(ops); doing != nil {
			return doing
		}
		if err == io.EOF {
			b.answer.w.Unread = false
			return b.answer.finishAnswer()
		}
		if err != nil {
			return b.breakOffAnswer(err)
		}
		if err := b.answer.sendNow(); err == errUnread {
			b.service.Logger.Warn("a batch was ended: its client sends without reading the answers", "request", b.answer.w.ID, "done", b.answer.done)
			return b.breakOffAnswer(err)
		} else if err != nil {
			return nil // the client is gone
		}
	}
}

// breakOffAnswer ends an answer that has begun: the last line is the problem, then the connection breaks.
func (b *batch) breakOffAnswer(err error) error {
	if b.answer.w.Status != 0 && b.answer.lines {
		b.answer.ending = true
		b.answer.problemLine(exchange.NewProblemDocument(b.answer.w, exchange.AsProblem(err)))
		b.answer.sendGathered()
	}
	return err
}

// lineReader reads and decodes lines ahead of the window that runs.
type lineReader struct {
	body    io.Reader
	control *http.ResponseController
	source  *bufio.Reader // of Read
	decode  *opDecoder
	longest int64
	budget  *budget.Budget
	context context.Context // ends when reading stops
	cancel  context.CancelFunc
	timeout time.Duration // longest wait for the client, and for memory
	pending int64         // bytes of the budget for lines that are not in ready yet; owned by readLines
	block   []byte        // memory for lines, valid as long as their operations
	one     [1]op

	isSending func() bool // answers have not been written yet

	mu      sync.Mutex // guards the fields below
	changed sync.Cond
	due     time.Time   // of the read in progress; zero: none
	timer   *time.Timer // calls endWaiting
	ready   []op
	bytes   int   // decoded size of ready
	held    int64 // bytes of the budget for ready
	doing   int64 // bytes of the budget for the operations that takeOps returned last
	err     error
	stopped bool
	over    bool // readLines has ended or is about to
}

// lineBlock is the size of a memory block for lines.
const lineBlock = 64 << 10

func (s *Service) newLineReader(request *exchange.Request, control *http.ResponseController, isSending func() bool) *lineReader {
	r := &lineReader{body: request.Body, control: control, decode: s.newOpDecoder(request.Grants), longest: s.largestLine(),
		budget: s.Budget, timeout: s.Timeouts.Body, isSending: isSending}
	control.SetReadDeadline(time.Time{}) // fails in tests
	r.timer = time.AfterFunc(r.timeout, r.endWaiting)
	r.source = bufio.NewReaderSize(r, lineBlock)
	r.context, r.cancel = context.WithCancel(request.Context())
	r.changed.L = &r.mu
	return r
}

// Read reads from the body and waits up to timeout. A read deadline of HTTP/2 would end the body even if nothing is being
// read when the deadline comes.
func (r *lineReader) Read(p []byte) (int, error) {
	if !r.noteWaiting(time.Now().Add(r.timeout)) {
		return 0, os.ErrDeadlineExceeded
	}
	defer r.noteWaiting(time.Time{})
	return r.body.Read(p)
}

// noteWaiting notes until when a read waits, zero for no read. The result is false after stopReading.
func (r *lineReader) noteWaiting(due time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.due = due; due.IsZero() || r.stopped {
		r.timer.Stop()
	} else {
		r.timer.Reset(r.timeout)
	}
	return !r.stopped
}

// endWaiting cancels a read that is overdue. While the client has answers to read, the read goes on: net/http sends the
// permission to send more on a stream of HTTP/2 only behind the answers. The write deadline bounds that time.
func (r *lineReader) endWaiting() {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.stopped || r.due.IsZero() || time.Now().Before(r.due):
	case r.isSending():
		r.timer.Reset(r.timeout)
	default:
		r.control.SetReadDeadline(longPast)
	}
}

// readLines reads until the body ends or stopReading is called.
func (r *lineReader) readLines() {
	for {
		line, err := r.readLine()
		var one []op
		switch {
		case err == errLongLine:
			one, err = []op{{failed: problem.BodyTooLarge(r.longest)}}, nil
		case err == nil, err == io.EOF:
			one = r.decode.appendLine(r.one[:0], line)
		}
		if !r.deliver(one, len(line), err) {
			return
		}
	}
}

var errLongLine = errors.New("the line is too long")

// readLine reads a line into memory that nothing else uses.
func (r *lineReader) readLine() ([]byte, error) {
	line, err := r.source.ReadSlice('\n')
	if err != bufio.ErrBufferFull {
		kept, reserved := r.keepLine(line)
		if reserved != nil {
			return nil, reserved
		}
		return kept, err
	}
	long := bytes.Clone(line)
	for err == bufio.ErrBufferFull {
		if err := r.reserveBlock(budget.Wait); err != nil { // not longer: others may wait for the memory of this line
			return nil, err
		}
		line, err = r.source.ReadSlice('\n')
		if int64(len(long)+len(line)) > r.longest {
			return nil, r.skipLine(err)
		}
		long = append(long, line...)
	}
	return long, err
}

// skipLine reads to the end of a line that is too long.
func (r *lineReader) skipLine(err error) error {
	for err == bufio.ErrBufferFull {
		_, err = r.source.ReadSlice('\n')
	}
	if err == nil || err == io.EOF { // io.EOF is returned again by the next read
		return errLongLine
	}
	return err
}

// keepLine copies a line into the current block, or into a new one.
func (r *lineReader) keepLine(line []byte) ([]byte, error) {
	if len(line) > cap(r.block)-len(r.block) {
		if r.block != nil {
			if err := r.reserveBlock(r.timeout); err != nil {
				return nil, err
			}
		}
		r.block = make([]byte, 0, lineBlock)
	}
	start := len(r.block)
	r.block = append(r.block, line...)
	return r.block[start:len(r.block):len(r.block)], nil
}

// reserveBlock reserves the memory for another block.
func (r *lineReader) reserveBlock(wait time.Duration) error {
	r.mu.Lock()
	n := min(budget.BodyCopies*lineBlock, r.budget.Total()-r.pending-r.held-r.doing)
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(r.context, wait)
	defer cancel()
	if err := r.budget.Acquire(ctx, n); err != nil {
		return err
	}
	r.pending += n
	return nil
}

// releaseBudget returns all memory after the reader and the batch have ended.
func (r *lineReader) releaseBudget() { r.budget.Release(r.pending + r.held + r.doing) }

// deliver hands operations to takeOps once there is room. It returns false when reading ends.
func (r *lineReader) deliver(one []op, bytes int, err error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for (len(r.ready) >= windowItems || r.bytes >= windowBytes) && !r.stopped {
		r.changed.Wait()
	}
	r.ready = append(r.ready, one...)
	r.bytes += bytes
	r.held, r.pending = r.held+r.pending, 0
	if err != nil && err != io.EOF {
		err = exchange.BodyError(err)
	}
	if r.err == nil {
		r.err = err
	}
	r.changed.Signal()
	r.over = r.err != nil || r.stopped
	return !r.over
}

// takeOps waits for operations and returns all that are ready, with io.EOF after the last line. done are the operations
// returned by the previous call; takeOps reuses their memory.
func (r *lineReader) takeOps(done []op) ([]op, error) {
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

// endWith makes takeOps return err after the operations already read.
func (r *lineReader) endWith(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
	r.changed.Signal()
}

// stopReading ends readLines, and cancels a read in progress.
func (r *lineReader) stopReading() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	r.cancel()
	r.changed.Signal()
	if !r.over {
		r.control.SetReadDeadline(longPast)
	}
}
