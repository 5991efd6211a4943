package store

import (
	"context"
	"time"
)

// Bounds of one step of a GetMany: the first reads manyFirst keys, those that
// follow as many as should hold manyBytes of values by what the one before held.
const (
	manyFirst = 64
	manyMost  = 256 // what a partition reads in one statement
	manyBytes = 4 << 20
)

// GetMany reads the entries of many keys in few statements, each as Get reads
// one. It calls each for every key in their order, with its index and what Get
// would have returned, as soon as that is known, so that some MiB of values are
// held at a time; where large ones follow small ones, manyMost of them at worst.
// An error of one key is no other's.
func (s *Store) GetMany(ctx context.Context, keys []Key, o ReadOptions, each func(i int, r Read, err error)) {
	size := manyFirst
	if o.Consistency == Quorum {
		for i, k := range keys {
			r, err := s.Get(ctx, k, o)
			each(i, r, err)
		}
		return
	}
	for done := 0; done < len(keys); {
		some := keys[done:min(done+size, len(keys))]
		bytes := int64(0)
		s.getSome(ctx, some, o, func(i int, r Read, err error) {
			bytes += r.Entry.Size
			each(done+i, r, err)
		})
		done += len(some)
		size = manyKeys(len(some), bytes)
	}
}

// manyKeys is how many keys to read next after n of them held so many bytes.
func manyKeys(n int, bytes int64) int {
	return int(min(max(int64(n)*manyBytes/max(bytes, 1), 1), manyMost))
}

// getSome answers keys from the cache, and reads the others in a statement for
// each of their masters.
func (s *Store) getSome(ctx context.Context, keys []Key, o ReadOptions, each func(int, Read, error)) {
	c := s.cluster.Load()
	if c == nil {
		for i := range keys {
			each(i, Read{}, ErrNoPartition)
		}
		return
	}
	quests := make([]quest, len(c.Masters))
	for i, name := range c.Masters {
		quests[i] = s.quest(c, Origin(name), o)
	}
	recalled := make([]recalled, len(keys))
	missing := make([][]Key, len(c.Masters)) // of each master
	for i, k := range keys {
		r, master := &recalled[i], c.Slots[SlotOf(k)]
		if r.read, r.ok = quests[master].recall(k); !r.ok {
			missing[master] = append(missing[master], k)
		}
	}
	answers := make([]*answers, len(c.Masters))
	for i, keys := range missing {
		if len(keys) > 0 {
			answers[i] = s.askFirst(ctx, keys, &quests[i])
		}
	}
	for i, k := range keys {
		if r := &recalled[i]; r.ok {
			each(i, r.read, nil)
			continue
		}
		r, err := answers[c.Slots[SlotOf(k)]].of(ctx, s, k, o)
		each(i, r, err)
	}
}

// recalled is what the cache has of a key.
type recalled struct {
	read Read
	ok   bool
}

// answers are what one member holds of some keys of one origin.
type answers struct {
	read    Read // without an entry
	now     Instant
	entries []Entry
	at      map[Key]int
	err     error
}

// askFirst reads keys of one origin from the first candidate that answers.
func (s *Store) askFirst(ctx context.Context, keys []Key, q *quest) (a *answers) {
	err := s.seek(ctx, q, func(m *member, wait time.Duration) (err error) {
		a, err = s.askMember(ctx, m, keys, q, wait)
		return err
	})
	if err != nil {
		return &answers{err: err}
	}
	return a
}

func (s *Store) askMember(ctx context.Context, m *member, keys []Key, q *quest, wait time.Duration) (*answers, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	proven, from, began := m.proven(q.origin), q.ticket(m), time.Now()
	entries, err := m.readAll(ctx, keys)
	if err == nil && q.picky && len(entries) < len(keys) && m.Name() != string(q.origin) {
		entries, err = s.readAgain(ctx, m, keys, q, entries)
	}
	if err != nil {
		return nil, err
	}
	a := &answers{entries: entries, at: make(map[Key]int, len(entries)), now: s.nowAt(q.origin, began)}
	a.read = Read{Partition: m.Name(), Staleness: s.age(m, q.origin, proven)}
	for i := range a.entries {
		e := &a.entries[i]
		a.at[e.Key] = i
		if from != noTicket && e.Live(a.now) && e.Intact() {
			s.cache.keep(m, from, e)
		}
	}
	if q.tooStale(a.read.Staleness) {
		return nil, errFarBehind
	}
	return a, nil
}

// readAgain is lookAgain for many keys, of which some were not found.
func (s *Store) readAgain(ctx context.Context, m *member, keys []Key, q *quest, found []Entry) ([]Entry, error) {
	before, _ := m.position(q.origin)
	if err := s.prove(ctx, m, q); err != nil {
		return nil, err
	}
	if after, _ := m.position(q.origin); after.Revision == before.Revision {
		return found, nil
	}
	return m.readAll(ctx, keys)
}

// readAll reads entries in a statement of their own.
func (m *member) readAll(ctx context.Context, keys []Key) (entries []Entry, err error) {
	began := time.Now()
	_, err = m.breaker.Execute(func() (struct{}, error) {
		var err error
		entries, err = m.Get(ctx, keys)
		return struct{}{}, err
	})
	if err != nil {
		return nil, m.broken(err)
	}
	m.took(time.Since(began))
	return entries, nil
}

// of is the answer about one key. A damaged entry is read elsewhere.
func (a *answers) of(ctx context.Context, s *Store, k Key, o ReadOptions) (Read, error) {
	if a.err != nil {
		return Read{}, a.err
	}
	i, found := a.at[k]
	if !found {
		return a.read, ErrNotFound
	}
	r := a.read
	r.Seen = Mark{a.entries[i].Origin, a.entries[i].Revision}
	if !a.entries[i].Live(a.now) {
		return r, ErrNotFound
	}
	if !a.entries[i].Intact() {
		return s.Get(ctx, k, o)
	}
	r.Entry = a.entries[i]
	return r, nil
}
