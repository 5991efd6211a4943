package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/internal/cluster"
	"github.com/runnelkv/runnel/store/internal/routing"
	"github.com/runnelkv/runnel/store/partition"
)

// Get reads an entry. ErrNotFound: the partition that answered, which Read names, has no
// live entry of the key. ErrNoPartition: no partition can answer. ErrMasterUnavailable:
// only the master was asked. A *SessionError, *StalenessError or *CopiesError: no partition
// that answers satisfies the options.
func (s *Store) Get(ctx context.Context, k Key, o ReadOptions) (r Read, err error) {
	c := s.cluster.Map()
	if c == nil {
		return Read{}, backend.ErrNoPartition
	}
	switch {
	case o.Partition != "":
	case o.Consistency == Quorum:
		return s.getQuorum(ctx, c, k, o)
	case o.Consistency == FromMaster:
		return s.getFromMaster(ctx, c, k, o)
	}
	r, err = s.getBy(ctx, c, k, o)
	if o.Consistency == Bounded && o.Partition == "" && r.Partition == c.Master(k) {
		if now, err := s.confirmMasters(ctx, c, k); err != nil || now != c { // the answer may be older than the partition's position says
			return s.getFromMaster(ctx, now, k, o)
		}
	}
	return r, err
}

// getFromMaster reads from the key's master. While the entry is read, the master confirms that it still is the master.
func (s *Store) getFromMaster(ctx context.Context, c *cluster.Map, k Key, o ReadOptions) (r Read, err error) {
	type confirmed struct {
		c   *cluster.Map
		err error
	}
	confirming := make(chan confirmed, 1)
	go func() {
		now, err := s.confirmMasters(ctx, c, k)
		confirming <- confirmed{now, err}
	}()
	r, err = s.getBy(ctx, c, k, o)
	switch now := <-confirming; {
	case now.err != nil:
		return Read{}, now.err
	case now.c != c:
		c = now.c
		r, err = s.getBy(ctx, c, k, o)
	}
	if !s.cluster.HasLease() { // the read took longer than the lease
		return Read{}, &backend.MasterError{Master: c.Master(k), RetryAfter: s.options.Poll, Err: backend.ErrNoLease}
	}
	return r, err
}

// confirmMasters returns the map by which the masters of the keys, or all masters if there are no keys, have confirmed during
// the call that they are masters: c, or a later map.
func (s *Store) confirmMasters(ctx context.Context, c *cluster.Map, keys ...Key) (*cluster.Map, error) {
	isServed := func(c *cluster.Map) bool {
		if len(keys) == 0 {
			return c.IsConfirmed() && !c.HasMoveUnderWay()
		}
		return c.IsConfirmed() && !slices.ContainsFunc(keys, c.IsMoving)
	}
	for {
		var err error = &backend.MasterError{Master: masterOf(c, keys), RetryAfter: s.options.Poll, Err: backend.ErrMoving}
		if isServed(c) {
			err = s.confirmBy(ctx, c, keys)
		}
		if !errors.Is(err, partition.ErrStaleEpoch) && !errors.Is(err, backend.ErrMoving) {
			return c, err
		}
		next := s.cluster.AwaitMaster(ctx, c, isServed)
		if next == nil {
			return c, err
		}
		c = next
	}
}

// masterOf is the master to name in an error about keys, or about all.
func masterOf(c *cluster.Map, keys []Key) string {
	if len(keys) == 0 {
		return c.Masters[0]
	}
	return c.Master(keys[0])
}

// confirmBy asks the masters by the map c.
func (s *Store) confirmBy(ctx context.Context, c *cluster.Map, keys []Key) error {
	names := c.Masters
	if len(keys) > 0 {
		names = nil
		for _, k := range keys {
			if name := c.Master(k); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	for _, name := range names {
		b := s.backends.Named(name)
		if b == nil {
			return &backend.MasterError{Master: name, RetryAfter: s.options.Poll, Err: backend.ErrUnknownPartition}
		}
		if !b.IsReadable() {
			return b.Unavailable(nil)
		}
		if err := b.ConfirmEpoch(ctx, c.EpochOf(name)); err != nil {
			return b.Unavailable(err)
		}
	}
	return nil
}

// getBy reads by the map c.
func (s *Store) getBy(ctx context.Context, c *cluster.Map, k Key, o ReadOptions) (r Read, err error) {
	q := s.router.NewRequest(c, Origin(c.Master(k)), o.demand(), k)
	if h, ok := q.ReadCached(k); ok {
		return readOf(h), nil
	}
	found := ErrNotFound
	err = q.TryCandidates(ctx, func(b *backend.Backend, wait time.Duration) (err error) {
		r, found, err = s.getFrom(ctx, b, k, &q, wait)
		return err
	})
	if err != nil {
		return Read{}, err
	}
	return r, found
}

// readOf is the answer of a Get from the cache.
func readOf(h routing.CacheHit) Read {
	return Read{Entry: *h.Entry, Partition: h.Source, Staleness: h.Staleness, Seen: Mark{Origin: h.Entry.Origin, Revision: h.Entry.Revision}}
}

// getFrom reads an entry from a backend. found is ErrNotFound if the backend has no live
// entry of the key.
func (s *Store) getFrom(ctx context.Context, b *backend.Backend, k Key, q *routing.Request, wait time.Duration) (r Read, found, err error) {
	proof, known, began := q.Prove(b), q.KnownForCache(b), time.Now()
	e, ok, err := b.GetIntact(ctx, k, wait)
	if err == nil && !ok && q.IsStrict() {
		var again bool
		if again, err = q.MustReadAgain(ctx, b); again {
			e, ok, err = b.GetIntact(ctx, k, wait)
		}
	}
	if err != nil {
		return Read{}, nil, err
	}
	r = Read{Partition: b.Name(), Staleness: proof.Staleness()}
	if q.TooStale(r.Staleness) {
		return Read{}, nil, routing.ErrTooFarBehind
	}
	if ok {
		r.Seen = Mark{Origin: e.Origin, Revision: e.Revision}
	}
	if !ok || e.Deleted || e.ExpiresAt != 0 && !e.Live(s.backends.NowAt(e.Origin, began)) {
		return r, ErrNotFound, nil
	}
	s.cache.FillEntry(known, &e)
	r.Entry = e
	return r, nil, nil
}
