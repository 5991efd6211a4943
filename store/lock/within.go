package lock

import (
	"time"

	"github.com/runnelkv/runnel/store"
)

// HeldIn returns the lock of a name as an Update sees the lock. The Update has declared the key store.Lock.Key(name). held is
// false if nobody holds the lock.
func HeldIn(tx *store.Tx, name string) (l Lock, held bool, err error) {
	r, err := readRow(tx, store.Lock.Key(name))
	if err != nil || !r.isHeld() {
		return Lock{}, false, err
	}
	return r.asLock(), true, nil
}

// RenewIn gives the holder of a lock the whole time to live again, within an Update that has declared the key of the lock. If
// nobody holds the lock, nothing changes.
func RenewIn(tx *store.Tx, name string) error {
	r, err := readRow(tx, store.Lock.Key(name))
	if err != nil || !r.isHeld() {
		return err
	}
	r.ExpiresAt = tx.Now().Add(r.TTL)
	return r.saveRecord()
}

// Locked returns the error for a request that the lock refuses.
func (l *Lock) Locked() *store.LockedError {
	e := &store.LockedError{Name: l.Name, RetryAfter: max(0, time.Until(l.ExpiresAt.Time()))}
	e.Holder.Owner, e.Holder.Fence, e.Holder.ExpiresAt, e.Holder.Info = l.Owner, l.Fence, l.ExpiresAt, l.Info
	return e
}
