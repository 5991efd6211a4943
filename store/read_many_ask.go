package store

import (
	"context"
	"time"
)

// wanted is what is read of a member in one statement: keys of one origin, and
// values of at most so many bytes.
type keyRequest struct {
	q    *readRequest
	keys []Key
	most int64
}

// answers are what one member holds of some keys of one origin, at one moment.
// Of large values it has the heads, until they are asked for.
type originAnswers struct {
	q       *readRequest
	m       *backend
	read    Read // without an entry
	now     Instant
	entries []Entry
	at      map[Key]int
	err     error

	budget int64          // of the values that are read together after their heads
	later  *originAnswers // they, until they are answered with
}

// askFirst asks the first candidate that answers.
func (s *Store) readOrigin(ctx context.Context, w keyRequest) (a *originAnswers) {
	err := s.tryCandidates(ctx, w.q, func(m *backend, wait time.Duration) (err error) {
		a, err = s.readOriginFrom(ctx, m, w, wait)
		return err
	})
	if err != nil {
		return &originAnswers{err: err}
	}
	return a
}

func (s *Store) readOriginFrom(ctx context.Context, m *backend, w keyRequest, wait time.Duration) (*originAnswers, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	q := w.q
	proven, fill, began := m.syncedAt(q.origin), q.newFillToken(m), time.Now()
	entries, err := m.readKeys(ctx, w)
	if err == nil && q.strict && len(entries) < len(w.keys) && m.Name() != string(q.origin) {
		entries, err = s.verifyAllAbsent(ctx, m, w, entries)
	}
	if err != nil {
		return nil, err
	}
	a := &originAnswers{q: q, m: m, entries: entries, at: make(map[Key]int, len(entries)), now: s.nowAt(q.origin, began)}
	a.read = Read{Partition: m.Name(), Staleness: s.age(m, q.origin, proven)}
	for i := range a.entries {
		e := &a.entries[i]
		a.at[e.Key] = i
		if fill.known != nil && e.Live(a.now) && e.Intact() {
			s.cache.fill(fill, e)
		}
	}
	if q.tooStale(a.read.Staleness) {
		return nil, errTooFarBehind
	}
	return a, nil
}

// readAgain is lookAgain for many keys, of which some were not found.
func (s *Store) verifyAllAbsent(ctx context.Context, m *backend, w keyRequest, found []Entry) ([]Entry, error) {
	before, _ := m.position(w.q.origin)
	if err := s.recheck(ctx, m, w.q); err != nil {
		return nil, err
	}
	if after, _ := m.position(w.q.origin); after.Revision == before.Revision {
		return found, nil
	}
	return m.readKeys(ctx, w)
}

// readAll reads entries in a statement of their own.
func (m *backend) readKeys(ctx context.Context, w keyRequest) (entries []Entry, err error) {
	began := time.Now()
	_, err = m.breaker.Execute(func() (struct{}, error) {
		var err error
		if w.most == wholeValues {
			entries, err = m.Get(ctx, w.keys)
		} else {
			entries, err = m.GetSmall(ctx, w.keys, w.most)
		}
		return struct{}{}, err
	})
	if err != nil {
		return nil, m.breakerError(err)
	}
	m.observeLatency(time.Since(began))
	return entries, nil
}
