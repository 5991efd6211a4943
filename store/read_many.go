package store

import (
	"context"
	"errors"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/internal/cluster"
	"github.com/runnelkv/runnel/store/internal/pointread"
	"github.com/runnelkv/runnel/store/partition"
)

// Bounds of a step of GetMany. The first step reads manyFirst keys; later steps read as
// many keys as should hold manyBytes of values, judged by the step before. A step's
// statements return at most manySmall bytes of values. Larger values are read after them,
// as many together as hold manyBytes, or a single value alone.
const (
	manyFirst = 64
	manyMost  = 256 // the most that a partition reads in a single statement
	manyBytes = 4 << 20
	manySmall = pointread.MaxSharedBytes
)

// GetMany reads many keys in few statements. It calls each for every key in order, as soon
// as the answer is known, with the key's index and the results of Get. GetMany holds at
// most 12 MiB of values plus a single value. With InSession or FromMaster no answer is
// older than the answers before it.
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
		bytes := int64(0)
		n := s.getSome(ctx, keys[done:min(done+size, len(keys))], &o, func(i int, r Read, err error) {
			bytes += r.Entry.Size
			if o.Consistency == InSession {
				o.Session = o.Session.With(r.Seen)
			}
			each(done+i, r, err)
		})
		done += n
		size = int(min(max(int64(n)*manyBytes/max(bytes, 1), 1), manyMost))
	}
}

// getSome answers the first keys, if possible all, and returns their number. o.Session is
// the session after the answers so far.
func (s *Store) getSome(ctx context.Context, keys []Key, o *ReadOptions, each func(int, Read, error)) int {
	c := s.cluster.Map()
	if c == nil {
		for i := range keys {
			each(i, Read{}, backend.ErrNoPartition)
		}
		return len(keys)
	}
	if o.Consistency == FromMaster && o.Partition == "" {
		var err error
		if c, err = s.confirmMasters(ctx, c, keys...); errors.Is(err, backend.ErrMoving) || errors.Is(err, partition.ErrStaleEpoch) {
			for i := range keys {
				each(i, Read{}, err)
			}
			return len(keys)
		}
	}
	st := manyStep{s: s, c: c, o: o, keys: keys, each: each}
	if s.cache != nil {
		st.readCache()
	}
	st.readMissing(ctx)
	return st.answerInOrder(ctx)
}

// manyStep is a step of GetMany: some consecutive keys.
type manyStep struct {
	s    *Store
	c    *cluster.Map
	o    *ReadOptions
	keys []Key
	each func(int, Read, error)

	done    int              // keys that are answered
	cached  []cachedRead     // by key; nil: the cache was not asked
	answers []*originAnswers // by master; nil where none of its keys were read
}

// cachedRead is the cache's answer about a key.
type cachedRead struct {
	read Read
	ok   bool
}

// readCache looks the keys up in the cache. In a session only the first keys, up to the
// first miss, are answered from the cache: the statements after it read the keys of each
// master as of a single moment, and a cached entry between them could be older than an
// answer before it.
func (st *manyStep) readCache() {
	inSession := st.o.Consistency == InSession
	if !inSession {
		st.cached = make([]cachedRead, len(st.keys))
	}
	for i, k := range st.keys {
		q := st.s.router.NewRequest(st.c, Origin(st.c.Master(k)), st.o.demand(), k)
		h, ok := q.ReadCached(k)
		switch {
		case !ok && inSession:
			return
		case !ok:
		case !inSession:
			st.cached[i] = cachedRead{readOf(h), true}
		default:
			st.each(i, readOf(h), nil)
			st.done++
		}
	}
}

// isCached reports whether the cache has answered the i-th key.
func (st *manyStep) isCached(i int) bool { return st.cached != nil && st.cached[i].ok }

// readMissing reads the unanswered keys, in a statement for each of their masters.
func (st *manyStep) readMissing(ctx context.Context) {
	missing := make([][]Key, len(st.c.Masters))
	n, masters := int64(0), int64(0)
	for i := st.done; i < len(st.keys); i++ {
		if st.isCached(i) {
			continue
		}
		master := st.c.Slots[cluster.SlotOf(st.keys[i])]
		if len(missing[master]) == 0 {
			masters++
		}
		missing[master] = append(missing[master], st.keys[i])
		n++
	}
	if n == 0 {
		return
	}
	maxValue := int64(pointread.Whole)
	if n > 1 {
		maxValue = manySmall / n
	}
	st.answers = make([]*originAnswers, len(st.c.Masters))
	for i, keys := range missing {
		if len(keys) > 0 {
			q := st.s.router.NewRequest(st.c, Origin(st.c.Masters[i]), st.o.demand(), keys...)
			st.answers[i] = st.s.readOrigin(ctx, keyRequest{&q, keys, maxValue})
			st.answers[i].budget = manyBytes / masters
		}
	}
}

// answerInOrder answers the keys in their order and returns the number of answered keys.
// It stops after an answer that is newer than the remaining answers if these must be read
// again: from another backend, or because no answer may be older than one before it.
func (st *manyStep) answerInOrder(ctx context.Context) int {
	ordered := st.o.Consistency == InSession || st.o.Consistency == FromMaster
	for age := sameMoment; st.done < len(st.keys) && age != otherBackend && (age == sameMoment || !ordered); st.done++ {
		if st.isCached(st.done) {
			st.each(st.done, st.cached[st.done].read, nil)
			continue
		}
		keys := st.keys[st.done:]
		var r Read
		var err error
		r, age, err = st.answers[st.c.Slots[cluster.SlotOf(keys[0])]].answerFirst(ctx, keys, st.o)
		st.each(st.done, r, err)
	}
	return st.done
}
