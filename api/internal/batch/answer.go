package batch

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/runnelkv/runnel/api/audit"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/internal/write"
	"github.com/runnelkv/runnel/store"
)

// batchAnswer writes the answer of a batch while the batch runs.
type batchAnswer struct {
	resultWriter
	w         *exchange.Response
	minimal   bool                  // Prefer: return=minimal: results only for gets and refused operations
	done      int                   // operations that succeeded
	refusals  int                   // operations that were refused
	seen      sessionTracker        // by this answer
	sender    *sender               // of a stream; nil: gathered results are sent directly
	ending    bool                  // nothing follows the gathered results
	trails    bool                  // a trailer with the session follows the body
	unsecured map[store.Origin]bool // masters whose writes are not known to be on a majority of the voters; see batch.secure
	err       error                 // of sending: the client is gone or does not read
}

func newBatchAnswer(w *exchange.Response, out []byte, seen sessionTracker) *batchAnswer {
	a := &batchAnswer{w: w, minimal: prefersMinimal(w.Request.Header), seen: seen}
	a.b, a.lines = out, w.Request.Variant.Format == negotiate.FormatNDJSON
	return a
}

// prefersMinimal reports whether the request has Prefer: return=minimal (RFC 7240).
func prefersMinimal(h http.Header) bool {
	for _, preference := range strings.FieldsFunc(strings.Join(h["Prefer"], ","), func(r rune) bool { return r == ',' || r == ';' }) {
		name, value, _ := strings.Cut(preference, "=")
		if strings.EqualFold(strings.TrimSpace(name), "return") {
			return strings.EqualFold(strings.Trim(strings.TrimSpace(value), `"`), "minimal") // the first preference counts
		}
	}
	return false
}

// answerWrite adds the result of a put or a delete.
func (a *batchAnswer) answerWrite(o *op, e *store.Entry, created bool) {
	a.seen.record(store.Mark{Origin: e.Origin, Revision: e.Revision})
	a.done++
	a.w.RecordItem(o.act(), o.Entry.Key, e, http.StatusNoContent)
	if a.minimal && !a.unsecured[e.Origin] {
		a.index++
		return
	}
	a.writeResult(o, e, writeStatus(o, created, a.unsecured[e.Origin]))
	a.sendIfOver(wholeAnswer)
}

// writeStatus returns the status of a write.
func writeStatus(o *op, created, unsecured bool) int {
	switch {
	case unsecured:
		return http.StatusAccepted
	case created && o.name != "delete":
		return http.StatusCreated
	}
	return http.StatusNoContent
}

// answerRefusal adds the result of an operation that failed or was refused.
func (a *batchAnswer) answerRefusal(o *op, err error) {
	seen, _ := write.RevealedBy(err)
	a.seen.record(seen)
	a.refusals++
	a.w.RecordItem(o.act(), o.Entry.Key, &o.Entry, exchange.AsProblem(err).Type.Status)
	a.problemResult(o, &store.Read{}, err)
	a.sendIfOver(wholeAnswer)
}

// answerRead adds the result of a get.
func (a *batchAnswer) answerRead(o *op, r *store.Read, err error) {
	if a.err != nil {
		a.index++ // the client does not read, and gets change nothing
		return
	}
	a.seen.record(r.Seen)
	if err != nil {
		a.refusals++
		a.w.RecordItem(audit.Read, o.Entry.Key, &r.Entry, exchange.AsProblem(err).Type.Status)
		a.problemResult(o, r, err)
	} else {
		a.done++
		a.w.RecordItem(audit.Read, o.Entry.Key, &r.Entry, http.StatusOK)
		a.readResult(o, r)
	}
	a.sendIfOver(exchange.FlushBytes)
}

// wholeAnswer is the size up to which results without values are gathered. Most answers are smaller, so that the whole
// session fits in their header.
const wholeAnswer = 1 << 20

// sendIfOver sends the gathered results if they exceed n bytes.
func (a *batchAnswer) sendIfOver(n int) {
	if len(a.b) >= n {
		a.sendGathered()
	}
}

// sendGathered sends the gathered results.
func (a *batchAnswer) sendGathered() {
	if a.w.Status == 0 {
		a.writeHeader()
	}
	switch {
	case a.sender != nil && (a.ending || a.err != nil): // writes that were done are reported in any case
		a.sender.enqueueNow(a.b)
	case a.sender != nil:
		a.err = a.sender.enqueue(a.b)
	case a.err == nil:
		a.err = a.w.Send(a.b)
	}
	a.b = a.b[:0]
}

// writeHeader sends the header. The header has the session as far as the batch has come; if more results follow, a
// trailer has the final session.
func (a *batchAnswer) writeHeader() {
	h := a.w.Header()
	if token := a.seen.token(); token != "" {
		a.w.SetField(exchange.SessionHeader, token)
	}
	if !a.ending {
		a.trails = exchange.AnnounceSession(h, &a.w.Request)
	}
	h["Content-Type"] = []string{a.w.Request.Variant.ContentType}
	h["Vary"] = exchange.VaryAccept
	h["Cache-Control"] = exchange.NoStore
	if a.minimal {
		h["Preference-Applied"] = []string{"return=minimal"}
	}
	if !a.lines {
		a.b = append([]byte(`{"results":[`), a.b...)
	}
	a.w.WriteHeader(http.StatusOK)
}

// sendNow sends the gathered results without waiting for more. The error says that the client is gone or does not read.
func (a *batchAnswer) sendNow() error {
	a.sendGathered()
	if a.err == nil && a.sender == nil {
		a.err = a.w.FlushError()
	}
	return a.err
}

// finishAnswer sends the end of the answer.
func (a *batchAnswer) finishAnswer() error {
	a.ending = true
	switch {
	case a.minimal && a.lines:
		a.b = append(a.summary(append(a.b, '{')), "}\n"...)
	case a.minimal:
		a.b = append(a.summary(append(a.b, "],"...)), "}\n"...)
	case !a.lines:
		a.b = append(a.b, "]}\n"...)
	}
	a.sendGathered()
	if a.sender == nil {
		a.sendTrailer()
	}
	return nil // whether the client is gone no longer matters
}

// sendTrailer sets the trailer with the session, once nothing writes the answer any more: net/http reads the fields at
// each write.
func (a *batchAnswer) sendTrailer() {
	if token := a.seen.token(); a.trails && token != "" {
		a.w.Trail(exchange.SessionHeader, token)
	}
}

// summary appends the numbers of done and of refused operations.
func (a *batchAnswer) summary(b []byte) []byte {
	b = strconv.AppendInt(append(b, `"done":`...), int64(a.done), 10)
	return strconv.AppendInt(append(b, `,"refused":`...), int64(a.refusals), 10)
}
