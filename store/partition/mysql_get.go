package partition

import (
	"context"
	"database/sql/driver"
	"slices"
)

// getShapes are the numbers of keys for which a link keeps a prepared
// statement: reading the text and planning is half of what a few keys cost
// the server. Others travel in the next larger, their last key repeated; for
// many keys the text is as cheap.
var getShapes = [...]int{1, 2, 4, 8, 12, 16, 24, 32, 48, 64}

// get implements dialect.
func (d *mysqlDB) get(ctx context.Context, keys []Key) ([]Entry, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	l, err := d.readers.take(ctx)
	if err != nil {
		return nil, err
	}
	defer d.readers.give(l)
	entries := make([]Entry, 0, len(keys))
	var copier copier
	take := func(_ int, row []driver.Value) error {
		entries = append(entries, copier.entry(row, true))
		return nil
	}
	err = l.bounded(ctx, func() error {
		for chunk := range slices.Chunk(keys, maxKeysAtOnce) {
			if err := d.read(l, chunk, take); err != nil {
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

func (d *mysqlDB) read(l *link, keys []Key, each func(int, []driver.Value) error) error {
	st, n, err := d.prepared(l, len(keys))
	if err != nil && l.broken {
		return err
	}
	if st == nil { // many keys, or the server keeps no more statements
		l.text = appendKeys(append(l.text[:0], d.wholes...), keys)
		return l.run(string(l.text), each)
	}
	l.args = l.args[:0]
	for i := range n {
		l.args = append(l.args, driver.NamedValue{Ordinal: i + 1, Value: string(keys[min(i, len(keys)-1)])})
	}
	rows, err := st.QueryContext(context.Background(), l.args)
	if err != nil {
		return l.noted(err)
	}
	return l.scan(rows, each)
}

// prepared is the link's statement for at least so many keys, and for how
// many it is. It is nil when there is none.
func (d *mysqlDB) prepared(l *link, keys int) (st driver.StmtQueryContext, n int, err error) {
	shape, _ := slices.BinarySearch(getShapes[:], keys)
	if shape == len(getShapes) {
		return nil, 0, nil
	}
	n = getShapes[shape]
	if l.gets[shape] == nil {
		made, err := l.conn.(driver.ConnPrepareContext).PrepareContext(context.Background(), d.wholes+placeholders(n))
		if err != nil {
			return nil, 0, l.noted(err)
		}
		l.gets[shape] = made.(driver.StmtQueryContext)
	}
	return l.gets[shape], n, nil
}

// copier copies rows of entryColumns or headColumns. Origins and content types
// repeat: their strings are shared.
type copier struct {
	origin      Origin
	contentType string
}

func (c *copier) entry(row []driver.Value, values bool) Entry {
	if origin := bytesOf(row[1]); string(origin) != string(c.origin) {
		c.origin = Origin(origin)
	}
	if contentType := bytesOf(row[4]); string(contentType) != c.contentType {
		c.contentType = string(contentType)
	}
	e := Entry{
		Key:         Key(bytesOf(row[0])),
		Origin:      c.origin,
		Revision:    Revision(intOf(row[2])),
		Deleted:     intOf(row[3]) != 0,
		ContentType: c.contentType,
		Metadata:    slices.Clone(bytesOf(row[5])),
		ModifiedAt:  Instant(intOf(row[6])),
		ExpiresAt:   Instant(intOf(row[7])),
		Checksum:    uint64(intOf(row[8])),
		Size:        intOf(row[9]),
	}
	if values {
		value := bytesOf(row[10])
		e.Value = append(make([]byte, 0, len(value)), value...) // never nil
	}
	return e
}
