package node

import (
	"context"
	"net/url"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/sync/webhook"
)

// newWebhooks returns the webhooks of the configuration; nil without webhooks.
func (n *node) newWebhooks() *webhook.Sender {
	if len(n.config.Webhooks) == 0 {
		return nil
	}
	return webhook.New(n.store, hooksOf(n.config.Webhooks), webhook.Options{Logger: n.log})
}

func hooksOf(sections []config.Webhook) []webhook.Endpoint {
	hooks := make([]webhook.Endpoint, len(sections))
	for i, s := range sections {
		hooks[i] = webhook.Endpoint{URL: s.URL, Prefix: s.Prefix, Secret: []byte(s.Secret.Reveal())}
	}
	return hooks
}

// sync runs the sync process and the webhooks until ctx ends.
func (n *node) sync(ctx context.Context) error {
	running, ctx := errgroup.WithContext(ctx)
	running.Go(func() error { return n.syncer.Run(ctx) })
	if n.webhooks != nil {
		running.Go(func() error { return n.webhooks.Run(ctx) })
	}
	return running.Wait()
}

// hookCollector exports the metrics of the webhooks.
type hookCollector struct{ hooks *webhook.Sender }

var (
	hookActive  = prometheus.NewDesc("runnel_webhook_active", "1 while this process sends to the webhook.", []string{"host", "prefix"}, nil)
	hookSent    = prometheus.NewDesc("runnel_webhook_changes_total", "Changes that the webhook took.", []string{"host", "prefix"}, nil)
	hookFailed  = prometheus.NewDesc("runnel_webhook_failures_total", "Requests that the webhook did not take.", []string{"host", "prefix"}, nil)
	hookResyncs = prometheus.NewDesc("runnel_webhook_resyncs_total", "Times that the webhook was told everything anew.", []string{"host", "prefix"}, nil)
)

// Describe implements prometheus.Collector.
func (c hookCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range [...]*prometheus.Desc{hookActive, hookSent, hookFailed, hookResyncs} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. The metrics of webhooks with the same host and prefix are added up, because
// the rest of a URL may be secret.
func (c hookCollector) Collect(ch chan<- prometheus.Metric) {
	type labels struct{ host, prefix string }
	sums := map[labels]webhook.Status{}
	for _, s := range c.hooks.Status() {
		at := labels{prefix: s.Prefix}
		if u, err := url.Parse(s.URL); err == nil {
			at.host = u.Host
		}
		sum := sums[at]
		sum.Active = sum.Active || s.Active
		sum.Sent, sum.Failed, sum.Resyncs = sum.Sent+s.Sent, sum.Failed+s.Failed, sum.Resyncs+s.Resyncs
		sums[at] = sum
	}
	for at, s := range sums {
		active := 0.0
		if s.Active {
			active = 1
		}
		ch <- prometheus.MustNewConstMetric(hookActive, prometheus.GaugeValue, active, at.host, at.prefix)
		for d, v := range map[*prometheus.Desc]int64{hookSent: s.Sent, hookFailed: s.Failed, hookResyncs: s.Resyncs} {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), at.host, at.prefix)
		}
	}
}
