package mysql

import (
	"context"
	"database/sql/driver"
	"slices"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
)

// getShapes are the numbers of keys for which a connection keeps a prepared statement. For few
// keys, parsing and planning are half of the server's cost. Numbers in between use the next larger
// statement and repeat their last key. For many keys text is as cheap.
var getShapes = [...]int{1, 2, 4, 8, 12, 16, 24, 32, 48, 64}

// maxKeysInText limits the keys of a SELECT.
const maxKeysInText = 256

// preparedGets are the prepared statements of a connection, by getShapes; nil before the first use.
type preparedGets [len(getShapes)]driver.StmtQueryContext

// Get implements sqlengine.Dialect.
func (d *database) Get(ctx context.Context, keys []partition.Key, most int64) ([]partition.Entry, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	l, err := d.readers.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer d.readers.release(l)
	entries := make([]partition.Entry, 0, len(keys))
	var shared sqlengine.SharedStrings
	take := func(_ int, row []driver.Value) error {
		entries = append(entries, entryOf(&shared, row, true))
		return nil
	}
	err = l.withKill(ctx, func() error {
		for chunk := range slices.Chunk(keys, maxKeysInText) {
			if err := d.read(l, chunk, most, take); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return entries, nil
}

func (d *database) read(l *rawConn, keys []partition.Key, most int64, each func(int, []driver.Value) error) error {
	st, n, err := d.prepared(l, len(keys), most)
	if err != nil && l.broken {
		return err
	}
	if st == nil { // many keys, or the server has no room for prepared statements
		l.text = appendKeys(d.appendGet(l.text[:0], most), keys)
		return l.runText(string(l.text), each)
	}
	l.args = l.args[:0]
	if most != sqlengine.AnySize {
		l.args = appendArgs(l.args, most)
	}
	for i := range n {
		l.args = appendArgs(l.args, string(keys[min(i, len(keys)-1)]))
	}
	rows, err := st.QueryContext(context.Background(), l.args)
	if err != nil {
		return l.markBroken(err)
	}
	return l.scanAll(rows, each)
}

// appendGet appends the statement without its keys.
func (d *database) appendGet(text []byte, most int64) []byte {
	if most == sqlengine.AnySize {
		return append(text, d.fullRows...)
	}
	return append(appendInt(append(text, d.small...), most), d.smallIn...)
}

// prepared returns the statement for at least keys keys, and its number of keys. The statement is
// nil if there are too many keys.
func (d *database) prepared(l *rawConn, keys int, most int64) (st driver.StmtQueryContext, n int, err error) {
	shape, _ := slices.BinarySearch(getShapes[:], keys)
	if shape == len(getShapes) {
		return nil, 0, nil
	}
	n = getShapes[shape]
	gets, text := &l.gets, d.fullRows
	if most != sqlengine.AnySize {
		gets, text = &l.smallGets, d.small+"?"+d.smallIn
	}
	if gets[shape] == nil {
		made, err := l.conn.PrepareContext(context.Background(), text+sqlengine.Placeholders(n))
		if err != nil {
			return nil, 0, l.markBroken(err)
		}
		gets[shape] = made.(driver.StmtQueryContext)
	}
	return gets[shape], n, nil
}

// entryOf copies a row of HeadColumns or EntryColumns. In the latter the value may be NULL.
func entryOf(shared *sqlengine.SharedStrings, row []driver.Value, values bool) partition.Entry {
	e := partition.Entry{
		Key:         partition.Key(bytesOf(row[0])),
		Origin:      shared.Origin(bytesOf(row[1])),
		Revision:    partition.Revision(intOf(row[2])),
		Deleted:     intOf(row[3]) != 0,
		ContentType: shared.ContentType(bytesOf(row[4])),
		Metadata:    slices.Clone(bytesOf(row[5])),
		ModifiedAt:  partition.Instant(intOf(row[6])),
		ExpiresAt:   partition.Instant(intOf(row[7])),
		Checksum:    uint64(intOf(row[8])),
		Size:        intOf(row[9]),
	}
	if values && row[10] != nil {
		value := bytesOf(row[10])
		e.Value = append(make([]byte, 0, len(value)), value...) // never nil
	}
	return e
}
