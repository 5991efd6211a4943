package store

import (
	"context"
	"errors"
	"time"
)

// Bounds of one step of a GetMany: the first reads manyFirst keys, those that
// follow as many as should hold manyBytes of values.
const (
	manyFirst = 128
	manyMost  = 1024
	manyBytes = 4 << 20
)

// GetMany reads the entries of many keys in few statements, each as Get reads
// one. It calls each for every key in their order, with its index and what Get
// would have returned, as soon as that is known, so that only some MiB of values
// are held at a time. An error of one key is no other's.
func (s *Store) GetMany(ctx context.Context, keys []Key, o ReadOptions, each func(i int, r Read, err error)) {
	if o.Consistency != "" && o.Consistency != Any && o.Consistency != FromMaster {
		for i, k := range keys { // what is asked of each answer is Get's to know
			r, err := s.Get(ctx, k, o)
			each(i, r, err)
		}
		return
	}
	size := manyFirst
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

// getSome reads keys in a statement for each of their masters.
func (s *Store) getSome(ctx context.Context, keys []Key, o ReadOptions, each func(int, Read, error)) {
	c := s.cluster.Load()
	if c == nil {
		for i := range keys {
			each(i, Read{}, ErrNoPartition)
		}
		return
	}
	var answers []*answers // by index of the master
	if len(c.Masters) == 1 {
		answers = s.askFor(ctx, [][]Key{keys}, o, c)
	} else {
		byMaster := make([][]Key, len(c.Masters))
		for _, k := range keys {
			i := c.Slots[SlotOf(k)]
			byMaster[i] = append(byMaster[i], k)
		}
		answers = s.askFor(ctx, byMaster, o, c)
	}
	for i, k := range keys {
		a := answers[0]
		if len(answers) > 1 {
			a = answers[c.Slots[SlotOf(k)]]
		}
		r, err := a.of(ctx, s, k, o)
		each(i, r, err)
	}
}

// answers are what one member holds of some keys of one origin.
type answers struct {
	read    Read // without an entry
	now     Instant
	entries []Entry
	at      map[Key]int
	err     error
}

func (s *Store) askFor(ctx context.Context, byMaster [][]Key, o ReadOptions, c *cluster) []*answers {
	all := make([]*answers, len(byMaster))
	for i, keys := range byMaster {
		if len(keys) > 0 {
			all[i] = s.ask(ctx, keys, o, Origin(c.Masters[i]))
		}
	}
	return all
}

// ask reads keys of one origin from the first candidate that answers.
func (s *Store) ask(ctx context.Context, keys []Key, o ReadOptions, origin Origin) *answers {
	wait := min(patience, s.options.Timeout)
	if o.only(origin) != "" {
		wait = s.options.Timeout // there is nobody else to ask
	}
	tried, failure := 0, error(nil)
	var slow *member // the first that did not answer in time
	turn := s.candidates(o, origin)
	for m := turn.next(); m != nil; m = turn.next() {
		tried++
		a, err := s.askMember(ctx, m, keys, origin, wait)
		if err == nil {
			return a
		}
		if ctx.Err() != nil {
			return &answers{err: ctx.Err()}
		}
		failure = err
		if slow == nil && errors.Is(err, context.DeadlineExceeded) {
			slow = m
		}
	}
	if left := s.options.Timeout - wait; slow != nil && left > 0 { // nobody was faster
		a, err := s.askMember(ctx, slow, keys, origin, left)
		if err == nil {
			return a
		}
		failure = err
	}
	return &answers{err: s.unreadable(o, origin, tried, failure)}
}

func (s *Store) askMember(ctx context.Context, m *member, keys []Key, origin Origin, timeout time.Duration) (*answers, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	a := &answers{read: Read{Partition: m.Name()}}
	began := time.Now()
	_, err := m.breaker.Execute(func() (struct{}, error) {
		var err error
		a.entries, err = m.Get(ctx, keys)
		return struct{}{}, err
	})
	if err != nil {
		return nil, m.broken(err)
	}
	m.took(time.Since(began))
	a.read.Staleness, a.now = s.staleness(m, origin), s.now(origin)
	a.at = make(map[Key]int, len(a.entries))
	for i := range a.entries {
		a.at[a.entries[i].Key] = i
	}
	return a, nil
}

// of is the answer about one key. A damaged entry is read elsewhere.
func (a *answers) of(ctx context.Context, s *Store, k Key, o ReadOptions) (Read, error) {
	if a.err != nil {
		return Read{}, a.err
	}
	i, found := a.at[k]
	if !found || !a.entries[i].Live(a.now) {
		return a.read, ErrNotFound
	}
	if !a.entries[i].Intact() {
		return s.Get(ctx, k, o)
	}
	r := a.read
	r.Entry = a.entries[i]
	return r, nil
}
