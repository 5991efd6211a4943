package feed

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/store"
)

// streamChanges writes changes as they happen. Without changes, heartbeats report how far the reader has come. After an
// error the last line is a problem, then the connection breaks.
func (s *Service) streamChanges(w *exchange.Response, r *exchange.Request, f feed) error {
	page, err := s.first(r.Context(), &f)
	if err != nil {
		return err
	}
	h := w.Header()
	h["Cache-Control"] = exchange.NoStore
	h["Content-Type"] = []string{r.Variant.ContentType}
	h["Vary"] = exchange.VaryAccept
	h["X-Accel-Buffering"] = []string{"no"} // stops proxies from buffering
	if r.Method == http.MethodHead {
		return nil
	}
	ctx, cancel, err := s.endless(w, r)
	if err != nil {
		return err
	}
	defer cancel()
	st := &changeStream{w: w, sent: s.sent, values: f.options.Values, events: r.Variant == negotiate.Events}
	form := "ndjson"
	if st.events {
		form = "events"
	}
	s.readers.WithLabelValues(form).Inc()
	defer s.readers.WithLabelValues(form).Dec()
	if err := st.writeFirst(ctx, &page); err != nil {
		return s.endReason(ctx) // nil: the client is gone or does not read
	}
	watch := s.store.Watch(page.Next, f.options)
	defer watch.Close()
	return s.follow(ctx, st, watch)
}

// follow writes the pages of the watch until ctx ends, the client is gone, or the changes cannot be continued.
func (s *Service) follow(ctx context.Context, st *changeStream, watch *store.Watch) error {
	for {
		beat, cancel := context.WithTimeout(ctx, s.heartbeat)
		page, err := watch.Next(beat)
		cancel()
		switch {
		case err == nil:
			err = st.writePage(ctx, &page)
		case ctx.Err() != nil:
			return st.end(s.endReason(ctx))
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, store.ErrNoPartition):
			err = st.heartbeat(watch.Token())
		default:
			return st.end(err)
		}
		if ended := s.endReason(ctx); ended != nil {
			return st.end(ended)
		}
		if err != nil {
			s.Logger.Info("a reader of changes is cut off", "request", st.w.ID, "reason", err)
			return nil
		}
	}
}

// endReason returns why the server ends the stream of ctx; nil if the client has left, or the stream goes on.
func (s *Service) endReason(ctx context.Context) error {
	if ended := exchange.Ended(ctx); ended != nil || s.Draining.Err() == nil {
		return ended
	}
	return problem.New(problem.ShuttingDown, "The server ends its streams. Continue on another server, or on this server later, with the last token.")
}

// changeStream writes changes as NDJSON or as server-sent events. An idle stream keeps no buffer.
type changeStream struct {
	w         *exchange.Response
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
		if err := st.w.SendNow([]byte(retryEvents)); err != nil {
			return err
		}
	}
	if len(page.Entries) == 0 {
		return st.heartbeat(page.Next)
	}
	return st.writePage(ctx, page)
}

func (st *changeStream) writePage(ctx context.Context, page *store.ChangePage) error {
	if err := st.w.Held.Resize(ctx, budget.Encoded(page.Entries), st.w.Timeouts.Write); err != nil {
		return err
	}
	defer st.w.Held.Release()
	st.sent.Add(float64(len(page.Entries)))
	return st.w.SendLines(func(yield func(exchange.Line) bool) {
		for e, token := range page.All() {
			st.lastToken = token.String()
			d := newChange(e, st.values, negotiate.FormatJSON)
			l := exchange.Line{Document: d}
			if st.events {
				l.Before, l.After = "id: "+st.lastToken+"\ndata: ", "\n"
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
	return st.w.SendNow([]byte(text))
}

// end ends the stream with the problem as its last line, and returns err; nil ends the stream as it is.
func (st *changeStream) end(err error) error {
	if err == nil {
		return nil
	}
	l := exchange.Line{Document: exchange.NewProblemDocument(st.w, exchange.AsProblem(err))}
	if st.events {
		l.Before, l.After = "event: problem\ndata: ", "\n"
	}
	st.w.SendLines(slices.Values([]exchange.Line{l})) // an error means that the client is gone
	return err
}
