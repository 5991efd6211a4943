package api

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/store"
)

// batchAnswer is the answer of a batch, which is sent as it grows.
type batchAnswer struct {
	results
	w        *response
	request  *request
	control  *http.ResponseController
	timeout  time.Duration // to take what is sent at a time
	minimal  bool          // only what was refused, and gets, have a result of their own
	done     int           // operations that were not refused
	refusals int           // operations that were
	seen     sightings     // in what is answered
	sender   *sender       // of a stream; nil: what has gathered is sent at once
	begun    bool
	ending   bool  // nothing follows what has gathered
	trails   bool  // the session follows the body
	err      error // of sending: the client is gone, or does not read
}

func newBatchAnswer(w *response, r *request, timeout time.Duration) *batchAnswer {
	a := &batchAnswer{w: w, request: r, control: http.NewResponseController(w), timeout: timeout}
	a.lines = r.variant.Format == negotiate.FormatNDJSON
	a.minimal = prefersMinimal(r.Header)
	return a
}

// prefersMinimal reports whether the request has Prefer: return=minimal (RFC 7240).
func prefersMinimal(h http.Header) bool {
	for _, preference := range strings.FieldsFunc(strings.Join(h["Prefer"], ","), func(r rune) bool { return r == ',' || r == ';' }) {
		name, value, _ := strings.Cut(preference, "=")
		if strings.EqualFold(strings.TrimSpace(name), "return") {
			return strings.EqualFold(strings.Trim(strings.TrimSpace(value), `"`), "minimal") // the first one counts
		}
	}
	return false
}

// wrote answers a put or a delete.
func (a *batchAnswer) wrote(o *operation, e *store.Entry, created bool) {
	a.seen.add(store.Mark{Origin: e.Origin, Revision: e.Revision})
	a.done++
	if a.minimal {
		a.index++
		return
	}
	a.results.wrote(o, e, created)
	a.sendOver(wholeAnswer)
}

// refused answers an operation that was not done.
func (a *batchAnswer) refused(o *operation, err error) {
	a.seen.add(seenIn(err))
	a.refusals++
	a.failed(o, &store.Read{}, err)
	a.sendOver(wholeAnswer)
}

// got answers a get.
func (a *batchAnswer) got(o *operation, r *store.Read, err error) {
	if a.err != nil {
		a.index++ // the client does not read: a get need not have been done
		return
	}
	a.seen.add(r.Seen)
	if err != nil {
		a.refusals++
		a.failed(o, r, err)
	} else {
		a.done++
		a.results.got(o, r)
	}
	a.sendOver(flushBytes)
}

// wholeAnswer is how much gathers of an answer without values, so that in most
// answers the whole session stands in the header.
const wholeAnswer = 1 << 20

// sendOver sends what has gathered when it is so much.
func (a *batchAnswer) sendOver(n int) {
	if len(a.b) >= n {
		a.send()
	}
}

// send sends what has gathered.
func (a *batchAnswer) send() {
	if !a.begun {
		a.begin()
	}
	switch {
	case a.sender != nil && (a.ending || a.err != nil): // what was done is answered all the same
		a.sender.push(a.b)
	case a.sender != nil:
		a.err = a.sender.add(a.b)
	case a.err == nil:
		a.err = a.write(a.b)
	}
	a.b = a.b[:0]
}

// write writes to the client, which has a fresh deadline to take it.
func (a *batchAnswer) write(b []byte) error {
	// A connection that knows no deadlines, as in tests, has none to extend.
	a.control.SetWriteDeadline(time.Now().Add(a.timeout))
	_, err := a.w.Write(b)
	return err
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
	h["Content-Type"] = []string{a.request.variant.ContentType}
	h["Vary"] = varyAccept
	h["Cache-Control"] = noStore
	if a.minimal {
		h["Preference-Applied"] = []string{"return=minimal"}
	}
	if !a.lines {
		a.b = append([]byte(`{"results":[`), a.b...)
	}
	a.w.WriteHeader(http.StatusOK)
}

// flush sends what has gathered now, and not when more does. The error says that
// the client is gone, or does not read.
func (a *batchAnswer) flush() error {
	a.send()
	if a.err == nil && a.sender == nil {
		a.err = a.control.Flush()
	}
	return a.err
}

// finish ends the answer.
func (a *batchAnswer) finish() error {
	a.ending = true
	switch {
	case a.minimal && a.lines:
		a.b = append(a.summary(append(a.b, '{')), "}\n"...)
	case a.minimal:
		a.b = append(a.summary(append(a.b, "],"...)), "}\n"...)
	case !a.lines:
		a.b = append(a.b, "]}\n"...)
	}
	a.send()
	if token := a.seen.token(); a.trails && token != "" {
		a.w.trail(sessionHeader, token)
	}
	return nil // whether the client is gone does not matter any more
}

// summary appends how many operations were done and refused.
func (a *batchAnswer) summary(b []byte) []byte {
	b = strconv.AppendInt(append(b, `"done":`...), int64(a.done), 10)
	return strconv.AppendInt(append(b, `,"refused":`...), int64(a.refusals), 10)
}
