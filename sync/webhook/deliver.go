package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/runnelkv/runnel/store"
)

// deliver posts the changes after the progress, until ctx ends or the changes cannot be read.
func (w *worker) deliver(ctx context.Context, at progress) error {
	w.renewed = time.Now()
	since, err := store.ParseChangeToken(at.Token)
	if err != nil {
		return fmt.Errorf("progress of the webhook to %s: %w", w.host(), err)
	}
	o := store.ChangeOptions{Space: store.User, Prefix: w.Prefix, Limit: maxChanges}
	if at.Resync {
		if since, err = w.deliverAll(ctx, since, o); err != nil {
			return err
		}
	}
	watch := w.feed.Watch(since, o)
	defer watch.Close()
	recorded := time.Now()
	for {
		// Changes of other keys move the token too; recording each would cost a write.
		wait, cancel := context.WithTimeout(ctx, recordEvery)
		page, err := watch.Next(wait)
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, store.ErrResync):
			return w.startResync(ctx)
		case errors.Is(err, context.DeadlineExceeded) && time.Since(recorded) >= recordEvery:
			err = w.recordProgress(ctx, func(p *progress) { p.Token = watch.Token().String() })
			recorded = time.Now()
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, store.ErrNoPartition):
			continue
		case err == nil:
			err = w.deliverPage(ctx, &page, false)
			recorded = time.Now()
		}
		if err != nil {
			return err
		}
	}
}

// deliverAll posts all entries after since, and an empty page that ends the resync.
func (w *worker) deliverAll(ctx context.Context, since store.ChangeToken, o store.ChangeOptions) (store.ChangeToken, error) {
	for {
		page, err := w.feed.Changes(ctx, since, o)
		if errors.Is(err, store.ErrResync) {
			return since, w.startResync(ctx)
		}
		if err == nil && len(page.Entries) > 0 {
			err = w.deliverPage(ctx, &page, true)
		}
		if err != nil {
			return since, err
		}
		if since = page.Next; !page.More {
			return since, w.deliverPage(ctx, &store.ChangePage{Next: since}, false)
		}
	}
}

const (
	maxChanges  = 100 // of a request, at most
	recordEvery = 10 * time.Minute
)

// startResync makes the worker send everything anew, because deletions that were not sent
// yet have been collected.
func (w *worker) startResync(ctx context.Context) error {
	w.setStatus(func(s *Status) { s.Resyncs++ }, "the webhook was away for too long and is sent everything anew", nil)
	return w.recordProgress(ctx, func(p *progress) { p.Token, p.Resync = "", true })
}

// deliverPage posts a page until the endpoint accepts it, and records the progress. With resync,
// more pages of the resync follow.
func (w *worker) deliverPage(ctx context.Context, page *store.ChangePage, resync bool) error {
	body, err := json.Marshal(deliveryOf(page, resync))
	if err != nil {
		return err
	}
	if err := w.whileLeased(ctx, func(ctx context.Context) error { return w.postUntilAccepted(ctx, body) }); err != nil {
		return err
	}
	w.setStatus(func(s *Status) { s.Sent += int64(len(page.Entries)) }, "the webhook accepts requests", nil)
	began := time.Now()
	if err := w.recordProgress(ctx, func(p *progress) { p.Token, p.Resync = page.Next.String(), resync }); err != nil {
		return err
	}
	w.renewed = began
	return nil
}

func (w *worker) postUntilAccepted(ctx context.Context, body []byte) error {
	pause := w.options.backoff()
	for {
		err := w.post(ctx, body)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		w.setStatus(func(s *Status) { s.Failed++ }, "the webhook rejects requests", err)
		if sleep(ctx, pause.NextBackOff()); ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// delivery is the JSON body of a request.
type delivery struct {
	Changes []change `json:"changes"`
	Next    string   `json:"next"`             // the token after the changes
	Resync  bool     `json:"resync,omitempty"` // part of a resync; keys that are not sent before the first request without resync are deleted
}

// change is an entry without the value, as in the changes of the HTTP API.
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

// newClient returns a client that follows no redirects, which would send changes elsewhere. authorities may be nil.
func newClient(timeout time.Duration, authorities *x509.CertPool) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxConnsPerHost = 4
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: authorities}
	return &http.Client{
		Timeout:       timeout, // of the whole request
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// followAuthorities replaces the client, with its connections, if the authorities have changed.
func (w *worker) followAuthorities() {
	if w.Authorities == nil {
		return
	}
	if now := w.Authorities(); !now.Equal(w.authorities) {
		w.client.CloseIdleConnections()
		w.client, w.authorities = newClient(w.options.Timeout, now), now
	}
}

// maxResponse bounds the bytes of a response that are read, so that the connection can be
// reused.
const maxResponse = 64 << 10

// post makes one request.
func (w *worker) post(ctx context.Context, body []byte) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "runnel-webhook")
	r.Header.Set("Runnel-Delivery", hex.EncodeToString(sum[:16])) // the same for repetitions
	r.Header.Set("Runnel-Signature", Sign(w.Secret(), time.Now(), body))
	w.followAuthorities()
	response, err := w.client.Do(r)
	if failed, ok := errors.AsType[*url.Error](err); ok {
		return failed.Err // without the confidential URL
	}
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, maxResponse)) // the content does not matter
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("answered %s", response.Status)
	}
	return nil
}

// Sign returns the value of the header Runnel-Signature: t, the time in seconds since 1970, and v1,
// the HMAC-SHA-256 of that time, a dot and the body, in hex.
func Sign(secret []byte, at time.Time, body []byte) string {
	seconds := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(seconds))
	mac.Write([]byte{'.'})
	mac.Write(body)
	return "t=" + seconds + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}
