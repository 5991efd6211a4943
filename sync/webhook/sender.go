package webhook

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/zeebo/xxh3"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/sync/internal/lease"
)

// Feed is the part of the store that webhooks need.
type Feed interface {
	ChangesNow(ctx context.Context) (store.ChangeToken, error)
	Changes(ctx context.Context, since store.ChangeToken, o store.ChangeOptions) (store.ChangePage, error)
	Watch(since store.ChangeToken, o store.ChangeOptions) *store.Watch
	Update(ctx context.Context, keys []store.Key, o store.UpdateOptions, fn func(*store.Tx) error) error
}

// Endpoint is the address of a webhook, and the changes it receives.
type Endpoint struct {
	URL    string
	Prefix string // only changes of keys with this prefix are sent; "" for all
	// Secret returns the secret that signs the requests, and is called before each request; see Sign.
	Secret func() []byte
	// Authorities returns those that sign the endpoint's certificate, and is called before each request; nil for those of
	// the system.
	Authorities func() *x509.CertPool
}

// Options configure a Sender. A field's zero value selects the default.
type Options struct {
	Holder     string        // names this process, unique; default: host, process and a random part
	TTL        time.Duration // how long an endpoint waits for a process that died, default 30 s
	Timeout    time.Duration // of a request, default 10 s
	BackoffMin time.Duration // first delay before a failed request is repeated, doubled each time, default 1 s
	BackoffMax time.Duration // longest delay, default 5 min
	Logger     *slog.Logger  // default slog.Default()
}

func (o Options) withDefaults() Options {
	o.Holder = cmp.Or(o.Holder, lease.NewHolder())
	o.TTL = cmp.Or(o.TTL, 30*time.Second)
	o.Timeout = cmp.Or(o.Timeout, 10*time.Second)
	o.BackoffMin = cmp.Or(o.BackoffMin, time.Second)
	o.BackoffMax = cmp.Or(o.BackoffMax, 5*time.Minute)
	o.Logger = cmp.Or(o.Logger, slog.Default())
	return o
}

func (o Options) backoff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.Multiplier, b.MaxInterval = o.BackoffMin, 2, o.BackoffMax
	return b
}

// Sender posts changes to endpoints: in order, and each until the endpoint answers 2xx.
type Sender struct {
	feed    Feed
	options Options
	workers []*worker
}

// systemSpace is the space of the entries that the sync process itself keeps in the store.
const systemSpace store.Space = "sys"

// New returns a Sender, which does nothing before Run.
func New(f Feed, endpoints []Endpoint, o Options) *Sender {
	s := &Sender{feed: f, options: o.withDefaults()}
	for _, e := range endpoints {
		id := fmt.Sprintf("%016x", xxh3.HashString(e.URL+"\x00"+e.Prefix))
		s.workers = append(s.workers, &worker{Endpoint: e, Sender: s, client: newClient(s.options.Timeout, nil), key: systemSpace.Key("webhook/" + id)})
	}
	return s
}

// Run sends until ctx ends.
func (s *Sender) Run(ctx context.Context) error {
	var group sync.WaitGroup
	for _, w := range s.workers {
		group.Go(func() { w.serve(ctx) })
	}
	group.Wait()
	return nil
}

// Status describes an endpoint in this process. Counts begin with New.
type Status struct {
	URL     string
	Prefix  string
	Active  bool  // this process sends; otherwise another process does, or none
	Sent    int64 // accepted changes
	Failed  int64 // failed requests
	Resyncs int64 // resyncs begun
}

// Status returns the status of all endpoints, in the order of New.
func (s *Sender) Status() []Status {
	all := make([]Status, len(s.workers))
	for i, w := range s.workers {
		w.mu.Lock()
		all[i] = w.status
		w.mu.Unlock()
		all[i].URL, all[i].Prefix = w.URL, w.Prefix
	}
	return all
}

// worker serves an endpoint.
type worker struct {
	Endpoint
	*Sender
	key store.Key

	// Used only by deliver's goroutine:
	client      *http.Client
	authorities *x509.CertPool // of client
	renewed     time.Time      // when deliver last renewed the lease

	mu     sync.Mutex // guards the fields below
	status Status
	logged string
}
