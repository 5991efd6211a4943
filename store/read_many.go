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
	st := manyStep{s: s, c: c, o: o, keys: keys, each: each}
	if o.Consistency == InSession {
		st.readCachedPrefix()
	} else {
		st.readCache()
	}
	st.readMissing(ctx)
	return st.answerInOrder(ctx)
}

// step is some keys of a GetMany on their way.
type manyStep struct {
	s    *Store
	c    *clusterMap
	o    *ReadOptions
	keys []Key
	each func(int, Read, error)

	done     int              // so many are answered
	recalled []cachedRead     // what the cache has of each; nil: not asked
	answers  []*originAnswers // of each master, nil where none of its keys were read
}

// recalled is what the cache has of a key.
type cachedRead struct {
	read Read
	ok   bool
}

// recall answers from the cache what it can.
func (st *manyStep) readCache() {
	if st.s.cache == nil {
		return
	}
	quests := st.newRequests()
	st.recalled = make([]cachedRead, len(st.keys))
	for i, k := range st.keys {
		r := &st.recalled[i]
		r.read, r.ok = quests[st.c.Slots[SlotOf(k)]].readCached(k)
	}
}

// recallFirst answers the first keys from the cache, as many as it can. What is
// read after them is as of one moment of each master's keys; what is cached is of
// others, and between them it could be older than what was shown before.
func (st *manyStep) readCachedPrefix() {
	for st.s.cache != nil && st.done < len(st.keys) {
		k := st.keys[st.done]
		q := st.s.newReadRequest(st.c, Origin(st.c.master(k)), *st.o)
		r, ok := q.readCached(k)
		if !ok {
			return
		}
		st.each(st.done, r, nil)
		st.done++
	}
}

func (st *manyStep) newRequests() []readRequest {
	quests := make([]readRequest, len(st.c.Masters))
	for i, name := range st.c.Masters {
		quests[i] = st.s.newReadRequest(st.c, Origin(name), *st.o)
	}
	return quests
}

// ask reads the keys that are not answered yet, in a statement for each of
// their masters.
func (st *manyStep) readMissing(ctx context.Context) {
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
	st.answers = make([]*originAnswers, len(st.c.Masters))
	quests := st.newRequests()
	for i, keys := range missing {
		if len(keys) > 0 {
			st.answers[i] = st.s.readOrigin(ctx, keyRequest{&quests[i], keys, most})
			st.answers[i].budget = manyBytes / masters
		}
	}
}

// answer answers the keys in their order, and says how many. It stops behind one
// that is newer than the rest if that has to be read anew: from somebody else, or
// because nothing older may follow.
func (st *manyStep) answerInOrder(ctx context.Context) int {
	for f := sameMoment; st.done < len(st.keys) && f != otherBackend && (f == sameMoment || !st.isOrdered()); st.done++ {
		if st.recalled != nil && st.recalled[st.done].ok {
			st.each(st.done, st.recalled[st.done].read, nil)
			continue
		}
		keys := st.keys[st.done:]
		var r Read
		var err error
		r, f, err = st.answers[st.c.Slots[SlotOf(keys[0])]].answerFirst(ctx, keys, st.o)
		st.each(st.done, r, err)
	}
	return st.done
}

// ordered reports whether no answer may be older than those before it.
func (st *manyStep) isOrdered() bool {
	return st.o.Consistency == InSession || st.o.Consistency == FromMaster
}
