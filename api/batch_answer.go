package api

import (
	"net/http"
	"time"

	"github.com/runnelkv/runnel/store"
)

// batchAnswer is the answer of a batch, which is sent as it grows.
type batchAnswer struct {
	results
	w       *response
	request *http.Request
	control *http.ResponseController
	offer   offer
	timeout time.Duration // to take what is sent at a time
	seen    sightings     // in what is answered
	begun   bool
	ending  bool  // nothing follows what has gathered
	trails  bool  // the session follows the body
	err     error // of sending: the client is gone
}

func newBatchAnswer(w http.ResponseWriter, r *http.Request, o offer, timeout time.Duration) *batchAnswer {
	a := &batchAnswer{w: w.(*response), request: r, control: http.NewResponseController(w), offer: o, timeout: timeout}
	a.lines = o.form == formNDJSON
	return a
}

// wrote answers a put or a delete.
func (a *batchAnswer) wrote(o *operation, e *store.Entry, created bool) {
	a.seen.add(store.Mark{Origin: e.Origin, Revision: e.Revision})
	a.results.wrote(o, e, created)
}

// refused answers an operation that was not done.
func (a *batchAnswer) refused(o *operation, err error) {
	a.seen.add(seenIn(err))
	a.failed(o, &store.Read{}, err)
}

// got answers a get.
func (a *batchAnswer) got(o *operation, r *store.Read, err error) {
	a.seen.add(r.Seen)
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

// begin sends the header. The session stands in it as far as it is known: to its
// end if the answer ends here, and else a trailer says more.
func (a *batchAnswer) begin() {
	a.begun = true
	h := a.w.Header()
	if token := a.seen.token(); token != "" {
		a.w.set(sessionHeader, token)
	}
	if !a.ending {
		a.trails = announceSession(h, a.request)
	}
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
	a.ending = true
	if !a.lines {
		a.b = append(a.b, "]}\n"...)
	}
	a.send()
	if token := a.seen.token(); a.trails && token != "" {
		a.w.trail(sessionHeader, token)
	}
	return nil // whether the client is gone does not matter any more
}
