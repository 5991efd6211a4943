package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/runnelkv/runnel/store"
)

// Reverse takes a POSTED transfer back by a transfer in the opposite direction, which it returns. At most one reversal of a
// transfer is ever POSTED; a refused reversal, for which a *FailedError is returned, can be tried again.
//
// A *StateError: the transfer is not POSTED, or was reversed before. Further errors are those of Transfer.
func (l *Ledger) Reverse(ctx context.Context, r Ref, by string) (Transfer, error) {
	t, err := l.lookupMaster(ctx, r)
	if err != nil {
		return t, err
	}
	if t.Reversing == nil {
		t, err = l.beginReversal(ctx, &t)
	} else {
		err = l.ensureHeld(ctx, t.Seen)
	}
	if err != nil {
		return Transfer{}, err
	}
	return l.carryOutReversal(ctx, &t, by)
}

// beginReversal names the attempt in the record.
func (l *Ledger) beginReversal(ctx context.Context, t *Transfer) (now Transfer, err error) {
	queued := store.Instant(time.Now().UnixMicro())
	queue := queueKey(pending, queued, t.Ref)
	err = l.update(ctx, []store.Key{t.key(), queue}, 0, func(tx *step) error {
		e, ok := tx.Get(t.key())
		if !ok {
			return ErrNotFound
		}
		if now, err = decodeTransfer(&e); err != nil {
			return err
		}
		switch {
		case now.ReversedBy != nil:
			return &StateError{State: string(now.Status), Detail: fmt.Sprintf("The transfer was reversed before, by %s/%s.", now.ReversedBy.Account, now.ReversedBy.ID)}
		case now.Status != Posted:
			return &StateError{State: string(now.Status), Detail: fmt.Sprintf("The transfer is %s; only a POSTED transfer can be reversed.", now.Status)}
		case now.Reversing != nil:
			return nil
		}
		now.Attempts++
		back := reversedPostings(&now)
		// With its length the account is unambiguous.
		attempt := Ref{Account: back[0].From, ID: fmt.Sprintf("~%d.%d.%s.%s", now.Attempts, len(now.Account), now.Account, now.ID)}
		if attempt.Account == World {
			attempt.Account = back[0].To
		}
		now.Reversing, now.QueuedAt = &attempt, queued
		tx.putValue(queue, struct{}{})
		tx.putTransfer(&now)
		return nil
	})
	l.options.Failpoint("after begin reversal")
	return now, err
}

// reversedPostings are the postings that take a transfer back.
func reversedPostings(t *Transfer) []Posting {
	back := slices.Clone(t.Postings)
	slices.Reverse(back)
	for i := range back {
		back[i].From, back[i].To = back[i].To, back[i].From
	}
	if t.Settled != 0 {
		back[0].Amount = t.Settled
	}
	return back
}

// carryOutReversal makes the transfer of the attempt that the record names, and notes its outcome in the record.
func (l *Ledger) carryOutReversal(ctx context.Context, t *Transfer, by string) (Transfer, error) {
	done, _, err := l.Transfer(ctx, Order{Ref: *t.Reversing, Postings: reversedPostings(t), By: by, reverses: &t.Ref})
	failed, isFailed := errors.AsType[*FailedError](err)
	switch {
	case err == nil || isFailed:
	case isPermanent(err):
		return done, errors.Join(err, l.endReversal(ctx, t, false))
	default:
		return done, err // nothing is recorded, and Run tries again
	}
	if isFailed {
		done = failed.Transfer
	}
	l.options.Failpoint("after reversal")
	if !done.isFinal() {
		return done, nil
	}
	if ended := l.endReversal(ctx, t, done.Status == Posted); ended != nil {
		return done, ended
	}
	return done, err
}

func (l *Ledger) endReversal(ctx context.Context, t *Transfer, isPosted bool) error {
	queue := queueKey(pending, t.QueuedAt, t.Ref)
	return l.update(ctx, []store.Key{t.key(), queue}, 0, func(tx *step) error {
		e, ok := tx.Get(t.key())
		if !ok {
			return ErrNotFound
		}
		now, err := decodeTransfer(&e)
		if err != nil || now.Reversing == nil || *now.Reversing != *t.Reversing {
			return err
		}
		if isPosted {
			now.ReversedBy = now.Reversing
		}
		now.Reversing, now.QueuedAt = nil, 0
		tx.Delete(queue)
		tx.putTransfer(&now)
		return nil
	})
}

// isPermanent reports whether an error, which has left no record, comes again with every repetition.
func isPermanent(err error) bool {
	_, overflows := errors.AsType[*OverflowError](err)
	return overflows || errors.Is(err, ErrDifferentMasters)
}
