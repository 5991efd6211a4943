package mysql

import (
	"context"
	"errors"
	"fmt"

	"github.com/runnelkv/runnel/store/partition"
)

const (
	// movePosition changes a position from From, under a lease that is still held.
	movePosition = `UPDATE {p}positions SET revision = %d, goal = %d, synced_at = GREATEST(synced_at, %d) WHERE origin = %s AND revision = %d`
	// underLease keeps the lease from changing hands before the commit.
	underLease = ` AND (SELECT fence FROM {p}lease WHERE id = 1 LOCK IN SHARE MODE) = %d`
)

// ApplyFast implements sqlengine.FastApplier in a single round trip, or in a few for many entries. The first
// statement guards the rows: unless it changed the position, no row can be written. If the position
// is unchanged, the caller uses an ordinary transaction, which finds the reason.
func (d *database) ApplyFast(ctx context.Context, c partition.Copy) (done bool, err error) {
	if c.From == 0 || c.Collected != 0 {
		return false, nil // the row of the position may be missing, or Collected changes too
	}
	l, err := d.writers.Acquire(ctx)
	if err != nil {
		return true, err
	}
	defer d.writers.release(l)
	t := &transfer{d: d, l: l}
	t.addMove(c)
	if err = t.addWrites(ctx, c.Entries); err == nil {
		l.text, t.final = append(l.text, "COMMIT"...), true
		err = t.flush(ctx)
	}
	switch {
	case err == nil:
		l.inTx = false
		return true, nil
	case errors.Is(err, errNotMoved):
		return false, nil
	case t.final && !d.Answered(err):
		return true, fmt.Errorf("%w: %w", partition.ErrOutcomeUnknown, err)
	}
	return !d.Answered(err), err
}

// errNotMoved: the position differs from From, or the lease has another holder.
var errNotMoved = errors.New("not moved")

// transfer is an attempt to apply a copy.
type transfer struct {
	d     *database
	l     *rawConn
	sent  bool // the statement that changes the position
	moved bool // the position was changed
	final bool // COMMIT was sent
}

func (t *transfer) addMove(c partition.Copy) {
	t.l.text = fmt.Appendf(t.l.text[:0], t.d.moveText, c.To, c.Goal, c.SyncedAt, appendBytes(nil, c.Origin), c.From)
	if c.Fence != 0 {
		t.l.text = fmt.Appendf(t.l.text, t.d.fenceText, c.Fence)
	}
	t.l.text = append(t.l.text, ';')
}

func (t *transfer) addWrites(ctx context.Context, entries []partition.Entry) error {
	entries, err := t.writeBulk(ctx, entries)
	if err != nil {
		return err
	}
	from := ifPreviousApplied
	if t.sent {
		from = fromEntry
	}
	return t.d.eachChunk(entries, func(chunk []partition.Entry) error {
		if from != ifPreviousApplied {
			if err := t.flush(ctx); err != nil {
				return err
			}
		}
		t.l.text = append(appendUpsert(t.l.text, chunk, &t.d.newer, from), ';')
		from = fromEntry
		return nil
	}, func(e partition.Entry) error {
		if err := t.flush(ctx); err != nil {
			return err
		}
		from = fromEntry
		return t.l.execEntry(ctx, t.d.newer.one, &e)
	})
}

// flush sends the gathered statements. It fails with errNotMoved if the position was not changed,
// so that no further statement is sent.
func (t *transfer) flush(ctx context.Context) error {
	if len(t.l.text) == 0 {
		return nil
	}
	t.l.inTx = true
	err := t.l.withKill(ctx, func() error {
		done, err := t.l.execText(string(t.l.text))
		if err == nil && !t.sent {
			t.sent, t.moved = true, done.AllRowsAffected()[0] == 1
		}
		return err
	})
	t.l.text = t.l.text[:0]
	if err == nil && !t.moved {
		return errNotMoved
	}
	return err
}
