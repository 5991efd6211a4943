package exchange

import (
	"bytes"
	"encoding/json"
	"iter"
	"slices"
	"time"
)

// Line is a line of a stream: a document as JSON, with a frame if the stream consists of events.
type Line struct {
	Before   string
	Document any
	After    string
}

// SendLines encodes lines and sends them: whenever FlushBytes are gathered, and at the end.
func (w *Response) SendLines(lines iter.Seq[Line]) error {
	b := buffers.Get().(*bytes.Buffer)
	defer recycleBuffer(b)
	encoder := json.NewEncoder(b)
	for l := range lines {
		b.WriteString(l.Before)
		if err := encoder.Encode(l.Document); err != nil { // ends with a line break
			return err
		}
		b.WriteString(l.After)
		if b.Len() >= FlushBytes {
			if err := w.Send(b.Bytes()); err != nil {
				return err
			}
			b.Reset()
		}
	}
	return w.SendNow(b.Bytes())
}

// Send gives the client a fresh deadline and writes b.
func (w *Response) Send(b []byte) error {
	w.SetWriteDeadline(time.Now().Add(w.Timeouts.Write)) // fails in tests
	_, err := w.Write(b)
	return err
}

// SendNow sends b and flushes the connection.
func (w *Response) SendNow(b []byte) error {
	if err := w.Send(b); err != nil {
		return err
	}
	return w.FlushError()
}

// EndStream ends a stream with the problem as its last line, if the stream has begun. It returns err.
func (w *Response) EndStream(err error) error {
	if w.Status != 0 {
		w.SendLines(slices.Values([]Line{{Document: NewProblemDocument(w, AsProblem(err))}})) // an error means that the client is gone
	}
	return err
}
