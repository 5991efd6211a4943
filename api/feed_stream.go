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
	st := newChangeStream(s, w, f.options.Values, r.variant.Format)
	s.feeds.readers.WithLabelValues(st.formName()).Inc()
	defer s.feeds.readers.WithLabelValues(st.formName()).Dec()
	if err := st.writeFirst(ctx, &page); err != nil {
		return nil // the client is gone or does not read
	}
	watch := s.store.Watch(page.Next, f.options)
	defer watch.Close()
	return s.follow(ctx, st, watch, func(err error) *problemDocument { return newProblemDocument(asProblem(err), r, w.id) })
}

// follow writes the pages of the watch until ctx ends, the client is gone, or the changes cannot be continued.
func (s *Server) follow(ctx context.Context, st *changeStream, watch *store.Watch, describe func(error) *problemDocument) error {
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
			st.writeProblem(describe(err))
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
	s         *Server
	w         *response
	control   *http.ResponseController
	values    bool
	format    negotiate.Format
	lastToken string // last token sent to the client
}

func newChangeStream(s *Server, w *response, values bool, f negotiate.Format) *changeStream {
	return &changeStream{s: s, w: w, control: http.NewResponseController(w), values: values, format: f}
}

func (st *changeStream) formName() string {
	if st.format == negotiate.FormatEvents {
		return "events"
	}
	return "ndjson"
}

// retryEvents makes browsers reconnect after one second.
const retryEvents = "retry: 1000\n\n"

// writeFirst writes the first page. If the page is empty, a heartbeat gives the client a token to resume with.
func (st *changeStream) writeFirst(ctx context.Context, page *store.ChangePage) error {
	if st.format == negotiate.FormatEvents {
		if err := st.send([]byte(retryEvents)); err != nil {
			return err
		}
	}
	if len(page.Entries) == 0 {
		return st.heartbeat(page.Next)
	}
	return st.writePage(ctx, page)
}

func (st *changeStream) writePage(ctx context.Context, page *store.ChangePage) error {
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
		st.lastToken = token.String()
		d := newChange(e, st.values, negotiate.FormatJSON)
		if st.format == negotiate.FormatEvents {
			b.WriteString("id: " + st.lastToken + "\ndata: ")
		} else {
			d.Next = st.lastToken
		}
		if err := encoder.Encode(d); err != nil { // ends with a line break
			return err
		}
		if st.format == negotiate.FormatEvents {
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

// heartbeat keeps the connection open and sends the token, which advances even without changes. An event without data
// sets only the last event id.
func (st *changeStream) heartbeat(at store.ChangeToken) error {
	token := at.String()
	line := `{"next":"` + token + "\"}\n"
	if st.format == negotiate.FormatEvents {
		line = "id: " + token + "\n\n"
		if token == st.lastToken {
			line = ":\n\n"
		}
	}
	st.lastToken = token
	return st.send([]byte(line))
}

func (st *changeStream) writeProblem(p *problemDocument) {
	text, err := json.Marshal(p)
	if err != nil {
		return
	}
	if st.format == negotiate.FormatEvents {
		text = append([]byte("event: problem\ndata: "), append(text, '\n')...)
	}
	st.send(append(text, '\n')) // an error means that the client is gone
}

// send gives the client a fresh deadline and writes b.
func (st *changeStream) send(b []byte) error {
	// Fails in tests, whose connections have no deadlines.
	st.control.SetWriteDeadline(time.Now().Add(st.s.options.Limits.Write))
	if _, err := st.w.Write(b); err != nil {
		return err
	}
	return st.control.Flush()
}
