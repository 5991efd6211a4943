package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
)

// rows are the rows of a query, which is interrupted when its context ends.
type rows struct {
	l    *rawConn
	rows driver.Rows // nil: closed
	stop func() bool
	row  []driver.Value
	done bool // the result has ended
	err  error
}

// Query implements sqlengine.RawConn.
func (l *rawConn) Query(ctx context.Context, s sqlengine.Statement, args ...any) (sqlengine.Rows, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if l.broken {
		return nil, driver.ErrBadConn
	}
	stop := context.AfterFunc(ctx, l.interrupt)
	found, err := l.conn.QueryContext(context.Background(), s.Text, namedValues(args))
	if err != nil {
		err = l.markBroken(err)
		if l.endUse(stop) {
			err = fmt.Errorf("%w (%w)", ctx.Err(), err)
		}
		return nil, err
	}
	return &rows{l: l, rows: found, stop: stop, row: make([]driver.Value, len(found.Columns()))}, nil
}

// Next goes on to the next row of the result.
func (r *rows) Next() bool {
	if r.rows == nil || r.done {
		return false
	}
	err := r.rows.Next(r.row)
	if r.done = err != nil; err != io.EOF {
		r.err = r.l.markBroken(err)
	}
	return !r.done
}

// NextResult implements sqlengine.MultiRows.
func (r *rows) NextResult() error {
	for r.Next() {
	}
	if r.err != nil {
		return r.err
	}
	if err := r.rows.(driver.RowsNextResultSet).NextResultSet(); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return r.l.markBroken(err)
	}
	r.row, r.done = make([]driver.Value, len(r.rows.Columns())), false
	return nil
}

// Int implements sqlengine.Rows.
func (r *rows) Int(column int) int64 { return intOf(r.row[column]) }

// Bytes implements sqlengine.Rows.
func (r *rows) Bytes(column int) []byte { return bytesOf(r.row[column]) }

// Entry implements sqlengine.Rows.
func (r *rows) Entry(shared *sqlengine.SharedStrings, values bool) partition.Entry {
	return entryOf(shared, r.row, values)
}

// Err is the error that ended the rows.
func (r *rows) Err() error { return r.err }

// Close ends the query and reads the rest of the results. Close may be repeated.
func (r *rows) Close() error {
	if r.rows == nil {
		return nil
	}
	err := r.l.markBroken(r.rows.Close())
	r.rows = nil
	r.l.endUse(r.stop)
	return errors.Join(r.err, err)
}
