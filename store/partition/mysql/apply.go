package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
)

const (
	// movePosition changes a position from From, under a lease that is still held.
	movePosition = `UPDATE {p}positions SET revision = %d, goal = GREATEST(goal, %d), synced_at = GREATEST(synced_at, %d) WHERE origin = %s AND revision = %d`
	// notAfter keeps a target whose cluster map is later than the source's from changing.
	notAfter = ` AND (SELECT epoch FROM {p}cluster WHERE id = 1 LOCK IN SHARE MODE) <= %d`
	// byBallot keeps a target whose cluster map is not that by which the copy was planned from changing.
	byBallot = ` AND (SELECT accepted FROM {p}ballots WHERE id = 1 LOCK IN SHARE MODE) = %d`
	// underLease keeps the lease from changing hands before the commit.
	underLease = ` AND (SELECT fence FROM {p}lease WHERE id = 1 LOCK IN SHARE MODE) = %d`
)

// ApplyFast implements sqlengine.FastApplier in a single round trip, or in a few for many entries. The first
// statement guards the rows: unless it changed the position, no row can be written. If the position
// is unchanged, the caller uses an ordinary transaction, which finds the reason.
func (d *database) ApplyFast(ctx context.Context, c partition.Copy) (done bool, err error) {
	if c.From == 0 || c.Collected != 0 || len(c.Goals) > 0 {
		return false, nil // the row of the position may be missing, or more than that row changes
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

// UpsertNewer implements sqlengine.Dialect.
func (d *database) UpsertNewer(ctx context.Context, c *sqlengine.Conn, entries []partition.Entry) error {
	l := c.RawConn.(*rawConn)
	l.text = l.text[:0]
	t := &transfer{d: d, l: l, sent: true, moved: true}
	if err := t.addWrites(ctx, entries); err != nil {
		return err
	}
	return t.flush(ctx)
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
	if c.Epoch != 0 {
		t.l.text = fmt.Appendf(t.l.text, t.d.epochText, c.Epoch)
	}
	if c.Ballot != 0 {
		t.l.text = fmt.Appendf(t.l.text, t.d.ballotText, c.Ballot)
	}
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
	from := valueSource{from: ifPreviousApplied}
	if t.sent {
		from = valueSource{}
	}
	return t.d.eachChunk(entries, func(chunk []partition.Entry) error {
		if from.from != ifPreviousApplied {
			if err := t.flush(ctx); err != nil {
				return err
			}
		}
		t.l.text = append(appendUpsert(t.l.text, chunk, &t.d.newer, from), ';')
		from = valueSource{}
		return nil
	}, func(e partition.Entry) error {
		if err := t.flush(ctx); err != nil {
			return err
		}
		from = valueSource{}
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

// bulkRows is the number of rows of the prepared statement for large copies. Binary arguments cost
// the server a quarter less than text, because parsing is most of the cost of a row: 6.5 instead of
// 8.7 µs for a new row of 100 bytes.
const (
	bulkRows    = 250
	bulkColumns = 9 // the columns of plainColumns
)

// bulk returns the prepared statement for bulkRows plain rows.
func (c *clause) bulk() string {
	rows := strings.Repeat(sqlengine.Placeholders(bulkColumns)+",", bulkRows)
	return c.head + rows[:len(rows)-1] + c.tail
}

// startsBulk reports whether the first bulkRows entries fit the prepared statement: they are plain,
// they fit into a chunk, and none is so large that the driver would send the value alone.
func (d *database) startsBulk(entries []partition.Entry) bool {
	if len(entries) < bulkRows {
		return false
	}
	size, limit, alone := 0, d.chunkBytes(), int(d.packet.Load())/(bulkRows*bulkColumns+1)
	for i := range bulkRows {
		e := &entries[i]
		if len(e.Value) >= alone || !plain(e) {
			return false
		}
		size += rowBytes(e)
	}
	return size < limit
}

// writeBulk writes entries from the start while they fit the prepared statement, and returns the
// remaining entries.
func (t *transfer) writeBulk(ctx context.Context, entries []partition.Entry) ([]partition.Entry, error) {
	for t.d.startsBulk(entries) {
		if err := t.flush(ctx); err != nil { // no row is written unless the position was changed
			return nil, err
		}
		done := false
		err := t.l.withKill(ctx, func() (err error) {
			done, err = t.l.writeBulk(t.d.bulkText, entries[:bulkRows])
			return err
		})
		if err != nil {
			return nil, err
		}
		if !done {
			break
		}
		entries = entries[bulkRows:]
	}
	return entries, nil
}

// writeBulk reports done as false if the server has no room for prepared statements.
func (l *rawConn) writeBulk(statement string, entries []partition.Entry) (done bool, err error) {
	if l.bulk == nil {
		made, err := l.conn.PrepareContext(context.Background(), statement)
		if err = l.markBroken(err); err != nil && l.broken {
			return false, err
		} else if err != nil {
			return false, nil
		}
		l.bulk = made.(driver.StmtExecContext)
	}
	l.args = l.args[:0]
	for i := range entries {
		e := &entries[i]
		l.args = appendArgs(l.args, string(e.Key), string(e.Origin), int64(e.Revision), e.Deleted, e.ContentType,
			int64(e.ModifiedAt), int64(e.Checksum), int64(len(e.Value)), notNil(e.Value))
	}
	_, err = l.bulk.ExecContext(context.Background(), l.args)
	clear(l.args)
	return err == nil, l.markBroken(err)
}
