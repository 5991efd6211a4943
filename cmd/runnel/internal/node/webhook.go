package node

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/sync/webhook"
)

// newWebhooks returns the webhooks of the configuration; nil without webhooks.
func (n *node) newWebhooks() (*webhook.Sender, error) {
	if len(n.config.Webhooks) == 0 {
		return nil, nil
	}
	hooks, err := hooksOf(n.config.Webhooks, n.log)
	if err != nil {
		return nil, err
	}
	return webhook.New(n.store, hooks, webhook.Options{Logger: n.log}), nil
}

func hooksOf(sections []config.Webhook, log *slog.Logger) ([]webhook.Endpoint, error) {
	hooks := make([]webhook.Endpoint, len(sections))
	for i, s := range sections {
		secret, authorities := func() config.Secret { return s.Secret }, (func() *x509.CertPool)(nil)
		var err error
		if s.SecretFile != "" {
			secret, err = follow(s.SecretFile, config.ReadWebhookSecret, log)
		}
		if err == nil && s.CA != "" {
			authorities, err = follow(s.CA, config.ReadAuthorities, log)
		}
		if err != nil {
			return nil, fmt.Errorf("webhook %d: %w", i, err) // without the confidential URL
		}
		hooks[i] = webhook.Endpoint{URL: s.URL, Prefix: s.Prefix, Secret: func() []byte { return []byte(secret().Reveal()) }, Authorities: authorities}
	}
	return hooks, nil
}

// follow returns a function that returns the content of a file, which is read again once in checkEvery. While the file
// cannot be used, the former content remains. The function is not safe for concurrent use.
func follow[T interface{ Equal(T) bool }](file string, read func(string) (T, error), log *slog.Logger) (func() T, error) {
	content, err := read(file)
	if err != nil {
		return nil, err
	}
	checked, failed := time.Now(), ""
	return func() T {
		if time.Since(checked) < checkEvery {
			return content
		}
		checked = time.Now()
		now, err := read(file)
		switch {
		case err == nil && !now.Equal(content):
			content = now
			log.Info("a file of a webhook was read again", "file", file)
		case err != nil && err.Error() != failed:
			log.Error("a file of a webhook was read again and cannot be used: the former content remains", "error", err)
		}
		if failed = ""; err != nil {
			failed = err.Error()
		}
		return content
	}, nil
}

// sync runs the sync process and the webhooks until ctx ends.
func (n *node) sync(ctx context.Context) error {
	running, ctx := errgroup.WithContext(ctx)
	running.Go(func() error { return n.syncer.Run(ctx) })
	running.Go(func() error { return n.keeper.Run(ctx) })
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
