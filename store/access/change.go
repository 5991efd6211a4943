package access

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/runnelkv/runnel/store"
)

var (
	// ErrUnknownKey: no stored key has this id or name.
	ErrUnknownKey = errors.New("no stored key has this id or name")
	// ErrNameTaken: a stored key has this name already.
	ErrNameTaken = errors.New("a stored key has this name already")
	// ErrTooManyKeys: MaxKeys are stored.
	ErrTooManyKeys = fmt.Errorf("%d keys are stored, which is the limit: revoke some", MaxKeys)
)

// MaxKeys is the most stored keys. Creations at the same time may exceed it by a few.
const MaxKeys = 10_000

// Writer is the part of the store that changes keys. Other errors of the functions below are
// those of List and Update.
type Writer interface {
	List(ctx context.Context, o store.ListOptions) (store.Page, error)
	Update(ctx context.Context, keys []store.Key, o store.UpdateOptions, fn func(*store.Tx) error) error
}

// Create stores a new key. Of k the fields Name, Grants, CreatedBy and ExpiresAt count. The token
// is the only copy of the secret.
//
// ErrNameTaken, ErrTooManyKeys: nothing was stored. Two creations at the same time may store the
// same name; both keys work, and have their own ids.
func Create(ctx context.Context, w Writer, k Key) (Key, Token, error) {
	k, t, err := New(k, time.Now())
	if err != nil {
		return Key{}, Token{}, err
	}
	stored, err := List(ctx, w)
	if err != nil {
		return Key{}, Token{}, err
	}
	if len(stored) >= MaxKeys {
		return Key{}, Token{}, ErrTooManyKeys
	}
	if slices.ContainsFunc(stored, func(other Key) bool { return other.Name == k.Name }) {
		return Key{}, Token{}, ErrNameTaken
	}
	_, err = update(ctx, w, k.ID, func(current *Key) error {
		if current.ID != "" {
			return errors.New("the random id is taken: try again")
		}
		*current = k
		return nil
	})
	return k, t, err
}

// New returns a key and its token without storing anything. Of k the fields of Create count. The
// error says why the key is not valid.
func New(k Key, now time.Time) (Key, Token, error) {
	t := NewToken()
	k = Key{ID: t.ID, Name: k.Name, Hash: t.Hash(), Grants: k.Grants, CreatedBy: k.CreatedBy, CreatedAt: now.UTC().Truncate(time.Second), ExpiresAt: k.ExpiresAt}
	if err := k.Validate(); err != nil {
		return Key{}, Token{}, err
	}
	if !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt) {
		return Key{}, Token{}, errors.New("the key would have expired already")
	}
	return k, t, nil
}

// List returns all stored keys as their masters hold them, by name. A key that cannot be read has
// only its id.
func List(ctx context.Context, w Writer) (keys []Key, err error) {
	o := store.ListOptions{
		ReadOptions: store.ReadOptions{Consistency: store.FromMaster},
		Space:       system, Prefix: keyPrefix, Limit: store.MaxLimit, Values: true,
	}
	for {
		page, err := w.List(ctx, o)
		if err != nil {
			return nil, fmt.Errorf("list the keys: %w", err)
		}
		for i := range page.Entries {
			e := &page.Entries[i]
			k, err := decodeKey(e)
			if err != nil {
				k = Key{ID: strings.TrimPrefix(store.Name(e.Key), keyPrefix)}
			}
			keys = append(keys, k)
		}
		if o.After = page.Next; o.After == "" {
			break
		}
	}
	slices.SortFunc(keys, func(a, b Key) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return keys, nil
}

// Revoke deletes a stored key, given by its id or name, and returns the deleted key. With an id
// only the master of this key is needed. Of a key that cannot be read only the id is returned.
//
// ErrUnknownKey: there is none. When several keys have the name, nothing is deleted.
func Revoke(ctx context.Context, w Writer, idOrName string) (Key, error) {
	return withKey(ctx, w, idOrName, func(id string) (k Key, err error) {
		key := storedKey(id)
		err = w.Update(ctx, []store.Key{key}, store.UpdateOptions{}, func(tx *store.Tx) error {
			e, found := tx.Get(key)
			if !found {
				return ErrUnknownKey
			}
			if k, err = decodeKey(&e); err != nil {
				k = Key{ID: id}
			}
			tx.Delete(key)
			return nil
		})
		return k, err
	})
}

// Rotate gives a new secret to a stored key, given by its id or name. The secret of before is
// valid until the overlap has passed; an overlap of 0 ends the secret at once. A secret of an
// earlier rotation ends at once in any case. With an id only the master of this key is needed.
//
// ErrUnknownKey: there is none.
func Rotate(ctx context.Context, w Writer, idOrName string, overlap time.Duration) (k Key, t Token, err error) {
	if overlap < 0 {
		return Key{}, Token{}, errors.New("the overlap must not be negative")
	}
	k, err = withKey(ctx, w, idOrName, func(id string) (Key, error) {
		t = newSecret(id)
		return update(ctx, w, id, func(k *Key) error {
			if k.ID == "" {
				return ErrUnknownKey
			}
			k.PreviousHash, k.PreviousUntil = Hash{}, time.Time{}
			if overlap > 0 {
				k.PreviousHash, k.PreviousUntil = k.Hash, time.Now().UTC().Add(overlap)
			}
			k.Hash = t.Hash()
			return nil
		})
	})
	if err != nil {
		return Key{}, Token{}, err
	}
	return k, t, nil
}

// withKey calls f with the id, or else with the id of the only key with the name. f returns
// ErrUnknownKey if there is no key with the id.
func withKey(ctx context.Context, w Writer, idOrName string, f func(id string) (Key, error)) (Key, error) {
	if isID(idOrName) {
		if k, err := f(idOrName); !errors.Is(err, ErrUnknownKey) {
			return k, err
		}
	}
	keys, err := List(ctx, w)
	if err != nil {
		return Key{}, err
	}
	keys = slices.DeleteFunc(keys, func(k Key) bool { return k.Name != idOrName || k.Name == "" })
	switch len(keys) {
	case 0:
		return Key{}, ErrUnknownKey
	case 1:
		return f(keys[0].ID)
	}
	return Key{}, fmt.Errorf("%d keys have the name %q: give the id", len(keys), idOrName)
}

// update changes the record of an id on its master. The function gets a zero Key if there is no
// record.
func update(ctx context.Context, w Writer, id string, change func(*Key) error) (k Key, err error) {
	key := storedKey(id)
	err = w.Update(ctx, []store.Key{key}, store.UpdateOptions{}, func(tx *store.Tx) error {
		k = Key{}
		if e, ok := tx.Get(key); ok {
			var err error
			if k, err = decodeKey(&e); err != nil {
				return fmt.Errorf("the stored key %s is not readable: %w", id, err)
			}
		}
		if err := change(&k); err != nil {
			return err
		}
		e, err := k.entry()
		if err != nil {
			return err
		}
		tx.Put(e)
		return nil
	})
	return k, err
}
