package exchange

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/store/access"
)

const (
	// keyCheck is the time between two checks of the key of a long answer.
	keyCheck = time.Second
	// lastWords is how long an answer may go on after its key was found to be invalid: enough for the last line.
	lastWords = time.Second
)

// guard ends a long answer after the key of its request was revoked or has expired.
type guard struct {
	keys     Keys
	identity *access.Identity
	until    time.Time // when the sign-in of a browser ends; zero: never
	cancel   context.CancelCauseFunc

	mu      sync.Mutex // guards the fields below, and orders the write deadlines
	control *http.ResponseController
	timer   *time.Timer
	end     time.Time // of the answer; zero: the key is valid
	stopped bool
}

// Guard returns a context for a long answer. The context ends when the client leaves, and soon after the key of the
// request was revoked or has expired, or the sign-in of the browser has ended; the latter also bounds the time for the
// rest of the answer. Call the function at the end of the answer. The error refuses a sender that has too many long answers already.
func (s *Shared) Guard(w *Response, r *Request) (context.Context, context.CancelFunc, error) {
	release := func() {}
	if s.AdmitStream != nil {
		var err error
		if release, err = s.AdmitStream(r); err != nil {
			return nil, nil, err
		}
	}
	ctx, stop := s.guardKey(w, r)
	return ctx, func() { stop(); release() }, nil
}

// guardKey returns a context that ends with the request, its key or its sign-in.
func (s *Shared) guardKey(w *Response, r *Request) (context.Context, context.CancelFunc) {
	if r.Identity == nil {
		return context.WithCancel(r.Context())
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	g := &guard{keys: s.Keys, identity: r.Identity, until: r.Until, cancel: cancel, control: http.NewResponseController(w.ResponseWriter)}
	w.guard = g
	g.mu.Lock()
	defer g.mu.Unlock()
	g.timer = time.AfterFunc(keyCheck, g.check)
	return ctx, g.stop
}

// check ends the answer if the key is not valid, and otherwise checks again later.
func (g *guard) check() {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.stopped:
	case g.keys.Current(g.identity) && (g.until.IsZero() || time.Now().Before(g.until)):
		g.timer.Reset(keyCheck)
	default:
		g.end = time.Now().Add(lastWords)
		g.control.SetWriteDeadline(g.end) // fails in tests
		g.cancel(problem.New(problem.Unauthenticated, "The API key was revoked or has expired, or the sign-in has ended."))
	}
}

// stop ends the checks. Afterwards the guard does not touch the response.
func (g *guard) stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stopped = true
	g.timer.Stop()
	g.cancel(nil)
}

// setWriteDeadline sets a deadline, but none beyond the end of the answer. The zero time is no deadline.
func (g *guard) setWriteDeadline(at time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.end.IsZero() && (at.IsZero() || at.After(g.end)) {
		at = g.end
	}
	return g.control.SetWriteDeadline(at)
}

// Ended returns the problem with which a guard has ended a context; nil if the context goes on or ended otherwise.
func Ended(ctx context.Context) error {
	if e, ok := context.Cause(ctx).(*problem.Error); ok {
		return e
	}
	return nil
}
