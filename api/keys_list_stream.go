package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"

	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/store"
)

// streamKeys writes the whole list as NDJSON, page by page in constant memory, up to the limit if there is one. After
// an error the last line is a problem and the connection breaks, so that an incomplete list is not mistaken for a
// complete one.
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
	st := newStream(w, s.options.Limits.Write)
	for {
		if err := st.held.Resize(r.Context(), budget.Encoded(page.Entries), st.timeout); err != nil {
			return s.endStream(st, r, err)
		}
		if st.writePage(&page, o.Values) != nil {
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
			return s.endStream(st, r, err)
		}
		seen = seen.Merge(page.Seen)
	}
	if trails {
		w.trail(sessionHeader, s.sessionToken(seen))
	}
	return nil
}

// endStream ends a stream after an error.
func (s *Server) endStream(st *stream, r *request, err error) error {
	if st.w.status != 0 {
		st.writeError(newProblemDocument(asProblem(err), r, st.w.id))
	}
	return err
}

// follows reports whether another page follows. limit is 0 for an unbounded list.
func follows(page *store.Page, o *store.ListOptions, limit int) bool {
	return page.Next != "" && (limit == 0 || size(page) < o.Limit)
}

func size(page *store.Page) int { return len(page.Entries) + len(page.Prefixes) }

// stream writes lines of JSON and gives the client a fresh deadline for each write.
type stream struct {
	w       *response
	control *http.ResponseController
	held    *budget.Hold
	timeout time.Duration
	buffer  bytes.Buffer
	encoder *json.Encoder
}

func newStream(w *response, timeout time.Duration) *stream {
	rw := w
	st := &stream{w: rw, held: &rw.held, control: http.NewResponseController(w), timeout: timeout}
	st.encoder = json.NewEncoder(&st.buffer)
	return st
}

// flushBytes bounds the bytes gathered before they are sent.
const flushBytes = 256 << 10

// group is the line of a group that the delimiter formed.
type group struct {
	Prefix string `json:"prefix"`
}

// writePage writes a line for each entry and group, in the order of names.
func (st *stream) writePage(page *store.Page, values bool) error {
	entries, groups := page.Entries, page.Prefixes
	for len(entries) > 0 || len(groups) > 0 {
		if len(groups) > 0 && (len(entries) == 0 || groups[0] < store.Name(entries[0].Key)) {
			if err := st.writeLine(group{groups[0]}); err != nil {
				return err
			}
			groups = groups[1:]
			continue
		}
		if err := st.writeLine(newListed(&entries[0], values, negotiate.FormatNDJSON)); err != nil {
			return err
		}
		entries = entries[1:]
	}
	return st.flush()
}

func (st *stream) writeLine(line any) error {
	if err := st.encoder.Encode(line); err != nil {
		return err
	}
	if st.buffer.Len() < flushBytes {
		return nil
	}
	return st.send()
}

func (st *stream) writeError(p *problemDocument) {
	if st.writeLine(p) == nil {
		st.flush() // an error means that the client is gone
	}
}

func (st *stream) send() error {
	// Fails in tests, whose connections have no deadlines.
	st.control.SetWriteDeadline(time.Now().Add(st.timeout))
	_, err := st.w.Write(st.buffer.Bytes())
	st.buffer.Reset()
	return err
}

func (st *stream) flush() error {
	if err := st.send(); err != nil {
		return err
	}
	return st.control.Flush()
}
