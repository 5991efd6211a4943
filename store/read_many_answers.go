package store

import (
	"context"
	"errors"
	"time"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/internal/pointread"
	"github.com/runnelkv/runnel/store/internal/routing"
)

// keyRequest describes a single statement on a backend: keys of the same origin, with
// values of at most maxValue bytes.
type keyRequest struct {
	q        *routing.Request
	keys     []Key
	maxValue int64
}

// originAnswers holds a backend's entries for some keys of one origin, read at a single
// moment. Of large values only the heads are read until their keys are answered.
type originAnswers struct {
	s       *Store
	q       *routing.Request
	backend *backend.Backend
	read    Read      // without an entry
	began   time.Time // of the reading
	entries []Entry
	at      map[Key]int // indexes in entries
	err     error

	budget int64          // bytes of the large values that may be read together
	large  *originAnswers // large values that were read ahead
}

// readOrigin reads the keys from the first candidate that answers.
func (s *Store) readOrigin(ctx context.Context, kr keyRequest) (a *originAnswers) {
	err := kr.q.TryCandidates(ctx, func(b *backend.Backend, wait time.Duration) (err error) {
		a, err = s.readOriginFrom(ctx, b, kr, wait)
		return err
	})
	if err != nil {
		return &originAnswers{err: err}
	}
	return a
}

func (s *Store) readOriginFrom(ctx context.Context, b *backend.Backend, kr keyRequest, wait time.Duration) (*originAnswers, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	q := kr.q
	proof, known, began := q.Prove(b), q.KnownForCache(b), time.Now()
	entries, err := b.ReadKeys(ctx, kr.keys, kr.maxValue)
	if err == nil && q.IsStrict() && len(entries) < len(kr.keys) {
		var again bool
		if again, err = q.MustReadAgain(ctx, b); again {
			entries, err = b.ReadKeys(ctx, kr.keys, kr.maxValue)
		}
	}
	if err != nil {
		return nil, err
	}
	a := &originAnswers{s: s, q: q, backend: b, entries: entries, at: make(map[Key]int, len(entries)), began: began}
	a.read = Read{Partition: b.Name(), Staleness: proof.Staleness()}
	for i := range a.entries {
		e := &a.entries[i]
		a.at[e.Key] = i
		if !known.IsZero() && a.isLive(e) && e.Intact() {
			s.cache.FillEntry(known, e)
		}
	}
	if q.TooStale(a.read.Staleness) {
		return nil, routing.ErrTooFarBehind
	}
	return a, nil
}

// isLive decides by the clock of the entry's origin, as of the moment of the reading.
func (a *originAnswers) isLive(e *Entry) bool {
	return !e.Deleted && (e.ExpiresAt == 0 || e.Live(a.s.backends.NowAt(e.Origin, a.began)))
}

// answerAge compares the moment of an answer with that of the remaining answers.
type answerAge int

const (
	sameMoment   answerAge = iota
	laterMoment            // a later moment, or another backend
	otherBackend           // another backend, because this one does not answer any more
)

// answerFirst answers the first of the keys, in the session of o.
func (a *originAnswers) answerFirst(ctx context.Context, keys []Key, o *ReadOptions) (Read, answerAge, error) {
	if a.err != nil {
		return Read{}, sameMoment, a.err
	}
	i, found := a.at[keys[0]]
	if !found {
		return a.read, sameMoment, ErrNotFound
	}
	if e := &a.entries[i]; !pointread.IsHead(e) || !a.isLive(e) {
		return a.toRead(ctx, e, sameMoment, o)
	}
	return a.answerLarge(ctx, keys, o)
}

// toRead makes an answer of an entry. A damaged entry is read from another backend.
func (a *originAnswers) toRead(ctx context.Context, e *Entry, age answerAge, o *ReadOptions) (Read, answerAge, error) {
	r := a.read
	r.Seen = Mark{Origin: e.Origin, Revision: e.Revision}
	if !pointread.IsHead(e) && !e.Intact() {
		a.backend.LogDamage(e)
		r, err := a.s.Get(ctx, e.Key, *o)
		return r, laterMoment, err
	}
	if !a.isLive(e) {
		return r, age, ErrNotFound
	}
	r.Entry = *e
	return r, age, nil
}

// answerLarge answers the first of the keys, after its head was read. If the entry was replaced
// since, the answer is the newer entry.
func (a *originAnswers) answerLarge(ctx context.Context, keys []Key, o *ReadOptions) (Read, answerAge, error) {
	head := &a.entries[a.at[keys[0]]]
	e, found, err := a.readWhole(ctx, keys)
	switch {
	case err != nil:
		r, err := a.s.Get(ctx, head.Key, *o)
		return r, otherBackend, err
	case !found || e.Revision < head.Revision:
		return a.answerLost(ctx, head, o)
	case e.Revision > head.Revision:
		return a.large.toRead(ctx, &e, laterMoment, o)
	}
	return a.large.toRead(ctx, &e, sameMoment, o)
}

// answerLost answers about an entry that the backend has lost since the head was read: the
// database was emptied or replaced. A backend that has the entry is preferred.
func (a *originAnswers) answerLost(ctx context.Context, head *Entry, o *ReadOptions) (Read, answerAge, error) {
	since := *o
	since.Session = o.Session.With(Mark{Origin: head.Origin, Revision: head.Revision})
	r, err := a.s.Get(ctx, head.Key, since)
	if err != nil && !errors.Is(err, ErrNotFound) {
		r, err = a.s.Get(ctx, head.Key, *o)
	}
	return r, otherBackend, err
}

// readWhole is the entry of the first of the keys, with its value, if there still is one.
func (a *originAnswers) readWhole(ctx context.Context, keys []Key) (e Entry, found bool, err error) {
	if e, found = a.large.takeValue(keys[0]); found && !pointread.IsHead(&e) {
		return e, true, nil
	}
	for _, some := range [...][]Key{keys, keys[:1]} { // the value may have grown: alone, any size is read
		a.large = nil
		a.large, err = a.s.readOriginFrom(ctx, a.backend, a.largeRequest(some), a.s.router.Patience())
		if err != nil {
			return e, false, err
		}
		if e, found = a.large.takeValue(keys[0]); !found || !pointread.IsHead(&e) {
			break
		}
	}
	return e, found, nil
}

// takeValue returns a key's entry and keeps only its head, so that the value can be freed.
func (a *originAnswers) takeValue(k Key) (e Entry, found bool) {
	if a == nil {
		return e, false
	}
	i, found := a.at[k]
	if found {
		e, a.entries[i].Value = a.entries[i], nil
	}
	return e, found
}

// largeRequest selects the first of the keys, and further large values as far as the budget
// allows. Each counts with the size of the largest, so that the budget holds even if all
// have grown since. A single value may have any size.
func (a *originAnswers) largeRequest(keys []Key) keyRequest {
	kr := keyRequest{q: a.q}
	in := make(map[Key]bool)
	for _, k := range keys {
		i, found := a.at[k]
		if !found || in[k] || !pointread.IsHead(&a.entries[i]) || !a.isLive(&a.entries[i]) {
			continue
		}
		largest := max(kr.maxValue, a.entries[i].Size)
		if len(kr.keys) > 0 && largest*int64(len(kr.keys)+1) > a.budget {
			break
		}
		in[k], kr.keys, kr.maxValue = true, append(kr.keys, k), largest
	}
	if len(kr.keys) == 1 {
		kr.maxValue = pointread.Whole
	}
	return kr
}
