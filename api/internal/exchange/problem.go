package exchange

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/internal/write"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
)

// statusClientGone is for metrics and logs; no answer has this status.
const statusClientGone = 499

// AsProblem maps all errors of the store to problems.
func AsProblem(err error) *problem.Error {
	if item, ok := errors.AsType[*wire.Error](err); ok {
		return itemProblem(item)
	}
	var (
		own      *problem.Error
		key      *store.KeyError
		tooLarge *store.TooLargeError
		master   *store.MasterError
	)
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &key):
		return problem.New(problem.InvalidKey, "The key %s.", key.Reason)
	case errors.As(err, &tooLarge):
		return problem.ValueTooLarge(tooLarge.Limit)
	case errors.Is(err, partition.ErrTooLarge):
		return problem.New(problem.TooLarge, "The value does not fit what the master accepts.")
	case errors.Is(err, store.ErrNotFound):
		return problem.New(problem.NotFound, "The partition that answered holds no entry of this key.")
	case errors.Is(err, store.ErrResync):
		return problem.New(problem.Resync, "Deletions that came after this token are collected already, or a restore has undone changes before it.")
	case errors.Is(err, store.ErrDifferentMasters):
		return problem.New(problem.DifferentMasters, "The keys have more than one master.")
	case errors.Is(err, store.ErrOutcomeUnknown):
		return problem.New(problem.OutcomeUnknown, "The connection to the master broke during the commit.")
	}
	if e := cmp.Or(readProblem(err), lockProblem(err)); e != nil {
		return e
	}
	switch {
	case errors.Is(err, partition.ErrNoSpace):
		return problem.New(problem.InsufficientStorage, "The key's master has no room left.")
	case errors.As(err, &master):
		return masterProblem(master)
	case errors.Is(err, store.ErrMasterUnavailable):
		return problem.New(problem.MasterUnavailable, "The key's master is not available.")
	case errors.Is(err, store.ErrClosed):
		return problem.New(problem.ShuttingDown, "The store is closed.")
	case errors.Is(err, store.ErrNoPartition), errors.Is(err, partition.ErrUnavailable):
		return problem.New(problem.NoPartition, "No partition can answer now.")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return problem.New(problem.TimedOut, "The request was given up.")
	}
	if quota, ok := errors.AsType[*store.QuotaError](err); ok {
		return quotaProblem(quota)
	}
	return problem.New(problem.Internal, "The cause is in the log of this server.")
}

func masterProblem(err *store.MasterError) *problem.Error {
	e := problem.New(problem.MasterUnavailable, "The master %s is not available.", err.Master)
	e.Retry, e.Members.Master = err.RetryAfter, err.Master
	if errors.Is(err, store.ErrMoving) {
		e.Members.Reason = "moving"
	}
	return e
}

// lockProblem maps the errors of locks; nil for other errors.
func lockProblem(err error) *problem.Error {
	if locked, ok := errors.AsType[*store.LockedError](err); ok {
		e := problem.New(problem.LockHeld, "%q holds the lock %q.", locked.Holder.Owner, locked.Name)
		expires := locked.Holder.ExpiresAt.Time()
		e.Retry, e.Members.Owner, e.Members.ExpiresAt, e.Members.Info = locked.RetryAfter, wire.Text(locked.Holder.Owner), &expires, wire.RawObject(locked.Holder.Info)
		return e
	}
	if stale, ok := errors.AsType[*store.StaleFenceError](err); ok {
		return problem.New(problem.StaleFence, "The lock %q is not held with the fence %d.", stale.Name, stale.Fence.Fence)
	}
	return nil
}

func quotaProblem(q *store.QuotaError) *problem.Error {
	e := problem.New(problem.QuotaExceeded, "The names that begin with %q may have %d %s; they have %d, and this write adds %d.", q.Prefix, q.Limit, q.Unit, q.Used, q.Growth)
	e.Members.Quota = &wire.Quota{Prefix: wire.Text(q.Prefix), Unit: q.Unit, Limit: q.Limit, Used: q.Used}
	return e
}

// readProblem maps the errors of reads whose demands cannot be met; nil for other errors.
func readProblem(err error) *problem.Error {
	var (
		session *store.SessionError
		stale   *store.StalenessError
		few     *store.CopiesError
	)
	switch {
	case errors.As(err, &session):
		e := problem.New(problem.Session, "No partition that answers has reached the session.")
		e.Retry, e.Members.Master = session.RetryAfter, session.Master
		return e
	case errors.As(err, &stale):
		e := problem.New(problem.TooStale, "No partition that answers is known to be at most %v behind.", stale.Max)
		e.Retry = stale.RetryAfter
		return e
	case errors.As(err, &few) && few.Asked > few.Configured:
		return problem.Parameter("r", "r is at most %d, the number of partitions, not %d.", few.Configured, few.Asked)
	case errors.As(err, &few):
		e := problem.New(problem.TooFewPartitions, "Of %d partitions that were asked for, %d answered.", few.Asked, few.Answered)
		e.Retry = few.RetryAfter
		return e
	}
	return nil
}

// itemProblem maps a decoding error of an operation.
func itemProblem(e *wire.Error) *problem.Error {
	if e.Syntax {
		return problem.New(problem.InvalidJSON, "%s", e.Detail)
	}
	return problem.Item(e.Member, "%s", e.Detail)
}

// defaultRetry is the Retry-After of a 503 without a better estimate.
const defaultRetry = time.Second

// WriteError answers with a problem. All error answers are written here.
func (s *Shared) WriteError(w *Response, r *Request, err error) {
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		// The client is gone, or has closed only its sending side; both look the same. In the second case a missing
		// answer must not look like an empty answer, nor half a list like a whole list, so the connection breaks.
		w.Status, w.Cut = statusClientGone, true
		panic(http.ErrAbortHandler)
	}
	w.Duplex = false // the problem is the whole answer
	e := AsProblem(err)
	if e.Type.Status >= 500 {
		s.Logger.Log(r.Context(), e.LogLevel(), "request failed", "request", w.ID, "method", r.Method,
			"path", r.URL.EscapedPath(), "problem", e.Type.Slug, "error", err)
	}
	if w.Status != 0 {
		w.Cut = true
		panic(http.ErrAbortHandler) // the answer has begun: break the connection to show that it is incomplete
	}
	if seen, ok := write.RevealedBy(err); ok {
		if session, err := s.ReadSession(r.Header); err == nil { // an invalid session has been refused already
			s.SetSession(w, session, seen)
		}
	}
	s.writeProblem(w, r, e)
}

func (s *Shared) writeProblem(w *Response, r *Request, e *problem.Error) {
	h := w.Header()
	for _, name := range [...]string{"Etag", "Last-Modified", "Content-Length", "Accept-Ranges", "Content-Security-Policy"} {
		delete(h, name)
	}
	h["Cache-Control"] = NoStore
	if e.Type == problem.Unauthenticated {
		h["Www-Authenticate"] = bearer
	}
	switch e.Type.Status {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusLocked:
		h["Retry-After"] = []string{retryAfter(e.Retry)}
	}
	p := NewProblemDocument(w, e)
	variants := negotiate.Problems
	if isClassic(r.URL.Path) {
		variants = negotiate.ClassicProblems
	}
	var err error
	if r.Variant, err = negotiate.Choose(r.Header["Accept"], variants); err != nil {
		r.Variant = negotiate.Problems[0] // better a format that the client does not accept than no explanation
	}
	if err := s.Respond(w, r, e.Type.Status, "problem", p); err != nil {
		panic(err) // problem documents can always be encoded
	}
}

// retryAfter returns whole seconds, at least 1.
func retryAfter(d time.Duration) string {
	if d <= 0 {
		d = defaultRetry
	}
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

// ProblemDocument is the document of RFC 9457.
type ProblemDocument struct {
	wire.Problem
	Explanation string `json:"-" xml:"-"` // for the HTML page
}

// NewProblemDocument returns the document of a problem that ends the answer w.
func NewProblemDocument(w *Response, e *problem.Error) *ProblemDocument {
	p := &ProblemDocument{e.Document(), e.Type.Explanation}
	p.Instance, p.Request = w.Request.URL.EscapedPath(), w.ID
	return p
}
