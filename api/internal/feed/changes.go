package feed

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/api/internal/document"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
)

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

// Changes is GET /v1/changes: one page, at once or by long poll, or an endless stream as NDJSON or events.
func (s *Service) Changes(w *exchange.Response, r *exchange.Request) error {
	endless := isEndless(r)
	f, err := readFeed(r.Query, r.Header, endless)
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

// isEndless reports whether the answer is a stream.
func isEndless(r *exchange.Request) bool {
	return r.Variant.Format == negotiate.FormatNDJSON || r.Variant.Format == negotiate.FormatEvents
}

// Prefix returns the prefix of the changes that a request asks for.
func Prefix(r *exchange.Request) (string, error) {
	f, err := readFeed(r.Query, r.Header, isEndless(r))
	return f.options.Prefix, err
}

// readFeed reads the parameters. A resumed event stream sends Last-Event-ID, which takes precedence over the since of
// its URL.
func readFeed(q url.Values, h http.Header, endless bool) (f feed, err error) {
	f.options = store.ChangeOptions{Space: store.User}
	if f.options.Prefix, err = exchange.Part(q, "prefix"); err != nil {
		return f, err
	}
	if f.options.Values, err = exchange.Flag(q, "values"); err != nil {
		return f, err
	}
	if f.options.Limit, err = exchange.PageLimit(q); err != nil {
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
func (s *Service) first(ctx context.Context, f *feed) (store.ChangePage, error) {
	page, err := s.store.Changes(ctx, f.since, f.options)
	if errors.Is(err, store.ErrForeignToken) {
		return page, f.badToken()
	}
	return page, err
}

func (s *Service) pageChanges(w *exchange.Response, r *exchange.Request, f feed) error {
	page, err := s.first(r.Context(), &f)
	if err == nil && len(page.Entries) == 0 && f.wait > 0 {
		page, err = s.awaitChanges(w, r, f, page)
	}
	if err != nil {
		return err
	}
	if err := w.Held.Grow(r.Context(), (1+budget.EncodeCopies)*budget.ValueBytes(page.Entries)); err != nil {
		return err
	}
	d := &changesPage{ChangePage: wire.ChangePage{Changes: make([]*wire.Change, len(page.Entries)), Next: page.Next.String(), More: page.More}}
	for i := range page.Entries {
		d.Changes[i] = newChange(&page.Entries[i], f.options.Values, r.Variant.Format)
	}
	q := r.URL.Query()
	q.Set("since", d.Next)
	d.NextPath = exchange.ChangesPath + "?" + q.Encode()
	h := w.Header()
	h["Cache-Control"] = exchange.NoStore
	h["Link"] = []string{"<" + d.NextPath + `>; rel="next"`}
	h["Runnel-Partition"] = []string{page.Partition}
	s.sent.Add(float64(len(page.Entries)))
	return s.Respond(w, r, http.StatusOK, "changes", d)
}

// awaitChanges waits up to f.wait for the next page. Without a change in that time the page stays empty.
func (s *Service) awaitChanges(w *exchange.Response, r *exchange.Request, f feed, page store.ChangePage) (store.ChangePage, error) {
	ctx, cancel, err := s.endless(w, r)
	if err != nil {
		return page, err
	}
	defer cancel()
	ctx, stop := context.WithTimeout(ctx, f.wait)
	defer stop()
	s.readers.WithLabelValues("poll").Inc()
	defer s.readers.WithLabelValues("poll").Dec()
	watch := s.store.Watch(page.Next, f.options)
	defer watch.Close()
	following, err := watch.Next(ctx)
	w.SetWriteDeadline(time.Now().Add(s.Timeouts.Write))
	if ended := exchange.Ended(ctx); ended != nil {
		return page, ended
	}
	if err != nil && ctx.Err() != nil && r.Context().Err() == nil && !errors.Is(err, store.ErrNoPartition) {
		page.Next = watch.Token()
		return page, nil
	}
	return following, err
}

// endless returns a context for an answer of any length: only single writes have deadlines, and the context ends when
// the server drains, or the key of the request is no longer valid. The error refuses the answer.
func (s *Service) endless(w *exchange.Response, r *exchange.Request) (context.Context, context.CancelFunc, error) {
	guarded, unguard, err := s.Guard(w, r)
	if err != nil {
		return nil, nil, err
	}
	// Deadlines fail in tests. The read deadline would end the request; reads only notice that the client leaves.
	http.NewResponseController(w).SetReadDeadline(time.Time{})
	w.SetWriteDeadline(time.Time{})
	ctx, cancel := context.WithCancel(guarded)
	stop := context.AfterFunc(s.Draining, cancel)
	return ctx, func() { stop(); cancel(); unguard() }, nil
}

// changesPage is a page of changes.
type changesPage struct {
	wire.ChangePage
	NextPath string `json:"-" xml:"-"` // for the HTML page
}

func newChange(e *store.Entry, values bool, f negotiate.Format) *wire.Change {
	return &wire.Change{Entry: &document.NewListed(e, values && !e.Deleted, f).Entry, Deleted: e.Deleted}
}
