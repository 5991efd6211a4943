package access

import (
	"context"
	"strings"
	"time"

	"github.com/runnelkv/runnel/store"
)

// A revocation takes effect within twice Options.Poll, the age of an answer, and the time of a
// reading: less than five seconds with the defaults.
const (
	maxAge      = 2 * time.Second // of an answer that counts as fresh
	readTimeout = 2 * time.Second // of a reading
	firstPoll   = 50 * time.Millisecond
	patience    = 5 * time.Second // failures of this length are logged
)

// Run keeps the stored keys up to date until ctx ends. The store must be running.
func (r *Registry) Run(ctx context.Context) error {
	r.started = time.Now()
	for {
		began := time.Now()
		r.refresh(ctx)
		timer := time.NewTimer(r.pause(time.Since(began)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// pause is the time until the next reading, after a reading that took so long. Many keys are read
// less often: 10,000 took 0.2 s on a busy machine.
func (r *Registry) pause(took time.Duration) time.Duration {
	if !r.state.Load().read {
		return min(firstPoll, r.options.Poll)
	}
	return min(max(r.options.Poll, 20*took), 2*r.options.Poll)
}

// refresh reads the stored keys: first with a proof of freshness; otherwise as of an earlier time
// that is known; and, at the start of a process, otherwise from any partition, which only tells
// whether there are keys. The first reading holds every key from before the start: for the length
// of maxAge the proof must be younger than the process.
func (r *Registry) refresh(ctx context.Context) {
	if r.store.Lost(r.session) { // a restore has undone a part of the session
		r.session = store.Vector{}
	}
	read, age := r.state.Load().read, time.Since(r.started)
	fresh := store.ReadOptions{Consistency: store.Bounded, MaxStaleness: min(age, maxAge)}
	if read {
		fresh.MaxStaleness = maxAge
	}
	err := r.readStored(ctx, r.store.List, fresh)
	if err != nil && (read || age >= maxAge) {
		err = r.readStored(ctx, r.store.List, store.ReadOptions{})
	}
	if err != nil && !read && age >= maxAge {
		err = r.readStored(ctx, r.store.Union, store.ReadOptions{})
	}
	if ctx.Err() == nil {
		r.noteFailure(err)
	}
}

// noteFailure logs failures that last, and their end.
func (r *Registry) noteFailure(err error) {
	switch {
	case err == nil && r.warned:
		r.options.Logger.Info("the API keys can be read again")
		fallthrough
	case err == nil:
		r.failingSince, r.warned = time.Time{}, false
	case r.failingSince.IsZero():
		r.failingSince = time.Now()
	case !r.warned && time.Since(r.failingSince) >= patience:
		r.warned = true
		r.options.Logger.Warn("the API keys cannot be read: keys that were read stay valid for max_stale, then only those of the configuration are",
			"error", err, "max_stale", r.options.MaxStale)
	}
}

// readStored reads all stored keys by a method of the store, and replaces the state.
func (r *Registry) readStored(ctx context.Context, list func(context.Context, store.ListOptions) (store.Page, error), o store.ReadOptions) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	before := r.state.Load()
	was := before.stored
	keys := make(map[string]credential, len(was))
	provenAt, session := time.Now(), r.session
	for after := ""; ; {
		began := time.Now()
		o.Session = session
		page, err := list(ctx, store.ListOptions{ReadOptions: o, Space: system, Prefix: keyPrefix, After: after, Limit: store.MaxLimit, Values: true})
		if err != nil {
			return err
		}
		r.addKeys(keys, was, page.Entries)
		session = session.Merge(page.Seen)
		if provenAt = earlier(provenAt, began, page.Staleness); page.Next == "" {
			break
		}
		after = page.Next
	}
	r.session = session
	r.change(func(s *state) {
		s.stored, s.read = keys, true
		if provenAt.After(s.provenAt) { // by the session, the keys are no older than those of before
			s.provenAt = provenAt
		}
	})
	if !before.read {
		r.reportRead()
	}
	return nil
}

// earlier is the earlier of a time and the time to which a reading is proven. The staleness of the
// reading is negative if nothing is proven; the result is then zero.
func earlier(proven, began time.Time, staleness time.Duration) time.Time {
	if staleness < 0 {
		return time.Time{}
	}
	if at := began.Add(-staleness); at.Before(proven) {
		return at
	}
	return proven
}

// addKeys adds the keys of entries. Unchanged entries keep their credentials. An entry that cannot
// be read has no valid secret.
func (r *Registry) addKeys(keys, was map[string]credential, entries []store.Entry) {
	for i := range entries {
		e := &entries[i]
		id := strings.TrimPrefix(store.Name(e.Key), keyPrefix)
		mark := store.Mark{Origin: e.Origin, Revision: e.Revision}
		if c, ok := was[id]; ok && c.mark == mark {
			keys[id] = c
			continue
		}
		k, err := decodeKey(e)
		c := credential{mark: mark}
		if err == nil {
			c, err = newCredential(k, mark)
		}
		if err != nil {
			c = credential{mark: mark}
			r.options.Logger.Error("a stored API key is not readable and is refused", "id", id, "error", err)
		}
		keys[id] = c
	}
}
