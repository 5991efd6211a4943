package guard

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// Holder says who holds a lock. The JSON of a lock's entry has these members.
type Holder struct {
	Owner     string             `json:"owner,omitempty"`
	Fence     partition.Revision `json:"fence,omitempty"` // the revision of the acquisition; 0: nobody holds the lock
	ExpiresAt partition.Instant  `json:"expires_at,omitempty"`
	Protects  bool               `json:"protects,omitempty"` // writes to the key of the lock's name need the fence
	Info      json.RawMessage    `json:"info,omitempty"`
}

// HeldAt reports whether the lock is held, by the clock of the master self. The clock of another master has set the expiry
// of an entry that this master has not written, and may differ: such a lock stays held until this master writes the entry.
func (h *Holder) HeldAt(now partition.Instant, origin, self partition.Origin) bool {
	return h.Fence != 0 && (origin != self || now < h.ExpiresAt)
}

// Key is the key of the lock of a name.
func Key(name string) partition.Key { return partition.GuardsFrom + partition.Key(name) }

// users is the space of the keys that locks protect.
const users = "k/"

// KeyOf is the key of the lock that may protect the key k; "" if no lock can.
func KeyOf(k partition.Key) partition.Key {
	if len(k) <= len(users) || k[:len(users)] != users {
		return ""
	}
	return Key(string(k[len(users):]))
}

// IsLock reports whether k is the key of a lock.
func IsLock(k partition.Key) bool { return partition.CanGuard(k) }

// Fence names a lock and the fence of its holder.
type Fence struct {
	Name  string
	Fence partition.Revision
}

// Row is the entry of a lock in a transaction of a master.
type Row struct {
	Entry *partition.Entry // nil: there is none
	Self  partition.Origin // the master
	Now   partition.Instant
}

// currentHolder returns the holder, or false if nobody holds the lock.
func (r Row) currentHolder() (h Holder, held bool, err error) {
	if r.Entry == nil || r.Entry.Deleted {
		return h, false, nil
	}
	if err := json.Unmarshal(r.Entry.Value, &h); err != nil || !r.Entry.Intact() {
		return h, false, fmt.Errorf("the entry of the lock %q is damaged: %w", r.Entry.Key, partition.ErrUnavailable)
	}
	return h, h.HeldAt(r.Now, r.Entry.Origin, r.Self), nil
}

// CheckFence returns a *StaleFenceError unless the lock is held with the fence.
func (r Row) CheckFence(f Fence) error {
	h, held, err := r.currentHolder()
	if err == nil && (!held || h.Fence != f.Fence) {
		err = &StaleFenceError{f}
	}
	return err
}

// CheckWrite returns a *LockedError if the lock protects the key of its name, unless fences hold the holder's fence.
func (r Row) CheckWrite(name string, fences []Fence) error {
	if r.Entry == nil || !r.Entry.Guards() {
		return nil
	}
	h, held, err := r.currentHolder()
	if err != nil || !held || !h.Protects {
		return err
	}
	for _, f := range fences {
		if f.Name == name && f.Fence == h.Fence {
			return nil
		}
	}
	return &LockedError{Name: name, Holder: h, RetryAfter: max(0, h.ExpiresAt.Sub(r.Now))}
}

// StaleFenceError says that the lock of a fence is not held with that fence, or not any more. Nothing was written.
type StaleFenceError struct{ Fence }

func (e *StaleFenceError) Error() string {
	return fmt.Sprintf("the lock %q is not held with the fence %d", e.Name, e.Fence.Fence)
}

// LockedError says that another owner holds the lock Name. Nothing was written.
type LockedError struct {
	Name       string
	Holder     Holder
	RetryAfter time.Duration // until the lock expires, unless it is renewed
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("the lock %q is held by %q", e.Name, e.Holder.Owner)
}
