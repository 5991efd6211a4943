package store

import (
	"context"
	"math"
)

// Bounds of one step of a GetMany: the first reads manyFirst keys, those that
// follow as many as should hold manyBytes of values by what the one before held.
// However much it is then, a step's statements bring manySmall of values at
// most. Those that are too large for that are read after them, as many together
// as hold manyBytes, or one alone.
const (
	manyFirst = 64
	manyMost  = 256 // what a partition reads in one statement
	manyBytes = 4 << 20
	manySmall = 8 << 20
)

// wholeValues is as large as no value is.
const wholeValues = math.MaxInt64

// GetMany reads the entries of many keys in few statements, each as Get reads
// one. It calls each for every key in their order, with its index and what Get
// would have returned, as soon as that is known. So it holds 12 MiB of values and
// one value more, at most, whatever their sizes are. With InSession or FromMaster
// nothing that it gives is older than what it gave before.
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
		n := s.getSome(ctx, some, &o, func(i int, r Read, err error) {
			bytes += r.Entry.Size
			if o.Consistency == InSession {
				o.Session = o.Session.With(r.Seen)
			}
			each(done+i, r, err)
		})
		done += n
		size = manyKeys(n, bytes)
	}
}

// manyKeys is how many keys to read next after n of them held so many bytes.
func manyKeys(n int, bytes int64) int {
	return int(min(max(int64(n)*manyBytes/max(bytes, 1), 1), manyMost))
}

// getSome answers the first of keys, all of them if it can, and says how many.
// The session in o is that of what was answered so far.
func (s *Store) getSome(ctx context.Context, keys []Key, o *ReadOptions, each func(int, Read, error)) int {
	c := s.cluster.Load()
	if c == nil {
		for i := range keys {
			each(i, Read{}, ErrNoPartition)
		}
		return len(keys)
	}
	st := step{s: s, c: c, o: o, keys: keys, each: each}
	if o.Consistency == InSession {
		st.recallFirst()
	} else {
		st.recall()
	}
	st.ask(ctx)
	return st.answer(ctx)
}

// step is some keys of a GetMany on their way.
type step struct {
	s    *Store
	c    *cluster
	o    *ReadOptions
	keys []Key
	each func(int, Read, error)

	done     int        // so many are answered
	recalled []recalled // what the cache has of each; nil: not asked
	answers  []*answers // of each master, nil where none of its keys were read
}

// recalled is what the cache has of a key.
type recalled struct {
	read Read
	ok   bool
}

// recall answers from the cache what it can.
func (st *step) recall() {
	if st.s.cache == nil {
		return
	}
	quests := st.quests()
	st.recalled = make([]recalled, len(st.keys))
	for i, k := range st.keys {
		r := &st.recalled[i]
		r.read, r.ok = quests[st.c.Slots[SlotOf(k)]].recall(k)
	}
}

// recallFirst answers the first keys from the cache, as many as it can. What is
// read after them is as of one moment of each master's keys; what is cached is of
// others, and between them it could be older than what was shown before.
func (st *step) recallFirst() {
	for st.s.cache != nil && st.done < len(st.keys) {
		k := st.keys[st.done]
		q := st.s.quest(st.c, Origin(st.c.master(k)), *st.o)
		r, ok := q.recall(k)
		if !ok {
			return
		}
		st.each(st.done, r, nil)
		st.done++
	}
}

func (st *step) quests() []quest {
	quests := make([]quest, len(st.c.Masters))
	for i, name := range st.c.Masters {
		quests[i] = st.s.quest(st.c, Origin(name), *st.o)
	}
	return quests
}

// ask reads the keys that are not answered yet, in a statement for each of
// their masters.
func (st *step) ask(ctx context.Context) {
	missing := make([][]Key, len(st.c.Masters))
	n, masters := int64(0), int64(0)
	for i, k := range st.keys[st.done:] {
		if st.recalled != nil && st.recalled[i].ok {
			continue
		}
		master := st.c.Slots[SlotOf(k)]
		if len(missing[master]) == 0 {
			masters++
		}
		missing[master] = append(missing[master], k)
		n++
	}
	if n == 0 {
		return
	}
	most := int64(wholeValues)
	if n > 1 {
		most = manySmall / n
	}
	st.answers = make([]*answers, len(st.c.Masters))
	quests := st.quests()
	for i, keys := range missing {
		if len(keys) > 0 {
			st.answers[i] = st.s.askFirst(ctx, wanted{&quests[i], keys, most})
			st.answers[i].budget = manyBytes / masters
		}
	}
}

// answer answers the keys in their order, and says how many. It stops behind one
// that is newer than the rest if that has to be read anew: from somebody else, or
// because nothing older may follow.
func (st *step) answer(ctx context.Context) int {
	for f := asTheRest; st.done < len(st.keys) && f != elsewhere && (f == asTheRest || !st.ordered()); st.done++ {
		if st.recalled != nil && st.recalled[st.done].ok {
			st.each(st.done, st.recalled[st.done].read, nil)
			continue
		}
		keys := st.keys[st.done:]
		var r Read
		var err error
		r, f, err = st.answers[st.c.Slots[SlotOf(keys[0])]].of(ctx, keys, st.o)
		st.each(st.done, r, err)
	}
	return st.done
}

// ordered reports whether no answer may be older than those before it.
func (st *step) ordered() bool {
	return st.o.Consistency == InSession || st.o.Consistency == FromMaster
}
