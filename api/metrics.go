package api

import (
	"maps"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/runnelkv/runnel/api/internal/exchange"
)

// newRegistry returns a registry with the metrics of the Go runtime and the process.
func newRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// metrics counts requests. The figures of the store are read when Prometheus asks.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	streams  prometheus.Gauge
	refused  prometheus.Counter // streams
	handler  http.Handler

	tallies atomic.Pointer[map[tallyKey]*tally] // of requests and seconds; copied on write
	adding  sync.Mutex                          // serialises copies
}

func newMetrics(registry *prometheus.Registry) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "runnel_http_requests_total", Help: "Requests answered, by route, method and status.",
		}, []string{"route", "method", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "runnel_http_request_seconds", Help: "Time from a request's header to the end of its answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"route", "method"}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "runnel_http_streams", Help: "Long answers in progress: streams of changes, long polls, lists and batches of lines.",
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "runnel_http_streams_refused_total", Help: "Long answers refused because their client had too many.",
		}),
		handler: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
	}
	m.tallies.Store(&map[tallyKey]*tally{})
	registry.MustRegister(m.requests, m.seconds, m.streams, m.refused)
	return m
}

// tally holds the counters of a route, method and status, to avoid the vectors' hashing of labels for each request.
type tally struct {
	requests prometheus.Counter
	seconds  prometheus.Observer
}

type tallyKey struct {
	route, method string
	status        int
}

func (m *metrics) observe(w *exchange.Response, method string, took time.Duration) {
	key := tallyKey{w.Route, knownMethod(method), w.Status}
	t := (*m.tallies.Load())[key]
	if t == nil {
		t = m.addTally(key)
	}
	t.requests.Inc()
	t.seconds.Observe(took.Seconds())
}

func (m *metrics) addTally(key tallyKey) *tally {
	m.adding.Lock()
	defer m.adding.Unlock()
	tallies := maps.Clone(*m.tallies.Load())
	tallies[key] = &tally{
		requests: m.requests.WithLabelValues(key.route, key.method, strconv.Itoa(key.status)),
		seconds:  m.seconds.WithLabelValues(key.route, key.method),
	}
	m.tallies.Store(&tallies)
	return tallies[key]
}

// admitStream counts a long answer of a client, or refuses it. Call release at the end of the answer.
func (s *Server) admitStream(r *exchange.Request) (release func(), err error) {
	free, err := s.clients.admitStream(r)
	if err != nil {
		s.metrics.refused.Inc()
		return nil, err
	}
	s.metrics.streams.Inc()
	return func() { s.metrics.streams.Dec(); free() }, nil
}

// knownMethod bounds the values of the label method, because clients may invent methods.
func knownMethod(method string) string {
	switch method {
	case "GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "LOCK", "UNLOCK":
		return method
	}
	return "other"
}

// getMetrics is GET /metrics.
func (s *Server) getMetrics(w *exchange.Response, r *exchange.Request) error {
	s.metrics.handler.ServeHTTP(w, r.Request)
	return nil
}
