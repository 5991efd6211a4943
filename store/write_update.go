package store

import (
	"context"

	"github.com/runnelkv/runnel/store/partition"
)

// Written is the outcome of a Put.
type PutResult struct {
	Entry   Entry // as stored
	Created bool  // there was no live entry before
}

// Update runs fn over the current entries of keys on their master, and commits
// what it wrote, all or nothing; when Update returns nil it is durable. fn may
// run more than once, does no I/O, and its error aborts this Update alone and
// is returned as it is. The keys are distinct.
//
// ErrDifferentMasters: the keys have more than one master. ErrMasterUnavailable:
// nothing was stored. ErrOutcomeUnknown: see there. An ended ctx is honoured as
// long as the commit has not begun.
func (s *Store) Update(ctx context.Context, keys []Key, o UpdateOptions, fn func(*Tx) error) error {
	u := s.newWriteRequest()
	u.keys, u.values, u.bytes, u.fn = keys, !o.WithoutValues, o.Bytes, fn
	err := s.submit(ctx, u)
	s.releaseRequest(u)
	return err
}

// UpdateOptions says how an Update is run. The zero value reads the current entries
// with their values.
type UpdateOptions struct {
	// WithoutValues spares reading the current values: the entries that Tx.Get returns
	// have none.
	WithoutValues bool
	// Bytes is the size of the values that the function carries. They occupy that much
	// memory while the Update waits, and that much of a commit.
	Bytes int64
}

// Put writes an entry, of which Key, ContentType, Metadata and Value count,
// whatever stood before. It is the fastest write.
func (s *Store) Put(ctx context.Context, e Entry) (PutResult, error) {
	e.Size = int64(len(e.Value))
	e.Checksum = partition.Checksum(e.Value)
	if limit := s.MaxValueBytes(); e.Size > limit {
		return PutResult{}, &TooLargeError{Limit: limit}
	}
	u := s.newWriteRequest()
	u.entry, u.bytes, u.key[0] = e, e.Size, e.Key
	u.keys = u.key[:]
	if err := s.submit(ctx, u); err != nil {
		s.releaseRequest(u)
		return PutResult{}, err
	}
	w := PutResult{Entry: u.entry, Created: u.created}
	s.releaseRequest(u)
	return w, nil
}

// Master is the name of the partition that accepts writes of the key, "" while
// the cluster is not known.
func (s *Store) Master(k Key) string {
	c := s.cluster.Load()
	if c == nil {
		return ""
	}
	return c.master(k)
}

// submit hands an update to its master's committer and waits for the outcome.
func (s *Store) submit(ctx context.Context, u *writeRequest) error {
	m, err := s.masterOf(s.cluster.Load(), u)
	if err != nil {
		return err
	}
	if err := m.committer.submit(u); err != nil {
		return err
	}
	return m.committer.wait(ctx, u)
}

// masterOf is the master of the update's keys, by the map c, whose epoch the
// update gets.
func (s *Store) masterOf(c *clusterMap, u *writeRequest) (*backend, error) {
	if c == nil {
		return nil, &MasterError{Master: s.options.Masters[0], RetryAfter: s.options.Poll, Err: errNotReached}
	}
	name := c.master(u.keys[0])
	for _, k := range u.keys[1:] {
		if c.master(k) != name {
			return nil, ErrDifferentMasters
		}
	}
	m := s.backend(name)
	if m == nil {
		return nil, &MasterError{Master: name, RetryAfter: s.options.Poll, Err: ErrUnknownPartition}
	}
	u.epoch = c.Epoch
	return m, nil
}

// newUpdate is an update that was used before, or a new one.
func (s *Store) newWriteRequest() *writeRequest {
	if u, ok := s.updates.Get().(*writeRequest); ok {
		return u
	}
	return &writeRequest{done: make(chan error, 1)}
}

// free gives an update back that its committer has forgotten: its outcome was
// received, or it was never queued, or was withdrawn.
func (s *Store) releaseRequest(u *writeRequest) {
	*u = writeRequest{done: u.done}
	s.updates.Put(u)
}
