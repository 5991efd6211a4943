package mysql

import (
	"context"
	"errors"
	"fmt"

	"github.com/runnelkv/runnel/store/partition"
)

const (
	// updateStep moves a position that is where the step begins, under a lease that is still held.
	updateStep = `UPDATE {p}positions SET revision = %d, goal = %d, synced_at = GREATEST(synced_at, %d) WHERE origin = %s AND revision = %d`
	// underFence keeps the lease from being taken over before the commit.
	underFence = ` AND (SELECT fence FROM {p}lease WHERE id = 1 LOCK IN SHARE MODE) = %d`
)

// ApplyFast implements FastApplier. It makes a step in one round trip, or in few when
// there is much to write. All statements are guarded by the first: the rows
// cannot be written unless it moved the position. Any other outcome is left
// to the plain way, which finds out what it was.
func (d *database) ApplyFast(ctx context.Context, c partition.Copy) (done bool, err error) {
	if c.From == 0 || c.Collected != 0 {
		return false, nil // there may be no row yet, or there is more to note in it
	}
	l, err := d.writers.Acquire(ctx)
	if err != nil {
		return true, err
	}
	defer d.writers.release(l)
	t := &transfer{d: d, l: l}
	t.begin(c)
	if err = t.write(ctx, c.Entries); err == nil {
		l.text, t.final = append(l.text, "COMMIT"...), true
		err = t.send(ctx)
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

// errNotMoved: the position is elsewhere, or the lease is somebody else's.
var errNotMoved = errors.New("not moved")

// transfer is one attempt to make a step.
type transfer struct {
	d     *database
	l     *rawConn
	sent  bool // the statement that moves the position
	moved bool // … and it did
	final bool // COMMIT was sent
}

func (t *transfer) begin(c partition.Copy) {
	t.l.text = fmt.Appendf(t.l.text[:0], t.d.step, c.To, c.Goal, c.SyncedAt, appendBytes(nil, c.Origin), c.From)
	if c.Fence != 0 {
		t.l.text = fmt.Appendf(t.l.text, t.d.fence, c.Fence)
	}
	t.l.text = append(t.l.text, ';')
}

func (t *transfer) write(ctx context.Context, entries []partition.Entry) error {
	entries, err := t.writeBulk(ctx, entries)
	if err != nil {
		return err
	}
	from := guarded
	if t.sent {
		from = given
	}
	return t.d.rows(entries, func(chunk []partition.Entry) error {
		if from != guarded {
			if err := t.send(ctx); err != nil {
				return err
			}
		}
		t.l.text = append(appendUpsert(t.l.text, chunk, &t.d.newer, from), ';')
		from = given
		return nil
	}, func(e partition.Entry) error {
		if err := t.send(ctx); err != nil {
			return err
		}
		from = given
		return t.l.within(ctx, func() error {
			_, err := t.l.execArgs(t.d.newer.one, entryArgs(&e))
			return err
		})
	})
}

// send runs what has gathered. No more is sent unless the position was moved.
func (t *transfer) send(ctx context.Context) error {
	if len(t.l.text) == 0 {
		return nil
	}
	t.l.inTx = true
	err := t.l.within(ctx, func() error {
		done, err := t.l.send(string(t.l.text))
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
