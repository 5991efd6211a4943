package api

import (
	"sync"
	"time"

	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/api/internal/problem"
)

// What a stream holds of answers that its client does not read yet.
const (
	heldBytes  = 8 << 20
	smallQueue = 256 << 10        // held where the memory for requests is in use
	pieceBytes = 64 << 10         // written at a time
	stallTime  = 10 * time.Second // without a piece being taken, when heldBytes wait
)

// sender writes the answer of a stream of operations while the next of them are
// done. Many clients send everything before they read: as far as heldBytes
// reach, that does not block them.
type sender struct {
	write  func([]byte) error // a piece, and what is buffered of it if flush
	flush  func() error
	budget *budget.Budget

	mu      sync.Mutex // guards the fields below
	changed sync.Cond
	queue   []byte // not written yet
	pieces  int    // written
	ended   bool   // nothing is added any more
	held    int64  // of the budget
	stalled bool   // the client has taken nothing for stallTime
	err     error  // of writing: the client is gone

	running sync.WaitGroup
}

func newSender(write func([]byte) error, flush func() error) *sender {
	s := &sender{write: write, flush: flush}
	s.changed.L = &s.mu
	s.running.Go(s.run)
	return s
}

// run writes what is added until end is called.
func (s *sender) run() {
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
		err := s.writeAll(writing)
		if cap(writing) > keepBytes {
			writing = nil
		}
		s.err = err
		s.changed.Broadcast()
	}
}

// writeAll writes pieces, unlocked.
func (s *sender) writeAll(b []byte) error {
	s.mu.Unlock()
	defer s.mu.Lock()
	for len(b) > 0 {
		n := min(len(b), pieceBytes)
		if err := s.write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
		s.mu.Lock()
		s.pieces++
		s.changed.Broadcast()
		s.mu.Unlock()
	}
	return s.flush()
}

// add takes what is to be written. When heldBytes wait it blocks, until the
// client has read, or has read nothing for too long: then the error is errUnread.
func (s *sender) add(b []byte) error {
	s.push(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fits() || s.err != nil {
		return s.err
	}
	timer := time.AfterFunc(stallTime, s.stall)
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

// fits reports whether as much may wait as does.
func (s *sender) fits() bool {
	if s.held == 0 && len(s.queue) > smallQueue && s.budget.TryAcquire(min(heldBytes, s.budget.Total())) {
		s.held = min(heldBytes, s.budget.Total())
	}
	return len(s.queue) <= smallQueue || s.held > 0 && len(s.queue) <= heldBytes
}

// push is add that never blocks.
func (s *sender) push(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.queue = append(s.queue, b...)
		s.changed.Broadcast()
	}
}

var errUnread = problem.New(problem.AnswersUnread, "The answers were not read while %d MiB of them waited. The operations that have no answer before this line were not done.", heldBytes>>20)

func (s *sender) stall() {
	s.mu.Lock()
	s.stalled = true
	s.changed.Broadcast()
	s.mu.Unlock()
}

// end waits until everything is written, or cannot be.
func (s *sender) end() error {
	s.mu.Lock()
	s.ended = true
	s.changed.Broadcast()
	s.mu.Unlock()
	s.running.Wait()
	s.budget.Release(s.held)
	return s.err
}
