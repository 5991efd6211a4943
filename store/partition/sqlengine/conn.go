package sqlengine

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// Statement is the text of an SQL statement.
type Statement struct {
	Text string
	Keep bool // the text is used repeatedly, so that a compiled form is worth keeping
}

// Kept returns a statement with a text that is used repeatedly.
func Kept(text string) Statement { return Statement{text, true} }

// RawConn is a connection to a database. A RawConn is used by a single goroutine at a time.
type RawConn interface {
	// Exec runs a statement and returns the number of changed rows.
	Exec(ctx context.Context, s Statement, args ...any) (int64, error)
	// Query runs a statement. The caller closes the rows.
	Query(ctx context.Context, s Statement, args ...any) (Rows, error)
	// CommitTx sends COMMIT. A database in this process commits even if ctx has ended.
	CommitTx(ctx context.Context) error
	// RollbackTx succeeds also without an open transaction.
	RollbackTx(ctx context.Context) error
	// Abort lets open rows be closed without reading the remaining rows.
	Abort()
}

// Conn is a connection that a goroutine has acquired. Release closes a connection that may still
// be inside a transaction.
type Conn struct {
	RawConn
	inTx     bool
	giveBack func(inTx bool) // inTx: the connection must be closed
}

// NewConn returns a connection that Release hands to giveBack.
func NewConn(raw RawConn, giveBack func(inTx bool)) *Conn {
	return &Conn{RawConn: raw, giveBack: giveBack}
}

// rollbackTimeout bounds a ROLLBACK, because the operation's own time may have ended.
const rollbackTimeout = 2 * time.Second

// Release rolls back an open transaction and returns the connection to its pool.
func (c *Conn) Release() {
	if c.inTx {
		ctx, cancel := context.WithTimeout(context.Background(), rollbackTimeout)
		defer cancel()
		c.inTx = c.RollbackTx(ctx) != nil
	}
	c.giveBack(c.inTx)
}

// Begin opens a transaction. The text is empty if the connection is always in a transaction.
func (c *Conn) Begin(ctx context.Context, text string) (err error) {
	c.inTx = true // also if the statement fails: it may have taken effect
	if text != "" {
		_, err = c.Exec(ctx, Kept(text))
	}
	return err
}

// Finish commits. An error before COMMIT was sent, or an error sent by the database, means that the
// transaction had no effect; after an error of another kind the outcome is unknown.
func (c *Conn) Finish(ctx context.Context, d Dialect) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := c.CommitTx(ctx)
	if err != nil && !d.Answered(err) {
		return fmt.Errorf("%w: %w", partition.ErrOutcomeUnknown, err)
	}
	c.inTx = err != nil
	return err
}

// QueryRows calls f for each row of a query.
func (c *Conn) QueryRows(ctx context.Context, s Statement, args []any, f func(Rows) error) error {
	rows, err := c.Query(ctx, s, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	return cmp.Or(rows.Err(), rows.Close())
}

// QueryRow calls f for the only row of a query, or fails with sql.ErrNoRows.
func (c *Conn) QueryRow(ctx context.Context, s Statement, args []any, f func(Rows)) error {
	err := sql.ErrNoRows
	if failed := c.QueryRows(ctx, s, args, func(r Rows) error { f(r); err = nil; return nil }); failed != nil {
		return failed
	}
	return err
}
