package partition

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"time"
)

// connection is a connection to a database, used by one goroutine at a time:
// MySQL's link or SQLite's liteConn. The first two run a statement and report
// the number of changed rows; "once" and keep tell whether the statement's text
// comes again, so that a compiled form is worth keeping.
type connection interface {
	exec(ctx context.Context, statement string, args []any) (int64, error)
	execOnce(ctx context.Context, statement string, args []any) (int64, error)
	query(ctx context.Context, statement string, keep bool, args []any) (rows, error)
	// hangUp ends a query whose rows could not be closed otherwise without reading all of them.
	hangUp()
	close() error
}

// session is one connection in the hands of one goroutine. A connection that
// may still be inside a transaction is never lent again: release drops it.
type session struct {
	connection
	inTx bool
	// idle says that a failed ROLLBACK only means that there was nothing to roll back.
	idle  func(error) bool
	local bool           // the database runs in this process: a COMMIT is not waited for in vain
	back  func(*session) // takes the connection back; c.inTx says that it must be dropped
}

// rollbackTimeout bounds the clean-up after an operation whose own time may be over.
const rollbackTimeout = 2 * time.Second

func (c *session) release() {
	if c.inTx {
		c.rollback() // if this fails, back drops the connection
	}
	c.back(c)
}

// begin opens a transaction. The statement is empty where the connection is always in one.
func (c *session) begin(ctx context.Context, statement string) (err error) {
	c.inTx = true // also when it fails: nobody knows how far it came
	if statement != "" {
		_, err = c.exec(ctx, statement)
	}
	return err
}

func (c *session) commit(ctx context.Context) error {
	if c.local {
		ctx = context.WithoutCancel(ctx)
	}
	if _, err := c.exec(ctx, "COMMIT"); err != nil {
		return err
	}
	c.inTx = false
	return nil
}

// rollback has its own time, as the operation's may be over.
func (c *session) rollback() {
	ctx, cancel := context.WithTimeout(context.Background(), rollbackTimeout)
	defer cancel()
	_, err := c.exec(ctx, "ROLLBACK")
	c.inTx = err != nil && (c.idle == nil || !c.idle(err))
}

// hangUp ends the connection under rows that are still open. It must not be lent again.
func (c *session) hangUp() {
	c.inTx = c.inTx || !c.local
	c.connection.hangUp()
}

// exec runs a statement that is worth keeping, where connections keep statements.
func (c *session) exec(ctx context.Context, statement string, args ...any) (sql.Result, error) {
	n, err := c.connection.exec(ctx, statement, args)
	return driver.RowsAffected(n), err
}

// execOnce runs a statement whose text is of this time only.
func (c *session) execOnce(ctx context.Context, statement string, args ...any) (sql.Result, error) {
	n, err := c.connection.execOnce(ctx, statement, args)
	return driver.RowsAffected(n), err
}

func (c *session) query(ctx context.Context, statement string, args ...any) (rows, error) {
	return c.connection.query(ctx, statement, true, args)
}

// queryOnce runs a query whose text is of this time only.
func (c *session) queryOnce(ctx context.Context, statement string, args ...any) (rows, error) {
	return c.connection.query(ctx, statement, false, args)
}

// queryRow scans the only row of a query, or fails with sql.ErrNoRows.
func (c *session) queryRow(ctx context.Context, statement string, args []any, into ...any) error {
	rows, err := c.query(ctx, statement, args...)
	if err != nil {
		return err
	}
	return only(rows, into)
}

// queryRowOnce is queryRow for a statement whose text is of this time only.
func (c *session) queryRowOnce(ctx context.Context, statement string, into ...any) error {
	rows, err := c.queryOnce(ctx, statement)
	if err != nil {
		return err
	}
	return only(rows, into)
}

// only scans the first of the rows, and closes them.
func only(rows rows, into []any) error {
	defer rows.Close()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return err
		}
		return sql.ErrNoRows
	}
	if err := rows.Scan(into...); err != nil {
		return err
	}
	return rows.Close()
}
