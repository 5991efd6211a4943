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

	"github.com/runnelkv/runnel/store"
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
	readers  *prometheus.GaugeVec // of changes, in progress
	changes  prometheus.Counter   // sent to readers
	handler  http.Handler

	tallies atomic.Pointer[map[tallyKey]*tally] // of requests and seconds; copied on write
	adding  sync.Mutex                          // serialises copies
}

func newMetrics(registry *prometheus.Registry, s *Server) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "runnel_http_requests_total", Help: "Requests answered, by route, method and status.",
		}, []string{"route", "method", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "runnel_http_request_seconds", Help: "Time from a request's header to the end of its answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"route", "method"}),
		readers: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "runnel_changes_readers", Help: "Readers of changes under way, by form: events, ndjson, poll.",
		}, []string{"form"}),
		changes: prometheus.NewCounter(prometheus.CounterOpts{Name: "runnel_changes_sent_total", Help: "Changes sent to readers."}),
		handler: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
	}
	m.tallies.Store(&map[tallyKey]*tally{})
	registry.MustRegister(m.requests, m.seconds, m.readers, m.changes, newCollector(s))
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

func (m *metrics) observe(w *response, method string, took time.Duration) {
	key := tallyKey{w.route, knownMethod(method), w.status}
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

// knownMethod bounds the values of the label method, because clients may invent methods.
func knownMethod(method string) string {
	switch method {
	case "GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH":
		return method
	}
	return "other"
}

// getMetrics is GET /metrics.
func (s *Server) getMetrics(w *response, r *request) error {
	s.metrics.handler.ServeHTTP(w, r.Request)
	return nil
}

// collector reports the figures of the store and the sync process.
type collector struct {
	s *Server

	epoch, up, readable, writable, latency  *prometheus.Desc
	revision, lagRevisions, lagSeconds, age *prometheus.Desc
	passes, passSeconds, passAge            *prometheus.Desc
	remaining, swept, collected             *prometheus.Desc
	cacheReads, cacheEntries, cacheBytes    *prometheus.Desc
}

func newCollector(s *Server) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("runnel_"+name, help, labels, nil)
	}
	return &collector{
		s:            s,
		epoch:        desc("epoch", "Epoch of the cluster map."),
		up:           desc("partition_ready", "1 while the partition's state is ready.", "partition", "kind", "role"),
		readable:     desc("partition_readable", "1 while the partition serves reads of every origin.", "partition"),
		writable:     desc("partition_writable", "1 while the partition takes writes.", "partition"),
		latency:      desc("partition_latency_seconds", "Smoothed time of recent operations.", "partition"),
		revision:     desc("partition_revision", "Revision up to which the partition holds everything of the origin.", "partition", "origin"),
		lagRevisions: desc("partition_lag_revisions", "Revisions of the origin that the partition does not hold yet.", "partition", "origin"),
		lagSeconds:   desc("partition_lag_seconds", "0 when level, else upper bound of the age of the partition's view of the origin.", "partition", "origin"),
		age:          desc("partition_age_seconds", "Age of the proof that the partition holds everything of the origin of then.", "partition", "origin"),
		passes:       desc("sync_passes_total", "Passes of the sync process in this process."),
		passSeconds:  desc("sync_last_pass_seconds", "Duration of the last pass."),
		passAge:      desc("sync_last_pass_timestamp_seconds", "When the last pass ended, in seconds since 1970."),
		swept:        desc("sync_swept_total", "Expired entries made tombstones on the partition.", "partition"),
		collected:    desc("sync_collected_total", "Tombstones removed from the partition.", "partition"),
		cacheReads:   desc("cache_reads_total", "Reads that the cache might have answered, by whether it did.", "result"),
		cacheEntries: desc("cache_entries", "Entries in the cache, about."),
		cacheBytes:   desc("cache_bytes", "Memory that they take, about."),
		remaining:    desc("sync_target_remaining_revisions", "Revisions that the target lacks.", "partition"),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range [...]*prometheus.Desc{
		c.epoch, c.up, c.readable, c.writable, c.latency, c.revision, c.lagRevisions, c.lagSeconds, c.age,
		c.passes, c.passSeconds, c.passAge, c.remaining, c.swept, c.collected, c.cacheReads, c.cacheEntries, c.cacheBytes,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	st := c.s.storeStatus()
	gauge(c.epoch, float64(st.Epoch))
	for i := range st.Partitions {
		c.collectPartition(gauge, &st.Partitions[i])
	}
	if st.Cache.MaxBytes > 0 {
		ch <- prometheus.MustNewConstMetric(c.cacheReads, prometheus.CounterValue, float64(st.Cache.Hits), "hit")
		ch <- prometheus.MustNewConstMetric(c.cacheReads, prometheus.CounterValue, float64(st.Cache.Misses), "miss")
		gauge(c.cacheEntries, float64(st.Cache.Entries))
		gauge(c.cacheBytes, float64(st.Cache.Bytes))
	}
	if c.s.syncer == nil {
		return
	}
	sync := c.s.syncer.SyncStatus()
	ch <- prometheus.MustNewConstMetric(c.passes, prometheus.CounterValue, float64(sync.Passes))
	gauge(c.passSeconds, sync.Took.Seconds())
	if !sync.LastPass.IsZero() {
		gauge(c.passAge, float64(sync.LastPass.UnixMilli())/1000)
	}
	for _, t := range sync.Targets {
		gauge(c.remaining, float64(t.Remaining), string(t.Name))
		ch <- prometheus.MustNewConstMetric(c.swept, prometheus.CounterValue, float64(t.Swept), string(t.Name))
		ch <- prometheus.MustNewConstMetric(c.collected, prometheus.CounterValue, float64(t.Collected), string(t.Name))
	}
}

func (c *collector) collectPartition(gauge func(*prometheus.Desc, float64, ...string), p *store.PartitionStatus) {
	role := "replica"
	if p.Master {
		role = "master"
	}
	gauge(c.up, oneIf(p.State == store.Ready), p.Name, p.Kind, role)
	gauge(c.readable, oneIf(p.Readable), p.Name)
	gauge(c.writable, oneIf(p.Writable), p.Name)
	gauge(c.latency, p.Latency.Seconds(), p.Name)
	for _, o := range p.Origins {
		gauge(c.revision, float64(o.Revision), p.Name, string(o.Origin))
		gauge(c.lagRevisions, float64(o.LagRevisions), p.Name, string(o.Origin))
		if o.Lag >= 0 {
			gauge(c.lagSeconds, o.Lag.Seconds(), p.Name, string(o.Origin))
			gauge(c.age, o.Age.Seconds(), p.Name, string(o.Origin))
		}
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
