package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/runnelkv/runnel/store"
)

// hold reserves money of the payer: the record becomes HELD, or FAILED.
func (l *Ledger) hold(ctx context.Context, o *Order) (t Transfer, repeated bool, err error) {
	p := &o.Postings[0]
	if err := l.checkPayee(ctx, o); err != nil {
		if done, found, recorded := l.recorded(ctx, o); found || recorded != nil {
			return done, found, recorded
		}
		return t, false, err
	}
	queued := store.Instant(time.Now().UnixMicro()).Add(o.Hold)
	queue := queueKey(due, queued, o.Ref)
	err = l.update(ctx, []store.Key{o.key(), accountKey(p.From), queue}, 1, func(tx *step) (err error) {
		if t, repeated, err = tx.existing(o); err != nil || repeated {
			return err
		}
		payer, err := tx.payer(o)
		if err != nil {
			return err
		}
		t = o.newTransfer(payer.Currency, tx.Now())
		t.Status, t.QueuedAt, t.ExpiresAt = Held, queued, tx.Now().Add(o.Hold)
		switch available := payer.Available(); {
		case payer.State != Open:
			t.Reason = stateReason(&payer)
		case available < p.Amount:
			t.Reason = &Reason{Code: InsufficientFunds, Account: payer.ID, Available: available, Needed: p.Amount}
		}
		if t.Reason != nil {
			t.Status, t.QueuedAt, t.ExpiresAt = Failed, 0, 0
			tx.putTransfer(&t)
			return nil
		}
		payer.Held += p.Amount
		tx.noteLine(&payer, Line{Transfer: &t.Ref, Held: p.Amount, Peer: p.To, Memo: t.Memo, By: t.By, Event: "held"})
		tx.putValue(queue, struct{}{})
		tx.putAccount(&payer)
		tx.putTransfer(&t)
		return nil
	})
	return t, repeated, err
}

// resolution is an attempt to end a hold.
type resolution struct {
	l        *Ledger
	ref      Ref
	posting  Posting // of the record, which never changes
	amount   int64   // to post; 0: void
	expiring bool    // void only if the hold has expired
	by       string

	dueKey, pendingKey store.Key
	queued             store.Instant
	twoSided           bool // the payee is not of this Update
	result             Transfer
}

// Post moves the money of a hold, or a part of it: amount 0 is all. The rest is free again. A *StateError: the hold was
// posted, voided or has expired before. Further results are those of Transfer.
func (l *Ledger) Post(ctx context.Context, r Ref, amount int64, async bool, by string) (Transfer, error) {
	t, err := l.heldRecord(ctx, r)
	if err != nil {
		return t, err
	}
	p := t.Postings[0]
	if amount == 0 {
		amount = p.Amount
	}
	if amount < 1 || amount > p.Amount {
		return t, &InputError{"amount", fmt.Sprintf("is not from 1 to %d, the amount of the hold", p.Amount)}
	}
	u := &resolution{l: l, ref: r, posting: p, amount: amount, by: by, dueKey: queueKey(due, t.QueuedAt, r)}
	if p.To == World {
		err = l.update(ctx, []store.Key{r.key(), accountKey(p.From), u.dueKey, worldKey(p.From)}, 1, u.endHold)
	} else if err = l.update(ctx, []store.Key{r.key(), accountKey(p.From), u.dueKey, accountKey(p.To)}, 2, u.endHold); errors.Is(err, store.ErrDifferentMasters) {
		u.twoSided, u.queued = true, store.Instant(time.Now().UnixMicro())
		u.pendingKey = queueKey(pending, u.queued, r)
		err = l.update(ctx, []store.Key{r.key(), accountKey(p.From), u.dueKey, u.pendingKey}, 1, u.endHold)
	}
	if err != nil {
		return t, err
	}
	if u.result.Status == Voided {
		return u.result, resolvedError(&u.result)
	}
	done, _, err := l.finishAnswered(ctx, u.result, false, async)
	return done, err
}

// Void ends a hold without moving money.
func (l *Ledger) Void(ctx context.Context, r Ref, by string) (Transfer, error) {
	t, err := l.heldRecord(ctx, r)
	if err != nil {
		return t, err
	}
	return l.void(ctx, &resolution{l: l, ref: r, posting: t.Postings[0], by: by, dueKey: queueKey(due, t.QueuedAt, r)})
}

// expireHold voids a hold that has expired by the clock of its master, and leaves a hold that has not expired.
func (l *Ledger) expireHold(ctx context.Context, t *Transfer) error {
	_, err := l.void(ctx, &resolution{l: l, ref: t.Ref, posting: t.Postings[0], expiring: true, dueKey: queueKey(due, t.QueuedAt, t.Ref)})
	if _, resolved := errors.AsType[*StateError](err); resolved {
		return nil
	}
	return err
}

func (l *Ledger) void(ctx context.Context, u *resolution) (Transfer, error) {
	err := l.update(ctx, []store.Key{u.ref.key(), accountKey(u.posting.From), u.dueKey}, 1, u.endHold)
	if err == nil && u.result.Status == Voided {
		l.options.Failpoint("after void")
	}
	return u.result, err
}

// heldRecord reads the record of a hold.
func (l *Ledger) heldRecord(ctx context.Context, r Ref) (Transfer, error) {
	t, err := l.lookupMaster(ctx, r)
	if err == nil && t.Status != Held {
		err = resolvedError(&t)
	}
	return t, err
}

func resolvedError(t *Transfer) error {
	detail := fmt.Sprintf("The transfer is %s; only a hold that is HELD can be posted or voided.", t.Status)
	if t.Hold == 0 {
		detail = "The transfer is no hold."
	}
	return &StateError{State: string(t.Status), Detail: detail}
}

// endHold is the function of the Update.
func (u *resolution) endHold(tx *step) error {
	e, ok := tx.Get(u.ref.key())
	if !ok {
		return ErrNotFound
	}
	t, err := decodeTransfer(&e)
	if err != nil {
		return err
	}
	if u.result = t; t.Status != Held {
		return resolvedError(&t)
	}
	payer, err := tx.readAccount(u.posting.From)
	if err != nil {
		return err
	}
	expired := tx.Now() >= t.ExpiresAt
	if u.expiring && !expired {
		return nil
	}
	payer.Held -= u.posting.Amount
	t.QueuedAt = 0
	line := Line{Transfer: &t.Ref, Held: -u.posting.Amount, Peer: u.posting.To, Memo: t.Memo, By: u.by}
	switch {
	case expired:
		t.Status, t.Reason, line.Event = Voided, &Reason{Code: HoldExpired}, "expired"
	case u.amount == 0:
		t.Status, t.Reason, line.Event = Voided, &Reason{Code: HoldVoided}, "voided"
	default:
		if err := u.settle(tx, &t, &payer, &line); err != nil {
			return err
		}
	}
	u.l.options.Failpoint("void")
	tx.noteLine(&payer, line)
	tx.Delete(u.dueKey)
	tx.putAccount(&payer)
	tx.putTransfer(&t)
	u.result = t
	return nil
}

// settle moves the money of a hold: to the payee, to World, or into a PENDING transfer.
func (u *resolution) settle(tx *step, t *Transfer, payer *Account, line *Line) error {
	t.Status, t.Settled = Posted, u.amount
	line.Event = "posted"
	if u.twoSided {
		t.Status, t.TwoSided, t.QueuedAt = Pending, true, u.queued
		payer.Balance -= u.amount
		payer.Pending += u.amount
		line.Amount = -u.amount
		tx.putValue(u.pendingKey, struct{}{})
		return nil
	}
	if u.posting.To == World {
		return u.settleWorld(tx, t, payer, line)
	}
	payee, refused, err := tx.receiveFor(t)
	if err != nil {
		return err
	}
	if refused != nil {
		t.Status, t.Settled, t.Reason, line.Event = Failed, 0, refused, "failed"
		return nil
	}
	payer.Balance -= u.amount
	line.Amount = -u.amount
	tx.noteLine(&payee, Line{Transfer: &t.Ref, Amount: u.amount, Peer: payer.ID, Memo: t.Memo, By: u.by})
	tx.putAccount(&payee)
	return nil
}

// settleWorld pays the money of a hold to World.
func (u *resolution) settleWorld(tx *step, t *Transfer, payer *Account, line *Line) error {
	key := worldKey(payer.ID)
	balances, err := tx.world(key)
	if err != nil {
		return err
	}
	sum, fits := add(balances[t.Currency], u.amount)
	if !fits {
		return &OverflowError{Account: World}
	}
	balances[t.Currency] = sum
	payer.Balance -= u.amount
	line.Amount = -u.amount
	tx.putValue(key, balances)
	return nil
}
