package lock

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/guard"
	"github.com/runnelkv/runnel/store/partition"
)

// contentType is that of a lock that protects no key. partition.GuardContentType is that of others.
const contentType = "application/vnd.runnel.lock+json"

// record is the value of a lock's entry. Its fields of the holder are those of guard.Holder.
type record struct {
	guard.Holder
	RequestID string        `json:"request_id,omitempty"`
	TTL       time.Duration `json:"ttl,omitempty"`
	Queue     []ticket      `json:"queue,omitempty"` // the first in front
}

// ticket is a place in the queue.
type ticket struct {
	ID       string        `json:"id"` // of a call of Wait
	Owner    string        `json:"owner"`
	Deadline store.Instant `json:"deadline"`
}

// row is a record within an Update.
type row struct {
	record
	tx     *store.Tx
	key    store.Key
	stored store.Mark // of the entry, or of the master without an entry
}

// readRow reads the record of a lock. Tickets are left out after their deadline. The holder that a former master knows gets its
// time to live again, by the clock of this master, as soon as the record is saved for any reason.
func readRow(tx *store.Tx, key store.Key) (*row, error) {
	r := &row{tx: tx, key: key, stored: store.Mark{Origin: tx.Master()}}
	e, found := tx.Stored(key)
	if !found {
		return r, nil
	}
	if err := json.Unmarshal(e.Value, &r.record); err != nil || !e.Intact() {
		return nil, fmt.Errorf("the master's copy of the lock %q is damaged: %w", store.Name(key), partition.ErrUnavailable)
	}
	r.stored = store.Mark{Origin: e.Origin, Revision: e.Revision}
	if r.isMoved() {
		r.ExpiresAt = max(r.ExpiresAt, tx.Now().Add(r.TTL))
	}
	r.Queue = slices.DeleteFunc(r.Queue, func(t ticket) bool { return t.Deadline <= tx.Now() })
	return r, nil
}

func (r *row) isHeld() bool { return r.HeldAt(r.tx.Now(), r.stored.Origin, r.tx.Master()) }

// isMoved reports whether a former master has written the holder: by the clock of this master the expiry says nothing.
func (r *row) isMoved() bool { return r.Fence != 0 && r.stored.Origin != r.tx.Master() }

// isHeldBy reports whether the holder's fence is fence.
func (r *row) isHeldBy(fence store.Revision) bool { return r.isHeld() && r.Fence == fence }

// clearHolder removes the holder.
func (r *row) clearHolder() {
	r.Holder, r.RequestID, r.TTL = guard.Holder{}, "", 0
}

// saveRecord stores the record. The entry ends when holder and tickets have ended; without any, a tombstone takes its place.
func (r *row) saveRecord() error {
	if r.Fence == 0 && len(r.Queue) == 0 {
		r.endEntry()
		return nil
	}
	value, err := json.Marshal(&r.record)
	if err != nil {
		return err
	}
	e := store.Entry{Key: r.key, ContentType: contentType, Value: value, ExpiresAt: r.ExpiresAt}
	if r.Fence != 0 && r.Protects {
		e.ContentType = partition.GuardContentType
	}
	for _, t := range r.Queue {
		e.ExpiresAt = max(e.ExpiresAt, t.Deadline)
	}
	r.tx.Put(e)
	return nil
}

// endEntry ends the entry. An entry that has expired by this master's clock is not deleted by Delete, but may count as held.
func (r *row) endEntry() {
	if _, deleted := r.tx.Delete(r.key); deleted {
		return
	}
	if _, found := r.tx.Stored(r.key); found {
		r.tx.Put(store.Entry{Key: r.key, ContentType: contentType, Value: []byte("{}"), ExpiresAt: r.tx.Now()})
	}
}

func (r *row) removeTicket(id string) {
	r.Queue = slices.DeleteFunc(r.Queue, func(t ticket) bool { return t.ID == id })
}

// asLock returns the state of the lock for callers, as of the write of this Update.
func (r *row) asLock() Lock {
	l := newLock(store.Name(r.key), &r.record)
	l.mark = store.Mark{Origin: r.tx.Master(), Revision: r.tx.RevisionOf(r.key)}
	return l
}

// Lock is the state of a held lock.
type Lock struct {
	Name      string
	Owner     string
	RequestID string
	Fence     store.Revision
	ExpiresAt store.Instant // by the clock of the master
	TTL       time.Duration
	Info      json.RawMessage // an object of the holder, or nil
	Protects  bool
	Waiting   int // tickets in the queue

	mark store.Mark // of the entry with this state
}

func newLock(name string, r *record) Lock {
	return Lock{Name: name, Owner: r.Owner, RequestID: r.RequestID, Fence: r.Fence, ExpiresAt: r.ExpiresAt, TTL: r.TTL, Info: r.Info,
		Protects: r.Protects, Waiting: len(r.Queue)}
}
