package ledger

import (
	"context"
	"errors"
	"sync"

	"github.com/runnelkv/runnel/store"
)

// MaxBatch is the largest number of orders of a Batch.
const MaxBatch = 1000

// Outcome is the result of an order of a Batch.
type Outcome struct {
	Transfer Transfer
	Repeated bool
	Err      error // as of Ledger.Transfer
}

// Batch makes independent transfers, with an outcome for each. Transfers within a master take effect in their order and
// share commits. An order that fails does not affect the rest.
func (l *Ledger) Batch(ctx context.Context, orders []Order) []Outcome {
	outcomes := make([]Outcome, len(orders))
	updates := make([]*oneUpdate, len(orders))
	var writes []store.Write
	var of []int // the order of each write
	for i := range orders {
		o := &orders[i]
		if outcomes[i].Err = o.checkOrder(); outcomes[i].Err != nil || o.Hold != 0 || o.Async {
			continue
		}
		u := newOneUpdate(l, o)
		updates[i] = u
		w := store.Write{Keys: u.keys, Options: options(len(u.keys), u.lines), Update: u.makeInBatch}
		writes, of = append(writes, w), append(of, i)
	}
	l.options.Failpoint("in a batch")
	l.store.UpdateEach(ctx, writes)
	var marks []store.Mark
	for n, i := range of {
		if writes[n].Err == nil {
			marks = addMark(marks, updates[i].marks...)
		}
	}
	held := l.ensureHeld(ctx, marks...)
	for n, i := range of {
		if outcomes[i].Err = writes[n].Err; outcomes[i].Err == nil {
			outcomes[i].Err = held
		}
	}
	var group sync.WaitGroup
	slots := make(chan struct{}, workers)
	for i := range orders {
		u, out := updates[i], &outcomes[i]
		switch {
		case u != nil && out.Err == nil:
			out.Transfer, out.Repeated, out.Err = l.finishAnswered(ctx, u.result, u.repeated, false)
		case u == nil && out.Err == nil, errors.Is(out.Err, store.ErrDifferentMasters):
			slots <- struct{}{}
			group.Go(func() {
				out.Transfer, out.Repeated, out.Err = l.Transfer(ctx, orders[i])
				<-slots
			})
		}
	}
	group.Wait()
	return outcomes
}

// makeInBatch is makeTransfer as a part of UpdateEach.
func (u *oneUpdate) makeInBatch(tx *store.Tx) error {
	s := &step{Tx: tx}
	err := u.makeTransfer(s)
	u.marks = s.marks()
	return err
}
