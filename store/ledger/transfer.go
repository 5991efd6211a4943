package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/runnelkv/runnel/store"
)

// Status is the status of a transfer.
type Status string

const (
	Pending Status = "PENDING" // debited; the credit, or the refund, follows by itself
	Held    Status = "HELD"    // the money is held until the hold is posted, voided or expires
	Posted  Status = "POSTED"  // final: the money has moved
	Failed  Status = "FAILED"  // final: refused, without effect
	Voided  Status = "VOIDED"  // final: a hold that was voided or has expired
)

// Posting moves an amount between two accounts; World may be on either side.
type Posting struct {
	From   string `json:"from"`
	To     string `json:"to"`
	Amount int64  `json:"amount"`
}

// MaxPostings is the largest number of postings of a transfer.
const MaxPostings = 16

// Order asks for a transfer.
type Order struct {
	Ref
	Postings []Posting
	Currency string        // "": that of the accounts
	Memo     string        // at most 500 bytes
	Hold     time.Duration // not 0: only hold the money, for so long
	Async    bool          // answer once the debit is stored
	By       string        // the name of the API key that asks

	reverses *Ref // of a reversal, by the ledger itself
}

// Transfer is a transfer as its record has it.
type Transfer struct {
	Ref      `json:"-"`
	Postings []Posting     `json:"postings"`
	Currency string        `json:"currency"`
	Memo     string        `json:"memo,omitempty"`
	Hold     time.Duration `json:"hold,omitempty"`
	By       string        `json:"by,omitempty"`
	Status   Status        `json:"status"`
	Reason   *Reason       `json:"reason,omitempty"` // of FAILED and VOIDED

	CreatedAt  store.Instant `json:"created_at"`
	FinishedAt store.Instant `json:"finished_at,omitempty"` // when the status became final
	ExpiresAt  store.Instant `json:"expires_at,omitempty"`  // of a hold
	// Settled is the amount that a posted hold has moved, at most that of the posting.
	Settled int64 `json:"settled,omitempty"`

	Reverses   *Ref   `json:"reverses,omitempty"`    // the transfer that this transfer takes back
	ReversedBy *Ref   `json:"reversed_by,omitempty"` // the posted transfer that takes this transfer back
	Reversing  *Ref   `json:"reversing,omitempty"`   // the attempt at a reversal that is under way
	Attempts   int    `json:"attempts,omitempty"`    // at a reversal
	TwoSided   bool   `json:"two_sided,omitempty"`   // the payee is credited by an Update of its own
	Asked      string `json:"asked,omitempty"`       // the currency if the order named a currency

	QueuedAt store.Instant `json:"queued_at,omitempty"` // in the key of a queue

	Seen store.Mark `json:"-"`
}

// Reason says why a transfer has not moved money.
type Reason struct {
	Code      string `json:"code"` // a constant below
	Account   string `json:"account,omitempty"`
	Available int64  `json:"available,omitempty"` // with InsufficientFunds
	Needed    int64  `json:"needed,omitempty"`    // with InsufficientFunds
}

// Codes of a Reason.
const (
	InsufficientFunds = "insufficient-funds"
	AccountFrozen     = "account-frozen"
	AccountClosed     = "account-closed"
	BalanceOverflow   = "balance-overflow"  // at the payee, after the debit
	AccountUnknown    = "unknown-account"   // the payee, after the debit: a promotion has undone the account
	CurrencyDiffers   = "currency-mismatch" // the payee was opened again, in a different currency
	HoldExpired       = "hold-expired"
	HoldVoided        = "hold-voided"
)

// Amount is the sum that a transfer with a single posting moves, or has moved.
func (t *Transfer) Amount() int64 {
	if t.Settled != 0 {
		return t.Settled
	}
	return t.Postings[0].Amount
}

// isFinal reports whether the status cannot change any more.
func (t *Transfer) isFinal() bool { return t.Status != Pending && t.Status != Held }

// isOf reports whether the record is that of an order.
func (t *Transfer) isOf(o *Order) bool {
	same := slices.Equal(t.Postings, o.Postings) && t.Memo == o.Memo && t.Hold == o.Hold && t.Asked == o.Currency
	return same && (t.Reverses == nil) == (o.reverses == nil) && (o.reverses == nil || *t.Reverses == *o.reverses)
}

// Bounds of an order.
const (
	maxMemoBytes = 500
	minHold      = time.Millisecond
	maxHold      = 366 * 24 * time.Hour
)

// checkOrder returns an *InputError unless the order makes sense by itself.
func (o *Order) checkOrder() error {
	if err := CheckID("account", o.Account); err != nil {
		return err
	}
	if o.reverses == nil {
		if err := CheckID("id", o.ID); err != nil {
			return err
		}
	}
	switch {
	case len(o.Postings) < 1 || len(o.Postings) > MaxPostings:
		return &InputError{"postings", fmt.Sprintf("are 1 to %d, not %d", MaxPostings, len(o.Postings))}
	case !isText(o.Memo, maxMemoBytes):
		return &InputError{"memo", fmt.Sprintf("is longer than %d bytes, or has control characters", maxMemoBytes)}
	case o.Currency != "" && !isCurrency(o.Currency):
		return &InputError{"currency", "is not 3 to 8 capital letters and digits, such as EUR"}
	case o.Hold != 0 && (o.Hold < minHold || o.Hold > maxHold):
		return &InputError{"ttl", fmt.Sprintf("is from %v to %v, not %v", minHold, maxHold, o.Hold)}
	}
	for i := range o.Postings {
		if err := o.Postings[i].checkPosting(); err != nil {
			return err
		}
	}
	switch first := &o.Postings[0]; {
	case first.From != o.Account && (first.From != World || first.To != o.Account):
		return &InputError{"account", "is neither the payer of the first posting nor the payee of a deposit"}
	case o.Hold != 0 && (len(o.Postings) > 1 || first.From == World):
		return &InputError{"hold", "is possible for a single posting from an account"}
	}
	return nil
}

func (p *Posting) checkPosting() error {
	for _, side := range []struct{ member, id string }{{"from", p.From}, {"to", p.To}} {
		if side.id == World {
			continue
		}
		if err := CheckID(side.member, side.id); err != nil {
			return err
		}
	}
	switch {
	case p.From == p.To:
		return &InputError{"to", "is the payer itself"}
	case p.Amount < 1:
		return &InputError{"amount", "is not a whole number from 1 to 9223372036854775807"}
	}
	return nil
}

// names returns the accounts of the order but World, without repetition.
func (o *Order) names() (ids []string) {
	for i := range o.Postings {
		for _, id := range []string{o.Postings[i].From, o.Postings[i].To} {
			if id != World && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// Mints reports whether the order takes money from World.
func (o *Order) Mints() bool {
	return slices.ContainsFunc(o.Postings, func(p Posting) bool { return p.From == World })
}

// Transfer moves money, or holds it. The same order again returns the record as it is now, with repeated true; an order
// with the id of a different order is ErrConflict. A *FailedError has the record of a refusal. Further errors leave no
// record: *InputError, *UnknownError, *CurrencyError, *OverflowError, ErrDifferentMasters and those of Store.Update.
//
// A transfer between accounts of two masters, and a transfer with Async, can be returned as PENDING: it comes to its end by itself.
func (l *Ledger) Transfer(ctx context.Context, o Order) (t Transfer, repeated bool, err error) {
	if err := o.checkOrder(); err != nil {
		return Transfer{}, false, err
	}
	l.options.Failpoint("parsed")
	switch {
	case o.Hold != 0:
		t, repeated, err = l.hold(ctx, &o)
	case o.Async && len(o.Postings) == 1 && !o.touchesWorld():
		t, repeated, err = l.debit(ctx, &o)
	default:
		p := newOneUpdate(l, &o)
		if err = l.update(ctx, p.keys, p.lines, p.makeTransfer); errors.Is(err, store.ErrDifferentMasters) {
			if len(o.Postings) > 1 {
				return Transfer{}, false, ErrDifferentMasters
			}
			t, repeated, err = l.debit(ctx, &o)
			break
		}
		t, repeated = p.result, p.repeated
	}
	if err != nil {
		return Transfer{}, false, err
	}
	return l.finishAnswered(ctx, t, repeated, o.Async)
}

func (o *Order) touchesWorld() bool {
	return slices.ContainsFunc(o.Postings, func(p Posting) bool { return p.From == World || p.To == World })
}

// finishAnswered completes a PENDING transfer in the request, or leaves it to Run if the client does not wait.
func (l *Ledger) finishAnswered(ctx context.Context, t Transfer, repeated, async bool) (Transfer, bool, error) {
	if t.Status == Failed {
		l.options.Failpoint("refused")
		return t, repeated, &FailedError{Transfer: t}
	}
	if t.Status != Pending {
		return t, repeated, nil
	}
	l.options.Failpoint("debited")
	if async {
		l.finishSoon(t.Ref)
		return t, repeated, nil
	}
	done, err := l.finishTransfer(ctx, t)
	switch {
	case err != nil: // the money is on its way, and Run makes the missing steps
		l.finishSoon(t.Ref)
		return t, repeated, nil
	case done.Status == Failed:
		return done, repeated, &FailedError{Transfer: done}
	}
	return done, repeated, nil
}

// Lookup reads the record of a transfer. ErrNotFound: there is none.
func (l *Ledger) Lookup(ctx context.Context, r Ref, o store.ReadOptions) (Transfer, store.Read, error) {
	read, err := l.store.Get(ctx, r.key(), o)
	if errors.Is(err, store.ErrNotFound) {
		return Transfer{}, read, ErrNotFound
	}
	if err != nil {
		return Transfer{}, read, err
	}
	t, err := decodeTransfer(&read.Entry)
	return t, read, err
}

func (l *Ledger) lookupMaster(ctx context.Context, r Ref) (Transfer, error) {
	t, _, err := l.Lookup(ctx, r, store.ReadOptions{Consistency: store.FromMaster})
	return t, err
}

func decodeTransfer(e *store.Entry) (t Transfer, err error) {
	r, ok := refOf(store.Name(e.Key))
	if !ok {
		return t, fmt.Errorf("the key %s names no transfer", e.Key)
	}
	if err := json.Unmarshal(e.Value, &t); err != nil {
		return t, fmt.Errorf("the entry %s is damaged: %w", e.Key, err)
	}
	t.Ref, t.Seen = r, store.Mark{Origin: e.Origin, Revision: e.Revision}
	return t, nil
}

// newTransfer is the record of an order, before its outcome.
func (o *Order) newTransfer(currency string, now store.Instant) Transfer {
	return Transfer{Ref: o.Ref, Postings: o.Postings, Currency: currency, Memo: o.Memo, Hold: o.Hold, By: o.By, CreatedAt: now, Reverses: o.reverses, Asked: o.Currency}
}

// existing returns the record of an order that was made before. ErrConflict: the id belongs to a different order.
func (tx *step) existing(o *Order) (t Transfer, found bool, err error) {
	e, ok := tx.Get(o.key())
	if !ok {
		return t, false, nil
	}
	if t, err = decodeTransfer(&e); err == nil && !t.isOf(o) {
		err = ErrConflict
	}
	return t, true, err
}

// putTransfer writes a record, after everything else of the step, so that its mark is that of the whole step.
func (tx *step) putTransfer(t *Transfer) {
	if t.isFinal() && t.FinishedAt == 0 {
		t.FinishedAt = tx.Now()
	}
	tx.putValue(t.key(), t)
	t.Seen = tx.last
}
