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
	Keep bool // the same text comes again: a compiled form is worth keeping
}

// Kept returns a statement whose text comes again.
func Kept(text string) Statement { return Statement{text, true} }

// RawConn is a connection to a database, used by one goroutine at a time.
type RawConn interface {
	// Exec runs a statement and returns the number of rows that it changed.
	Exec(ctx context.Context, s Statement, args ...any) (int64, error)
	// Query runs a statement whose rows the caller closes.
	Query(ctx context.Context, s Statement, args ...any) (Rows, error)
	// CommitTx sends COMMIT. A database in this process does so even if ctx has ended.
	CommitTx(ctx context.Context) error
	// RollbackTx succeeds also if no transaction is open.
	RollbackTx(ctx context.Context) error
	// Abort ends a query, so that its rows can be closed without reading all of them.
	Abort()
}

// Conn is a connection that one goroutine has acquired. A connection that
// may still be inside a transaction is never used again.
type Conn struct {
	RawConn
	inTx     bool
	giveBack func(inTx bool) // inTx: the connection must be closed
}

// NewConn returns a connection that Release gives back by giveBack.
func NewConn(raw RawConn, giveBack func(inTx bool)) *Conn {
	return &Conn{RawConn: raw, giveBack: giveBack}
}

// rollbackTimeout bounds the clean-up after an operation whose own time may be over.
const rollbackTimeout = 2 * time.Second

// Release rolls an open transaction back and gives the connection back.
func (c *Conn) Release() {
	if c.inTx {
		ctx, cancel := context.WithTimeout(context.Background(), rollbackTimeout)
		defer cancel()
		c.inTx = c.RollbackTx(ctx) != nil
	}
	c.giveBack(c.inTx)
}

// Begin opens a transaction. The text is empty where the connection is always in one.
func (c *Conn) Begin(ctx context.Context, text string) (err error) {
	c.inTx = true // also when the statement fails: it may have taken effect
	if text != "" {
		_, err = c.Exec(ctx, Kept(text))
	}
	return err
}

// Finish commits. An error before COMMIT was sent, or one that the database
// itself answered with, leaves nothing behind; after any other the outcome is unknown.
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

// Each calls f for each row of a query.
func (c *Conn) Each(ctx context.Context, s Statement, args []any, f func(Rows) error) error {
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

// One calls f for the only row of a query, or fails with sql.ErrNoRows.
func (c *Conn) One(ctx context.Context, s Statement, args []any, f func(Rows)) error {
	err := sql.ErrNoRows
	if failed := c.Each(ctx, s, args, func(r Rows) error { f(r); err = nil; return nil }); failed != nil {
		return failed
	}
	return err
}
