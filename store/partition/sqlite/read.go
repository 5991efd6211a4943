package sqlite

import (
	"context"
	"errors"
	"math/bits"
	"unsafe"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
)

// rows are the rows of a query.
type rows struct {
	st    *stmt
	stop  func()
	ahead bool // the first step found a row, which Next has not returned yet
	ended bool
	err   error
}

// Query implements sqlengine.RawConn.
func (c *rawConn) Query(ctx context.Context, s sqlengine.Statement, args ...any) (sqlengine.Rows, error) {
	st, err := c.compiled(ctx, s)
	if err != nil {
		return nil, err
	}
	r := &rows{st: st, stop: c.interruptAt(ctx)}
	st.inUse = true
	if err = st.bind(args); err == nil {
		r.ahead, err = st.firstStep(ctx)
		r.ended = !r.ahead
	}
	if err == nil {
		return r, nil
	}
	_ = r.Close()
	return nil, errors.Join(ctx.Err(), err)
}

// Next goes on to the next row.
func (r *rows) Next() bool {
	if r.st == nil || r.ended {
		return false // a step after the last row would start again
	}
	if r.ahead {
		r.ahead = false
		return true
	}
	row, err := r.st.step()
	r.ended, r.err = !row, err
	return row
}

// Int implements sqlengine.Rows.
func (r *rows) Int(column int) int64 { return r.st.int(column) }

// Bytes implements sqlengine.Rows.
func (r *rows) Bytes(column int) []byte { return r.st.blob(column) }

// Entry implements sqlengine.Rows.
func (r *rows) Entry(shared *sqlengine.SharedStrings, values bool) partition.Entry {
	return r.st.entry(shared, values)
}

// Err is the error that ended the rows.
func (r *rows) Err() error { return r.err }

// Close ends the query. Close may be repeated.
func (r *rows) Close() error {
	if r.st == nil {
		return nil
	}
	r.stop()
	r.st.inUse = false
	r.st.endUse()
	r.st = nil
	return r.err
}

// selectEntries runs a SELECT for at most maxKeysAtOnce keys and appends the entries.
func (c *rawConn) selectEntries(ctx context.Context, what keySelect, keys []partition.Key, entries []partition.Entry) ([]partition.Entry, error) {
	log := bits.Len(uint(len(keys) - 1))
	st, err := c.compiled(ctx, sqlengine.Kept(what.texts[log]))
	if err != nil {
		return nil, err
	}
	if err := st.bindKeyed(what, keys, 1<<log); err != nil {
		return nil, err
	}
	defer st.reset()
	var shared sqlengine.SharedStrings
	found, err := st.firstStep(ctx)
	for found && err == nil {
		entries = append(entries, st.entry(&shared, what.values))
		found, err = st.step()
	}
	if err != nil {
		return nil, err
	}
	return entries, nil
}

// bindKeyed binds size keys; the last key is repeated, which does not change the result of IN.
func (st *stmt) bindKeyed(what keySelect, keys []partition.Key, size int) error {
	first := 1
	if what.most != sqlengine.AnySize {
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

// entry copies a row of HeadColumns or EntryColumns. In the latter the value may be NULL.
func (st *stmt) entry(shared *sqlengine.SharedStrings, values bool) partition.Entry {
	e := partition.Entry{
		Origin:      shared.Origin(st.blob(1)),
		Revision:    partition.Revision(st.int(2)),
		Deleted:     st.int(3) != 0,
		ContentType: shared.ContentType(st.blob(4)),
		ModifiedAt:  partition.Instant(st.int(6)),
		ExpiresAt:   partition.Instant(st.int(7)),
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
		e.Key = partition.Key(st.blob(0))
		return e
	}
	e.Key, e.Value = keyAndValue(st.blob(0), value)
	return e
}

// maxShared is the size up to which a value shares an allocation with its key.
const maxShared = 1 << 10

// keyAndValue copies both, in a single allocation if the value is small. The value is never nil,
// and its capacity ends with it.
func keyAndValue(key, value []byte) (partition.Key, []byte) {
	if len(key) == 0 || len(value) > maxShared {
		return partition.Key(key), append(make([]byte, 0, len(value)), value...)
	}
	both := make([]byte, len(key)+len(value))
	n := copy(both, key)
	copy(both[n:], value)
	return partition.Key(unsafe.String(&both[0], n)), both[n:len(both):len(both)]
}
