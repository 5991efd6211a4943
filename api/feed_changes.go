package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
)

// Feed reads changes. Its tokens are valid on every node.
type Feed interface {
	// ChangesNow returns the token after the latest change.
	ChangesNow(ctx context.Context) (store.ChangeToken, error)
	// Changes reads a page of changes after a token without waiting. The error is store.ErrForeignToken for a token of
	// another cluster, and store.ErrResync if changes after the token are lost.
	Changes(ctx context.Context, since store.ChangeToken, o store.ChangeOptions) (store.ChangePage, error)
	// Watch returns a reader that waits for changes. The caller closes it.
	Watch(since store.ChangeToken, o store.ChangeOptions) *store.Watch
}

const changesPath = "/v1/changes"

// maxWait is the longest long poll.
const maxWait = 5 * time.Minute

// feed holds the parameters of a request for changes.
type feed struct {
	options store.ChangeOptions
	since   store.ChangeToken
	from    string // parameter or header that gave since
	now     bool
	wait    time.Duration
}

// getChanges is GET /v1/changes: one page, at once or by long poll, or an endless stream as NDJSON or events.
func (s *Server) getChanges(w *response, r *request) error {
	endless := r.variant.Format == negotiate.FormatNDJSON || r.variant.Format == negotiate.FormatEvents
	f, err := readFeed(r.query, r.Header, endless)
	if err != nil {
		return err
	}
	if f.now {
		if f.since, err = s.store.ChangesNow(r.Context()); err != nil {
			return err
		}
	}
	if endless {
		return s.streamChanges(w, r, f)
	}
	return s.pageChanges(w, r, f)
}

// readFeed reads the parameters. A resumed event stream sends Last-Event-ID, which takes precedence over the since of
// its URL.
func readFeed(q url.Values, h http.Header, endless bool) (f feed, err error) {
	f.options = store.ChangeOptions{Space: store.User}
	if f.options.Prefix, err = part(q, "prefix"); err != nil {
		return f, err
	}
	if f.options.Values, err = flag(q, "values"); err != nil {
		return f, err
	}
	if f.options.Limit, err = pageLimit(q); err != nil {
		return f, err
	}
	if f.wait, err = waitFor(q); err != nil {
		return f, err
	}
	for _, name := range []string{"wait", "limit"} {
		if endless && q.Has(name) {
			return f, problem.Parameter(name, "A stream has no end and waits by itself: %s is for pages.", name)
		}
	}
	text := q.Get("since")
	f.from = "since"
	if last := h.Get("Last-Event-ID"); endless && last != "" {
		text, f.from = last, "Last-Event-ID"
	} else if f.now = text == "now"; f.now {
		return f, nil
	}
	if f.since, err = store.ParseChangeToken(text); err != nil {
		return f, f.badToken()
	}
	return f, nil
}

func waitFor(q url.Values) (time.Duration, error) {
	if !q.Has("wait") {
		return 0, nil
	}
	wait, err := time.ParseDuration(q.Get("wait"))
	if err != nil || wait < 0 || wait > maxWait {
		return 0, problem.Parameter("wait", "wait is a duration like 30s, at most %s, not %q.", maxWait, q.Get("wait"))
	}
	return wait, nil
}

func (f *feed) badToken() error {
	if f.from == "Last-Event-ID" {
		return problem.Header(f.from, "Last-Event-ID takes the id of an event of this store's changes, unchanged.")
	}
	return problem.Parameter(f.from, `since is "now", or a token that this store's changes gave, unchanged.`)
}

// first reads the first page, so that an invalid token is refused before the answer begins.
func (s *Server) first(ctx context.Context, f *feed) (store.ChangePage, error) {
	page, err := s.store.Changes(ctx, f.since, f.options)
	if errors.Is(err, store.ErrForeignToken) {
		return page, f.badToken()
	}
	return page, err
}

func (s *Server) pageChanges(w *response, r *request, f feed) error {
	page, err := s.first(r.Context(), &f)
	if err == nil && len(page.Entries) == 0 && f.wait > 0 {
		page, err = s.awaitChanges(w, r, f, page)
	}
	if err != nil {
		return err
	}
	if err := w.held.Grow(r.Context(), (1+budget.EncodeCopies)*budget.ValueBytes(page.Entries)); err != nil {
		return err
	}
	d := &changesDocument{ChangePage: wire.ChangePage{Changes: make([]*wire.Change, len(page.Entries)), Next: page.Next.String(), More: page.More}}
	for i := range page.Entries {
		d.Changes[i] = newChange(&page.Entries[i], f.options.Values, r.variant.Format)
	}
	q := r.URL.Query()
	q.Set("since", d.Next)
	d.NextPath = changesPath + "?" + q.Encode()
	h := w.Header()
	h["Cache-Control"] = noStore
	h["Link"] = []string{"<" + d.NextPath + `>; rel="next"`}
	h["Runnel-Partition"] = []string{page.Partition}
	s.metrics.changes.Add(float64(len(page.Entries)))
	return s.respond(w, r, http.StatusOK, "changes", d)
}

// awaitChanges waits up to f.wait for the next page. Without a change in that time the page stays empty.
func (s *Server) awaitChanges(w *response, r *request, f feed, page store.ChangePage) (store.ChangePage, error) {
	ctx, cancel := s.endless(w, r)
	defer cancel()
	ctx, stop := context.WithTimeout(ctx, f.wait)
	defer stop()
	s.metrics.readers.WithLabelValues("poll").Inc()
	defer s.metrics.readers.WithLabelValues("poll").Dec()
	watch := s.store.Watch(page.Next, f.options)
	defer watch.Close()
	following, err := watch.Next(ctx)
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.options.Limits.Write))
	if err != nil && ctx.Err() != nil && r.Context().Err() == nil && !errors.Is(err, store.ErrNoPartition) {
		page.Next = watch.Token()
		return page, nil
	}
	return following, err
}

// endless returns a context for an answer of any length: only single writes have deadlines, and the context ends when
// the server drains.
func (s *Server) endless(w *response, r *request) (context.Context, context.CancelFunc) {
	control := http.NewResponseController(w)
	// Deadlines fail in tests. The read deadline would end the request; reads only notice that the client leaves.
	control.SetReadDeadline(time.Time{})
	control.SetWriteDeadline(time.Time{})
	ctx, cancel := context.WithCancel(r.Context())
	stop := context.AfterFunc(s.draining, cancel)
	return ctx, func() { stop(); cancel() }
}

// Drain prepares for shutdown: /readyz fails, and streams and long polls end. Readers of changes resume on another node
// with their tokens; other streams end with a problem.
func (s *Server) Drain() { s.drain() }

// changesDocument is a page of changes.
type changesDocument struct {
	wire.ChangePage
	NextPath string `json:"-" xml:"-"` // for the HTML page
}

func newChange(e *store.Entry, values bool, f negotiate.Format) *wire.Change {
	return &wire.Change{Entry: &newListed(e, values && !e.Deleted, f).Entry, Deleted: e.Deleted}
}
