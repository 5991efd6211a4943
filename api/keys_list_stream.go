package api

import (
	"iter"
	"net/http"
	"slices"

	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/store"
)

// streamKeys writes the whole list as NDJSON, page by page in constant memory, up to the limit if there is one. After
// an error the last line is a problem and the connection breaks, so that an incomplete list is not mistaken for a
// complete list.
func (s *Server) streamKeys(w *response, r *request, o store.ListOptions) error {
	limit := o.Limit
	if limit == 0 {
		o.Limit = store.MaxLimit
	}
	page, err := s.store.List(r.Context(), o)
	if err != nil {
		return err
	}
	keeps, seen := inSession(r.Header, &o.ReadOptions), o.Session.Merge(page.Seen)
	h := w.Header()
	setPage(h, &page, "")
	h[sessionHeader] = []string{s.sessionToken(seen)}
	h["Vary"] = varyAccept
	h["Content-Type"] = []string{negotiate.NDJSON.ContentType}
	if r.Method == http.MethodHead {
		return nil
	}
	trails := follows(&page, &o, limit) && announceSession(h, r)
	for {
		if err := w.held.Resize(r.Context(), budget.Encoded(page.Entries), w.limits.Write); err != nil {
			return w.endStream(err)
		}
		if w.sendLines(linesOf(&page, o.Values)) != nil {
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
		if page, err = s.store.List(r.Context(), o); err == nil && s.draining.Err() != nil {
			err = problem.New(problem.ShuttingDown, "The server is shutting down. The list is not whole.")
		}
		if err != nil {
			return w.endStream(err)
		}
		seen = seen.Merge(page.Seen)
	}
	if trails {
		w.trail(sessionHeader, s.sessionToken(seen))
	}
	return nil
}

// endStream ends a stream with the problem as its last line, if the stream has begun. It returns err.
func (w *response) endStream(err error) error {
	if w.status != 0 {
		w.sendLines(slices.Values([]line{{document: newProblemDocument(w, asProblem(err))}})) // an error means that the client is gone
	}
	return err
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
func linesOf(page *store.Page, values bool) iter.Seq[line] {
	return func(yield func(line) bool) {
		var l line
		entries, groups := page.Entries, page.Prefixes
		for len(entries) > 0 || len(groups) > 0 {
			if len(groups) > 0 && (len(entries) == 0 || groups[0] < store.Name(entries[0].Key)) {
				l.document, groups = group{groups[0]}, groups[1:]
			} else {
				l.document, entries = newListed(&entries[0], values, negotiate.FormatNDJSON), entries[1:]
			}
			if !yield(l) {
				return
			}
		}
	}
}
