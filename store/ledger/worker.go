package ledger

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/runnelkv/runnel/store"
)

// workers is the number of transfers that Run works on at a time.
const workers = 32

// Run completes unfinished transfers and reversals and voids expired holds until ctx ends: at once those that this
// process has taken, and after Options.Grace those of any process. Any number of processes may run it.
func (l *Ledger) Run(ctx context.Context) error {
	var group sync.WaitGroup
	defer group.Wait()
	for range workers {
		group.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case r := <-l.soon:
					l.logFailure(ctx, r, l.resumeTransfer(ctx, r))
				}
			}
		})
	}
	timer := time.NewTimer(l.options.Every)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		if l.store.Halted() == "" {
			l.sweepQueues(ctx)
		}
		timer.Reset(l.options.Every)
	}
}

// finishSoon leaves a transfer to Run of this process. If too many wait, any process finds the transfer in the queue.
func (l *Ledger) finishSoon(r Ref) {
	select {
	case l.soon <- r:
	default:
	}
}

// sweepQueues works on everything that waits in the queues. An error of the list is an outage, after which the next sweep follows.
func (l *Ledger) sweepQueues(ctx context.Context) {
	now := store.Instant(time.Now().UnixMicro())
	l.sweepQueue(ctx, pending, now.Add(-l.options.Grace))
	l.sweepQueue(ctx, due, now)
}

// sweepQueue works on the items of a queue up to a time. Items that fail stay in the queue.
func (l *Ledger) sweepQueue(ctx context.Context, queue store.Space, upTo store.Instant) {
	list := store.ListOptions{Space: queue, Limit: store.MaxLimit}
	for {
		page, err := l.store.List(ctx, list)
		if errors.Is(err, store.ErrNoPartition) { // no partition holds all of the queue
			list.Consistency = store.FromMaster
			page, err = l.store.List(ctx, list)
		}
		if err != nil {
			return
		}
		items := make(chan Ref)
		var group sync.WaitGroup
		for range workers {
			group.Go(func() {
				for r := range items {
					l.logFailure(ctx, r, l.resumeTransfer(ctx, r))
				}
			})
		}
		late := false
		for i := range page.Entries {
			at, r, ok := queueItem(store.Name(page.Entries[i].Key))
			if late = at > upTo; late || ctx.Err() != nil {
				break
			}
			if ok {
				items <- r
			}
		}
		close(items)
		group.Wait()
		if list.After = page.Next; page.Next == "" || late || ctx.Err() != nil {
			return
		}
	}
}

// resumeTransfer makes the step that a transfer waits for.
func (l *Ledger) resumeTransfer(ctx context.Context, r Ref) error {
	t, err := l.lookupMaster(ctx, r)
	switch {
	case errors.Is(err, ErrNotFound): // the queue of a replica is ahead, or behind
		return nil
	case err != nil:
		return err
	}
	if err := l.ensureHeld(ctx, t.Seen); err != nil { // the process that took the transfer may have ended before
		return err
	}
	l.options.Failpoint("claimed")
	switch {
	case t.Status == Pending:
		_, err = l.finishTransfer(ctx, t)
	case t.Status == Held:
		err = l.expireHold(ctx, &t)
	case t.Reversing != nil:
		_, err = l.carryOutReversal(ctx, &t, t.By)
		if _, failed := errors.AsType[*FailedError](err); failed {
			err = nil
		}
	}
	return err
}

// logFailure logs the failure of a step, unless an outage that the store reports is the cause.
func (l *Ledger) logFailure(ctx context.Context, r Ref, err error) {
	_, halted := errors.AsType[*store.HaltedError](err)
	if err == nil || halted || ctx.Err() != nil {
		return
	}
	level := l.options.Logger.Warn
	if errors.Is(err, store.ErrMasterUnavailable) || errors.Is(err, store.ErrOutcomeUnknown) || errors.Is(err, store.ErrNoPartition) {
		level = l.options.Logger.Debug
	}
	level("a transfer waits for its next step", "account", r.Account, "transfer", r.ID, "error", err)
}
