package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/runnelkv/runnel/store/internal/timeout"
	"github.com/runnelkv/runnel/store/partition"
)

// committer commits the requests of one master. Requests that queue while a commit is in
// flight share the next commit.
type committer struct {
	master *backend
	wakeCh chan struct{} // buffered, 1: there are requests in the queue

	// Used by commitLoop's goroutine alone.
	timeout *timeout.Reusable // of commits
	taken   []*writeRequest
	batch   *batch
	written *writtenKeys

	mu     sync.Mutex // guards the fields below
	queue  []*writeRequest
	bytes  int64 // of the values in the queue
	closed bool
}

func newCommitter(m *backend) *committer {
	return &committer{
		master:  m,
		wakeCh:  make(chan struct{}, 1),
		timeout: timeout.New(context.Background(), m.options.Timeout),
		batch:   newBatch(Origin(m.Name()), m.options.BatchBytes),
		written: newWrittenKeys(),
	}
}

// submit queues requests together, so that a single commit can take them all. Requests
// that the master does not accept are finished with the reason.
func (c *committer) submit(us ...*writeRequest) {
	var refusal error
	if !c.master.isWritable.Load() {
		refusal = c.master.unavailable(nil)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range us {
		err := refusal
		if err == nil {
			err = c.queueRequest(u)
		}
		if err != nil {
			u.setOutcome(err)
		}
	}
	select {
	case c.wakeCh <- struct{}{}:
	default:
	}
}

// queueRequest queues a request if there is room. c.mu is held.
func (c *committer) queueRequest(u *writeRequest) error {
	o := &c.master.options
	queueBytes := max(64*o.BatchBytes, 4*o.MaxValueBytes)
	switch {
	case c.closed:
		return ErrClosed
	case len(c.queue) >= o.QueueEntries, c.bytes+u.bytes > queueBytes && len(c.queue) > 0:
		return c.master.unavailable(errors.New("too many writes are waiting"))
	}
	c.queue = append(c.queue, u)
	c.bytes += u.bytes
	return nil
}

// cancel removes the group's requests that are still queued and returns them.
func (c *committer) cancel(g *group) (cancelled []*writeRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = slices.DeleteFunc(c.queue, func(u *writeRequest) bool {
		if u.group != g {
			return false
		}
		cancelled = append(cancelled, u)
		c.bytes -= u.bytes
		return true
	})
	return cancelled
}

// commitLoop commits until ctx ends and every accepted request is finished.
func (c *committer) commitLoop(ctx context.Context) {
	defer c.timeout.Stop()
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
	for us := c.nextBatch(); len(us) > 0; us = c.nextBatch() {
		done, err := c.commitRequests(us)
		c.requeue(us[done:])
		for _, u := range us[:done] {
			if err == nil {
				u.setOutcome(u.err)
			} else {
				u.setOutcome(err)
			}
		}
		clear(us)
	}
}

// nextBatch removes the next batch from the queue: at least one request, all of one epoch,
// bounded by count and bytes. When a large request does not fit, small requests behind it
// may overtake: concurrent writes have no order to keep. Requests of one UpdateEach do
// have an order and never overtake.
func (c *committer) nextBatch() []*writeRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	us, left := c.taken[:0], c.queue[:0]
	o := &c.master.options
	budget := batchBudget{entries: o.BatchEntries, bytes: o.BatchBytes, small: o.BatchBytes / 4}
	for _, u := range c.queue {
		first := len(us) == 0
		if (first || u.epoch == us[0].epoch) && budget.admits(u, first) {
			us = append(us, u)
			c.bytes -= u.bytes
		} else {
			left = append(left, u)
		}
	}
	clear(c.queue[len(left):])
	c.queue, c.taken = left, us
	return us
}

// batchBudget is the room that is left in a batch.
type batchBudget struct {
	entries int
	bytes   int64
	small   int64 // extra bytes for small writes that overtake
	full    bool  // a large write did not fit: no further large write may be taken
}

// smallWrite is the largest size of a write that may overtake large writes, in bytes.
const smallWrite = 16 << 10

func (b *batchBudget) admits(u *writeRequest, first bool) bool {
	overtakes := u.bytes <= smallWrite && !u.ordered
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

// requeue puts requests for which the commit had no room in front of the queue.
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

// commitRequests commits the first requests, as many as a commit may hold, and returns their
// number. An error is the outcome of all of them; otherwise each request has its own.
func (c *committer) commitRequests(us []*writeRequest) (done int, err error) {
	if !c.master.isWritable.Load() {
		return len(us), c.master.unavailable(nil)
	}
	c.batch.loadRequests(us)
	err = c.commitBatch()
	done = c.batch.done
	c.batch.clearRequests()
	if !errors.Is(err, errNothingWritten) && !errors.Is(err, partition.ErrTooLarge) {
		c.master.noteCommit(err)
	}
	switch {
	case err == nil, errors.Is(err, errNothingWritten):
		return done, nil
	case errors.Is(err, partition.ErrOutcomeUnknown):
		return done, err
	case errors.Is(err, partition.ErrTooLarge) && len(us) > 1:
		for i, u := range us { // one by one: only the request that cannot be stored fails
			if _, err := c.commitRequests(us[i : i+1]); err != nil {
				u.err = err
			}
		}
		return len(us), nil
	case errors.Is(err, partition.ErrTooLarge):
		return len(us), &TooLargeError{Limit: c.master.MaxValueBytes()}
	}
	return len(us), c.master.unavailable(c.explainStaleEpoch(err))
}

// explainStaleEpoch adds to ErrStaleEpoch that the revisions of the epoch are used up, if
// the counter is near their end.
func (c *committer) explainStaleEpoch(err error) error {
	at, _ := c.master.position(Origin(c.master.Name()))
	if epoch := at.Revision.Epoch(); errors.Is(err, partition.ErrStaleEpoch) && at.Revision+Revision(c.master.options.BatchEntries) >= partition.Floor(epoch+1) {
		return fmt.Errorf("the revisions of epoch %d are used up, and 'runnel restore' begins the next one: %w", epoch, err)
	}
	return err
}

// commitBatch commits the batch. A second attempt is made if the first met a dead
// connection, or relied on writtenKeys after another process had written.
func (c *committer) commitBatch() error {
	ctx := c.timeout.Next()
	defer c.timeout.Finish()
	began := time.Now()
	attempt := func() (partition.Claim, error) {
		return c.master.Commit(ctx, c.batch.request(c.written, Revision(c.master.newestSeen.Load()), began))
	}
	claim, err := attempt()
	moved := errors.Is(err, partition.ErrPositionMoved)
	disconnected := errors.Is(err, partition.ErrUnavailable) && !errors.Is(err, partition.ErrOutcomeUnknown)
	if moved {
		c.written.noteOtherWriter(began)
	}
	if (moved || disconnected) && ctx.Err() == nil {
		c.written.invalidate() // the second attempt relies on nothing
		claim, err = attempt()
	}
	if err != nil {
		if !errors.Is(err, errNothingWritten) {
			c.written.invalidate()
		}
		return err
	}
	c.master.observeLatency(time.Since(began))
	c.master.noteCommitted(claim.First + Revision(c.batch.revs) - 1)
	c.batch.completePuts(claim)
	c.master.hooks.cache.applyCommit(c.batch, claim.First)
	c.written.recordBatch(claim, c.batch, began)
	c.master.options.OnCommit()
	return nil
}
