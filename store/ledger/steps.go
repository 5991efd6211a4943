package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/runnelkv/runnel/store"
)

// credit is the payee's side of a transfer.
type credit struct {
	Amount   int64   `json:"amount"` // 0: refused
	Currency string  `json:"currency,omitempty"`
	Reason   *Reason `json:"reason,omitempty"` // of a refusal
}

// debit makes the first step of a transfer with two sides: it takes the money from the payer and writes the record as
// PENDING, or FAILED.
func (l *Ledger) debit(ctx context.Context, o *Order) (t Transfer, repeated bool, err error) {
	p := &o.Postings[0]
	if err := l.checkPayee(ctx, o); err != nil {
		if done, found, recorded := l.recorded(ctx, o); found || recorded != nil {
			return done, found, recorded
		}
		return t, false, err
	}
	queued := store.Instant(time.Now().UnixMicro())
	queue := queueKey(pending, queued, o.Ref)
	err = l.update(ctx, []store.Key{o.key(), accountKey(p.From), queue}, 1, func(tx *step) (err error) {
		if t, repeated, err = tx.existing(o); err != nil || repeated {
			return err
		}
		payer, err := tx.payer(o)
		if err != nil {
			return err
		}
		t = o.newTransfer(payer.Currency, tx.Now())
		t.TwoSided, t.QueuedAt, t.Status = true, queued, Pending
		if t.Reason = takeFor(&payer, p.Amount); t.Reason != nil {
			t.Status, t.QueuedAt = Failed, 0
			tx.putTransfer(&t)
			return nil
		}
		l.options.Failpoint("debit")
		tx.noteLine(&payer, Line{Transfer: &t.Ref, Amount: -p.Amount, Peer: p.To, Memo: t.Memo, By: t.By})
		tx.putValue(queue, struct{}{})
		tx.putAccount(&payer)
		tx.putTransfer(&t)
		return nil
	})
	return t, repeated, err
}

// payer reads the paying account of an order and checks its currency.
func (tx *step) payer(o *Order) (Account, error) {
	a, err := tx.readAccount(o.Postings[0].From)
	if err == nil && o.Currency != "" && a.Currency != o.Currency {
		err = &CurrencyError{Account: a.ID, Has: a.Currency, Wanted: o.Currency}
	}
	return a, err
}

// takeFor takes an amount from an account for a transfer that is under way, or returns why that is not possible.
func takeFor(a *Account, amount int64) *Reason {
	if a.State != Open {
		return stateReason(a)
	}
	if r := pay(a, amount); r != nil {
		return r
	}
	a.Pending += amount // at most the former balance, and receive keeps the sum within 64 bits
	return nil
}

// checkPayee fails unless the payee of an order exists, in the currency of the payer. Neither ever changes.
func (l *Ledger) checkPayee(ctx context.Context, o *Order) error {
	p := &o.Postings[0]
	payer, err := l.readAny(ctx, p.From)
	if err != nil || p.To == World {
		return err
	}
	payee, err := l.readAny(ctx, p.To)
	if err == nil && payee.Currency != payer.Currency {
		err = &CurrencyError{Account: payee.ID, Has: payee.Currency, Wanted: payer.Currency}
	}
	return err
}

// readAny reads the parts of an account that never change, from any partition that knows the account, otherwise from its master.
func (l *Ledger) readAny(ctx context.Context, id string) (Account, error) {
	a, _, err := l.Account(ctx, id, store.ReadOptions{})
	if _, unknown := errors.AsType[*UnknownError](err); unknown {
		return l.readMaster(ctx, id)
	}
	return a, err
}

// recorded returns the record of an order that was made before, once the record is held.
func (l *Ledger) recorded(ctx context.Context, o *Order) (t Transfer, found bool, err error) {
	t, err = l.lookupMaster(ctx, o.Ref)
	switch {
	case errors.Is(err, ErrNotFound):
		return t, false, nil
	case err != nil:
		return t, false, err
	case !t.isOf(o):
		return t, true, ErrConflict
	}
	return t, true, l.ensureHeld(ctx, t.Seen)
}

// finishTransfer makes the steps that a PENDING transfer lacks, and returns its final record.
func (l *Ledger) finishTransfer(ctx context.Context, t Transfer) (Transfer, error) {
	c, err := l.credit(ctx, &t)
	if err != nil {
		return t, err
	}
	if c.Amount == 0 {
		l.options.Failpoint("payee refused")
	} else {
		l.options.Failpoint("credited")
	}
	return l.completeTransfer(ctx, t, c)
}

// credit makes the second step: the payee receives the money, or the row says why not.
func (l *Ledger) credit(ctx context.Context, t *Transfer) (c credit, err error) {
	p := &t.Postings[0]
	key := creditKey(p.To, t.Ref)
	err = l.update(ctx, []store.Key{key, accountKey(p.To)}, 1, func(tx *step) error {
		if e, ok := tx.Get(key); ok {
			c = credit{}
			if err := json.Unmarshal(e.Value, &c); err != nil {
				return fmt.Errorf("the entry %s is damaged: %w", key, err)
			}
			return nil
		}
		payee, refused, err := tx.receiveFor(t)
		if err != nil {
			return err
		}
		c = credit{Amount: t.Amount(), Currency: t.Currency}
		if refused != nil {
			c = credit{Reason: refused}
		}
		l.options.Failpoint("credit")
		if refused == nil {
			tx.noteLine(&payee, Line{Transfer: &t.Ref, Amount: c.Amount, Peer: p.From, Memo: t.Memo, By: t.By})
			tx.putAccount(&payee)
		}
		tx.putValue(key, c)
		return nil
	})
	return c, err
}

// receiveFor reads the payee of a debited transfer and adds the amount, or returns why the payee gets no money. The payee existed
// at the debit; a promotion can have undone an account that no majority held.
func (tx *step) receiveFor(t *Transfer) (payee Account, refused *Reason, err error) {
	id := t.Postings[0].To
	payee, err = tx.readAccount(id)
	_, unknown := errors.AsType[*UnknownError](err)
	switch {
	case unknown:
		return payee, &Reason{Code: AccountUnknown, Account: id}, nil
	case err != nil:
		return payee, nil, err
	case payee.Currency != t.Currency:
		return payee, &Reason{Code: CurrencyDiffers, Account: id}, nil
	case payee.State != Open:
		return payee, stateReason(&payee), nil
	case !receive(&payee, t.Amount()):
		return payee, &Reason{Code: BalanceOverflow, Account: id}, nil
	}
	return payee, nil, nil
}

// completeTransfer makes the last step: the record becomes POSTED, or the payer is refunded and the record becomes FAILED.
func (l *Ledger) completeTransfer(ctx context.Context, t Transfer, c credit) (Transfer, error) {
	ref, queue, point := t.Ref, queueKey(pending, t.QueuedAt, t.Ref), "posted"
	payer := accountKey(t.Postings[0].From)
	err := l.update(ctx, []store.Key{ref.key(), payer, queue}, 1, func(tx *step) error {
		e, ok := tx.Get(ref.key())
		if !ok {
			return ErrNotFound
		}
		now, err := decodeTransfer(&e)
		if t = now; err != nil || now.Status != Pending {
			return err
		}
		a, err := tx.readAccount(t.Postings[0].From)
		if err != nil {
			return err
		}
		a.Pending -= t.Amount()
		t.Status, t.QueuedAt = Posted, 0
		if c.Amount == 0 {
			t.Status, t.Reason, point = Failed, c.Reason, "refund"
			a.Balance += t.Amount() // within 64 bits: see receive
		}
		l.options.Failpoint(point)
		if t.Status == Failed {
			tx.noteLine(&a, Line{Transfer: &t.Ref, Amount: t.Amount(), Peer: t.Postings[0].To, Memo: t.Memo, By: t.By, Event: "refunded"})
		}
		tx.Delete(queue)
		tx.putAccount(&a)
		tx.putTransfer(&t)
		return nil
	})
	if err == nil {
		l.options.Failpoint("after " + point)
	}
	return t, err
}
