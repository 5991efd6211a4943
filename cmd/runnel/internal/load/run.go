package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"
)

// A Report is what a plan's run measured.
type Report struct {
	Requests  int64            `json:"requests"` // answered as expected, in the measured time
	Errors    int64            `json:"errors"`   // everything else, warm-up included
	Samples   map[string]int64 `json:"samples,omitempty"`
	Seconds   float64          `json:"seconds"`
	PerSecond float64          `json:"per_second"`
	P50       time.Duration    `json:"p50_ns"`
	P95       time.Duration    `json:"p95_ns"`
	P99       time.Duration    `json:"p99_ns"`
	P999      time.Duration    `json:"p999_ns"`
	Max       time.Duration    `json:"max_ns"`
}

const (
	// drainTimeout is how long after its end a run waits for answers that are under way.
	drainTimeout = 30 * time.Second
	// maxErrors errors on a connection end its work: the server is not worth measuring.
	maxErrors = 100
	// ownKeys is how many keys a connection works on with {etag}.
	ownKeys = 64
	// maxSamples is how many different errors a report names.
	maxSamples = 8
)

// Run runs a plan and returns its report. Failing requests are in the report; an error means that nothing could be measured.
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
	each(workers, func(w *worker) { w.prime() })
	clock := p.interval()
	each(workers, func(w *worker) { w.run(ctx, clock) })
	return reportOf(workers, clock), ctx.Err()
}

// each does the work of all workers at the same time.
func each(workers []*worker, work func(*worker)) {
	var group sync.WaitGroup
	for _, w := range workers {
		group.Go(func() { work(w) })
	}
	group.Wait()
}

// interval says when a run is measured: from start to end.
type interval struct{ start, end time.Time }

func (p *Plan) interval() interval {
	start := time.Now().Add(time.Duration(p.WarmupMS) * time.Millisecond)
	return interval{start, start.Add(time.Duration(p.DurationMS) * time.Millisecond)}
}

// A worker is one connection and what it measures.
type worker struct {
	plan     *Plan
	number   int // of the connection
	conn     net.Conn
	reader   *responseReader
	template *requestTemplate
	random   *rand.Rand
	request  []byte
	stamp    uint64
	left     int64          // requests it may still send; negative: any number
	next     int            // key, in order "once"
	etags    map[int][]byte // of its own keys, with {etag}
	own      []int          // the same keys
	items    []int          // keys of the next request, with {items}

	histogram histogram
	finished  time.Time // of its last answer
	errors    int64
	samples   map[string]int64
}

// workers connects every worker of p.
func (p *Plan) workers(ctx context.Context) ([]*worker, error) {
	var workers []*worker
	full := p.template(false)
	for i := range p.Connections {
		w := &worker{plan: p, number: i, next: i, template: full, left: p.share(i), samples: map[string]int64{}}
		w.random = rand.New(rand.NewPCG(p.Seed, uint64(i)+2))
		w.stamp = w.random.Uint64()
		if err := w.connect(ctx); err != nil {
			for _, open := range workers {
				open.conn.Close()
			}
			return nil, err
		}
		workers = append(workers, w)
	}
	return workers, nil
}

// share is how many requests connection i may send, or -1 for any number.
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

func (w *worker) connect(ctx context.Context) error {
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", w.plan.Address)
	if err != nil {
		return err
	}
	w.conn, w.reader = conn, newResponseReader(conn)
	w.reader.count.pattern = []byte(w.plan.Count)
	limit := time.Duration(w.plan.WarmupMS+w.plan.DurationMS)*time.Millisecond + drainTimeout
	return conn.SetDeadline(time.Now().Add(limit))
}

// prime writes a connection's own keys once without a condition, to learn their ETags. It takes its keys from all over the key space.
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
			w.fail(err)
			return
		}
		w.etags[key] = append([]byte(nil), answer.etag...)
		w.own = append(w.own, key)
	}
}

// run sends requests until the clock, the plan or ctx ends it.
func (w *worker) run(ctx context.Context, clock interval) {
	stop := context.AfterFunc(ctx, func() { w.conn.SetDeadline(time.Now()) })
	defer stop()
	for began := time.Now(); began.Before(clock.end); {
		key, more := w.pick()
		if !more || w.errors >= maxErrors {
			return
		}
		answer, err := w.exchange(w.template, key)
		ended := time.Now()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			w.fail(err)
			if !w.reconnect(ctx) {
				return
			}
		case !ended.Before(clock.start) && ended.Before(clock.end):
			w.histogram.record(ended.Sub(began))
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

// pick chooses the next key, or says that there is nothing more to do.
func (w *worker) pick() (key int, more bool) {
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
			return 0, false // priming failed, which was counted
		}
		return w.own[w.random.IntN(len(w.own))], true
	}
	return w.random.IntN(w.plan.Keys), true
}

// exchange sends one request and reads and checks its answer.
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
	a, err := w.reader.read(w.plan.Method != "HEAD")
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

// statusError is a status that was not expected.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("unexpected status %d", int(e)) }

// fail counts an error, and remembers what it was unless there are too many kinds already.
func (w *worker) fail(err error) {
	w.errors++
	text := err.Error()
	if op, ok := errors.AsType[*net.OpError](err); ok {
		text = fmt.Sprintf("%s: %v", op.Op, op.Err) // without the ports, which differ each time
	}
	if _, known := w.samples[text]; known || len(w.samples) < maxSamples {
		w.samples[text]++
	}
}

// reconnect takes a fresh connection in place of one of unknown state.
func (w *worker) reconnect(ctx context.Context) bool {
	w.conn.Close()
	if err := w.connect(ctx); err != nil {
		w.fail(err)
		return false
	}
	return true
}

// reportOf brings together what workers measured. The time is that of the clock, or less when all were done before.
func reportOf(workers []*worker, clock interval) *Report {
	var all histogram
	r := &Report{Samples: map[string]int64{}}
	finished := clock.start
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
		finished = clock.end
	}
	r.Requests = all.total
	r.Seconds = finished.Sub(clock.start).Seconds()
	if r.Seconds > 0 {
		r.PerSecond = float64(r.Requests) / r.Seconds
	}
	r.P50, r.P95, r.P99, r.P999, r.Max = all.quantile(.5), all.quantile(.95), all.quantile(.99), all.quantile(.999), all.max
	return r
}
