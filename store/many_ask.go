package store

import (
	"context"
	"time"
)

// wanted is what is read of a member in one statement: keys of one origin, and
// values of at most so many bytes.
type wanted struct {
	q    *quest
	keys []Key
	most int64
}

// answers are what one member holds of some keys of one origin, at one moment.
// Of large values it has the heads, until they are asked for.
type answers struct {
	q       *quest
	m       *member
	read    Read // without an entry
	now     Instant
	entries []Entry
	at      map[Key]int
	err     error

	budget int64    // of the values that are read together after their heads
	later  *answers // they, until they are answered with
}

// askFirst asks the first candidate that answers.
func (s *Store) askFirst(ctx context.Context, w wanted) (a *answers) {
	err := s.seek(ctx, w.q, func(m *member, wait time.Duration) (err error) {
		a, err = s.askMember(ctx, m, w, wait)
		return err
	})
	if err != nil {
		return &answers{err: err}
	}
	return a
}

func (s *Store) askMember(ctx context.Context, m *member, w wanted, wait time.Duration) (*answers, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	q := w.q
	proven, fill, began := m.proven(q.origin), q.fill(m), time.Now()
	entries, err := m.readAll(ctx, w)
	if err == nil && q.picky && len(entries) < len(w.keys) && m.Name() != string(q.origin) {
		entries, err = s.readAgain(ctx, m, w, entries)
	}
	if err != nil {
		return nil, err
	}
	a := &answers{q: q, m: m, entries: entries, at: make(map[Key]int, len(entries)), now: s.nowAt(q.origin, began)}
	a.read = Read{Partition: m.Name(), Staleness: s.age(m, q.origin, proven)}
	for i := range a.entries {
		e := &a.entries[i]
		a.at[e.Key] = i
		if fill.known != nil && e.Live(a.now) && e.Intact() {
			s.cache.keep(fill, e)
		}
	}
	if q.tooStale(a.read.Staleness) {
		return nil, errFarBehind
	}
	return a, nil
}

// readAgain is lookAgain for many keys, of which some were not found.
func (s *Store) readAgain(ctx context.Context, m *member, w wanted, found []Entry) ([]Entry, error) {
	before, _ := m.position(w.q.origin)
	if err := s.prove(ctx, m, w.q); err != nil {
		return nil, err
	}
	if after, _ := m.position(w.q.origin); after.Revision == before.Revision {
		return found, nil
	}
	return m.readAll(ctx, w)
}

// readAll reads entries in a statement of their own.
func (m *member) readAll(ctx context.Context, w wanted) (entries []Entry, err error) {
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
		return nil, m.broken(err)
	}
	m.took(time.Since(began))
	return entries, nil
}
