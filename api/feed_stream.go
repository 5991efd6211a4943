package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/store"
)

// streamChanges writes changes as they come, for ever. When nothing comes, a
// heartbeat says that, and how far the reader has come all the same. An error is
// the last that is written, a problem, and then the connection breaks.
func (s *Server) streamChanges(w *response, r *request, f feed) error {
	page, err := s.first(r.Context(), &f)
	if err != nil {
		return err
	}
	h := w.Header()
	h["Cache-Control"] = noStore
	h["Content-Type"] = []string{r.variant.ContentType}
	h["Vary"] = varyAccept
	h["X-Accel-Buffering"] = []string{"no"} // for proxies that gather answers otherwise
	if r.Method == http.MethodHead {
		return nil
	}
	ctx, cancel := s.endless(w, r)
	defer cancel()
	st := newChangeStream(s, w, f.options.Values, r.variant.Format)
	s.feeds.readers.WithLabelValues(st.name()).Inc()
	defer s.feeds.readers.WithLabelValues(st.name()).Dec()
	if err := st.begin(ctx, &page); err != nil {
		return nil // the client is gone, or does not read
	}
	watch := s.store.Watch(page.Next, f.options)
	defer watch.Close()
	return s.follow(ctx, st, watch, func(err error) *problemDocument { return documentOfProblem(problemOf(err), r, w.id) })
}

// follow writes what the watch gives until ctx ends, the client takes no more, or
// the changes cannot be continued.
func (s *Server) follow(ctx context.Context, st *changeStream, watch *store.Watch, describe func(error) *problemDocument) error {
	for {
		beat, cancel := context.WithTimeout(ctx, s.options.Limits.Heartbeat)
		page, err := watch.Next(beat)
		cancel()
		switch {
		case err == nil:
			err = st.write(ctx, &page)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, store.ErrNoPartition):
			err = st.heartbeat(watch.Token())
		default:
			st.fail(describe(err))
			return err
		}
		if err != nil {
			s.options.Logger.Info("a reader of changes is cut off", "request", st.w.id, "reason", err)
			return nil
		}
	}
}

// changeStream writes changes as NDJSON or as events (the HTML standard's
// server-sent events). It keeps no memory while nothing is written.
type changeStream struct {
	s       *Server
	w       *response
	control *http.ResponseController
	values  bool
	form    negotiate.Format
	told    string // the token that the client was given last
}

func newChangeStream(s *Server, w *response, values bool, f negotiate.Format) *changeStream {
	return &changeStream{s: s, w: w, control: http.NewResponseController(w), values: values, form: f}
}

func (st *changeStream) name() string {
	if st.form == negotiate.FormatEvents {
		return "events"
	}
	return "ndjson"
}

// retryEvents has browsers come back a second after a connection was lost.
const retryEvents = "retry: 1000\n\n"

// begin writes the first page, and where it ends if it is empty, so that the
// client has something to come back with.
func (st *changeStream) begin(ctx context.Context, page *store.ChangePage) error {
	if st.form == negotiate.FormatEvents {
		if err := st.send([]byte(retryEvents)); err != nil {
			return err
		}
	}
	if len(page.Entries) == 0 {
		return st.heartbeat(page.Next)
	}
	return st.write(ctx, page)
}

func (st *changeStream) write(ctx context.Context, page *store.ChangePage) error {
	if err := st.w.held.Resize(ctx, budget.Encoded(page.Entries), st.s.options.Limits.Write); err != nil {
		return err
	}
	defer st.w.held.Release()
	b := buffers.Get().(*bytes.Buffer)
	defer func() {
		if b.Cap() <= keepBytes {
			b.Reset()
			buffers.Put(b)
		}
	}()
	encoder := json.NewEncoder(b)
	for e, token := range page.All() {
		st.told = token.String()
		d := changeOf(e, st.values, negotiate.FormatJSON)
		if st.form == negotiate.FormatEvents {
			b.WriteString("id: " + st.told + "\ndata: ")
		} else {
			d.Next = st.told
		}
		if err := encoder.Encode(d); err != nil { // with a line break
			return err
		}
		if st.form == negotiate.FormatEvents {
			b.WriteByte('\n')
		}
		if b.Len() >= flushBytes {
			if err := st.send(b.Bytes()); err != nil {
				return err
			}
			b.Reset()
		}
	}
	st.s.feeds.sent.Add(float64(len(page.Entries)))
	return st.send(b.Bytes())
}

// heartbeat keeps the connection open, and tells a token that has moved though
// nothing was written: an event without data only sets the last event's id.
func (st *changeStream) heartbeat(at store.ChangeToken) error {
	token := at.String()
	line := `{"next":"` + token + "\"}\n"
	if st.form == negotiate.FormatEvents {
		line = "id: " + token + "\n\n"
		if token == st.told {
			line = ":\n\n"
		}
	}
	st.told = token
	return st.send([]byte(line))
}

func (st *changeStream) fail(p *problemDocument) {
	text, err := json.Marshal(p)
	if err != nil {
		return
	}
	if st.form == negotiate.FormatEvents {
		text = append([]byte("event: problem\ndata: "), append(text, '\n')...)
	}
	st.send(append(text, '\n')) // an error means that the client is gone
}

// send gives the client a fresh deadline to take what is written.
func (st *changeStream) send(b []byte) error {
	// A connection that knows no deadlines, as in tests, has none to extend.
	st.control.SetWriteDeadline(time.Now().Add(st.s.options.Limits.Write))
	if _, err := st.w.Write(b); err != nil {
		return err
	}
	return st.control.Flush()
}
