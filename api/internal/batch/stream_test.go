package batch

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/api/internal/exchange"
)

// idleStore answers no request.
type idleStore struct{ Store }

func (idleStore) MaxValueBytes() int64 { return 1 << 20 }

// TestStoppedReaderReadsNoMore: a read that begins after stopReading gets no fresh deadline and ends.
func TestStoppedReaderReadsNoMore(t *testing.T) {
	body, client := io.Pipe()
	defer client.Close()
	sent, _ := http.NewRequest("POST", "/v1/batch", body)
	w := &deadlineRecorder{ResponseWriter: httptest.NewRecorder()}
	r := New(&exchange.Shared{Budget: budget.New(0)}, idleStore{}).newLineReader(&exchange.Request{Request: sent}, http.NewResponseController(w), func() bool { return false })
	defer r.releaseBudget()
	r.stopReading()
	ended := make(chan struct{})
	go func() { r.readLines(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("the stopped reader still reads")
	}
	if last := w.read.Load(); last == nil || !last.Equal(longPast) {
		t.Errorf("the read deadline is %v", last)
	}
}

// deadlineRecorder remembers the read deadline that was set last.
type deadlineRecorder struct {
	http.ResponseWriter
	read atomic.Pointer[time.Time]
}

func (d *deadlineRecorder) SetReadDeadline(t time.Time) error { d.read.Store(&t); return nil }

// TestFailedSenderSendsNothing: after a failed write, queued answers do not prolong the wait for the client.
func TestFailedSenderSendsNothing(t *testing.T) {
	s := &sender{queue: []byte("x")}
	if !s.isSending() {
		t.Error("the queue is not noticed")
	}
	if s.err = io.ErrClosedPipe; s.isSending() {
		t.Error("the queue of a client that is gone is waited for")
	}
}
