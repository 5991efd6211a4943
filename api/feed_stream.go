package api

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/store"
)

// streamChanges writes changes as they happen. Without changes, heartbeats report how far the reader has come. After an
// error the last line is a problem, then the connection breaks.
func (s *Server) streamChanges(w *response, r *request, f feed) error {
	page, err := s.first(r.Context(), &f)
	if err != nil {
		return err
	}
	h := w.Header()
	h["Cache-Control"] = noStore
	h["Content-Type"] = []string{r.variant.ContentType}
	h["Vary"] = varyAccept
	h["X-Accel-Buffering"] = []string{"no"} // stops proxies from buffering
	if r.Method == http.MethodHead {
		return nil
	}
	ctx, cancel := s.endless(w, r)
	defer cancel()
	st := &changeStream{w: w, sent: s.metrics.changes, values: f.options.Values, events: r.variant == negotiate.Events}
	form := "ndjson"
	if st.events {
		form = "events"
	}
	s.metrics.readers.WithLabelValues(form).Inc()
	defer s.metrics.readers.WithLabelValues(form).Dec()
	if err := st.writeFirst(ctx, &page); err != nil {
		return nil // the client is gone or does not read
	}
	watch := s.store.Watch(page.Next, f.options)
	defer watch.Close()
	return s.follow(ctx, st, watch)
}

// follow writes the pages of the watch until ctx ends, the client is gone, or the changes cannot be continued.
func (s *Server) follow(ctx context.Context, st *changeStream, watch *store.Watch) error {
	for {
		beat, cancel := context.WithTimeout(ctx, s.options.Limits.Heartbeat)
		page, err := watch.Next(beat)
		cancel()
		switch {
		case err == nil:
			err = st.writePage(ctx, &page)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, store.ErrNoPartition):
			err = st.heartbeat(watch.Token())
		default:
			st.writeProblem(err)
			return err
		}
		if err != nil {
			s.options.Logger.Info("a reader of changes is cut off", "request", st.w.id, "reason", err)
			return nil
		}
	}
}

// changeStream writes changes as NDJSON or as server-sent events. An idle stream keeps no buffer.
type changeStream struct {
	w         *response
	sent      prometheus.Counter
	values    bool
	events    bool
	lastToken string // last token sent to the client
}

// retryEvents makes browsers reconnect after one second.
const retryEvents = "retry: 1000\n\n"

// writeFirst writes the first page. If the page is empty, a heartbeat gives the client a token to resume with.
func (st *changeStream) writeFirst(ctx context.Context, page *store.ChangePage) error {
	if st.events {
		if err := st.w.sendNow([]byte(retryEvents)); err != nil {
			return err
		}
	}
	if len(page.Entries) == 0 {
		return st.heartbeat(page.Next)
	}
	return st.writePage(ctx, page)
}

func (st *changeStream) writePage(ctx context.Context, page *store.ChangePage) error {
	if err := st.w.held.Resize(ctx, budget.Encoded(page.Entries), st.w.limits.Write); err != nil {
		return err
	}
	defer st.w.held.Release()
	st.sent.Add(float64(len(page.Entries)))
	return st.w.sendLines(func(yield func(line) bool) {
		for e, token := range page.All() {
			st.lastToken = token.String()
			d := newChange(e, st.values, negotiate.FormatJSON)
			l := line{document: d}
			if st.events {
				l.before, l.after = "id: "+st.lastToken+"\ndata: ", "\n"
			} else {
				d.Next = st.lastToken
			}
			if !yield(l) {
				return
			}
		}
	})
}

// heartbeat keeps the connection open and sends the token, which advances even without changes. An event without data
// sets only the last event id.
func (st *changeStream) heartbeat(at store.ChangeToken) error {
	token := at.String()
	text := `{"next":"` + token + "\"}\n"
	if st.events {
		text = "id: " + token + "\n\n"
		if token == st.lastToken {
			text = ":\n\n"
		}
	}
	st.lastToken = token
	return st.w.sendNow([]byte(text))
}

func (st *changeStream) writeProblem(err error) {
	l := line{document: newProblemDocument(st.w, asProblem(err))}
	if st.events {
		l.before, l.after = "event: problem\ndata: ", "\n"
	}
	st.w.sendLines(slices.Values([]line{l})) // an error means that the client is gone
}
