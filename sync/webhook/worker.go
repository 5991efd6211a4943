package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/sync/internal/lease"
)

// progress is the entry of an endpoint in the store: how far it was served, and the lease.
type progress struct {
	URL       string        `json:"url"`
	Prefix    string        `json:"prefix"`
	Token     string        `json:"token"`            // all changes before this token are accepted
	Resync    bool          `json:"resync,omitempty"` // a resync began and has not ended
	Holder    string        `json:"holder"`
	ExpiresAt store.Instant `json:"expires_at"` // end of the lease, by the master's clock
}

var (
	errLeaseHeld = errors.New("another process sends")
	errIdle      = errors.New("there is nothing to send")
	errReadOnly  = errors.New("the progress was only read")
)

// serve acquires the lease and delivers, or stands by, until ctx ends.
func (w *worker) serve(ctx context.Context) {
	for first := true; ctx.Err() == nil; {
		at, err := w.acquire(ctx, first)
		standby := errors.Is(err, errLeaseHeld) || errors.Is(err, errIdle)
		first = first && err != nil && !standby // a starting process may reach no store yet
		if err == nil {
			w.setStatus(func(s *Status) { s.Active = true }, "this process sends to the webhook", nil)
			err = w.deliver(ctx, at)
			w.setStatus(func(s *Status) { s.Active = false }, "", nil)
		}
		standby = errors.Is(err, errLeaseHeld) || errors.Is(err, errIdle)
		if err != nil && !standby && ctx.Err() == nil {
			w.setStatus(func(*Status) {}, "sending to the webhook is interrupted", err)
		}
		if standby {
			sleep(ctx, w.options.TTL/3)
		} else {
			sleep(ctx, w.options.BackoffMin)
		}
	}
	w.release(context.WithoutCancel(ctx))
}

// acquire acquires the lease and returns the progress. A new endpoint starts with the next
// change. An idle holder lets the lease expire, because a renewal is a write that is copied
// to every partition. Another process therefore takes over only if there is something to send or,
// at the first attempt that reaches the store, from a process of this host that has ended.
func (w *worker) acquire(ctx context.Context, first bool) (progress, error) {
	now, err := w.feed.ChangesNow(ctx)
	if err != nil {
		return progress{}, err
	}
	last, err := w.update(ctx, func(*progress, store.Instant) error { return errReadOnly })
	if !errors.Is(err, errReadOnly) {
		return progress{}, err
	}
	ended := first && lease.HasEnded(last.Holder)
	if last.Holder != "" && last.Holder != w.options.Holder && !ended && !last.Resync {
		if err := w.checkPending(ctx, last.Token); err != nil {
			return progress{}, err
		}
	}
	return w.update(ctx, func(p *progress, at store.Instant) error {
		held := p.Holder != "" && p.Holder != w.options.Holder && at < p.ExpiresAt && p.ExpiresAt <= at.Add(w.options.TTL)
		if held && !(ended && p.Holder == last.Holder) {
			return errLeaseHeld
		}
		if p.Token == "" && !p.Resync {
			p.Token = now.String()
		}
		p.Holder, p.ExpiresAt = w.options.Holder, at.Add(w.options.TTL)
		return nil
	})
}

// checkPending returns errIdle if no change after the token is readable.
func (w *worker) checkPending(ctx context.Context, token string) error {
	since, err := store.ParseChangeToken(token)
	if err != nil {
		return nil // deliver reports the error
	}
	page, err := w.feed.Changes(ctx, since, store.ChangeOptions{Space: store.User, Prefix: w.Prefix, Limit: 1})
	if err == nil && len(page.Entries) == 0 && !page.More {
		return errIdle
	}
	return nil
}

// recordProgress changes the progress and renews the lease. errLeaseHeld: the lease is lost.
func (w *worker) recordProgress(ctx context.Context, set func(*progress)) error {
	_, err := w.update(ctx, func(p *progress, at store.Instant) error {
		if p.Holder != w.options.Holder {
			return errLeaseHeld
		}
		set(p)
		p.ExpiresAt = at.Add(w.options.TTL)
		return nil
	})
	return err
}

// update changes the endpoint's entry in a transaction; f receives the time of the master's clock.
func (w *worker) update(ctx context.Context, f func(p *progress, at store.Instant) error) (p progress, err error) {
	ctx, cancel := context.WithTimeout(ctx, w.options.Timeout)
	defer cancel()
	err = w.feed.Update(ctx, []store.Key{w.key}, store.UpdateOptions{}, func(tx *store.Tx) error {
		p = progress{}
		if e, ok := tx.Get(w.key); ok {
			if err := json.Unmarshal(e.Value, &p); err != nil {
				return fmt.Errorf("the progress of the webhook to %s is not readable: %w", w.host(), err)
			}
		}
		if err := f(&p, tx.Now()); err != nil {
			return err
		}
		p.URL, p.Prefix = w.URL, w.Prefix
		text, err := json.Marshal(p)
		if err != nil {
			return err
		}
		tx.Put(store.Entry{Key: w.key, ContentType: "application/json", Value: text})
		return nil
	})
	return p, err
}

// release releases the lease, so that another process continues at once. If this
// fails, the lease expires.
func (w *worker) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, _ = w.update(ctx, func(p *progress, _ store.Instant) error {
		if p.Holder != w.options.Holder {
			return errLeaseHeld
		}
		p.Holder, p.ExpiresAt = "", 0
		return nil
	})
}

// whileLeased runs f and renews the lease meanwhile. The context of f ends when renewals fail
// for so long that another process may have acquired the lease.
func (w *worker) whileLeased(ctx context.Context, f func(context.Context) error) error {
	renewed := time.Now()
	if renewed.Sub(w.renewed) > w.options.TTL/3 {
		if err := w.recordProgress(ctx, func(*progress) {}); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	group.Go(func() {
		for sleep(ctx, w.options.TTL/3); ctx.Err() == nil; sleep(ctx, w.options.TTL/3) {
			began := time.Now()
			err := w.recordProgress(ctx, func(*progress) {})
			if err == nil {
				renewed = began
			}
			if errors.Is(err, errLeaseHeld) || time.Since(renewed) > w.options.TTL*2/3 {
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

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// setStatus changes the status, and logs the text if it differs from the last text.
func (w *worker) setStatus(change func(*Status), text string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.status)
	if text == "" || w.logged == text {
		return
	}
	w.logged = text
	if err != nil {
		w.options.Logger.Warn(text, "host", w.host(), "prefix", w.Prefix, "error", err)
		return
	}
	w.options.Logger.Info(text, "host", w.host(), "prefix", w.Prefix)
}

// host returns the host of the URL; the rest of the URL may be confidential.
func (w *worker) host() string {
	if u, err := url.Parse(w.URL); err == nil {
		return u.Host
	}
	return ""
}
