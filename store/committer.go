package store

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// update is an Update or a Put on its way through a committer.
type update struct {
	epoch  int64
	keys   []Key
	values bool              // fn needs the values that stood
	fn     func(*View) error // nil: a Put of entry
	entry  Entry             // of a Put; completed by the commit
	bytes  int64             // of entry's value
	done   chan error        // receives the outcome once; buffered

	together *together // if not nil, outcome is set and together is told instead of done
	outcome  error

	created bool  // of a Put: there was no live entry before
	err     error // of fn, in the last attempt
}

// answer gives the outcome to whoever waits for it.
func (u *update) answer(err error) {
	if u.together == nil {
		u.done <- err
		return
	}
	u.outcome = err
	u.together.finish()
}

// committer commits the updates of one master: those that queued while the
// last commit was in flight go together in the next one.
type committer struct {
	m    *member
	wake chan struct{} // buffered, 1: something was queued

	mu     sync.Mutex // guards the fields below
	queue  []*update
	bytes  int64
	closed bool
}

func newCommitter(m *member) *committer {
	return &committer{m: m, wake: make(chan struct{}, 1)}
}

// add queues an update, or says why the master takes none.
func (c *committer) add(u *update) error {
	if !c.m.writes.Load() {
		return c.unavailable(nil)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.enqueue(u); err != nil {
		return err
	}
	c.rouse()
	return nil
}

// addAll queues updates that are waited for together, so that one commit can
// take them all; those that the master does not take are answered why.
func (c *committer) addAll(us []*update) {
	var refusal error
	if !c.m.writes.Load() {
		refusal = c.unavailable(nil)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range us {
		err := refusal
		if err == nil {
			err = c.enqueue(u)
		}
		if err != nil {
			u.answer(err)
		}
	}
	c.rouse()
}

// enqueue queues an update if there is room. c.mu is held.
func (c *committer) enqueue(u *update) error {
	switch {
	case c.closed:
		return ErrClosed
	case len(c.queue) >= c.m.options.QueueEntries, c.bytes+u.bytes > c.queueBytes() && len(c.queue) > 0:
		return c.unavailable(errors.New("too many writes are waiting"))
	}
	c.queue = append(c.queue, u)
	c.bytes += u.bytes
	return nil
}

// rouse wakes run.
func (c *committer) rouse() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// queueBytes bounds the values that wait in memory.
func (c *committer) queueBytes() int64 {
	return max(64*c.m.options.BatchBytes, 4*c.m.options.MaxValueBytes)
}

// wait waits for the outcome. An update whose ctx ends is withdrawn if no
// commit has taken it yet; after that only the commit's outcome is the truth.
func (c *committer) wait(ctx context.Context, u *update) error {
	select {
	case err := <-u.done:
		return err
	case <-ctx.Done():
	}
	if c.withdraw(u) {
		return ctx.Err()
	}
	return <-u.done
}

func (c *committer) withdraw(u *update) bool {
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
func (c *committer) withdrawAll(t *together) []*update {
	c.mu.Lock()
	defer c.mu.Unlock()
	var gone []*update
	c.queue = slices.DeleteFunc(c.queue, func(u *update) bool {
		if u.together != t {
			return false
		}
		gone = append(gone, u)
		c.bytes -= u.bytes
		return true
	})
	return gone
}

// run commits until ctx ends and what was accepted before is answered.
func (c *committer) run(ctx context.Context) {
	for {
		select {
		case <-c.wake:
			c.drain(ctx)
		case <-ctx.Done():
			c.mu.Lock()
			c.closed = true
			c.mu.Unlock()
			c.drain(ctx)
			return
		}
	}
}

func (c *committer) drain(ctx context.Context) {
	for {
		us := c.take()
		if len(us) == 0 {
			return
		}
		ran, err := c.commit(context.WithoutCancel(ctx), us)
		c.putBack(us[ran:])
		for _, u := range us[:ran] {
			if err == nil {
				u.answer(u.err)
			} else {
				u.answer(err)
			}
		}
	}
}

// take removes the next batch from the queue: bounded by count and bytes, at
// least one, and of one epoch.
func (c *committer) take() []*update {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, bytes := 0, int64(0)
	for n < len(c.queue) && n < c.m.options.BatchEntries {
		u := c.queue[n]
		if n > 0 && (bytes+u.bytes > c.m.options.BatchBytes || u.epoch != c.queue[0].epoch) {
			break
		}
		bytes += u.bytes
		n++
	}
	us := slices.Clone(c.queue[:n])
	rest := copy(c.queue, c.queue[n:])
	clear(c.queue[rest:])
	c.queue = c.queue[:rest]
	c.bytes -= bytes
	return us
}

// putBack queues updates again that a commit had no room for, before all others.
func (c *committer) putBack(us []*update) {
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
func (c *committer) commit(ctx context.Context, us []*update) (ran int, err error) {
	if !c.m.writes.Load() {
		return len(us), c.unavailable(nil)
	}
	ctx, cancel := context.WithTimeout(ctx, c.m.options.Timeout)
	defer cancel()
	began := time.Now()
	b := newBatch(Origin(c.m.Name()), us, c.m.options.BatchBytes)
	claim, err := c.m.Commit(ctx, b.request())
	if errors.Is(err, partition.ErrUnavailable) && ctx.Err() == nil { // perhaps only an old connection
		claim, err = c.m.Commit(ctx, b.request())
	}
	switch {
	case err == nil:
		c.m.took(time.Since(began))
		b.settle(claim)
		c.m.options.OnCommit()
		return b.ran, nil
	case errors.Is(err, errNothingWritten):
		return b.ran, nil
	case errors.Is(err, partition.ErrOutcomeUnknown):
		return b.ran, err
	case errors.Is(err, partition.ErrTooLarge) && len(us) > 1:
		c.commitEach(ctx, us)
		return len(us), nil
	case errors.Is(err, partition.ErrTooLarge):
		return len(us), &TooLargeError{Limit: c.m.MaxValueBytes()}
	}
	return len(us), c.unavailable(err)
}

// commitEach commits updates one by one, so that one that cannot be stored
// does not take the others with it.
func (c *committer) commitEach(ctx context.Context, us []*update) {
	for _, u := range us {
		if _, err := c.commit(context.WithoutCancel(ctx), []*update{u}); err != nil {
			u.err = err
		}
	}
}

func (c *committer) unavailable(cause error) error {
	for _, known := range []error{c.m.fault(), c.m.behindness(), errNotReached} {
		if cause == nil {
			cause = known
		}
	}
	return &MasterError{Master: c.m.Name(), RetryAfter: c.m.options.Poll, Err: cause}
}
