package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"
)

// Report is the result of running a plan.
type Report struct {
	Requests  int64            `json:"requests"`          // with the expected response, in the measured time
	Errors    int64            `json:"errors"`            // all other requests, including those of the warm-up
	Samples   map[string]int64 `json:"samples,omitempty"` // number of errors by text, of at most 8 texts a connection
	Seconds   float64          `json:"seconds"`
	PerSecond float64          `json:"per_second"`
	P50       time.Duration    `json:"p50_ns"`
	P95       time.Duration    `json:"p95_ns"`
	P99       time.Duration    `json:"p99_ns"`
	P999      time.Duration    `json:"p999_ns"`
	Max       time.Duration    `json:"max_ns"`
}

const (
	// drainTimeout bounds the wait for the last responses after the end of a run.
	drainTimeout = 30 * time.Second
	// maxErrors is the number of errors that end the work of a connection.
	maxErrors = 100
	// ownKeys is the number of keys of a connection with {etag}.
	ownKeys = 64
	// maxSamples is the number of different errors that a connection reports.
	maxSamples = 8
)

// Run runs a plan and returns the report. Failed requests are in the report. An error means that the plan is invalid, no
// connection could be made, or ctx has ended.
func Run(ctx context.Context, p Plan) (*Report, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	workers, err := p.workers(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, w := range workers {
			w.conn.Close()
		}
	}()
	forEach(workers, func(w *worker) { w.prime() })
	measured := p.interval()
	forEach(workers, func(w *worker) { w.sendRequests(ctx, measured) })
	return reportOf(workers, measured), ctx.Err()
}

// forEach runs work for all workers concurrently.
func forEach(workers []*worker, work func(*worker)) {
	var group sync.WaitGroup
	for _, w := range workers {
		group.Go(func() { work(w) })
	}
	group.Wait()
}

// interval is the time in which a run is measured.
type interval struct{ start, end time.Time }

func (p *Plan) interval() interval {
	start := time.Now().Add(time.Duration(p.WarmupMS) * time.Millisecond)
	return interval{start, start.Add(time.Duration(p.DurationMS) * time.Millisecond)}
}

// worker drives a connection and measures the responses.
type worker struct {
	plan     *Plan
	number   int // of the connection, from 0
	conn     net.Conn
	reader   *responseReader
	template *requestTemplate
	random   *rand.Rand
	request  []byte
	stamp    uint64
	left     int64          // requests left to send; negative for any number
	next     int            // next key in order "once"
	etags    map[int][]byte // last ETags of own; nil without {etag}
	own      []int          // the keys of this connection, with {etag}
	items    []int          // keys of the items of the next request

	histogram histogram
	finished  time.Time // time of the last response
	errors    int64
	samples   map[string]int64
}

// workers returns a connected worker for each connection of p.
func (p *Plan) workers(ctx context.Context) ([]*worker, error) {
	var workers []*worker
	full := p.template(false)
	for i := range p.Connections {
		w := &worker{plan: p, number: i, next: i, template: full, left: p.share(i), samples: map[string]int64{}}
		w.random = rand.New(rand.NewPCG(p.Seed, uint64(i)+2))
		w.stamp = w.random.Uint64()
		if err := w.dial(ctx); err != nil {
			for _, open := range workers {
				open.conn.Close()
			}
			return nil, err
		}
		workers = append(workers, w)
	}
	return workers, nil
}

// share returns the number of requests that connection i may send; -1 for any number.
func (p *Plan) share(i int) int64 {
	if p.Requests == 0 {
		return -1
	}
	n := p.Requests / int64(p.Connections)
	if int64(i) < p.Requests%int64(p.Connections) {
		n++
	}
	return n
}

// connect opens a connection, which includes the handshake of TLS.
func (p *Plan) connect(ctx context.Context) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	if !p.HTTPS {
		return dialer.DialContext(ctx, "tcp", p.Address)
	}
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	if p.TLS != nil {
		settings = p.TLS.Clone()
	}
	settings.NextProtos = []string{"http/1.1"}
	return (&tls.Dialer{NetDialer: dialer, Config: settings}).DialContext(ctx, "tcp", p.Address)
}

func (w *worker) dial(ctx context.Context) error {
	conn, err := w.plan.connect(ctx)
	if err != nil {
		return err
	}
	w.conn, w.reader = conn, newResponseReader(conn)
	w.reader.count.pattern = []byte(w.plan.Count)
	limit := time.Duration(w.plan.WarmupMS+w.plan.DurationMS)*time.Millisecond + drainTimeout
	return conn.SetDeadline(time.Now().Add(limit))
}

// prime writes the connection's own keys once without a condition, to learn their ETags. The keys are spread over the
// key space.
func (w *worker) prime() {
	if !w.plan.conditional() {
		return
	}
	bare := w.plan.template(true)
	w.etags = map[int][]byte{}
	per := w.plan.Keys / w.plan.Connections
	n := min(per, ownKeys)
	for i := range n {
		key := w.number + w.plan.Connections*(i*per/n)
		answer, err := w.exchange(bare, key)
		if err == nil && len(answer.etag) == 0 {
			err = fmt.Errorf("status %d without an ETag", answer.status)
		}
		if err != nil {
			w.countError(err)
			return
		}
		w.etags[key] = append([]byte(nil), answer.etag...)
		w.own = append(w.own, key)
	}
}

// sendRequests sends requests until the end of the interval, of the plan, or of ctx.
func (w *worker) sendRequests(ctx context.Context, measured interval) {
	stop := w.interruptWith(ctx)
	defer func() { stop() }()
	for began := time.Now(); began.Before(measured.end); {
		key, more := w.nextKey()
		if !more || w.errors >= maxErrors {
			return
		}
		answer, err := w.exchange(w.template, key)
		ended := time.Now()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			w.countError(err)
			if !w.reconnect(ctx) {
				return
			}
			stop()
			stop = w.interruptWith(ctx)
		case !ended.Before(measured.start) && ended.Before(measured.end):
			w.histogram.addDuration(ended.Sub(began))
			w.finished = ended
		}
		if w.etags != nil && err == nil {
			w.etags[key] = append(w.etags[key][:0], answer.etag...)
		}
		if answer.last && err == nil && !w.reconnect(ctx) {
			return
		}
		began = ended
	}
}

// nextKey chooses the next key; more is false at the end of the work.
func (w *worker) nextKey() (key int, more bool) {
	if w.left == 0 {
		return 0, false
	}
	w.left = max(w.left-1, -1)
	switch {
	case w.plan.Order == "once":
		key, w.next = w.next, w.next+w.plan.Connections
		return key, key < w.plan.Keys
	case w.etags != nil:
		if len(w.own) == 0 {
			return 0, false // priming failed and counted an error
		}
		return w.own[w.random.IntN(len(w.own))], true
	}
	return w.random.IntN(w.plan.Keys), true
}

// exchange sends a request, reads the response and checks the response against the plan.
func (w *worker) exchange(t *requestTemplate, key int) (response, error) {
	w.stamp += uint64(1 + w.plan.Items)
	w.items = w.items[:0]
	for range w.plan.Items {
		w.items = append(w.items, w.random.IntN(w.plan.Keys))
	}
	w.request = t.append(w.request[:0], blanks{key: key, stamp: w.stamp, etag: w.etags[key], items: w.items})
	if _, err := w.conn.Write(w.request); err != nil {
		return response{}, err
	}
	a, err := w.reader.readResponse(w.plan.Method != "HEAD")
	switch {
	case err != nil:
		return a, err
	case !slices.Contains(w.plan.Expect, a.status):
		return a, statusError(a.status)
	case w.plan.BodyBytes >= 0 && a.bodyBytes != w.plan.BodyBytes:
		return a, fmt.Errorf("status %d with a body of %d bytes instead of %d", a.status, a.bodyBytes, w.plan.BodyBytes)
	case a.counted != w.plan.Items:
		return a, fmt.Errorf("status %d with %d of %d items as expected", a.status, a.counted, w.plan.Items)
	}
	return a, nil
}

// statusError is an unexpected status.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("unexpected status %d", int(e)) }

// interruptWith ends the requests of the present connection when ctx ends.
func (w *worker) interruptWith(ctx context.Context) (stop func() bool) {
	conn := w.conn
	return context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })
}

// countError counts an error, and its text unless there are maxSamples texts already.
func (w *worker) countError(err error) {
	w.errors++
	text := err.Error()
	if op, ok := errors.AsType[*net.OpError](err); ok {
		text = fmt.Sprintf("%s: %v", op.Op, op.Err) // without the ports, which differ for each connection
	}
	if _, known := w.samples[text]; known || len(w.samples) < maxSamples {
		w.samples[text]++
	}
}

// reconnect replaces a connection whose state is unknown.
func (w *worker) reconnect(ctx context.Context) bool {
	w.conn.Close()
	if err := w.dial(ctx); err != nil {
		w.countError(err)
		return false
	}
	return true
}

// reportOf adds up the measurements of the workers. The measured time ends with the interval, or with the last response
// if all work was done before.
func reportOf(workers []*worker, measured interval) *Report {
	var all histogram
	r := &Report{Samples: map[string]int64{}}
	finished := measured.start
	unfinished := false
	for _, w := range workers {
		all.merge(&w.histogram)
		r.Errors += w.errors
		for text, n := range w.samples {
			r.Samples[text] += n
		}
		if w.finished.After(finished) {
			finished = w.finished
		}
		unfinished = unfinished || w.plan.Order == "random" && w.plan.Requests == 0
	}
	if unfinished {
		finished = measured.end
	}
	r.Requests = all.total
	r.Seconds = finished.Sub(measured.start).Seconds()
	if r.Seconds > 0 {
		r.PerSecond = float64(r.Requests) / r.Seconds
	}
	r.P50, r.P95, r.P99, r.P999, r.Max = all.quantile(.5), all.quantile(.95), all.quantile(.99), all.quantile(.999), all.max
	return r
}
