package store

import (
	"context"
	"sync/atomic"

	"github.com/runnelkv/runnel/store/partition"
)

// Change is one write among many: an Update of one key.
type Write struct {
	// Entry is put whatever stood before, as by Put, unless Decide is set. Its
	// Key says what is changed in either case.
	Entry Entry
	// Decide is the function of an Update of the key, without the current values. If it puts
	// the Value of Entry, that counts for the bounds of the queue and the commit.
	Update func(*Tx) error

	// Err is what Put or Update would have returned. Without one, Entry is as
	// it was put, and Created says that there was no live entry before.
	Err     error
	Created bool

	key     [1]Key
	request writeRequest
}

// UpdateEach makes many changes, each by itself: that one is refused or fails is
// no other's concern. They are handed over at once, so that those of one master
// share its next commits, and those of one key take effect in their order. It
// returns when the outcome of each is known. A master's queue is as bounded as
// ever: what it has no room for ends as ErrMasterUnavailable.
func (s *Store) UpdateEach(ctx context.Context, changes []Write) {
	t := &group{done: make(chan struct{})}
	t.left.Store(int64(len(changes)) + 1) // one for this function, which is not done before all are queued
	committers := make(map[*committer][]*writeRequest, 1)
	cluster, limit := s.cluster.Load(), s.MaxValueBytes()
	for i := range changes {
		c := &changes[i]
		u := c.prepare(t)
		m, err := s.masterOf(cluster, u)
		if err == nil && c.Update == nil && u.bytes > limit {
			err = &TooLargeError{Limit: limit}
		}
		if err != nil {
			u.finish(err)
			continue
		}
		committers[m.committer] = append(committers[m.committer], u)
	}
	for c, us := range committers {
		c.submitAll(us)
	}
	t.finishOne()
	t.wait(ctx, committers)
	for i := range changes {
		changes[i].takeResult()
	}
}

// prepare makes the update that the change is.
func (c *Write) prepare(t *group) *writeRequest {
	c.key[0] = c.Entry.Key
	u := &c.request
	*u = writeRequest{keys: c.key[:], fn: c.Update, group: t, bytes: int64(len(c.Entry.Value))}
	if c.Update == nil {
		u.entry = c.Entry
		u.entry.Size = u.bytes
		u.entry.Checksum = partition.Checksum(c.Entry.Value)
	}
	return u
}

func (c *Write) takeResult() {
	c.Err = c.request.outcome
	if c.Err == nil && c.Update == nil {
		c.Entry, c.Created = c.request.entry, c.request.created
	}
}

// together is updates that are waited for at once.
type group struct {
	left atomic.Int64
	done chan struct{} // closed when none is left
}

func (t *group) finishOne() {
	if t.left.Add(-1) == 0 {
		close(t.done)
	}
}

// wait waits for all outcomes. When ctx ends, the updates that no commit has
// taken yet are withdrawn; after that only the commits' outcome is the truth.
func (t *group) wait(ctx context.Context, committers map[*committer][]*writeRequest) {
	select {
	case <-t.done:
		return
	case <-ctx.Done():
	}
	for c := range committers {
		for _, u := range c.cancelGroup(t) {
			u.finish(ctx.Err())
		}
	}
	<-t.done
}
