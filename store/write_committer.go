package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// update is an Update or a Put on its way through a committer.
type writeRequest struct {
	epoch  int64
	keys   []Key
	key    [1]Key          // what keys of a Put is made of
	values bool            // fn needs the values that stood
	fn     func(*Tx) error // nil: a Put of entry
	entry  Entry           // of a Put; completed by the commit
	bytes  int64           // of the values it carries
	done   chan error      // receives the outcome once; buffered

	group   *group // if not nil, outcome is set and together is told instead of done
	outcome error

	firstOrder int   // where its keys are in the batch's order
	created    bool  // of a Put: there was no live entry before
	err        error // of fn, in the last attempt
}

// answer gives the outcome to whoever waits for it.
func (u *writeRequest) finish(err error) {
	if u.group == nil {
		u.done <- err
		return
	}
	u.outcome = err
	u.group.finishOne()
}

// committer commits the updates of one master: those that queued while the
// last commit was in flight go together in the next one.
type committer struct {
	m       *backend
	wakeCh  chan struct{}    // buffered, 1: something was queued
	timeout *reusableTimeout // of the commits; it and what follows are the drain's alone
	taken   []*writeRequest
	batch   *batch
	written *writtenKeys

	mu     sync.Mutex // guards the fields below
	queue  []*writeRequest
	bytes  int64
	closed bool
}

func newCommitter(m *backend) *committer {
	return &committer{
		m:       m,
		wakeCh:  make(chan struct{}, 1),
		timeout: newReusableTimeout(context.Background(), m.options.Timeout),
		batch:   newBatch(Origin(m.Name()), m.options.BatchBytes),
		written: newWrittenKeys(),
	}
}

// add queues an update, or says why the master takes none.
func (c *committer) submit(u *writeRequest) error {
	if !c.m.isWritable.Load() {
		return c.m.unavailable(nil)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.enqueue(u); err != nil {
		return err
	}
	c.wake()
	return nil
}

// addAll queues updates that are waited for together, so that one commit can
// take them all; those that the master does not take are answered why.
func (c *committer) submitAll(us []*writeRequest) {
	var refusal error
	if !c.m.isWritable.Load() {
		refusal = c.m.unavailable(nil)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range us {
		err := refusal
		if err == nil {
			err = c.enqueue(u)
		}
		if err != nil {
			u.finish(err)
		}
	}
	c.wake()
}

// enqueue queues an update if there is room. c.mu is held.
func (c *committer) enqueue(u *writeRequest) error {
	switch {
	case c.closed:
		return ErrClosed
	case len(c.queue) >= c.m.options.QueueEntries, c.bytes+u.bytes > c.queueBytes() && len(c.queue) > 0:
		return c.m.unavailable(errors.New("too many writes are waiting"))
	}
	c.queue = append(c.queue, u)
	c.bytes += u.bytes
	return nil
}

// rouse wakes run.
func (c *committer) wake() {
	select {
	case c.wakeCh <- struct{}{}:
	default:
	}
}

// queueBytes bounds the values that wait in memory.
func (c *committer) queueBytes() int64 {
	return max(64*c.m.options.BatchBytes, 4*c.m.options.MaxValueBytes)
}

// wait waits for the outcome. An update whose ctx ends is withdrawn if no
// commit has taken it yet; after that only the commit's outcome is the truth.
func (c *committer) wait(ctx context.Context, u *writeRequest) error {
	select {
	case err := <-u.done:
		return err
	case <-ctx.Done():
	}
	if c.cancel(u) {
		return ctx.Err()
	}
	return <-u.done
}

func (c *committer) cancel(u *writeRequest) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.queue, u)
	if i < 0 {
		return false
	}
	c.queue = slices.Delete(c.queue, i, i+1)
	c.bytes -= u.bytes
	return true
}

// withdrawAll removes the updates of t that no commit has taken yet.
func (c *committer) cancelGroup(t *group) []*writeRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	var gone []*writeRequest
	c.queue = slices.DeleteFunc(c.queue, func(u *writeRequest) bool {
		if u.group != t {
			return false
		}
		gone = append(gone, u)
		c.bytes -= u.bytes
		return true
	})
	return gone
}

// run commits until ctx ends and what was accepted before is answered.
func (c *committer) commitLoop(ctx context.Context) {
	defer c.timeout.stopContext()
	for {
		select {
		case <-c.wakeCh:
			c.commitQueued()
		case <-ctx.Done():
			c.mu.Lock()
			c.closed = true
			c.mu.Unlock()
			c.commitQueued()
			return
		}
	}
}

func (c *committer) commitQueued() {
	for {
		us := c.nextBatch()
		if len(us) == 0 {
			return
		}
		ran, err := c.commit(us)
		c.requeue(us[ran:])
		for _, u := range us[:ran] {
			if err == nil {
				u.finish(u.err)
			} else {
				u.finish(err)
			}
		}
		clear(us)
	}
}

// take removes the next batch from the queue: bounded by count and bytes, at
// least one, and of one epoch. Behind large ones that must wait for the next
// commit, small ones are taken before their turn: they all wait at once, so
// any order is right; but for updates that came together, which keep theirs.
func (c *committer) nextBatch() []*writeRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	us, rest := c.taken[:0], c.queue[:0]
	left := batchBudget{entries: c.m.options.BatchEntries, bytes: c.m.options.BatchBytes, small: c.m.options.BatchBytes / 4}
	epoch := int64(0)
	for _, u := range c.queue {
		if len(us) == 0 {
			epoch = u.epoch
		}
		if u.epoch == epoch && left.admits(u, len(us) == 0) {
			us = append(us, u)
			c.bytes -= u.bytes
		} else {
			rest = append(rest, u)
		}
	}
	clear(c.queue[len(rest):])
	c.queue, c.taken = rest, us
	return us
}

// budget is what a batch can still take.
type batchBudget struct {
	entries int
	bytes   int64
	small   int64 // bytes of small writes, beyond the others
	full    bool  // a large one has to wait, and so has every other
}

// smallWrite is the most bytes of a write that need not wait behind large ones.
const smallWrite = 16 << 10

func (b *batchBudget) admits(u *writeRequest, first bool) bool {
	overtakes := u.bytes <= smallWrite && u.group == nil
	switch {
	case first, b.entries > 0 && u.bytes <= b.bytes && (!b.full || overtakes):
		b.bytes -= u.bytes
	case b.entries > 0 && u.bytes <= b.small && overtakes:
		b.small -= u.bytes
	default:
		b.full = true
		return false
	}
	b.entries--
	return true
}

// putBack queues updates again that a commit had no room for, before all others.
func (c *committer) requeue(us []*writeRequest) {
	if len(us) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = slices.Concat(us, c.queue)
	for _, u := range us {
		c.bytes += u.bytes
	}
}

// commit commits the updates, or the first of them if they write more than one
// commit should: it returns how many. Its error is theirs; otherwise each has
// its own.
func (c *committer) commit(us []*writeRequest) (ran int, err error) {
	if !c.m.isWritable.Load() {
		return len(us), c.m.unavailable(nil)
	}
	c.batch.load(us)
	err = c.commitBatch()
	ran = c.batch.done
	c.batch.unload()
	if !errors.Is(err, errNothingWritten) && !errors.Is(err, partition.ErrTooLarge) {
		c.m.noteCommit(err)
	}
	switch {
	case err == nil, errors.Is(err, errNothingWritten):
		return ran, nil
	case errors.Is(err, partition.ErrOutcomeUnknown):
		return ran, err
	case errors.Is(err, partition.ErrTooLarge) && len(us) > 1:
		c.commitEach(us)
		return len(us), nil
	case errors.Is(err, partition.ErrTooLarge):
		return len(us), &TooLargeError{Limit: c.m.MaxValueBytes()}
	}
	return len(us), c.m.unavailable(c.explainStaleEpoch(err))
}

// usedUp explains a stale epoch by its end, if the counter is that far.
func (c *committer) explainStaleEpoch(err error) error {
	at, _ := c.m.position(Origin(c.m.Name()))
	if epoch := at.Revision.Epoch(); errors.Is(err, partition.ErrStaleEpoch) && at.Revision+Revision(c.m.options.BatchEntries) >= partition.Floor(epoch+1) {
		return fmt.Errorf("the revisions of epoch %d are used up, and 'runnel restore' begins the next one: %w", epoch, err)
	}
	return err
}

// attempt commits the batch, at the second try if the first met only an old connection,
// or relied on what is not so any more.
func (c *committer) commitBatch() error {
	ctx := c.timeout.nextContext()
	defer c.timeout.finishContext()
	began := time.Now()
	claim, err := c.m.Commit(ctx, c.batch.request(c.written, Revision(c.m.newestSeen.Load()), began))
	moved := errors.Is(err, partition.ErrPositionMoved)
	old := errors.Is(err, partition.ErrUnavailable) && !errors.Is(err, partition.ErrOutcomeUnknown)
	if moved {
		c.written.noteOtherWriter(began)
	}
	if (moved || old) && ctx.Err() == nil {
		c.written.invalidate() // the second try relies on nothing
		claim, err = c.m.Commit(ctx, c.batch.request(c.written, Revision(c.m.newestSeen.Load()), began))
	}
	if err != nil {
		if !errors.Is(err, errNothingWritten) {
			c.written.invalidate()
		}
		return err
	}
	c.m.observeLatency(time.Since(began))
	c.m.noteCommitted(claim.First + Revision(c.batch.revs) - 1)
	c.batch.completePuts(claim)
	c.m.cache.applyCommit(c.batch, claim.First)
	c.written.record(claim, c.batch, began)
	c.m.options.OnCommit()
	return nil
}

// commitEach commits updates one by one, so that one that cannot be stored
// does not take the others with it.
func (c *committer) commitEach(us []*writeRequest) {
	for i, u := range us {
		if _, err := c.commit(us[i : i+1]); err != nil {
			u.err = err
		}
	}
}
