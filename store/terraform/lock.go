package terraform

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/lock"
)

// LockTTL is the time to live of the lock of a tool, from the acquisition and from each stored state on: the tools do not renew their
// locks.
const LockTTL = lock.MaxTTL

// LockRequest asks for the lock of a state.
type LockRequest struct {
	ID   string          // chosen by the tool, at most lock.MaxRequestID bytes
	Who  string          // for people
	Info json.RawMessage // the tool's description of the lock, an object with the member ID
}

// Lock acquires the lock of a state. The same id again gets the same lock. A *store.LockedError: another lock is held. A
// *lock.InvalidError names an invalid field: request_id is the id.
func (s *States) Lock(ctx context.Context, name string, q LockRequest) error {
	if err := s.checkName(name); err != nil {
		return err
	}
	_, _, err := s.locks.Acquire(ctx, lock.Request{Name: name, Owner: ownerOf(q.Who), RequestID: q.ID, TTL: LockTTL, Info: q.Info})
	return err
}

// ownerOf makes the name of an owner from a text of a tool, which may be of any form.
func ownerOf(who string) string {
	who = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, who)
	if len(who) > lock.MaxOwner {
		who = strings.ToValidUTF8(who[:lock.MaxOwner], "")
	}
	if who == "" {
		return "terraform"
	}
	return who
}

// Unlock ends the lock with an id. If nobody holds the lock, nothing is to be done. A *store.LockedError: a lock with another id
// is held.
func (s *States) Unlock(ctx context.Context, name, id string) error {
	if err := s.checkName(name); err != nil {
		return err
	}
	_, err := s.locks.ForceIf(ctx, name, func(l lock.Lock) error {
		if LockID(l.Info, l.Fence) != id {
			return l.Locked()
		}
		return nil
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// ForceUnlock ends the lock of any holder. If nobody holds the lock, nothing is to be done.
func (s *States) ForceUnlock(ctx context.Context, name string) error {
	if err := s.checkName(name); err != nil {
		return err
	}
	_, err := s.locks.Force(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// LockID is the id by which a tool knows a lock: the member ID of the lock's info, or the fence of a lock that no tool has acquired.
func LockID(info json.RawMessage, fence store.Revision) string {
	var named struct{ ID string }
	if json.Unmarshal(info, &named) == nil && named.ID != "" {
		return named.ID
	}
	return strconv.FormatInt(int64(fence), 10)
}

// admit returns an error unless a writer that names the id of a lock, or no lock, may write: a *store.LockedError while another lock
// is held, and a *LostError if nobody holds the lock of the id.
func admit(tx *store.Tx, name, id string) error {
	l, held, err := lock.HeldIn(tx, name)
	switch {
	case err != nil:
		return err
	case held && LockID(l.Info, l.Fence) != id:
		return l.Locked()
	case !held && id != "":
		return &LostError{Name: name, ID: id}
	}
	return nil
}
