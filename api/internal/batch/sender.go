package batch

import (
	"sync"
	"time"

	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/problem"
)

// Bounds of a stream's answers that the client has not read yet.
const (
	heldBytes  = 8 << 20
	smallQueue = 256 << 10        // bytes queued while the memory budget is in use
	pieceBytes = 64 << 10         // bytes of a write
	stallTime  = 10 * time.Second // without a piece written while heldBytes are queued, the batch ends
)

// sender writes the answer of a stream while later operations run. Many clients send everything before they read: up to
// heldBytes of queued answers, such clients do not block.
type sender struct {
	w      *exchange.Response
	budget *budget.Budget

	mu      sync.Mutex // guards the fields below
	changed sync.Cond
	queue   []byte // to be written
	writing bool   // a part is being written, which is no longer in queue
	pieces  int    // pieces written so far
	ended   bool   // nothing more is queued
	held    int64  // bytes reserved from the budget
	stalled bool   // the client took nothing for stallTime
	err     error  // of writing: the client is gone

	running sync.WaitGroup
}

func newSender(w *exchange.Response, b *budget.Budget) *sender {
	s := &sender{w: w, budget: b}
	s.changed.L = &s.mu
	s.running.Go(s.writeQueued)
	return s
}

// writeQueued writes the queue until drain is called or the client is gone.
func (s *sender) writeQueued() {
	var writing []byte
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for len(s.queue) == 0 && !s.ended {
			s.changed.Wait()
		}
		if len(s.queue) == 0 || s.err != nil {
			return
		}
		writing, s.queue = s.queue, writing[:0]
		s.writing = true
		err := s.writeAll(writing)
		s.writing = false
		if cap(writing) > exchange.KeepBytes {
			writing = nil
		}
		s.err = err
		s.changed.Broadcast()
	}
}

// writeAll writes b in pieces. The caller holds mu; writeAll releases mu meanwhile.
func (s *sender) writeAll(b []byte) error {
	s.mu.Unlock()
	defer s.mu.Lock()
	for len(b) > 0 {
		n := min(len(b), pieceBytes)
		if err := s.w.Send(b[:n]); err != nil {
			return err
		}
		b = b[n:]
		s.mu.Lock()
		s.pieces++
		s.changed.Broadcast()
		s.mu.Unlock()
	}
	return s.w.FlushError()
}

// isSending reports whether queued answers have not been written yet. After a failed write, none will be.
func (s *sender) isSending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err == nil && (s.writing || len(s.queue) > 0)
}

// enqueue queues b. If too much is queued, enqueue blocks until the client reads. When the client reads nothing for
// stallTime, the error is errUnread.
func (s *sender) enqueue(b []byte) error {
	s.enqueueNow(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fits() || s.err != nil {
		return s.err
	}
	timer := time.AfterFunc(stallTime, s.noteStall)
	defer timer.Stop()
	for !s.fits() && s.err == nil && !s.stalled {
		before := s.pieces
		if s.changed.Wait(); s.pieces != before {
			timer.Reset(stallTime)
		}
	}
	if s.err == nil && s.stalled {
		return errUnread
	}
	return s.err
}

// fits reports whether the queue is within bounds. Before a long queue is allowed, fits reserves heldBytes from the
// budget.
func (s *sender) fits() bool {
	if s.held == 0 && len(s.queue) > smallQueue && s.budget.TryAcquire(min(heldBytes, s.budget.Total())) {
		s.held = min(heldBytes, s.budget.Total())
	}
	return len(s.queue) <= smallQueue || s.held > 0 && len(s.queue) <= heldBytes
}

// enqueueNow queues b and never blocks.
func (s *sender) enqueueNow(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.queue = append(s.queue, b...)
		s.changed.Broadcast()
	}
}

var errUnread = problem.New(problem.AnswersUnread, "The answers were not read while %d MiB of them waited. The operations that have no answer before this line were not done.", heldBytes>>20)

func (s *sender) noteStall() {
	s.mu.Lock()
	s.stalled = true
	s.changed.Broadcast()
	s.mu.Unlock()
}

// drain waits until the queue is written or the client is gone.
func (s *sender) drain() error {
	s.mu.Lock()
	s.ended = true
	s.changed.Broadcast()
	s.mu.Unlock()
	s.running.Wait()
	s.budget.Release(s.held)
	return s.err
}
