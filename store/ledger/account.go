package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/runnelkv/runnel/store"
)

// AccountState is the state of an account.
type AccountState string

const (
	Open   AccountState = "open"
	Frozen AccountState = "frozen" // neither pays nor is paid; transfers under way come to their end
	Closed AccountState = "closed" // empty for ever; the id stays taken
)

// Account is an account. Its available money, which a transfer can take, is the balance without held money, down to MinBalance.
type Account struct {
	ID         string        `json:"-"`
	Name       string        `json:"name,omitempty"`
	Email      string        `json:"email,omitempty"`
	Currency   string        `json:"currency"`
	Balance    int64         `json:"balance"`
	Held       int64         `json:"held,omitempty"`    // by holds, part of Balance
	Pending    int64         `json:"pending,omitempty"` // of transfers that are debited and not complete, not part of Balance
	MinBalance int64         `json:"min_balance,omitempty"`
	State      AccountState  `json:"state"`
	Count      int64         `json:"count"` // of lines of history
	CreatedAt  store.Instant `json:"created_at"`

	Seen store.Mark `json:"-"` // of the entry
}

// Available is the money that the account can pay, at most 2^63-1; negative below MinBalance.
func (a *Account) Available() int64 {
	return subtract(subtract(a.Balance, a.Held), a.MinBalance)
}

// subtract returns a-b, or the nearest number of 64 bits.
func subtract(a, b int64) int64 {
	d := a - b
	switch {
	case a >= 0 && b < 0 && d < 0:
		return math.MaxInt64
	case a < 0 && b > 0 && d >= 0:
		return math.MinInt64
	}
	return d
}

// add returns a+b, and whether the sum fits 64 bits.
func add(a, b int64) (sum int64, fits bool) {
	sum = a + b
	return sum, (sum > a) == (b > 0) || b == 0
}

// Bounds of the texts of an account.
const (
	maxNameBytes  = 200
	maxEmailBytes = 254 // RFC 5321
)

// checkNew returns an *InputError unless a new account can be so.
func (a *Account) checkNew() error {
	if err := CheckID("id", a.ID); err != nil {
		return err
	}
	if !isCurrency(a.Currency) {
		return &InputError{"currency", "is not 3 to 8 capital letters and digits, such as EUR"}
	}
	return a.checkTexts()
}

func (a *Account) checkTexts() error {
	switch {
	case !isText(a.Name, maxNameBytes):
		return &InputError{"name", fmt.Sprintf("is longer than %d bytes, or has control characters", maxNameBytes)}
	case !isText(a.Email, maxEmailBytes) || a.Email != "" && !strings.Contains(a.Email, "@"):
		return &InputError{"email", fmt.Sprintf("is no address of at most %d bytes", maxEmailBytes)}
	}
	return nil
}

func isCurrency(c string) bool {
	return len(c) >= 3 && len(c) <= 8 && strings.Trim(c, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == ""
}

func isText(s string, most int) bool {
	return len(s) <= most && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 })
}

// Create opens an account; of a count ID, Name, Email, Currency and MinBalance. The same account again is returned as it is
// now, with created false. ErrConflict: the id is taken by an account with different content. by is the name of the API key.
func (l *Ledger) Create(ctx context.Context, a Account, by string) (now Account, created bool, err error) {
	if err := a.checkNew(); err != nil {
		return Account{}, false, err
	}
	key := accountKey(a.ID)
	keys := []store.Key{key}
	for _, w := range wordsOf(a.ID, a.Name, a.Email) {
		keys = append(keys, wordKey(w, a.ID))
	}
	err = l.update(ctx, keys, 1, func(tx *step) error {
		if e, ok := tx.Get(key); ok {
			created = false
			if now, err = decodeAccount(&e); err != nil {
				return err
			}
			if now.Currency != a.Currency || now.Name != a.Name || now.Email != a.Email || now.MinBalance != a.MinBalance || now.State == Closed {
				return ErrConflict
			}
			return nil
		}
		now, created = a, true
		now.Balance, now.Held, now.Pending, now.State, now.Count, now.CreatedAt = 0, 0, 0, Open, 0, tx.Now()
		tx.noteLine(&now, Line{Event: "opened", By: by})
		for _, k := range keys[1:] {
			tx.Put(store.Entry{Key: k})
		}
		tx.putAccount(&now)
		return nil
	})
	return now, created, err
}

// Patch changes the texts, MinBalance or state of an account, as far as they are given.
type Patch struct {
	Name, Email *string
	MinBalance  *int64
	State       *AccountState
}

// Change applies a patch to an account that is not closed. match, if not nil, decides by the account's mark whether the account may be changed.
func (l *Ledger) Change(ctx context.Context, id string, p Patch, match func(store.Mark) error, by string) (now Account, err error) {
	if err := CheckID("id", id); err != nil {
		return Account{}, err
	}
	if p.State != nil && *p.State != Open && *p.State != Frozen {
		return Account{}, &InputError{"state", "is neither open nor frozen; DELETE closes an account"}
	}
	for {
		before, err := l.readMaster(ctx, id)
		if err != nil {
			return Account{}, err
		}
		now, err := l.changeFrom(ctx, before, p, match, by)
		if !errors.Is(err, errChanged) {
			return now, err
		}
	}
}

// errChanged: the texts of an account have changed since they were read.
var errChanged = errors.New("the account has changed")

// changeFrom applies a patch to an account that has the texts of before, by which the keys are chosen.
func (l *Ledger) changeFrom(ctx context.Context, before Account, p Patch, match func(store.Mark) error, by string) (now Account, err error) {
	after := before
	apply(&after, p)
	if err := after.checkTexts(); err != nil {
		return Account{}, err
	}
	keys := []store.Key{accountKey(before.ID)}
	old, fresh := wordsOf(before.ID, before.Name, before.Email), wordsOf(after.ID, after.Name, after.Email)
	for _, w := range old {
		if !slices.Contains(fresh, w) {
			keys = append(keys, wordKey(w, before.ID))
		}
	}
	gone := len(keys)
	for _, w := range fresh {
		if !slices.Contains(old, w) {
			keys = append(keys, wordKey(w, before.ID))
		}
	}
	err = l.update(ctx, keys, 1, func(tx *step) error {
		if now, err = tx.readAccount(before.ID); err != nil {
			return err
		}
		if match != nil {
			if err := match(now.Seen); err != nil {
				return err
			}
		}
		switch {
		case now.Name != before.Name || now.Email != before.Email:
			return errChanged
		case now.State == Closed:
			return &StateError{string(Closed), "The account is closed."}
		}
		apply(&now, p)
		event := "changed"
		if p.State != nil {
			event = string(*p.State)
		}
		tx.noteLine(&now, Line{Event: event, By: by})
		for _, k := range keys[1:gone] {
			tx.Delete(k)
		}
		for _, k := range keys[gone:] {
			tx.Put(store.Entry{Key: k})
		}
		tx.putAccount(&now)
		return nil
	})
	return now, err
}

func apply(a *Account, p Patch) {
	if p.Name != nil {
		a.Name = *p.Name
	}
	if p.Email != nil {
		a.Email = *p.Email
	}
	if p.MinBalance != nil {
		a.MinBalance = *p.MinBalance
	}
	if p.State != nil {
		a.State = *p.State
	}
}

// Close closes an account without money and without unfinished transfers, for ever. A *StateError says why that is not
// possible. A closed account is closed again without an error.
func (l *Ledger) Close(ctx context.Context, id string, match func(store.Mark) error, by string) (now Account, err error) {
	if err := CheckID("id", id); err != nil {
		return Account{}, err
	}
	err = l.update(ctx, []store.Key{accountKey(id)}, 1, func(tx *step) error {
		if now, err = tx.readAccount(id); err != nil {
			return err
		}
		if match != nil {
			if err := match(now.Seen); err != nil {
				return err
			}
		}
		switch {
		case now.State == Closed:
			return nil
		case now.Balance != 0 || now.Held != 0 || now.Pending != 0:
			return &StateError{string(now.State), fmt.Sprintf("The account has a balance of %d, of which %d is held, and %d is under way.", now.Balance, now.Held, now.Pending)}
		}
		now.State = Closed
		tx.noteLine(&now, Line{Event: "closed", By: by})
		tx.putAccount(&now)
		return nil
	})
	return now, err
}

// Account reads an account. An *UnknownError: there is none.
func (l *Ledger) Account(ctx context.Context, id string, o store.ReadOptions) (Account, store.Read, error) {
	if err := CheckID("id", id); err != nil {
		return Account{}, store.Read{}, err
	}
	r, err := l.store.Get(ctx, accountKey(id), o)
	if errors.Is(err, store.ErrNotFound) {
		return Account{}, r, &UnknownError{Account: id}
	}
	if err != nil {
		return Account{}, r, err
	}
	a, err := decodeAccount(&r.Entry)
	return a, r, err
}

// readMaster reads an account from its master.
func (l *Ledger) readMaster(ctx context.Context, id string) (Account, error) {
	a, _, err := l.Account(ctx, id, store.ReadOptions{Consistency: store.FromMaster})
	return a, err
}

func decodeAccount(e *store.Entry) (a Account, err error) {
	if err := json.Unmarshal(e.Value, &a); err != nil {
		return a, fmt.Errorf("the entry %s is damaged: %w", e.Key, err)
	}
	name := store.Name(e.Key)
	a.ID, a.Seen = name[1:len(name)-1], store.Mark{Origin: e.Origin, Revision: e.Revision}
	return a, nil
}
