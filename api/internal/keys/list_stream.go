package keys

import (
	"cmp"
	"context"
	"iter"
	"net/http"

	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/api/internal/document"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/store"
)

// streamKeys writes the whole list as NDJSON, page by page in constant memory, up to the limit if there is one. After
// an error the last line is a problem and the connection breaks, so that an incomplete list is not mistaken for a
// complete list.
func (s *Service) streamKeys(w *exchange.Response, r *exchange.Request, o store.ListOptions) error {
	limit := o.Limit
	if limit == 0 {
		o.Limit = store.MaxLimit
	}
	ctx, stop, err := s.Guard(w, r)
	if err != nil {
		return err
	}
	defer stop()
	page, err := s.store.List(ctx, o)
	if err != nil {
		return err
	}
	keeps, seen := exchange.InSession(r.Header, &o.ReadOptions), o.Session.Merge(page.Seen)
	h := w.Header()
	setPage(h, &page, "")
	h[exchange.SessionHeader] = []string{s.SessionToken(seen)}
	h["Vary"] = exchange.VaryAccept
	h["Content-Type"] = []string{negotiate.NDJSON.ContentType}
	if r.Method == http.MethodHead {
		return nil
	}
	trails := follows(&page, &o, limit) && exchange.AnnounceSession(h, r)
	for {
		if err := w.Held.Resize(ctx, budget.Encoded(page.Entries), w.Timeouts.Write); err != nil {
			return w.EndStream(cmp.Or(exchange.Ended(ctx), err))
		}
		if w.SendLines(linesOf(&page, o.Values)) != nil {
			return nil // the client is gone
		}
		if !follows(&page, &o, limit) {
			break
		}
		if limit > 0 {
			o.Limit -= size(&page)
		}
		o.After = page.Next
		if keeps {
			o.Session = seen
		}
		if page, err = s.nextPage(ctx, o); err != nil {
			return w.EndStream(err)
		}
		seen = seen.Merge(page.Seen)
	}
	if trails {
		w.Trail(exchange.SessionHeader, s.SessionToken(seen))
	}
	return nil
}

// nextPage reads another page of a stream. The error may also be the reason to end the stream.
func (s *Service) nextPage(ctx context.Context, o store.ListOptions) (store.Page, error) {
	page, err := s.store.List(ctx, o)
	if err == nil && s.Draining.Err() != nil {
		err = problem.New(problem.ShuttingDown, "The server is shutting down. The list is not whole.")
	}
	return page, cmp.Or(exchange.Ended(ctx), err)
}

// follows reports whether another page follows. limit is 0 for an unbounded list.
func follows(page *store.Page, o *store.ListOptions, limit int) bool {
	return page.Next != "" && (limit == 0 || size(page) < o.Limit)
}

func size(page *store.Page) int { return len(page.Entries) + len(page.Prefixes) }

// group is the line of a group that the delimiter formed.
type group struct {
	Prefix string `json:"prefix"`
}

// linesOf yields a line for each entry and group, in the order of names.
func linesOf(page *store.Page, values bool) iter.Seq[exchange.Line] {
	return func(yield func(exchange.Line) bool) {
		var l exchange.Line
		entries, groups := page.Entries, page.Prefixes
		for len(entries) > 0 || len(groups) > 0 {
			if len(groups) > 0 && (len(entries) == 0 || groups[0] < store.Name(entries[0].Key)) {
				l.Document, groups = group{groups[0]}, groups[1:]
			} else {
				l.Document, entries = document.NewListed(&entries[0], values, negotiate.FormatNDJSON), entries[1:]
			}
			if !yield(l) {
				return
			}
		}
	}
}
