package mysql

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// TestAnswerThatEndsHalfwayIsGivenUp: the first part of an answer may take as long as the
// operation, further parts only as long as answerTimeout.
func TestAnswerThatEndsHalfwayIsGivenUp(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	s := &socket{Conn: ours, answerTimeout: 50 * time.Millisecond}
	buffer := make([]byte, 1)
	answer := func(parts int) {
		t.Helper()
		go func() {
			_, _ = theirs.Read(make([]byte, 1))
			for range parts {
				_, _ = theirs.Write([]byte{1})
			}
		}()
		if _, err := s.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		for range parts {
			if _, err := s.Read(buffer); err != nil {
				t.Fatal(err)
			}
		}
	}
	answer(2)
	answer(1)
	if _, err := s.Read(buffer); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the second part of an answer that has one: %v", err)
	}
	answer(1)
	s.abort()
	if _, err := s.Read(buffer); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("what was cut reads: %v", err)
	}
	if _, err := s.Write(buffer); err == nil {
		t.Error("what was cut writes")
	}
}
