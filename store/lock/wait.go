package lock

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/runnelkv/runnel/store"
)

const (
	// ticketTTL is how long a ticket stands without a sign of its process: so long the ticket of a dead process holds up
	// those behind.
	ticketTTL = 6 * time.Second
	// renewBelow is the rest of ticketTTL below which a ticket is renewed.
	renewBelow = 4 * time.Second
	// pollFirst and pollOthers are how often the first waiter in the queue, and the others, look at the lock. A release in
	// the same process wakes the first waiter at once.
	pollFirst  = 100 * time.Millisecond
	pollOthers = time.Second
	// leaveTimeout bounds the work for a waiter that has gone.
	leaveTimeout = 5 * time.Second
)

// Wait is Acquire, and waits in the queue for at most wait. A *store.LockedError: the time is over. A *QueueError: the queue is
// full. A lock whose fence the caller cannot learn is released again: ctx has ended, or the lock is not secured, and the request
// has no id that could be repeated.
func (l *Locks) Wait(ctx context.Context, q Request, wait time.Duration) (held Lock, isNew bool, err error) {
	if err := l.checkRequest(&q); err != nil {
		return Lock{}, false, err
	}
	if wait > MaxWait {
		return Lock{}, false, invalid("wait", "is %v, more than %v", wait, MaxWait)
	}
	if held, isNew, err = l.queue(ctx, &q, wait); err != nil {
		return Lock{}, false, err
	}
	err = l.secure(ctx, held)
	if isNew && q.RequestID == "" && cmp.Or(ctx.Err(), err) != nil { // with an id the client may have learned the fence from another process
		l.releaseAll(ctx, held)
	}
	if err = cmp.Or(ctx.Err(), err); err != nil {
		return Lock{}, false, err
	}
	return held, isNew, nil
}

// queue attempts to take the lock until the lock is granted, the time is over or ctx ends. No ticket is left then. The lock is
// not secured.
func (l *Locks) queue(ctx context.Context, q *Request, wait time.Duration) (held Lock, isNew bool, err error) {
	if wait <= 0 {
		return l.attempt(ctx, q, "")
	}
	id, end := rand.Text()[:16], time.Now().Add(wait)
	w := l.waiters.addWaiter(q.Name, id)
	defer l.waiters.removeWaiter(w)
	for {
		held, isNew, err = l.attempt(ctx, q, id)
		locked, isLocked := errors.AsType[*store.LockedError](err)
		if isLocked && time.Now().Before(end) && w.pauseWaiting(ctx, locked, end) {
			continue
		}
		if err != nil {
			l.leaveQueue(ctx, q.Name, id)
			err = cmp.Or(ctx.Err(), err)
		}
		return held, isNew, err
	}
}

// leaveQueue removes the ticket.
func (l *Locks) leaveQueue(ctx context.Context, name, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	_ = l.updateRecord(ctx, name, func(r *row) error { // otherwise the ticket ends by itself
		before := len(r.Queue)
		r.removeTicket(id)
		return unless(len(r.Queue) < before)
	})
	l.waiters.wakeFirst(name)
}

// renewTickets puts the ticket into the queue or, when a later deadline is due, gives one to the tickets of all waiters of this
// process: a long queue is then written once, and not once for each of them.
func (r *row) renewTickets(q *Request, id string, isWaiting func(name, id string) bool) (changed bool, err error) {
	deadline := r.tx.Now().Add(ticketTTL)
	at := slices.IndexFunc(r.Queue, func(t ticket) bool { return t.ID == id })
	switch {
	case at < 0 && len(r.Queue) >= MaxWaiting:
		return false, &QueueError{q.Name}
	case at < 0:
		r.Queue = append(r.Queue, ticket{ID: id, Owner: q.Owner, Deadline: deadline})
		return true, nil
	case r.Queue[at].Deadline.Sub(r.tx.Now()) >= renewBelow:
		return false, nil
	}
	for i := range r.Queue {
		if isWaiting(q.Name, r.Queue[i].ID) {
			r.Queue[i].Deadline = deadline
		}
	}
	return true, nil
}

// waiters are the calls of Wait in this process, by the name of their lock and in their order.
type waiters struct {
	mu     sync.Mutex // guards byName
	byName map[string][]*waiter
}

type waiter struct {
	name string
	id   string        // of the ticket
	wake chan struct{} // buffered, 1
	all  *waiters
}

func (ws *waiters) addWaiter(name, id string) *waiter {
	w := &waiter{name: name, id: id, wake: make(chan struct{}, 1), all: ws}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.byName == nil {
		ws.byName = make(map[string][]*waiter)
	}
	ws.byName[name] = append(ws.byName[name], w)
	return w
}

func (ws *waiters) removeWaiter(w *waiter) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	left := slices.DeleteFunc(ws.byName[w.name], func(o *waiter) bool { return o == w })
	if len(left) == 0 {
		delete(ws.byName, w.name)
		return
	}
	ws.byName[w.name] = left
}

// isWaiting reports whether a ticket is that of a waiter of this process.
func (ws *waiters) isWaiting(name, id string) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return slices.ContainsFunc(ws.byName[name], func(w *waiter) bool { return w.id == id })
}

// wakeFirst wakes the first waiter of this process: its ticket is the earliest of the process.
func (ws *waiters) wakeFirst(name string) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if waiting := ws.byName[name]; len(waiting) > 0 {
		select {
		case waiting[0].wake <- struct{}{}:
		default:
		}
	}
}

func (w *waiter) isFirstWaiter() bool {
	w.all.mu.Lock()
	defer w.all.mu.Unlock()
	return w.all.byName[w.name][0] == w
}

// pauseWaiting waits until the lock may be free, or the ticket is to be renewed. false: ctx has ended.
func (w *waiter) pauseWaiting(ctx context.Context, locked *store.LockedError, end time.Time) bool {
	d := pollOthers
	if w.isFirstWaiter() {
		d = min(d, pollFirst, max(locked.RetryAfter, time.Millisecond))
	}
	timer := time.NewTimer(min(d, time.Until(end)))
	defer timer.Stop()
	select {
	case <-w.wake:
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	return true
}

// AcquireAll acquires several locks in the order of their names, so that callers with common locks never wait for each other
// in a circle. AcquireAll waits for at most wait altogether. If a lock cannot be had, or is not secured, those that this
// call has acquired are released.
func (l *Locks) AcquireAll(ctx context.Context, qs []Request, wait time.Duration) (held []Lock, err error) {
	qs = slices.Clone(qs)
	slices.SortFunc(qs, func(a, b Request) int { return cmp.Compare(a.Name, b.Name) })
	if len(qs) == 0 || len(qs) > MaxNames {
		return nil, invalid("names", "holds %d names, and must hold 1 to %d", len(qs), MaxNames)
	}
	for i := range qs {
		if err := l.checkRequest(&qs[i]); err != nil {
			return nil, err
		}
		if i > 0 && qs[i].Name == qs[i-1].Name {
			return nil, invalid("names", "holds %q twice", qs[i].Name)
		}
	}
	end := time.Now().Add(min(wait, MaxWait))
	var granted []Lock // by this call
	for i := 0; i < len(qs) && err == nil; i++ {
		var lock Lock
		var isNew bool
		lock, isNew, err = l.queue(ctx, &qs[i], time.Until(end))
		if held = append(held, lock); err == nil && isNew {
			granted = append(granted, lock)
		}
	}
	if err == nil {
		err = cmp.Or(l.secure(ctx, held...), ctx.Err())
	}
	if err != nil {
		l.releaseAll(ctx, granted...)
		return nil, err
	}
	return held, nil
}

func (l *Locks) releaseAll(ctx context.Context, held ...Lock) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	for _, h := range slices.Backward(held) {
		_ = l.Release(ctx, h.Name, h.Fence) // otherwise the lock expires
	}
}
