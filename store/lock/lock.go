package lock

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/runnelkv/runnel/store"
)

// Store is the part of the store that locks use.
type Store interface {
	CheckName(name string) error
	CheckProtection() error
	Update(ctx context.Context, keys []store.Key, o store.UpdateOptions, fn func(*store.Tx) error) error
	Secure(ctx context.Context, marks ...store.Mark) error
	Voters() int
	List(ctx context.Context, o store.ListOptions) (store.Page, error)
}

// Locks are the locks of a store. Its methods are safe for concurrent use.
type Locks struct {
	store   Store
	waiters waiters
}

// New returns the locks of a store.
func New(s Store) *Locks { return &Locks{store: s} }

// errUnchanged ends an Update that has nothing to write.
var errUnchanged = errors.New("nothing changes")

// updateRecord runs f on the record of a lock. f returns errUnchanged if f has changed nothing.
func (l *Locks) updateRecord(ctx context.Context, name string, f func(*row) error) error {
	key := store.Lock.Key(name)
	err := l.store.Update(ctx, []store.Key{key}, store.UpdateOptions{Bytes: 512}, func(tx *store.Tx) error {
		r, err := readRow(tx, key)
		if err == nil {
			err = f(r)
		}
		if err != nil {
			return err
		}
		return r.saveRecord()
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}

// secure returns nil once a majority of the voters holds what the master has committed about locks. With fewer than three
// voters a promotion keeps that only by chance, and secure does not wait. An *UnsecuredError: the majority is not known.
func (l *Locks) secure(ctx context.Context, locks ...Lock) error {
	if l.store.Voters() < 3 {
		return nil
	}
	marks := make([]store.Mark, len(locks))
	for i := range locks {
		marks[i] = locks[i].mark
	}
	// The time is bounded by the store. A client that leaves must not turn a held lock into an unknown outcome.
	if err := l.store.Secure(context.WithoutCancel(ctx), marks...); err != nil {
		return &UnsecuredError{Err: err}
	}
	return nil
}

// Acquire takes a lock that is free and that nobody waits for. isNew is false if the owner holds the lock by the same request
// already. A *store.LockedError: another request holds the lock, or is first in the queue. An *UnsecuredError: the lock is
// held, and a promotion may undo that.
func (l *Locks) Acquire(ctx context.Context, q Request) (held Lock, isNew bool, err error) {
	return l.Wait(ctx, q, 0)
}

// attempt takes the lock, or, with the id of a ticket, puts or keeps the ticket in the queue.
func (l *Locks) attempt(ctx context.Context, q *Request, id string) (held Lock, isNew bool, err error) {
	var refusal error
	err = l.updateRecord(ctx, q.Name, func(r *row) error {
		isNew, refusal = false, nil
		if q.RequestID != "" && r.isHeld() && r.Owner == q.Owner && r.RequestID == q.RequestID {
			held = r.asLock()
			if r.isMoved() {
				return nil // written again: the positions of this master then speak for the record
			}
			held.mark = r.stored
			return errUnchanged
		}
		if ctx.Err() != nil {
			return ctx.Err() // nobody waits for the lock any more
		}
		if !r.isHeld() && (len(r.Queue) == 0 || r.Queue[0].ID == id) {
			held, isNew = r.grant(q, id), true
			return nil
		}
		refusal = r.refusal()
		if id == "" {
			return unless(r.isMoved())
		}
		changed, err := r.renewTickets(q, id, l.waiters.isWaiting)
		return cmp.Or(err, unless(changed || r.isMoved()))
	})
	return held, isNew, cmp.Or(err, refusal)
}

// unless returns nil if something has changed.
func unless(changed bool) error {
	if changed {
		return nil
	}
	return errUnchanged
}

// grant makes the request the holder, and removes its ticket.
func (r *row) grant(q *Request, id string) Lock {
	r.removeTicket(id)
	r.Owner, r.RequestID, r.TTL, r.Info, r.Protects = q.Owner, q.RequestID, q.TTL, q.Info, q.Protects
	r.Fence, r.ExpiresAt = r.tx.RevisionOf(r.key), r.tx.Now().Add(q.TTL)
	return r.asLock()
}

// refusal names the holder of the lock, or the owner of the first ticket.
func (r *row) refusal() error {
	e := &store.LockedError{Name: store.Name(r.key), Holder: r.Holder}
	if !r.isHeld() {
		first := r.Queue[0]
		e.Holder.Owner, e.Holder.ExpiresAt, e.Holder.Info = first.Owner, first.Deadline, nil
	}
	e.RetryAfter = max(0, e.Holder.ExpiresAt.Sub(r.tx.Now()))
	return e
}

// Renew sets the time to live of a held lock anew. A *store.StaleFenceError: the lock is not held with the fence, or has
// expired. An *UnsecuredError: the lock is held, and a promotion may undo the renewal.
func (l *Locks) Renew(ctx context.Context, name string, fence store.Revision, ttl time.Duration) (held Lock, err error) {
	if err := cmp.Or(l.store.CheckName(name), checkTTL(ttl)); err != nil {
		return Lock{}, err
	}
	err = l.updateRecord(ctx, name, func(r *row) error {
		if !r.isHeldBy(fence) {
			return &store.StaleFenceError{Fence: store.Fence{Name: name, Fence: fence}}
		}
		r.TTL, r.ExpiresAt = ttl, r.tx.Now().Add(ttl)
		held = r.asLock()
		return nil
	})
	if err == nil {
		err = l.secure(ctx, held)
	}
	return held, err
}

// Release frees a lock that is held with the fence. If nobody holds the lock, nothing is to be done. A *store.StaleFenceError: the
// lock has another holder.
func (l *Locks) Release(ctx context.Context, name string, fence store.Revision) error {
	if err := l.store.CheckName(name); err != nil {
		return err
	}
	err := l.updateRecord(ctx, name, func(r *row) error {
		switch {
		case r.Fence == fence:
			r.clearHolder()
			return nil
		case r.isHeld():
			return &store.StaleFenceError{Fence: store.Fence{Name: name, Fence: fence}}
		}
		return errUnchanged
	})
	if err == nil {
		l.waiters.wakeFirst(name)
	}
	return err
}

// Force frees a lock of any holder, and returns the holder's lock. Its fence is stale from then on. store.ErrNotFound:
// nobody holds the lock.
func (l *Locks) Force(ctx context.Context, name string) (freed Lock, err error) {
	return l.ForceIf(ctx, name, func(Lock) error { return nil })
}

// ForceIf is Force if allowed returns nil for the holder's lock.
func (l *Locks) ForceIf(ctx context.Context, name string, allowed func(Lock) error) (freed Lock, err error) {
	if err := l.store.CheckName(name); err != nil {
		return Lock{}, err
	}
	err = l.updateRecord(ctx, name, func(r *row) error {
		if !r.isHeld() {
			return store.ErrNotFound
		}
		freed = r.asLock()
		if err := allowed(freed); err != nil {
			return err
		}
		r.clearHolder()
		return nil
	})
	if err == nil {
		l.waiters.wakeFirst(name)
	}
	return freed, err
}

// Get returns a held lock, as of now on its master. store.ErrNotFound: nobody holds the lock.
func (l *Locks) Get(ctx context.Context, name string) (held Lock, err error) {
	if err := l.store.CheckName(name); err != nil {
		return Lock{}, err
	}
	err = l.updateRecord(ctx, name, func(r *row) error {
		if !r.isHeld() {
			return store.ErrNotFound
		}
		held = r.asLock()
		return errUnchanged
	})
	return held, err
}

// Admit returns a *store.LockedError while the lock is held, unless fences hold its fence.
func (l *Locks) Admit(ctx context.Context, name string, fences []store.Fence) error {
	held, err := l.Get(ctx, name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return err
	case slices.Contains(fences, store.Fence{Name: name, Fence: held.Fence}):
		return nil
	}
	return held.Locked()
}

// List returns held locks in the order of their names, as a partition knows them that answers reads: a lock may have ended
// meanwhile. After a page, next is the After of the next page, or "".
func (l *Locks) List(ctx context.Context, o store.ListOptions) (locks []Lock, page store.Page, err error) {
	o.Space, o.Values = store.Lock, true
	page, err = l.store.List(ctx, o)
	now := time.Now()
	for i := range page.Entries {
		e := &page.Entries[i]
		var r record
		if json.Unmarshal(e.Value, &r) == nil && r.Fence != 0 && r.ExpiresAt.Time().After(now) {
			locks = append(locks, newLock(store.Name(e.Key), &r))
		}
	}
	return locks, page, err
}
