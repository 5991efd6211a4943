package store

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/runnelkv/runnel/store/partition"
)

// Update runs fn over the current entries of the keys on their master and commits the
// entries that fn wrote, all or none. Once Update returns nil they are durable. The keys
// are distinct. fn does no I/O and may run more than once. An error of fn aborts this
// Update alone and is returned unchanged.
//
// ErrDifferentMasters: the keys have more than one master. ErrMasterUnavailable, or a
// *TooLargeError: nothing was stored. ErrOutcomeUnknown: the update is stored completely or not at all. When ctx
// ends before a commit has begun, nothing is stored and the error is that of ctx.
func (s *Store) Update(ctx context.Context, keys []Key, o UpdateOptions, fn func(*Tx) error) error {
	u := s.requests.Get().(*writeRequest)
	defer s.releaseRequest(u)
	u.keys, u.values, u.bytes, u.fn = keys, !o.WithoutValues, o.Bytes, fn
	return s.commitSingle(ctx, u)
}

// UpdateOptions says how an Update runs. The zero value reads the current entries with
// their values.
type UpdateOptions struct {
	// WithoutValues spares reading the current values: Tx.Get returns entries without them.
	WithoutValues bool
	// Bytes is the size of the values that fn writes. They count towards the memory of
	// waiting writes and towards the size of a commit.
	Bytes int64
}

// PutResult is the outcome of a Put.
type PutResult struct {
	Entry   Entry // as stored
	Created bool  // there was no live entry before
}

// Put writes an entry unconditionally. Of e only Key, ContentType, Metadata and Value
// count. Put is the fastest write: it needs no function and reads no value. Its errors are
// those of Update.
func (s *Store) Put(ctx context.Context, e Entry) (PutResult, error) {
	u := s.requests.Get().(*writeRequest)
	defer s.releaseRequest(u)
	u.setPut(&e)
	u.key[0] = e.Key
	u.keys = u.key[:]
	if limit := s.MaxValueBytes(); e.Size > limit {
		return PutResult{}, &TooLargeError{Limit: limit}
	}
	if err := s.commitSingle(ctx, u); err != nil {
		return PutResult{}, err
	}
	return PutResult{Entry: u.entry, Created: u.created}, nil
}

// Write is a write of a single key, for UpdateEach. Err and Created are results.
type Write struct {
	// Entry is written unconditionally, as by Put, unless Update is set. Entry.Key is the
	// key in both cases.
	Entry Entry
	// Update is the function of an Update without values. If the function puts
	// Entry.Value, the size of that value counts towards queue and commit.
	Update func(*Tx) error

	// Err is the error that Put or Update would have returned. When Err is nil and Update
	// is not set, Entry is the entry as stored and Created says that no live entry
	// existed before.
	Err     error
	Created bool

	key     [1]Key
	request writeRequest
}

// UpdateEach makes many independent writes: the failure of a write does not affect the
// rest. All are queued at once, so that writes to the same master share commits, and
// writes to the same key keep their order. UpdateEach returns when every outcome is known.
// Writes beyond the room in a master's queue fail with ErrMasterUnavailable.
func (s *Store) UpdateEach(ctx context.Context, writes []Write) {
	g := newGroup(len(writes) + 1) // UpdateEach itself counts until all writes are queued
	queued := make(map[*committer][]*writeRequest, 1)
	c, limit := s.cluster.Load(), s.MaxValueBytes()
	for i := range writes {
		w := &writes[i]
		u := w.newRequest(g)
		m, err := s.masterOf(c, u)
		if err == nil && w.Update == nil && u.bytes > limit {
			err = &TooLargeError{Limit: limit}
		}
		if err != nil {
			u.setOutcome(err)
			continue
		}
		queued[m.committer] = append(queued[m.committer], u)
	}
	committers := make([]*committer, 0, len(queued))
	for c, us := range queued {
		c.submit(us...)
		committers = append(committers, c)
	}
	g.finishOne()
	g.awaitOutcomes(ctx, committers...)
	for i := range writes {
		writes[i].takeResult()
	}
}

func (w *Write) newRequest(g *group) *writeRequest {
	w.key[0] = w.Entry.Key
	u := &w.request
	*u = writeRequest{keys: w.key[:], fn: w.Update, group: g, ordered: true, bytes: int64(len(w.Entry.Value))}
	if w.Update == nil {
		e := w.Entry
		u.setPut(&e)
	}
	return u
}

func (w *Write) takeResult() {
	w.Err = w.request.outcome
	if w.Err == nil && w.Update == nil {
		w.Entry, w.Created = w.request.entry, w.request.created
	}
}

// Master is the name of the key's master, "" while the cluster map is unknown.
func (s *Store) Master(k Key) string {
	c := s.cluster.Load()
	if c == nil {
		return ""
	}
	return c.master(k)
}

// masterOf returns the master of the request's keys and sets the request's epoch, both by
// the map c.
func (s *Store) masterOf(c *clusterMap, u *writeRequest) (*backend, error) {
	if c == nil {
		return nil, &MasterError{Master: s.options.Masters[0], RetryAfter: s.options.Poll, Err: errNotReached}
	}
	name := c.master(u.keys[0])
	if slices.ContainsFunc(u.keys[1:], func(k Key) bool { return c.master(k) != name }) {
		return nil, ErrDifferentMasters
	}
	m := s.backend(name)
	if m == nil {
		return nil, &MasterError{Master: name, RetryAfter: s.options.Poll, Err: ErrUnknownPartition}
	}
	u.epoch = c.Epoch
	return m, nil
}

// commitSingle queues a single request at its master and waits for the outcome.
func (s *Store) commitSingle(ctx context.Context, u *writeRequest) error {
	m, err := s.masterOf(s.cluster.Load(), u)
	if err != nil {
		return err
	}
	u.group = u.alone
	u.alone.left.Store(1)
	m.committer.submit(u)
	u.alone.awaitOutcomes(ctx, m.committer)
	return u.outcome
}

// writeRequest is an Update or a Put on the way through a committer. The committer owns
// the request from submit to setOutcome.
type writeRequest struct {
	epoch   int64
	keys    []Key
	key     [1]Key          // backs keys of a Put
	values  bool            // fn needs the current values
	fn      func(*Tx) error // nil: a Put of entry
	entry   Entry           // of a Put; the commit completes the entry
	bytes   int64           // of the values that the request carries
	ordered bool            // must not overtake earlier requests
	group   *group          // waits for the outcome
	alone   *group          // the group of a request that is waited for by itself
	outcome error           // valid once the group is done

	firstOrder int   // index of the first key in batch.order
	created    bool  // of a Put: there was no live entry before
	err        error // of fn, in the last attempt
}

// setPut makes u a Put of e. It also sets the size and checksum of e.
func (u *writeRequest) setPut(e *Entry) {
	e.Size = int64(len(e.Value))
	e.Checksum = partition.Checksum(e.Value)
	u.entry, u.bytes = *e, e.Size
}

// setOutcome hands the outcome to the waiting caller. The caller may reuse u from then on.
func (u *writeRequest) setOutcome(err error) {
	u.outcome = err
	u.group.finishOne()
}

// releaseRequest returns a request to the pool. No committer may hold the request.
func (s *Store) releaseRequest(u *writeRequest) {
	*u = writeRequest{alone: u.alone}
	s.requests.Put(u)
}

// group is a set of requests that are awaited together.
type group struct {
	left atomic.Int64
	done chan struct{} // buffered, 1: receives a token when none is left
}

func newGroup(n int) *group {
	g := &group{done: make(chan struct{}, 1)}
	g.left.Store(int64(n))
	return g
}

func (g *group) finishOne() {
	if g.left.Add(-1) == 0 {
		g.done <- struct{}{}
	}
}

// awaitOutcomes waits for all outcomes. When ctx ends, the requests that are still queued are
// cancelled; the outcome of the others is that of their commit.
func (g *group) awaitOutcomes(ctx context.Context, committers ...*committer) {
	select {
	case <-g.done:
		return
	case <-ctx.Done():
	}
	for _, c := range committers {
		for _, u := range c.cancel(g) {
			u.setOutcome(ctx.Err())
		}
	}
	<-g.done
}
