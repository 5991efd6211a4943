package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/runnelkv/runnel/store"
)

// deliver sends what changes from where the hook stands, until ctx ends or the
// changes cannot be read.
func (h *hook) deliver(ctx context.Context, at place) error {
	h.renewed = time.Now()
	since, err := store.ParseChangeToken(at.Token)
	if err != nil {
		return fmt.Errorf("where %s stands: %w", h.host(), err)
	}
	o := store.ChangeOptions{Space: store.User, Prefix: h.Prefix, Limit: hookChanges}
	if at.Resync {
		if since, err = h.tellAll(ctx, since, o); err != nil {
			return err
		}
	}
	w := h.w.feed.Watch(since, o)
	defer w.Close()
	kept := time.Now()
	for {
		// What does not match moves the place too, but not each time: that is a write.
		wait, cancel := context.WithTimeout(ctx, keepPlaceEvery)
		page, err := w.Next(wait)
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, store.ErrResync):
			return h.beginAnew(ctx)
		case errors.Is(err, context.DeadlineExceeded) && time.Since(kept) >= keepPlaceEvery:
			err = h.keep(ctx, func(p *place) { p.Token = w.Token().String() })
			kept = time.Now()
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, store.ErrNoPartition):
			continue
		case err == nil:
			err = h.tell(ctx, &page, false)
			kept = time.Now()
		}
		if err != nil {
			return err
		}
	}
}

// tellAll sends all there is after since, and then an empty page that ends it.
func (h *hook) tellAll(ctx context.Context, since store.ChangeToken, o store.ChangeOptions) (store.ChangeToken, error) {
	for {
		page, err := h.w.feed.Changes(ctx, since, o)
		if errors.Is(err, store.ErrResync) {
			return since, h.beginAnew(ctx)
		}
		if err == nil && len(page.Entries) > 0 {
			err = h.tell(ctx, &page, true)
		}
		if err != nil {
			return since, err
		}
		if since = page.Next; !page.More {
			return since, h.tell(ctx, &store.ChangePage{Next: since}, false)
		}
	}
}

const (
	hookChanges    = 100 // most changes of one request
	keepPlaceEvery = 10 * time.Minute
)

// beginAnew has the hook be told everything: deletions that it has not been told
// of are collected.
func (h *hook) beginAnew(ctx context.Context) error {
	h.note(func(s *WebhookStatus) { s.Resyncs++ }, "webhook was away for too long and is told everything anew", nil)
	return h.keep(ctx, func(p *place) { p.Token, p.Resync = "", true })
}

// tell sends a page until it is taken, and then notes that; resync: more pages follow, of all there is.
func (h *hook) tell(ctx context.Context, page *store.ChangePage, resync bool) error {
	body, err := json.Marshal(deliveryOf(page, resync))
	if err != nil {
		return err
	}
	if err := h.whileHeld(ctx, func(ctx context.Context) error { return h.postUntilTaken(ctx, body) }); err != nil {
		return err
	}
	h.note(func(s *WebhookStatus) { s.Sent += int64(len(page.Entries)) }, "webhook takes what it is sent", nil)
	began := time.Now()
	if err := h.keep(ctx, func(p *place) { p.Token, p.Resync = page.Next.String(), resync }); err != nil {
		return err
	}
	h.renewed = began
	return nil
}

func (h *hook) postUntilTaken(ctx context.Context, body []byte) error {
	pause := h.w.options.backoff()
	for {
		err := h.post(ctx, body)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		h.note(func(s *WebhookStatus) { s.Failed++ }, "webhook does not take what it is sent", err)
		if pauseFor(ctx, pause.NextBackOff()); ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// delivery is the body of a request.
type delivery struct {
	Changes []change `json:"changes"`
	Next    string   `json:"next"`             // the token behind them
	Resync  bool     `json:"resync,omitempty"` // part of all there is; what does not come before a request without it is gone
}

// change is an entry as the changes of the HTTP API have it, without its value.
type change struct {
	Key         string          `json:"key"`
	ContentType string          `json:"content_type"`
	Size        int64           `json:"size"`
	ETag        string          `json:"etag"`
	Revision    int64           `json:"revision"`
	Origin      string          `json:"origin"`
	ModifiedAt  time.Time       `json:"modified_at"`
	ExpiresAt   *time.Time      `json:"expires_at,omitempty"`
	Metadata    json.RawMessage `json:"metadata,omitempty"`
	Deleted     bool            `json:"deleted"`
}

func deliveryOf(page *store.ChangePage, resync bool) delivery {
	d := delivery{Changes: make([]change, len(page.Entries)), Next: page.Next.String(), Resync: resync}
	for i := range page.Entries {
		e := &page.Entries[i]
		d.Changes[i] = change{
			Key: store.Name(e.Key), ContentType: e.ContentType, Size: e.Size, ETag: strconv.Quote(strconv.FormatInt(int64(e.Revision), 10)),
			Revision: int64(e.Revision), Origin: string(e.Origin), ModifiedAt: e.ModifiedAt.Time(), Metadata: e.Metadata, Deleted: e.Deleted,
		}
		if e.ExpiresAt != 0 {
			at := e.ExpiresAt.Time()
			d.Changes[i].ExpiresAt = &at
		}
	}
	return d
}

// newHookClient follows no redirects: they would take what is sent elsewhere.
func newHookClient(timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: timeout}).DialContext,
			MaxConnsPerHost:       4,
			IdleConnTimeout:       time.Minute,
			TLSHandshakeTimeout:   timeout,
			ResponseHeaderTimeout: timeout,
			ForceAttemptHTTP2:     true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// maxHookAnswer is how much of an answer is read, so that the connection can be
// used again.
const maxHookAnswer = 64 << 10

// post sends a body once.
func (h *hook) post(ctx context.Context, body []byte) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "runnel-webhook")
	r.Header.Set("Runnel-Delivery", hex.EncodeToString(sum[:16])) // the same when it is sent again
	r.Header.Set("Runnel-Signature", Sign(h.Secret, time.Now(), body))
	answer, err := h.client.Do(r)
	if failed, ok := errors.AsType[*url.Error](err); ok {
		return failed.Err // without the URL
	}
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxHookAnswer)) // what it says does not matter
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("answered %s", answer.Status)
	}
	return nil
}

// Sign is the value of the header Runnel-Signature: the time, and the HMAC-SHA-256
// of the time in seconds since 1970, a dot, and the body, in hex.
func Sign(secret []byte, at time.Time, body []byte) string {
	seconds := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(seconds))
	mac.Write([]byte{'.'})
	mac.Write(body)
	return "t=" + seconds + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}
