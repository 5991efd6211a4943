package partition

import (
	"context"
	"errors"
	"math/bits"
	"unsafe"
)

// liteRows are the rows of a query, like those of database/sql.
type liteRows struct {
	st    *liteStmt
	stop  func()
	kept  bool
	ahead bool // the first step has found a row that Next has not given yet
	ended bool
	err   error
}

// query runs a statement, of which the rows must be closed.
func (c *liteConn) query(ctx context.Context, statement string, keep bool, args []any) (rows, error) {
	st, kept, err := c.toQuery(ctx, statement, keep)
	if err != nil {
		return nil, err
	}
	r := &liteRows{st: st, kept: kept, stop: c.watch(ctx)}
	st.inUse = true
	if err = st.bind(args); err == nil {
		r.ahead, err = st.first(ctx)
		r.ended = !r.ahead
	}
	if err == nil {
		return r, nil
	}
	_ = r.Close()
	if e := ctx.Err(); e != nil {
		err = errors.Join(e, err)
	}
	return nil, err
}

// toQuery is the kept statement, or one for this time when that is in use.
func (c *liteConn) toQuery(ctx context.Context, statement string, keep bool) (st *liteStmt, kept bool, err error) {
	if keep {
		if st, err = c.statement(ctx, statement); err != nil || !st.inUse {
			return st, true, err
		}
	}
	st, err = c.patiently(ctx, func() (*liteStmt, error) { return c.prepare(statement, 0) })
	return st, false, err
}

// Next goes on to the next row.
func (r *liteRows) Next() bool {
	if r.st == nil || r.ended {
		return false // a step after the last row would begin again
	}
	if r.ahead {
		r.ahead = false
		return true
	}
	row, err := r.st.step()
	r.ended, r.err = !row, err
	return row
}

// Scan stores the columns of the row.
func (r *liteRows) Scan(into ...any) error { return r.st.scan(into) }

func (r *liteRows) entry(into *row, values bool) Entry { return into.lite(r.st, values) }

// Err is the error that ended the rows.
func (r *liteRows) Err() error { return r.err }

// Close ends the query. It may be repeated.
func (r *liteRows) Close() error {
	if r.st == nil {
		return nil
	}
	r.stop()
	if r.st.inUse = false; r.kept {
		r.st.reset()
	} else {
		r.st.finalize()
	}
	r.st = nil
	return r.err
}

// entries runs a statement that selects keys, at most maxKeysAtOnce, and appends what it finds.
func (c *liteConn) entries(ctx context.Context, what keyed, keys []Key, entries []Entry) ([]Entry, error) {
	log := bits.Len(uint(len(keys) - 1))
	st, err := c.statement(ctx, what.texts[log])
	if err != nil {
		return nil, err
	}
	if err := st.bindKeyed(what, keys, 1<<log); err != nil {
		return nil, err
	}
	defer st.reset()
	var r row
	found, err := st.first(ctx)
	for found && err == nil {
		entries = append(entries, r.lite(st, what.values))
		found, err = st.step()
	}
	if err != nil {
		return nil, err
	}
	return entries, nil
}

// bindKeyed repeats the last key up to size: IN does not mind.
func (st *liteStmt) bindKeyed(what keyed, keys []Key, size int) error {
	first := 1
	if what.most != anySize {
		if err := st.bindInt(1, what.most); err != nil {
			return err
		}
		first = 2
	}
	last := keys[len(keys)-1]
	room := 1 + (size-len(keys))*len(last)
	for _, k := range keys {
		room += len(k)
	}
	if err := st.reserve(room); err != nil {
		return err
	}
	for i := range size {
		k := last
		if i < len(keys) {
			k = keys[i]
		}
		if err := bindBlob(st, first+i, string(k)); err != nil {
			return err
		}
	}
	return nil
}

// lite is the entry in the row of a statement that selects entryColumns, of which
// the value may be NULL, or, without values, headColumns.
func (r *row) lite(st *liteStmt, values bool) Entry {
	if o := st.blob(1); string(r.last) != string(o) {
		r.last = Origin(o)
	}
	if t := st.blob(4); r.lastType != string(t) {
		r.lastType = string(t)
	}
	e := Entry{
		Origin:      r.last,
		Revision:    Revision(st.int(2)),
		Deleted:     st.int(3) != 0,
		ContentType: r.lastType,
		ModifiedAt:  Instant(st.int(6)),
		ExpiresAt:   Instant(st.int(7)),
		Checksum:    uint64(st.int(8)),
		Size:        st.int(9),
	}
	if m := st.blob(5); len(m) > 0 {
		e.Metadata = append([]byte(nil), m...)
	}
	var value []byte
	if values {
		value = st.blob(10)
	}
	if !values || value == nil && e.Size > 0 && st.null(10) {
		e.Key = Key(st.blob(0))
		return e
	}
	e.Key, e.Value = keyAndValue(st.blob(0), value)
	return e
}

// maxShared is the size up to which a value shares its memory with its key.
const maxShared = 1 << 10

// keyAndValue copies both, into one piece of memory when it is small. The
// value is never nil, and an append to it never reaches what follows.
func keyAndValue(key, value []byte) (Key, []byte) {
	if len(key) == 0 || len(value) > maxShared {
		return Key(key), append(make([]byte, 0, len(value)), value...)
	}
	both := make([]byte, len(key)+len(value))
	n := copy(both, key)
	copy(both[n:], value)
	return Key(unsafe.String(&both[0], n)), both[n:len(both):len(both)]
}
