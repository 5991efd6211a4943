package feed

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/store"
)

// Service serves the changes of the store.
type Service struct {
	*exchange.Shared
	store     Store
	heartbeat time.Duration // between two heartbeats of a stream

	readers *prometheus.GaugeVec // in progress
	sent    prometheus.Counter   // changes sent to readers
}

// Store is the part of the store that the feed uses.
type Store interface {
	ChangesNow(ctx context.Context) (store.ChangeToken, error)
	Changes(ctx context.Context, since store.ChangeToken, o store.ChangeOptions) (store.ChangePage, error)
	Watch(since store.ChangeToken, o store.ChangeOptions) *store.Watch
}

// New returns a Service and registers its metrics.
func New(s *exchange.Shared, feed Store, heartbeat time.Duration, registry prometheus.Registerer) *Service {
	f := &Service{
		Shared: s, store: feed, heartbeat: heartbeat,
		readers: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "runnel_changes_readers", Help: "Readers of changes under way, by form: events, ndjson, poll.",
		}, []string{"form"}),
		sent: prometheus.NewCounter(prometheus.CounterOpts{Name: "runnel_changes_sent_total", Help: "Changes sent to readers."}),
	}
	registry.MustRegister(f.readers, f.sent)
	return f
}
