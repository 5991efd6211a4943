package partition

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
)

// exec implements connection.
func (l *link) exec(ctx context.Context, statement string, args []any) (changed int64, err error) {
	err = l.within(ctx, func() error {
		named := namedValues(args)
		done, err := l.conn.ExecContext(context.Background(), statement, named)
		if errors.Is(err, driver.ErrSkip) { // with its arguments the text is larger than a packet
			changed, err = l.execArgs(statement, named)
			return err
		}
		if err != nil {
			return l.noted(err)
		}
		changed, err = done.RowsAffected()
		return err
	})
	return changed, err
}

// execOnce implements connection. No statement is kept: all travel as text.
func (l *link) execOnce(ctx context.Context, statement string, args []any) (int64, error) {
	return l.exec(ctx, statement, args)
}

func namedValues(args []any) []driver.NamedValue {
	named := make([]driver.NamedValue, len(args))
	for i, a := range args {
		if n, ok := a.(int); ok {
			a = int64(n)
		}
		named[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	return named
}

// linkRows are the rows of a query. They are interrupted when the query's context ends.
type linkRows struct {
	l    *link
	rows driver.Rows // nil: closed
	stop func() bool
	row  []driver.Value
	done bool // the result has ended
	err  error
}

// query implements connection.
func (l *link) query(ctx context.Context, statement string, _ bool, args []any) (rows, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if l.broken {
		return nil, driver.ErrBadConn
	}
	stop := context.AfterFunc(ctx, l.interrupt)
	found, err := l.conn.QueryContext(context.Background(), statement, namedValues(args))
	if err != nil {
		err = l.noted(err)
		if l.ended(stop) {
			err = fmt.Errorf("%w (%w)", ctx.Err(), err)
		}
		return nil, err
	}
	return &linkRows{l: l, rows: found, stop: stop, row: make([]driver.Value, len(found.Columns()))}, nil
}

// Next goes on to the next row of the result.
func (r *linkRows) Next() bool {
	if r.rows == nil || r.done {
		return false
	}
	err := r.rows.Next(r.row)
	if r.done = err != nil; err != io.EOF {
		r.err = r.l.noted(err)
	}
	return !r.done
}

// nextResult goes on to the next result that has columns.
func (r *linkRows) nextResult() error {
	for r.Next() {
	}
	if r.err != nil {
		return r.err
	}
	if err := r.rows.(driver.RowsNextResultSet).NextResultSet(); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return r.l.noted(err)
	}
	r.row, r.done = make([]driver.Value, len(r.rows.Columns())), false
	return nil
}

// Scan stores the columns of the row.
func (r *linkRows) Scan(into ...any) error {
	for i, to := range into {
		switch v := r.row[i]; to := to.(type) {
		case *int64:
			*to = intOf(v)
		case *Revision:
			*to = Revision(intOf(v))
		case *Instant:
			*to = Instant(intOf(v))
		case *string:
			*to = string(bytesOf(v))
		case *[]byte:
			*to = append([]byte(nil), bytesOf(v)...)
		case *sql.RawBytes:
			*to = bytesOf(v)
		case sql.Scanner:
			if err := to.Scan(v); err != nil {
				return err
			}
		default:
			return fmt.Errorf("column %d into %T", i, to)
		}
	}
	return nil
}

func (r *linkRows) entry(into *row, values bool) Entry { return into.ofMySQL(r.row, values) }

// Err is the error that ended the rows.
func (r *linkRows) Err() error { return r.err }

// Close ends the query, and reads what is left of its results. It may be repeated.
func (r *linkRows) Close() error {
	if r.rows == nil {
		return nil
	}
	err := r.l.noted(r.rows.Close())
	r.rows = nil
	r.l.ended(r.stop)
	return errors.Join(r.err, err)
}

// hangUp implements connection.
func (l *link) hangUp() {
	l.broken = true
	l.raw.cut()
}
