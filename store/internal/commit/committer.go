package commit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/internal/cache"
	"github.com/runnelkv/runnel/store/internal/quota"
	"github.com/runnelkv/runnel/store/internal/timeout"
	"github.com/runnelkv/runnel/store/internal/version"
	"github.com/runnelkv/runnel/store/partition"
)

// Committer commits the requests of a master. Requests that queue while a commit is in
// flight share the next commit.
type Committer struct {
	Master  *backend.Backend // takes the commits; never changes
	options Options
	wakeCh  chan struct{} // buffered, 1: there are requests in the queue

	// Used by CommitLoop's goroutine alone.
	timeout *timeout.Reusable // of commits
	taken   []*Request
	batch   *batch
	written *writtenKeys
	guarded bool // the master had guards in the last commit

	counting atomic.Bool // CountGuards was called and is not done

	mu     sync.Mutex // guards the fields below
	queue  []*Request
	bytes  int64 // of the values in the queue
	closed bool
}

// Options configures a committer.
type Options struct {
	BatchEntries  int                                   // most requests in a commit
	BatchBytes    int64                                 // most bytes of values in a commit; a larger value gets a commit of its own
	QueueEntries  int                                   // most requests that wait
	MaxValueBytes int64                                 // of the largest value
	Timeout       time.Duration                         // of a commit
	Cache         *cache.Cache                          // takes the commits; may be nil
	Quotas        *quota.Book                           // nil: none
	SlotOf        func(partition.Key) uint16            // of the cluster map
	CountGuards   func(m *backend.Backend, done func()) // called when the number of guards is unknown; must not block, and calls done after an attempt to count
	OnCommit      func()                                // called after each commit that wrote an entry; must not block
}

// New makes a committer of a master. CommitLoop serves it.
func New(m *backend.Backend, o Options) *Committer {
	c := &Committer{
		Master:  m,
		options: o,
		wakeCh:  make(chan struct{}, 1),
		timeout: timeout.New(context.Background(), o.Timeout),
		batch:   newBatch(partition.Origin(m.Name()), o.BatchBytes, o.Quotas.NewDraft(m.Name())),
		written: newWrittenKeys(),
	}
	c.batch.slotOf = o.SlotOf
	return c
}

// Commit queues a request of a pool and waits for the outcome.
func (c *Committer) Commit(ctx context.Context, u *Request) error {
	u.group = u.alone
	u.alone.left.Store(1)
	c.Submit(u)
	u.alone.AwaitOutcomes(ctx, c)
	return u.outcome
}

// Submit queues requests together, so that a single commit can take them all. Requests
// that the master does not accept are finished with the reason.
func (c *Committer) Submit(us ...*Request) {
	var refusal error
	if !c.Master.IsWritable() {
		refusal = c.Master.Unavailable(nil)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range us {
		err := refusal
		if err == nil {
			err = c.queueRequest(u)
		}
		if err != nil {
			u.SetOutcome(err)
		}
	}
	select {
	case c.wakeCh <- struct{}{}:
	default:
	}
}

// queueRequest queues a request if there is room. c.mu is held.
func (c *Committer) queueRequest(u *Request) error {
	o := &c.options
	queueBytes := max(64*o.BatchBytes, 4*o.MaxValueBytes)
	switch {
	case c.closed:
		return backend.ErrClosed
	case len(c.queue) >= o.QueueEntries, c.bytes+u.bytes > queueBytes && len(c.queue) > 0:
		return c.Master.Unavailable(errors.New("too many writes are waiting"))
	}
	c.queue = append(c.queue, u)
	c.bytes += u.bytes
	return nil
}

// cancel removes the group's requests that are still queued and returns them.
func (c *Committer) cancel(g *Group) (cancelled []*Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = slices.DeleteFunc(c.queue, func(u *Request) bool {
		if u.group != g {
			return false
		}
		cancelled = append(cancelled, u)
		c.bytes -= u.bytes
		return true
	})
	return cancelled
}

// CommitLoop commits until ctx ends and every accepted request is finished.
func (c *Committer) CommitLoop(ctx context.Context) {
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

func (c *Committer) commitQueued() {
	for us := c.nextBatch(); len(us) > 0; us = c.nextBatch() {
		done, err := c.commitRequests(us)
		c.requeue(us[done:])
		for _, u := range us[:done] {
			if err == nil {
				u.SetOutcome(u.err)
			} else {
				u.SetOutcome(err)
			}
		}
		clear(us)
	}
}

// nextBatch removes the next batch from the queue: at least one request, all of the same epoch,
// bounded by count and bytes. When a large request does not fit, small requests behind it
// may overtake: concurrent writes have no order to keep. Requests of one UpdateEach do
// have an order and never overtake.
func (c *Committer) nextBatch() []*Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	us, left := c.taken[:0], c.queue[:0]
	o := &c.options
	budget := batchBudget{entries: o.BatchEntries, bytes: o.BatchBytes, small: o.BatchBytes / 4}
	for _, u := range c.queue {
		first := len(us) == 0
		if (first || u.Epoch == us[0].Epoch) && budget.admits(u, first) {
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

func (b *batchBudget) admits(u *Request, first bool) bool {
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
func (c *Committer) requeue(us []*Request) {
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
// number. An error is the outcome of all of them; without an error each request has an outcome.
func (c *Committer) commitRequests(us []*Request) (done int, err error) {
	switch {
	case !c.Master.IsWritable():
		return len(us), c.Master.Unavailable(nil)
	case !c.Master.HasLease():
		return len(us), c.Master.Unavailable(backend.ErrNoLease)
	}
	c.batch.loadRequests(us, c.guarded)
	err = c.commitBatch()
	done = c.batch.done
	if err == nil || errors.Is(err, errNothingWritten) {
		c.noteGuards()
	}
	c.batch.clearRequests()
	switch {
	case errors.Is(err, errNothingWritten), errors.Is(err, partition.ErrTooLarge): // says nothing of the master
	case errors.Is(err, partition.ErrStaleEpoch): // the caller finds out whether the map has changed
	default:
		c.Master.NoteCommit(err)
	}
	switch {
	case err == nil, errors.Is(err, errNothingWritten):
		return done, nil
	case errors.Is(err, partition.ErrOutcomeUnknown):
		return done, err
	case errors.Is(err, partition.ErrTooLarge) && len(us) > 1:
		for i, u := range us { // one at a time: only the request that cannot be stored fails
			if _, err := c.commitRequests(us[i : i+1]); err != nil {
				u.err = err
			}
		}
		return len(us), nil
	case errors.Is(err, partition.ErrTooLarge):
		return len(us), &TooLargeError{Limit: c.Master.MaxValueBytes()}
	}
	return len(us), c.Master.Unavailable(c.explainStaleEpoch(err))
}

// noteGuards takes the number of guards that the batch has read. A batch that does not decide has met none.
func (c *Committer) noteGuards() {
	n := int64(0)
	if c.batch.decides {
		n = c.batch.claim.Guards
	}
	c.guarded = n != 0
	if n >= partition.GuardsUnknown && c.counting.CompareAndSwap(false, true) {
		c.options.CountGuards(c.Master, func() { c.counting.Store(false) })
	}
}

// explainStaleEpoch adds to ErrStaleEpoch that the revisions of the epoch are used up, if
// the counter is near their end.
func (c *Committer) explainStaleEpoch(err error) error {
	at, _ := c.Master.Position(partition.Origin(c.Master.Name()))
	if epoch := at.Revision.Epoch(); errors.Is(err, partition.ErrStaleEpoch) && at.Revision+partition.Revision(c.options.BatchEntries) >= partition.Floor(epoch+1) {
		return fmt.Errorf("the revisions of epoch %d are used up, and 'runnel restore' begins the next one: %w", epoch, err)
	}
	return err
}

// commitBatch commits the batch. A second attempt is made if the first met a dead
// connection, or relied on writtenKeys after another process had written, or on the absence of guards.
func (c *Committer) commitBatch() error {
	ctx := c.timeout.Next()
	defer c.timeout.Finish()
	began := time.Now()
	attempt := func() (partition.Claim, error) {
		return c.Master.Commit(ctx, c.batch.request(c.written, c.Master.NewestSeen(), began))
	}
	claim, err := attempt()
	moved := errors.Is(err, partition.ErrPositionMoved)
	disconnected := errors.Is(err, partition.ErrUnavailable) && !errors.Is(err, partition.ErrOutcomeUnknown)
	if moved {
		c.written.noteOtherWriter(began)
	}
	if (moved || disconnected) && ctx.Err() == nil {
		c.written.invalidate() // the second attempt relies on nothing
		c.batch.readLocks()
		claim, err = attempt()
	}
	if err != nil {
		c.batch.draft.Cancel(err)
		if !errors.Is(err, errNothingWritten) {
			c.written.invalidate()
		}
		return err
	}
	c.Master.ObserveLatency(time.Since(began))
	last := claim.First + partition.Revision(c.batch.revs) - 1
	c.Master.NoteCommitted(last)
	c.batch.completePuts(claim)
	c.batch.draft.Commit()
	c.options.Cache.ApplyCommit(claim.First, version.Mark{Origin: c.batch.origin, Revision: last}, c.batch.changedEntries)
	c.written.recordBatch(claim, c.batch, began)
	c.options.OnCommit()
	if !c.Master.HasLease() { // another partition may be the master by now, without these writes
		return fmt.Errorf("%w: %w", partition.ErrOutcomeUnknown, backend.ErrNoLease)
	}
	return nil
}
