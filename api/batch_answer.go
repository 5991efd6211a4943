package api

import (
	"net/http"
	"time"

	"github.com/runnelkv/runnel/store"
)

// batchAnswer is the answer of a batch, which is sent as it grows.
type batchAnswer struct {
	results
	w       http.ResponseWriter
	control *http.ResponseController
	offer   offer
	timeout time.Duration // to take what is sent at a time
	begun   bool
	err     error // of sending: the client is gone
}

func newBatchAnswer(w http.ResponseWriter, o offer, timeout time.Duration, buffer []byte) *batchAnswer {
	a := &batchAnswer{w: w, control: http.NewResponseController(w), offer: o, timeout: timeout}
	a.b, a.lines = buffer, o.form == formNDJSON
	return a
}

// got answers a get.
func (a *batchAnswer) got(o *operation, r *store.Read, err error) {
	if err != nil {
		a.failed(o, r, err)
	} else {
		a.results.got(o, r)
	}
	if len(a.b) >= flushBytes {
		a.send()
	}
}

// send sends what has gathered.
func (a *batchAnswer) send() {
	if !a.begun {
		a.begin()
	}
	if a.err == nil {
		// A connection that knows no deadlines, as in tests, has none to extend.
		a.control.SetWriteDeadline(time.Now().Add(a.timeout))
		_, a.err = a.w.Write(a.b)
	}
	a.b = a.b[:0]
}

func (a *batchAnswer) begin() {
	a.begun = true
	h := a.w.Header()
	h["Content-Type"] = []string{a.offer.contentType}
	h["Vary"] = varyAccept
	h["Cache-Control"] = noStore
	if !a.lines {
		_, a.err = a.w.Write([]byte(`{"results":[`))
	}
}

// flush sends what has gathered now, and not when more does. The error says that
// the client is gone.
func (a *batchAnswer) flush() error {
	a.send()
	if a.err == nil {
		a.err = a.control.Flush()
	}
	return a.err
}

// finish ends the answer.
func (a *batchAnswer) finish() error {
	if !a.lines {
		a.b = append(a.b, "]}\n"...)
	}
	a.send()
	return nil // whether the client is gone does not matter any more
}
