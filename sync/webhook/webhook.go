package webhook

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/zeebo/xxh3"

	"github.com/runnelkv/runnel/store"
	syncer "github.com/runnelkv/runnel/sync"
)

// Feed is what webhooks need of the store.
type Feed interface {
	ChangesNow(ctx context.Context) (store.ChangeToken, error)
	Changes(ctx context.Context, since store.ChangeToken, o store.ChangeOptions) (store.ChangePage, error)
	Watch(since store.ChangeToken, o store.ChangeOptions) *store.Watch
	Update(ctx context.Context, keys []store.Key, o store.UpdateOptions, fn func(*store.Tx) error) error
}

// Webhook is an address that is told what changes.
type Webhook struct {
	URL    string
	Prefix string // of the keys that it is told of
	Secret []byte // signs what is sent
}

// WebhookOptions is how Webhooks are made. The zero value of a field means its
// default.
type WebhookOptions struct {
	Holder     string        // names this process, unique; default as Options.Holder
	TTL        time.Duration // how long a hook waits for a process that died, default 30 s
	Timeout    time.Duration // of one request, default 10 s
	BackoffMin time.Duration // before what failed is sent again, doubling from here, default 1 s
	BackoffMax time.Duration // … to here, default 5 min
	Logger     *slog.Logger  // default slog.Default()
}

func (o WebhookOptions) withDefaults() WebhookOptions {
	o.Holder = cmp.Or(o.Holder, syncer.NewHolder())
	o.TTL = cmp.Or(o.TTL, 30*time.Second)
	o.Timeout = cmp.Or(o.Timeout, 10*time.Second)
	o.BackoffMin = cmp.Or(o.BackoffMin, time.Second)
	o.BackoffMax = cmp.Or(o.BackoffMax, 5*time.Minute)
	o.Logger = cmp.Or(o.Logger, slog.Default())
	return o
}

// Webhooks tell addresses what changes: in order, each again until it is
// answered with 2xx. Where a hook stands is an entry in the store, which is its
// lease too: of all processes that run it one sends, and it moves the place only
// while it holds the lease. What was sent when that one died is sent again.
type Webhooks struct {
	feed    Feed
	options WebhookOptions
	hooks   []*hook
}

// NewWebhooks makes the webhooks; nothing happens before Run.
func NewWebhooks(f Feed, hooks []Webhook, o WebhookOptions) *Webhooks {
	w := &Webhooks{feed: f, options: o.withDefaults()}
	client := newHookClient(w.options.Timeout)
	for _, h := range hooks {
		id := fmt.Sprintf("%016x", xxh3.HashString(h.URL+"\x00"+h.Prefix))
		w.hooks = append(w.hooks, &hook{Webhook: h, w: w, client: client, key: System.Key("webhook/" + id)})
	}
	return w
}

// System is the space of what the sync process itself keeps in the store.
const System store.Space = "sys"

// Run sends until ctx ends.
func (w *Webhooks) Run(ctx context.Context) error {
	var group sync.WaitGroup
	for _, h := range w.hooks {
		group.Go(func() { h.run(ctx) })
	}
	group.Wait()
	return nil
}

// WebhookStatus says how a webhook stands in this process.
type WebhookStatus struct {
	URL     string
	Prefix  string
	Active  bool  // this process sends; otherwise another, or none
	Sent    int64 // changes that were taken
	Failed  int64 // requests that were not
	Resyncs int64 // times that it had to begin anew
}

// Status is how all webhooks stand, in the order they were given.
func (w *Webhooks) Status() []WebhookStatus {
	all := make([]WebhookStatus, len(w.hooks))
	for i, h := range w.hooks {
		h.mu.Lock()
		all[i] = h.status
		h.mu.Unlock()
		all[i].URL, all[i].Prefix = h.URL, h.Prefix
	}
	return all
}

// hook is one webhook under way.
type hook struct {
	Webhook
	w      *Webhooks
	client *http.Client
	key    store.Key

	renewed time.Time // when deliver's process last had the lease renewed; used by it alone

	mu     sync.Mutex // guards the fields below
	status WebhookStatus
	said   string
}

// place is the entry that says where a hook stands, and who sends.
type place struct {
	URL       string        `json:"url"`
	Prefix    string        `json:"prefix"`
	Token     string        `json:"token"`
	Resync    bool          `json:"resync,omitempty"` // it began anew, and has not been told everything yet
	Holder    string        `json:"holder"`
	ExpiresAt store.Instant `json:"expires_at"` // of the holder's right, by the master's clock
}

var (
	errHookHeld = errors.New("another process sends")
	errHookIdle = errors.New("there is nothing to send")
	errHookRead = errors.New("the place was only read")
)

// run holds the lease and sends, or stands by.
func (h *hook) run(ctx context.Context) {
	for first := true; ctx.Err() == nil; first = false {
		at, err := h.acquire(ctx, first)
		if err == nil {
			h.note(func(s *WebhookStatus) { s.Active = true }, "webhook is sent to from here", nil)
			err = h.deliver(ctx, at)
			h.note(func(s *WebhookStatus) { s.Active = false }, "", nil)
		}
		standby := errors.Is(err, errHookHeld) || errors.Is(err, errHookIdle)
		if err != nil && !standby && ctx.Err() == nil {
			h.note(func(*WebhookStatus) {}, "webhook cannot be sent to for now", err)
		}
		if standby {
			pauseFor(ctx, h.w.options.TTL/3)
		} else {
			pauseFor(ctx, h.w.options.BackoffMin)
		}
	}
	h.release(context.WithoutCancel(ctx))
}

// acquire takes the lease, and returns where the hook stands: a new one stands
// where everything is now. An idle holder lets its lease expire, as renewing is a write
// that is copied everywhere: another process takes over only when there is something to send,
// or, the first time, from a process of this host that has ended.
func (h *hook) acquire(ctx context.Context, first bool) (place, error) {
	now, err := h.w.feed.ChangesNow(ctx)
	if err != nil {
		return place{}, err
	}
	stands, err := h.change(ctx, func(*place, store.Instant) error { return errHookRead })
	if !errors.Is(err, errHookRead) {
		return place{}, err
	}
	ended := first && syncer.HasEnded(stands.Holder)
	if stands.Holder != "" && stands.Holder != h.w.options.Holder && !ended && !stands.Resync {
		if err := h.pending(ctx, stands.Token); err != nil {
			return place{}, err
		}
	}
	return h.change(ctx, func(p *place, at store.Instant) error {
		held := p.Holder != "" && p.Holder != h.w.options.Holder && at < p.ExpiresAt && p.ExpiresAt <= at.Add(h.w.options.TTL)
		if held && !(ended && p.Holder == stands.Holder) {
			return errHookHeld
		}
		if p.Token == "" && !p.Resync {
			p.Token = now.String()
		}
		return nil
	})
}

// pending is errHookIdle when nothing has changed after the token, so far as can be read.
func (h *hook) pending(ctx context.Context, token string) error {
	since, err := store.ParseChangeToken(token)
	if err != nil {
		return nil // deliver says so
	}
	page, err := h.w.feed.Changes(ctx, since, store.ChangeOptions{Space: store.User, Prefix: h.Prefix, Limit: 1})
	if err == nil && len(page.Entries) == 0 && !page.More {
		return errHookIdle
	}
	return nil
}

// keep notes where the hook stands, and renews the lease, if it is held still.
func (h *hook) keep(ctx context.Context, set func(*place)) error {
	_, err := h.change(ctx, func(p *place, at store.Instant) error {
		if p.Holder != h.w.options.Holder {
			return errHookHeld
		}
		set(p)
		return nil
	})
	return err
}

// change decides on the master of the hook's entry, by its clock.
func (h *hook) change(ctx context.Context, f func(p *place, at store.Instant) error) (p place, err error) {
	ctx, cancel := context.WithTimeout(ctx, h.w.options.Timeout)
	defer cancel()
	err = h.w.feed.Update(ctx, []store.Key{h.key}, store.UpdateOptions{}, func(v *store.Tx) error {
		p = place{}
		if e, ok := v.Get(h.key); ok {
			if err := json.Unmarshal(e.Value, &p); err != nil {
				return fmt.Errorf("where %s stands is not readable: %w", h.host(), err)
			}
		}
		if err := f(&p, v.Now()); err != nil {
			return err
		}
		p.URL, p.Prefix, p.Holder, p.ExpiresAt = h.URL, h.Prefix, h.w.options.Holder, v.Now().Add(h.w.options.TTL)
		text, err := json.Marshal(p)
		if err != nil {
			return err
		}
		v.Put(store.Entry{Key: h.key, ContentType: "application/json", Value: text})
		return nil
	})
	return p, err
}

// release lets another process go on at once.
func (h *hook) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, min(h.w.options.Timeout, 2*time.Second))
	defer cancel()
	// When it fails the lease expires.
	_ = h.w.feed.Update(ctx, []store.Key{h.key}, store.UpdateOptions{}, func(v *store.Tx) error {
		var p place
		e, ok := v.Get(h.key)
		if !ok || json.Unmarshal(e.Value, &p) != nil || p.Holder != h.w.options.Holder {
			return errHookHeld
		}
		p.Holder, p.ExpiresAt = "", 0
		text, err := json.Marshal(p)
		if err == nil {
			v.Put(store.Entry{Key: h.key, ContentType: e.ContentType, Value: text})
		}
		return err
	})
}

// whileHeld renews the lease, runs f and renews meanwhile; f's context ends when that
// fails for so long that another may have it.
func (h *hook) whileHeld(ctx context.Context, f func(context.Context) error) error {
	renewed := time.Now()
	if renewed.Sub(h.renewed) > h.w.options.TTL/3 {
		if err := h.keep(ctx, func(*place) {}); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	group.Go(func() {
		for ctx.Err() == nil {
			pauseFor(ctx, h.w.options.TTL/3)
			if ctx.Err() != nil {
				return
			}
			began := time.Now()
			err := h.keep(ctx, func(*place) {})
			if err == nil {
				renewed = began
			}
			if errors.Is(err, errHookHeld) || time.Since(renewed) > h.w.options.TTL*2/3 {
				cancel(err)
			}
		}
	})
	err := f(ctx)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	cancel(nil)
	group.Wait()
	return err
}

func pauseFor(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// note changes the status, and logs what is new.
func (h *hook) note(change func(*WebhookStatus), text string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(&h.status)
	if text == "" || h.said == text {
		return
	}
	h.said = text
	if err != nil {
		h.w.options.Logger.Warn(text, "host", h.host(), "prefix", h.Prefix, "error", err)
		return
	}
	h.w.options.Logger.Info(text, "host", h.host(), "prefix", h.Prefix)
}

// host is what may be told of the address: the rest may not be for everybody.
func (h *hook) host() string {
	if u, err := url.Parse(h.URL); err == nil {
		return u.Host
	}
	return ""
}

func (o WebhookOptions) backoff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.Multiplier, b.MaxInterval = o.BackoffMin, 2, o.BackoffMax
	return b
}
