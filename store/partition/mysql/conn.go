package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/runnelkv/runnel/store/partition/sqlengine"
)

// rawConn is a connection of the driver, used by a single goroutine at a time. Without database/sql
// reading many keys is almost twice as fast.
//
// The driver gets contexts that never end, because for a context that can end it would wake a
// goroutine at each statement. Instead, the server is told to stop the statement, and a deadline on
// the socket ends the wait for an answer.
type rawConn struct {
	d            *database
	conn         driverConn
	raw          *socket // the socket of conn
	role         role
	id           atomic.Int64 // of the server's session, for KILL
	text         []byte       // the statement being built; the memory is reused
	inTx         bool         // a transaction may be open
	gets         preparedGets
	smallGets    preparedGets           // for small values
	bulk         driver.StmtExecContext // of bulkRows rows; prepared on first use
	args         []driver.NamedValue
	broken       bool  // the connection must not be used again
	lastInsertID int64 // last value of the session's LAST_INSERT_ID
	server       server

	opened     time.Time
	generation int64 // of database, when the connection was opened

	interrupt func()        // interrupts the current use; runs at most once
	useEnded  chan struct{} // closed at the end of an interrupted use
	killDone  chan struct{} // closed at the end of interrupt
}

// driverConn has the methods of the driver's connections that rawConn uses.
type driverConn interface {
	driver.QueryerContext
	driver.ExecerContext
	driver.ConnPrepareContext
	driver.SessionResetter
	io.Closer
}

// role is the purpose of a connection.
type role int

const (
	reading role = iota
	// writing connections do not use autocommit, so that no statement has to begin a transaction.
	writing
	killing
)

var _ sqlengine.RawConn = (*rawConn)(nil)

// isAlive reports whether the server still has the connection open. It sends nothing.
func (l *rawConn) isAlive(ctx context.Context) bool { return l.conn.ResetSession(ctx) == nil }

// Close ends the connection.
func (l *rawConn) Close() error { return l.conn.Close() }

// Exec implements sqlengine.RawConn. All statements are sent as text.
func (l *rawConn) Exec(ctx context.Context, s sqlengine.Statement, args ...any) (changed int64, err error) {
	err = l.withKill(ctx, func() error {
		named := namedValues(args)
		done, err := l.conn.ExecContext(context.Background(), s.Text, named)
		if errors.Is(err, driver.ErrSkip) { // with its arguments the text exceeds a packet
			changed, err = l.execArgs(s.Text, named)
			return err
		}
		if err != nil {
			return l.markBroken(err)
		}
		changed, err = done.RowsAffected()
		return err
	})
	return changed, err
}

func namedValues(args []any) []driver.NamedValue {
	named := make([]driver.NamedValue, 0, len(args))
	for _, a := range args {
		if n, ok := a.(int); ok {
			a = int64(n)
		}
		named = appendArgs(named, a)
	}
	return named
}

func appendArgs(args []driver.NamedValue, values ...any) []driver.NamedValue {
	for _, v := range values {
		args = append(args, driver.NamedValue{Ordinal: len(args) + 1, Value: v})
	}
	return args
}

// CommitTx implements sqlengine.RawConn.
func (l *rawConn) CommitTx(ctx context.Context) error {
	_, err := l.Exec(ctx, sqlengine.Statement{Text: "COMMIT"})
	l.inTx = l.inTx && err != nil
	return err
}

// RollbackTx implements sqlengine.RawConn.
func (l *rawConn) RollbackTx(ctx context.Context) error {
	err := l.withKill(ctx, func() error { return l.runText("ROLLBACK", nothing) })
	l.inTx = l.inTx && err != nil
	return err
}

// Abort implements sqlengine.RawConn.
func (l *rawConn) Abort() {
	l.broken = true
	l.raw.abort()
}

// rollbackGrace limits a ROLLBACK after an operation, whose own time may have ended.
const rollbackGrace = 2 * time.Second

// killGrace limits the time in which the server may stop a statement.
const killGrace = time.Second

// killInterval is the interval of telling the server. The server forgets a KILL QUERY that finds no
// statement, because the packet has not arrived yet or the server is between two statements.
const killInterval = 100 * time.Millisecond

// interruptNow tells the server to stop the statement. A reading connection is closed at once. A
// writing connection waits for the answer up to killGrace: the answer tells whether the commit took
// place, and if the connection were closed, the server would go on waiting for a lock and then hold
// the lock.
func (l *rawConn) interruptNow() {
	defer close(l.killDone)
	grace, done := context.WithTimeout(context.Background(), killGrace)
	defer done()
	if l.role != writing {
		l.raw.abort()
	}
	l.d.kill(grace, l) // or else the grace period ends
	if l.role != writing {
		return
	}
	defer l.raw.abort()
	tick := time.NewTicker(killInterval)
	defer tick.Stop()
	for {
		select {
		case <-grace.Done():
			return
		case <-l.useEnded:
			return
		case <-tick.C:
			l.d.kill(grace, l)
		}
	}
}

// kill tells the server to stop the statement of a writing connection, or to close a reading
// connection.
func (d *database) kill(ctx context.Context, l *rawConn) {
	id := l.id.Load()
	if id == 0 || l.role == killing {
		return
	}
	what := "CONNECTION"
	if l.role == writing {
		what = "QUERY"
	}
	k, err := d.killer.Acquire(ctx)
	if err != nil {
		return
	}
	defer d.killer.release(k)
	_ = k.withKill(ctx, func() error { return k.runText(fmt.Sprintf("KILL %s %d", what, id), nothing) })
}

// withKill runs f, which uses the connection, and interrupts the use when ctx ends.
func (l *rawConn) withKill(ctx context.Context, f func() error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w, %w", err, errNotSent)
	}
	if l.broken {
		return driver.ErrBadConn
	}
	stop := context.AfterFunc(ctx, l.interrupt)
	err := f()
	if l.endUse(stop) && err != nil {
		return fmt.Errorf("%w (%w)", ctx.Err(), err)
	}
	return err
}

// endUse reports whether the use of the connection was interrupted.
func (l *rawConn) endUse(stop func() bool) bool {
	if stop() {
		return false
	}
	l.broken = true // the interruption may not have ended yet
	close(l.useEnded)
	if l.role == writing {
		<-l.killDone
	}
	return true
}

// runText sends statements in a single packet and calls each for every row, with the number of the
// row's result among the results that have columns. A row's bytes are valid until the next row.
// runText returns nil if all statements have succeeded.
func (l *rawConn) runText(text string, each func(result int, row []driver.Value) error) error {
	rows, err := l.conn.QueryContext(context.Background(), text, nil)
	if err != nil {
		return l.markBroken(err)
	}
	return l.scanAll(rows, each)
}

func (l *rawConn) scanAll(rows driver.Rows, each func(result int, row []driver.Value) error) error {
	if err := scan(rows, each); err != nil {
		_ = rows.Close() // the first error is the cause
		return l.markBroken(err)
	}
	return l.markBroken(rows.Close())
}

// execText sends statements without rows in a single packet.
func (l *rawConn) execText(text string) (mysql.Result, error) {
	done, err := l.conn.ExecContext(context.Background(), text, nil)
	if err != nil {
		return nil, l.markBroken(err)
	}
	return done.(mysql.Result), nil
}

// markBroken marks the connection as broken if the error leaves its state unknown. If the server
// has become read-only or denies a privilege, all connections are closed. markBroken returns err.
func (l *rawConn) markBroken(err error) error {
	if err != nil && (errorNumber(err) == 0 || isInterrupted(err)) {
		l.broken = true
	}
	if needsNewSession(err) {
		l.d.expireAll()
	}
	return err
}

func scan(rows driver.Rows, each func(result int, row []driver.Value) error) error {
	var buffer [sqlengine.ColumnCount]driver.Value
	for result := 0; ; result++ {
		row := buffer[:len(rows.Columns())]
		err := rows.Next(row)
		for ; err == nil; err = rows.Next(row) {
			if err := each(result, row); err != nil {
				return err
			}
		}
		if err != io.EOF {
			return err
		}
		if err := rows.(driver.RowsNextResultSet).NextResultSet(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// execArgs runs a prepared statement with binary arguments. The server accepts them unescaped up to
// max_allowed_packet.
func (l *rawConn) execArgs(statement string, args []driver.NamedValue) (changed int64, err error) {
	st, err := l.conn.PrepareContext(context.Background(), statement)
	if errorNumber(err) == errPreparedStatements {
		if done, asText := l.conn.ExecContext(context.Background(), statement, args); asText == nil {
			return done.RowsAffected()
		} else if asText != driver.ErrSkip { // the text exceeds a packet
			err = asText
		}
	}
	if err != nil {
		return 0, l.markBroken(err)
	}
	done, err := st.(driver.StmtExecContext).ExecContext(context.Background(), args)
	if err == nil {
		changed, err = done.RowsAffected()
	}
	return changed, errors.Join(l.markBroken(err), st.Close())
}

// rollbackOpen rolls back an open transaction. If the rollback fails, inTx stays set.
func (l *rawConn) rollbackOpen() {
	if !l.inTx || l.broken {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), rollbackGrace)
	defer cancel()
	_ = l.RollbackTx(ctx) // inTx tells the result
}

func nothing(int, []driver.Value) error { return nil }

// intOf returns an integer of the text protocol; NULL is 0.
func intOf(v driver.Value) int64 {
	switch v := v.(type) {
	case int64:
		return v
	case uint64:
		return int64(v)
	}
	return 0
}

func bytesOf(v driver.Value) []byte {
	b, _ := v.([]byte)
	return b
}
