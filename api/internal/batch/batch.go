package batch

import (
	"bytes"
	"mime"
	"net/http"
	"slices"
	"sync"

	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/internal/write"
	"github.com/runnelkv/runnel/store"
)

// Bounds of a batch.
const (
	maxBatchItems = 10_000   // of an array; the number of lines is not bounded
	maxBatchBytes = 16 << 20 // of an array, unless its largest possible value needs more
	wholeBytes    = 4 << 20  // announced bodies of lines up to this size are read whole before they run
	windowItems   = 1024     // operations that run together …
	windowBytes   = 4 << 20  // … and the bytes they were decoded from
)

var (
	arrayVariants   = []negotiate.Variant{negotiate.JSON, negotiate.NDJSON}
	lineVariants    = []negotiate.Variant{negotiate.NDJSON, negotiate.JSON}
	batchMediaTypes = []string{"application/json", "application/x-ndjson"}
)

// Batch is POST /v1/batch: many operations on single keys, each with its own result. The operations share a few
// statements and commits.
func (s *Service) Batch(w *exchange.Response, r *exchange.Request) error {
	o, err := s.ReadOptions(r.Header, r.Query)
	if err != nil {
		return err
	}
	majority, err := write.Durable(r.Query)
	if err != nil {
		return err
	}
	fences, err := write.Fences(r.Header)
	if err != nil {
		return err
	}
	lines, err := hasLines(r.Header)
	if err != nil {
		return err
	}
	variants := arrayVariants
	if lines {
		variants = lineVariants
	}
	if r.Variant, err = negotiate.Choose(r.Header["Accept"], variants); err != nil {
		return err
	}
	b := batches.Get().(*batch)
	b.majority = majority
	b.service, b.request, b.read, b.fences, b.answer = s, r, o, fences, newBatchAnswer(w, b.out, sessionTracker{s.store.Tag, o.Session, b.marks})
	if b.keeps = exchange.InSession(r.Header, &o); o.Consistency == store.InSession || o.Consistency == "" {
		b.read.Consistency = store.Any // means the same, and GetMany reads such keys together
	}
	switch n := r.ContentLength; {
	case !lines:
		err = b.runArray(w)
	case n >= 0 && n <= wholeBytes:
		err = b.runLines(w)
	default:
		err = b.runStream()
	}
	b.recycle()
	return err
}

// hasLines reports whether the body is NDJSON. Otherwise the body is an array.
func hasLines(h http.Header) (bool, error) {
	if h["Content-Encoding"] != nil {
		return false, problem.New(problem.Encoding, "The body of a batch has no Content-Encoding.")
	}
	mediaType, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	switch {
	case h["Content-Type"] == nil, err == nil && mediaType == "application/json":
		return false, nil
	case err == nil && (mediaType == "application/x-ndjson" || mediaType == "application/ndjson"):
		return true, nil
	}
	e := problem.New(problem.MediaType, "A batch is a JSON array, application/json, or lines of JSON, application/x-ndjson.")
	e.Members.Available = batchMediaTypes
	return false, e
}

// batch runs the operations of a request.
type batch struct {
	service  *Service
	request  *exchange.Request
	read     store.ReadOptions // for gets
	fences   []store.Fence     // of each write
	keeps    bool              // the client has a session: no get reads older data than the gets before
	wrote    bool              // the batch has written: later gets ask the master
	majority bool              // each write shall be on a majority of the voters
	answer   *batchAnswer
	reading  budget.Hold // memory for the values of gets

	// Reused by later windows and later batches.
	ops     []op
	changes []store.Write
	keys    []store.Key
	marks   []store.Mark
	out     []byte
}

var batches = sync.Pool{New: func() any { return new(batch) }}

// recycle keeps the buffers for the next batch, unless they are large.
func (b *batch) recycle() {
	kept := batch{ops: b.ops, changes: b.changes, keys: b.keys, marks: b.answer.seen.marks[:0], out: b.answer.b[:0]}
	if cap(kept.ops) > windowItems || cap(kept.out) > 2*exchange.FlushBytes {
		kept.ops, kept.out = nil, nil
	}
	clear(kept.ops[:cap(kept.ops)])
	clear(kept.changes[:cap(kept.changes)])
	clear(kept.keys[:cap(kept.keys)])
	clear(kept.marks[:cap(kept.marks)])
	*b = kept
	batches.Put(b)
}

// runArray runs an array after the whole array has been decoded.
func (b *batch) runArray(w *exchange.Response) error {
	body, err := w.ReadBody(b.request, b.service.largestBody(), problem.BodyTooLarge)
	if err != nil {
		return err
	}
	b.ops, err = b.service.newOpDecoder(b.request.Grants).array(b.ops[:0], body)
	if err != nil {
		return err
	}
	for ops := range slices.Chunk(b.ops, windowItems) {
		if err := b.runWindow(ops); err != nil {
			return err
		}
	}
	return b.answer.finishAnswer()
}

// runLines runs a small body of lines, which is read whole.
func (b *batch) runLines(w *exchange.Response) error {
	body, err := w.ReadBody(b.request, wholeBytes, problem.BodyTooLarge)
	if err != nil {
		return err
	}
	d := b.service.newOpDecoder(b.request.Grants)
	b.ops = slices.Grow(b.ops[:0], min(windowItems, bytes.Count(body, []byte("\n"))+1))
	for text := range bytes.Lines(body) {
		if b.ops = d.appendLine(b.ops, text); len(b.ops) < windowItems {
			continue
		}
		if err := b.runWindow(b.ops); err != nil {
			return err
		}
		b.ops = b.ops[:0]
	}
	if err := b.runWindow(b.ops); err != nil {
		return err
	}
	return b.answer.finishAnswer()
}
